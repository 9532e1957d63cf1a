"""Rounds that some workers are left out of: who takes part is told at each exchange."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.sgd import SGD
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Membership
from simgmc.training.saved_state import from_arrays, to_arrays
from simgmc.training.stacked import StackedTrainer

K, D, RATE = 4, 12, 0.1


class Linear:
    """Gradients are those of quadratics around each worker's centre, with noise of (step, worker); float64."""

    device, dtype, batches_per_epoch = torch.device("cpu"), torch.float64, 10.0
    shares, steps_per_pass = None, (10.0,)
    as_begun = None

    def __init__(self, workers=K):
        from simgmc.core.layout import Layout

        self.workers, self.d, self.layout = workers, D, Layout(("matrix", "bias"), ((4, 2), (4,)))
        draws = np.random.default_rng(3)
        self.centres = torch.from_numpy(draws.standard_normal((K, D)))[:workers]
        self.noise = torch.from_numpy(draws.standard_normal((64, K, D)))[:, :workers]
        self.running = {"seen": torch.zeros(workers), "mean": torch.zeros(workers, D, dtype=torch.float64)}

    def initial_parameters(self):
        return torch.ones(D, dtype=torch.float64)

    def absent(self, worker):
        return ()

    def gradients(self, at, step):
        gradients = at - self.centres + self.noise[step]
        self.running["seen"] += 1
        self.running["mean"] += gradients
        return gradients, (gradients**2).sum(1)

    def state_dict(self):
        return {name: rows.clone() for name, rows in self.running.items()}

    def load_state_dict(self, state):
        for name, rows in state.items():
            self.running[name].copy_(rows)


def method(name):
    compressor = build("top-k", Linear().layout, density=0.3)
    own = {
        "sgd": {}, "dmsgd": {}, "signsgd": {}, "powersgd": {"rank": 1}, "local-sgd": {"period": 2},
        "slowmo": {"period": 2},
        "pr-sgd-momentum": {"period": 2}, "terngrad": {},
        "qsgd": {"compressor": build("qsgd", Linear().layout, levels=4)},
        "qsparse-local-sgd": {"compressor": compressor, "period": 2},
        "saef": {"compressor": compressor, "average_residual_every": 2},
    }  # fmt: skip
    return ALGORITHMS[name](**own.get(name, {"compressor": compressor}))


METHODS = [
    "sgd",
    "dmsgd",
    "gmc",
    "dgc",
    "ef-sgdm",
    "def-a",
    "doublesqueeze",
    "qsgd",
    "powersgd",
    "local-sgd",
    "slowmo",
    "qsparse-local-sgd",
    "saef",
    "terngrad",
]


def trainer(algorithm, participation="present", workers=K):
    return StackedTrainer(
        algorithm, Linear(workers), lambda epoch: RATE, weight_decay=1e-3, participation=participation
    )


def run(one, taken, lost=()):
    """One round in which these take part."""
    under_way = one.next_round()
    number, resolved = 0, []
    while (step := under_way.step(number)) is not None:
        if isinstance(step, Average):
            resolved.append(under_way.resolve(number, Membership(frozenset(taken), K, frozenset(lost))))
        number += 1
    assert under_way.finish() == tuple(under_way.steps)
    return resolved


def bits(state):
    return {
        name: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value for name, value in state.items()
    }


def everything(one):
    return repr({name: value.tobytes() for name, value in to_arrays(one.state_dict())[0].items()})


SEVERAL = ("powersgd", "terngrad", "saef")
"""Methods with more than one exchange in some rounds."""


@pytest.mark.parametrize(
    ("name", "participation"),
    [
        (name, how)
        for name in METHODS
        for how in ("present", "dropped", "carried")
        if how == "present" or name not in SEVERAL
    ],
)
def test_with_everybody_in_every_mean_the_bits_are_those_of_a_plain_training(name, participation):
    plain, told = trainer(method(name), "all"), trainer(method(name), participation)
    for _ in range(5):
        costs = plain.next_round().with_everybody()
        resolved = run(told, range(K))
        assert [(s.up.tolist(), s.down, s.floats_down) for s in resolved] == [
            (s.up.tolist(), s.down, s.floats_down) for s in costs if isinstance(s, Average)
        ]
        assert all(one.participants is None for one in resolved)
    assert everything(plain) == everything(told)


