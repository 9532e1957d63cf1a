"""Programs and compressors of one's own: run as they are, all at once only where that is the same, mistakes told."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from simgmc import (
    Algorithm,
    Average,
    Compressor,
    Gradient,
    Maximum,
    Mix,
    Request,
    Start,
    Wait,
    algorithm,
    compressor,
    encoded,
    keep,
    option,
    share,
    try_out,
)  # fmt: skip
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import Randomness
from simgmc.mixing import gossip_graph, mixing
from simgmc.training.one_by_one import OwnMethod
from simgmc.training.own_compressor import OwnCompressor
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload

WORKERS, SIZE = 3, 6


def trainer(method, seed=0):
    draws = np.random.default_rng(1)
    problem = Quadratics(
        0.2 + draws.random((WORKERS, SIZE)), draws.standard_normal((WORKERS, SIZE)), np.ones(SIZE), noise=0.1
    )
    own = OwnMethod("mine", method, seed)
    mixes = mixing(gossip_graph("ring", WORKERS)) if method.mixing != "none" else None
    return StackedTrainer(own, QuadraticWorkload(problem, seed), lambda epoch: 0.1, 0.0, seed, mixes)


def train(method, rounds=9):
    """The trainer, and the costs of its rounds."""
    made = trainer(method)
    return made, [made.next_round().with_everybody() for _ in range(rounds)]


class ByHand(Algorithm):
    """Momentum SGD whose gradients are clipped, in different spellings."""

    def clipped(self, gradient):
        norm = gradient.norm(dim=-1, keepdim=True)
        return gradient * (0.5 / norm).clamp(max=1)

    def start(self, worker):
        worker.buffer = worker.zeros()

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.buffer = 0.5 * worker.buffer + self.clipped(gradient)
        handle = yield Start(Average(worker.buffer))
        largest = yield Maximum(worker.buffer.abs().amax(dim=-1, keepdim=True))
        mean = yield Wait(handle)
        worker.params = worker.params - worker.lr * mean / (1 + largest)


class Decides(ByHand):
    def clipped(self, gradient):
        norm = gradient.norm().item()
        return gradient * (0.5 / norm) if norm > 0.5 else gradient


class Flat(ByHand):
    def clipped(self, gradient):
        return gradient * (0.5 / gradient.norm()).clamp(max=1)


class Said(ByHand):
    one_by_one = True


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(ByHand, ""), (Decides, "looks at numbers"), (Flat, "Start.Average. has other numbers"), (Said, "says so")],
)
def test_a_program_serves_all_workers_only_where_that_is_what_each_would_do(kind, reason):
    made, costs = train(kind())
    plain, others = train(Said())
    assert re.search(reason, made.worker.one_by_one) and bool(reason) == bool(made.worker.one_by_one)
    torch.testing.assert_close(made.model(), plain.model(), rtol=1e-10, atol=1e-12)
    assert [[type(step) for step in one] for one in costs] == [[type(step) for step in one] for one in others]
    assert all((a.up == b.up).all() for a, b in zip(costs[-1], others[-1]) if hasattr(a, "up"))


def test_known_methods_are_the_same_as_programs_of_ones_own():
    """The built-in programs, taken for one's own, are stacked, and give the built-in results bit for bit."""
    for name, options in (("dmsgd", {}), ("gmc", {"compressor": compressor("top-k", density=0.3)}), ("slowmo", {})):
        known = algorithm(name, **options)
        made, _ = train(known)
        draws = made.worker.one_by_one
        assert draws == "", (name, draws)
        other = trainer(known)
        other.algorithm = known
        for _ in range(9):
            other.next_round().with_everybody()
        assert torch.equal(made.model(), other.model())


class Noisy(ByHand):
    def clipped(self, gradient):
        return gradient + torch.randn_like(gradient) * np.random.rand()  # noqa: NPY002 - as users' code draws