def test_the_mean_is_that_of_those_who_take_part():
    one, params = trainer(SGD(), "dropped"), Linear().initial_parameters()
    for number, taken in enumerate([{0, 1, 2}, {3, 1, 0}, {2}, {0, 1, 2, 3}]):
        gradients = params - Linear().centres + Linear().noise[number] + 1e-3 * params
        params = params - RATE * sum(gradients[k] for k in sorted(taken)) / len(taken)
        (average,) = run(one, taken)
        torch.testing.assert_close(one.worker.params[0], params, rtol=1e-13, atol=1e-15)
        assert average.floats_in_all == len(taken) * D + K * D
        assert average.participants is None or set(np.flatnonzero(average.participants)) == taken


@pytest.mark.parametrize("name", METHODS)
def test_without_the_last_worker_the_training_is_that_of_the_others(name):
    whole, others = trainer(method(name)), trainer(method(name), "all", K - 1)
    for _ in range(5):
        resolved = run(whole, range(K - 1))
        costs = [step for step in others.next_round().with_everybody() if isinstance(step, Average)]
        assert [(one.up[: K - 1].tolist(), one.down) for one in resolved] == [
            (one.up.tolist(), one.down) for one in costs
        ]
    own = others.worker.state()
    for key, value in whole.worker.state().items():
        if isinstance(value, torch.Tensor) and value.dim():
            assert torch.equal(value[: K - 1] if len(value) == K else value, own[key]), key
    assert torch.equal(whole.workload.running["mean"][: K - 1], others.workload.running["mean"])
    assert whole.workload.running["seen"].tolist() == [10.0 if "local" in name or name == "slowmo" else 5.0] * (
        K - 1
    ) + [0.0]


@pytest.mark.parametrize("name", ["dmsgd", "gmc", "dgc", "ef-sgdm", "qsparse-local-sgd"])
def test_a_worker_that_misses_rounds_keeps_its_memory_and_finds_the_shared_model_on_return(name):
    one = trainer(method(name))
    run(one, range(K))
    before = {key: value.clone() for key, value in one.worker.state().items()}
    for _ in range(3):
        run(one, [0, 2, 3])
    for key, value in one.worker.state().items():
        if len(value) == K:
            assert torch.equal(value[1], before[key][1]) and not torch.equal(value[0], before[key][0])
    assert len(one.worker.params) == 1 and not torch.equal(one.worker.params, before["params"])


def test_a_lost_message_is_forgotten_by_error_feedback_and_work_given_up_is_as_never_begun():
    lost, given_up, plain = (trainer(method("ef-sgdm"), "dropped") for _ in range(3))
    run(lost, [0, 1, 2], lost=[3])
    run(given_up, [0, 1, 2])
    run(plain, range(K))
    assert torch.equal(lost.worker.residual[3], plain.worker.residual[3])
    assert not given_up.worker.residual[3].any() and torch.equal(lost.worker.params, given_up.worker.params)


@given(st.lists(st.sets(st.integers(0, K - 1), min_size=1, max_size=K), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_every_carried_gradient_enters_exactly_one_mean(memberships):
    """Sum of k * mean over the rounds = all gradients begun, less those still held; each at the model it
    was begun at.
    """
    one, stepped, begun = (
        trainer(SGD(), "carried"),
        torch.zeros(D, dtype=torch.float64),
        torch.zeros(D, dtype=torch.float64),
    )
    for number, taken in enumerate(memberships):
        before = one.worker.params[0].clone()
        fresh = [k for k in range(K) if k not in one.held]
        gradients = before - Linear().centres + Linear().noise[number] + 1e-3 * before
        begun += gradients[fresh].sum(0)
        run(one, taken)
        stepped += len(taken) * (before - one.worker.params[0]) / RATE
    held = sum((late["vector"] for late in one.held.values()), torch.zeros(D, dtype=torch.float64))
    torch.testing.assert_close(stepped, begun - held, rtol=1e-11, atol=1e-11)


def test_a_message_one_round_late_enters_the_next_mean_with_its_size():
    one = trainer(method("gmc"), "carried")
    run(one, range(K))
    (first,) = run(one, [0, 1, 2])
    late = {key: value.clone() if key == "vector" else value for key, value in one.held[3].items()}
    memory = one.worker.residual[3].clone()
    (second,) = run(one, [0, 1, 3])
    assert second.up[3] == first.up[3] == late["nbytes"] and set(one.held) == {2}
    assert torch.equal(one.worker.residual[3], memory), "it has computed nothing else meanwhile"
    fresh = trainer(method("gmc"), "carried")
    run(fresh, range(K))
    run(fresh, [0, 1, 2])
    under_way = fresh.next_round()
    message = under_way._asked.message
    expected = (message.dense()[0] + message.dense()[1] + late["vector"]) / 3
    torch.testing.assert_close(one.worker.update[0], expected, rtol=1e-14, atol=0)
    assert second.down == min(8 * int((expected != 0).sum()), 4 * 12)  # dense where that is shorter


@pytest.mark.parametrize("name", ["dmsgd", "gmc", "dgc", "signsgd", "qsgd", "local-sgd"])
def test_carried_trainings_go_on_from_their_state(name):
    memberships = [{0, 1, 2}, {0, 1, 3}, {2, 1}, {0, 3}, {1, 2, 3}]
    whole = trainer(method(name), "carried")
    for number, taken in enumerate(memberships):
        resumed = trainer(method(name), "carried")
        resumed.load_state_dict(from_arrays(*to_arrays(whole.state_dict())))
        for later in memberships[number:]:
            run(resumed, later)
        run(whole, taken)
        memberships_left = memberships[number + 1 :]
        if not memberships_left:
            assert everything(resumed) == everything(whole)
    assert whole.held


def test_a_round_that_nobody_is_left_for_changes_nothing():
    one = trainer(method("doublesqueeze"))
    run(one, range(K))
    before, seen = bits(one.worker.state()), one.workload.running["seen"].clone()
    under_way = one.next_round()
    costs = under_way.finish()
    assert not any(isinstance(step, Average) for step in costs) and one.rounds == 2
    assert bits(one.worker.state()) == before and torch.equal(one.workload.running["seen"], seen)
    run(one, range(K))


def test_an_average_is_resolved_once_before_the_round_goes_on():
    under_way = trainer(SGD(), "present").next_round()
    (number,) = [place for place, step in enumerate(under_way.steps) if isinstance(step, Average)]
    with pytest.raises(RuntimeError, match="is to be resolved before"):
        under_way.step(number + 1)
    everybody = Membership(frozenset(range(K)), K)
    with pytest.raises(RuntimeError, match="step 0 is not an average that waits"):
        under_way.resolve(0, everybody)
    under_way.resolve(number, everybody)
    with pytest.raises(RuntimeError, match="is not an average that waits"):
        under_way.resolve(number, everybody)


@pytest.mark.parametrize(
    ("name", "participation", "says"),
    [
        ("powersgd", "dropped", "several exchanges"),
        ("terngrad", "carried", "several exchanges"),
        ("pr-sgd-momentum", "dropped", "several exchanges"),
        ("overlap-local-sgd", "present", "starts an exchange and goes on"),
    ],
)
def test_methods_that_do_not_go_with_it_are_refused(name, participation, says):
    algorithm = ALGORITHMS[name]() if name == "overlap-local-sgd" else method(name)
    with pytest.raises(SimgmcError, match=says):
        trainer(algorithm, participation).next_round().with_everybody()


def test_blocks_that_all_workers_draw_anew_cannot_be_carried():
    algorithm = ALGORITHMS["gmc"](compressor=build("rbgs", Linear().layout, density=0.5))
    run(trainer(algorithm, "dropped"), [0, 1])
    with pytest.raises(SimgmcError, match='use late = "dropped"'):
        trainer(algorithm, "carried").next_round().with_everybody()