def test_what_a_program_draws_follows_from_worker_and_round_alone():
    made, _ = train(Noisy(), 6)
    torch.manual_seed(5)
    half = trainer(Noisy())
    for _ in range(3):
        half.next_round().with_everybody()
    rest = trainer(Noisy())
    rest.load_state_dict(half.state_dict())
    for _ in range(3):
        rest.next_round().with_everybody()
    assert torch.equal(rest.model(), made.model()) and made.worker.one_by_one
    rows = made.worker.buffer
    assert len(rows) == WORKERS and not torch.equal(rows[0], rows[1])


class Keeps(Algorithm):
    """Tensors of other shapes, numbers and lists of each worker's own."""

    def start(self, worker):
        worker.weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        worker.losses = []
        worker.count = 0

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.count += 1
        worker.losses = [*worker.losses, float(gradient.norm())][-2:]
        mean = yield Average(gradient * worker.weights.sum() / (5.0 + worker.count % 2))
        worker.params = worker.params - worker.lr * mean


def test_what_workers_keep_is_saved_and_each_ones_own():
    made, _ = train(Keeps(), 5)
    again = trainer(Keeps())
    again.load_state_dict(made.state_dict())
    for one in (made, again):
        one.next_round().with_everybody()
    assert torch.equal(made.model(), again.model()) and made.worker.count == again.worker.count == 6
    (lists,) = made.worker.losses.values()
    assert len(lists) == WORKERS and len({tuple(one) for one in lists}) == WORKERS


class Neighbourly(Algorithm):
    mixing = "doubly-stochastic"

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        step = worker.lr * gradient if gradient.norm() < 100 else 0 * gradient
        worker.params = yield Mix(worker.params - step)


def test_one_by_one_they_mix_as_all_at_once():
    made, costs = train(Neighbourly())
    assert "numbers" in made.worker.one_by_one
    torch.testing.assert_close(made.model(), try_out_like(algorithm("d-psgd", order="atc")), rtol=1e-10, atol=1e-12)


def try_out_like(method):
    made, _ = train(method)
    return made.model()


# mistakes -----------------------------------------------------------------------------------


def mistake(body, start="pass"):
    """An algorithm whose round is this code."""
    names = {one.__name__: one for one in (Average, Gradient, Mix, Request, Start)} | {"torch": torch, "np": np}
    indented = body.replace("\n", "\n    ")
    code = f"def round(self, worker):\n    {indented}\ndef start(self, worker):\n    {start}\n"
    exec(compile(code, "mine.py", "exec"), names)
    return dataclass(frozen=True)(type("Mine", (Algorithm,), {key: names[key] for key in ("round", "start")}))()


G = "g = yield Gradient(at=worker.params)\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("g = yield Gradient(at=worker.parms)", 'AttributeError.*parms.*line 2, in round.; did you mean "params"'),
        ("g = yield Gradient(at=worker.memory)", "'memory'.*give it to the worker in start"),
        ("g = Gradient(at=worker.params)\nworker.params = 2 * g", "yields nothing.*TypeError.*line 3"),
        ("worker.params = 0 * worker.params", "yields nothing, and so is no program"),
        (G + "m = Average(g)\nworker.params = worker.params - m", "line 4.*is a yield missing before Average"),
        (
            G + "yield Average(g[..., :3])\nworker.params = worker.params - g[..., :3]",
            "after Average: Runtime",
        ),
        (G + "yield Average(g)\nworker.params = worker.params[..., :3]", r"worker.params is of shape \(3,\) now"),
        ("yield Gradient(at=worker.params[..., :2])", r"at=...\) of shape \(2,\); at is a tensor of shape \(6,\)"),
        (G + "yield Average([1.0])", "message=list"),
        (G + "yield g", "yields a Tensor, which is no effect.*line 3"),
        (G + "yield Average", "yields the class Average, which is no effect"),
        (G + "yield Request(0, g)", "Request: only for methods with asynchronous = True"),
        (
            G + "if worker.rank == 1:\n    yield Average(g)",
            "worker 0 ends its round, worker 1 yields Av",
        ),
        (G + "if worker.rank:\n    worker.more = g\nyield Average(g)", "worker 1 has worker.more and worker 0 has not"),
        (G + "worker._memory = g\nyield Average(g)", "begins with an underscore"),
        (G + "self.memory = g\nyield Average(g)", "cannot assign to field.*belongs to the worker"),
        (G + "yield Average(g)\nworker.seen = {1.5}", "worker.seen: a set cannot be stored"),
        (
            G + "if worker.round > 4 and g.norm() > 0: g = 2 * g\nyield Average(g)",
            "round 6.*for the first time",
        ),
    ],
)
def test_a_mistake_in_a_program_is_one_line_with_what_where_and_when(body, says):
    with pytest.raises(SimgmcError, match="mine, round [16]") as told:
        train(mistake(body), 9)
    assert re.search(says, str(told.value)) and "\n" not in str(told.value), str(told.value)


MEMORY = {}


class Elsewhere(Algorithm):
    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        MEMORY["calls"] = MEMORY.get("calls", 0) + 1
        mean = yield Average(gradient)
        worker.params = worker.params - worker.lr * mean


def test_what_is_kept_outside_the_workers_is_noticed():
    made, _ = train(Elsewhere())
    assert made.algorithm.said_outside.endswith("test_own_programs.MEMORY")
    assert train(ByHand())[0].algorithm.said_outside == ""


# compressors ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Large(Compressor):
    times: float = option("times the mean", 1.0, at_least=0)
    dim: int | None = option("of the mean", -1)

    def __call__(self, vector, random):
        size = vector.abs()
        mean = size.mean() if self.dim is None else size.mean(dim=self.dim, keepdim=True)
        return keep(vector, size >= self.times * mean)


@dataclass(frozen=True)
class Halves(Compressor):
    def __call__(self, vector, random):
        def decode(payload):
            return np.frombuffer(payload, np.float16).astype(np.float32)

        return encoded(vector, lambda row: row.half().numpy().tobytes(), decode)


@dataclass(frozen=True)
class Drawn(Compressor):
    summable = True

    def __call__(self, vector, random):
        return share(vector, random.shared().choice(vector.shape[-1], 4, replace=False))


@pytest.mark.parametrize(
    ("own", "by_row"), [(Large(), False), (Large(dim=None), True), (Halves(), True), (Drawn(), False)]
)
def test_rows_are_compressed_as_each_alone(own, by_row):
    used = OwnCompressor("mine", own)
    vector = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [10.0], [0.1]])
    message = used(vector, Randomness(0, 1, 1, range(3)))
    alone = [own(row, Randomness(0, 1, 1, [rank])) for rank, row in enumerate(vector)]
    assert used.by_row == by_row and message.shape == (3, 40)
    assert torch.equal(message.dense(), torch.stack([one.dense() for one in alone]))
    assert [message.encode(row) for row in range(3)] == [one.encode() for one in alone]
    assert message.nbytes.tolist() == [len(one.encode()) for one in alone]
    assert torch.equal(message.decode([message.encode(row) for row in range(3)]).dense(), message.dense())


def test_a_compressor_that_keeps_everything_changes_nothing():
    ours, plain = algorithm("gmc", compressor=Large(times=0.0)), algorithm("gmc", compressor=compressor("identity"))
    assert try_out(ours).allclose(try_out(plain), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda self, vector, random: vector, "returns Tensor, not a message"),
        (lambda self, vector, random: keep(vector, vector), "kept must be bool of the vector's shape"),
        (lambda self, vector, random: keep(vector[..., :2], vector[..., :2] > 0), "makes a message of shape"),
        (lambda self, vector, random: share(vector, [1, 1]), "different whole numbers below"),
        (lambda self, vector, random: encoded(vector, lambda row: "x", list), "encode gives str, not bytes"),
        (
            lambda self, vector, random: encoded(vector, lambda row: b"x", list),
            "decode gives 1 numbers for a vector of",
        ),
        (lambda self, vector, random: 1 / 0, "ZeroDivisionError.*test_own_programs.py, line"),
    ],
)
def test_a_mistake_in_a_compressor_is_one_line(call, says):
    kind = dataclass(frozen=True)(type("Mine", (Compressor,), {"__call__": call}))
    with pytest.raises(SimgmcError, match=says):
        OwnCompressor("mine", kind())
