"""The gradient engine against fresh modules with plain ``backward``."""

import copy
import os
import random

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import nn

from simgmc.core.errors import SimgmcError
from simgmc.experiment.preflight.compute_times import gradient_seconds
from simgmc.workloads.classification import ClassificationWorkload, _device
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.gradients.statistics import averaged
from simgmc.workloads.models.catalogue import build_model, ready, seeded
from simgmc.workloads.partitions.catalogue import partition
from simgmc.workloads.seeding import drawing_from, drew

WORKERS, BATCH, CLASSES = 5, 4, 10


def synthetic(shape, train=103, test=30):
    """Random pictures; bytes, so that normalisation takes part."""
    rng = np.random.default_rng(0)
    return Dataset(
        "random",
        rng.integers(0, 256, (train, *shape), dtype=np.uint8),
        rng.integers(0, CLASSES, train),
        rng.integers(0, 256, (test, *shape), dtype=np.uint8),
        rng.integers(0, CLASSES, test),
        CLASSES,
        np.linspace(100, 130, shape[0]),
        np.linspace(50, 70, shape[0]),
    )


def make(model, shape, **options):
    data = synthetic(shape)
    owned = partition("iid", data.train_labels, WORKERS, 0)
    options = {"batch": BATCH, "seed": 3, "dtype": torch.float64, **options}
    return ClassificationWorkload(model, data, owned, **options)


MODELS = {
    "logistic": ("logistic", (1, 8, 8), {}),
    "mlp": ("mlp", (1, 8, 8), {"hidden": [24, 16]}),
    "mlp on colour": ("mlp", (3, 6, 5), {"hidden": [12]}),
    "cnn": ("cnn", (3, 12, 12), {}),
    "cnn on grey": ("cnn", (1, 9, 9), {}),
    "resnet20-BN": ("resnet20", (3, 16, 16), {}),
    "resnet20-GN": ("resnet20", (3, 16, 16), {"norm": "group"}),
    "resnet20-BN-A": ("resnet20", (3, 16, 16), {"shortcut": "A"}),
}


def build(case):
    name, shape, options = MODELS[case]
    return build_model(name, shape, CLASSES, seed=1, **options), shape


def fresh_modules(model):
    return [copy.deepcopy(model).double().train() for _ in range(WORKERS)]


def set_parameters(module, vector):
    with torch.no_grad():
        for p, part in zip(module.parameters(), vector.split([p.numel() for p in module.parameters()]), strict=True):
            p.copy_(part.view_as(p))


def plain_gradient(workload, shape, module, point, worker, step):
    """Normalised minibatch in the plain memory format, a fresh pass, ``backward``."""
    index = workload._training.minibatches.indices(step, worker)
    data = synthetic(shape)
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (data.mean, data.std))
    x = torch.from_numpy((data.train_images[index] - mean) / std)
    set_parameters(module, point)
    module.zero_grad()
    loss = F.cross_entropy(module(x), torch.from_numpy(data.train_labels[index]))
    loss.backward()
    return torch.cat([p.grad.reshape(-1) for p in module.parameters()]), loss.detach()


@pytest.mark.parametrize("case", MODELS)
def test_gradients_losses_and_buffers_equal_those_of_separate_modules(case):
    """At a point that all share in the first step, at points of their own in the second."""
    model, shape = build(case)
    workload = make(model, shape)
    modules = fresh_modules(model)
    generator = torch.Generator().manual_seed(5)
    for step, rows in enumerate((1, WORKERS)):
        noise = torch.randn(rows, workload.d, generator=generator, dtype=torch.float64)
        at = workload.initial_parameters() + 0.05 * noise
        gradients, losses = workload.gradients(at, step)
        for worker, module in enumerate(modules):
            point = at[worker % rows]
            expected, loss = plain_gradient(workload, shape, module, point, worker, step)
            torch.testing.assert_close(gradients[worker], expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(losses[worker], loss, rtol=1e-12, atol=1e-12)
    state = workload.state_dict()
    for worker, module in enumerate(modules):
        for name, buffer in module.named_buffers():
            torch.testing.assert_close(state[name][worker], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", ["mlp", "cnn", "resnet20-BN"])
def test_results_have_the_same_bits_on_1_2_and_4_threads(case):
    model, shape = build(case)
    points = None
    results = []
    for threads in (1, 2, 4):
        route = "split" if case == "mlp" else "pool"
        workload = make(model, shape, dtype=torch.float32, threads=threads, route=route)
        if points is None:
            noise = torch.randn(WORKERS, workload.d, generator=torch.Generator().manual_seed(0))
            points = workload.initial_parameters() + 0.05 * noise
        results.append(
            [
                *workload.gradients(points[:1], 0),
                *workload.gradients(points, 1),
                *workload.state_dict().values(),
                torch.tensor(
                    [value for value in vars(workload.evaluate(points[0])).values() if isinstance(value, float)]
                ),
            ]
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("case", ["cnn", "resnet20-BN"])
def test_loop_and_pool_give_the_same_bits(case):
    model, shape = build(case)
    pool = make(model, shape, dtype=torch.float32, route="pool", threads=2)
    loop = make(model, shape, dtype=torch.float32, route="loop")
    at = pool.initial_parameters()[None]
    assert torch.equal(pool.gradients(at, 0)[0], loop.gradients(at, 0)[0])


def test_the_route_is_a_rule_on_the_model():
    routes = {case: make(*build(case)).route for case in ("logistic", "mlp", "cnn", "resnet20-GN")}
    assert routes == {"logistic": "split", "mlp": "split", "cnn": "loop", "resnet20-GN": "pool"}
    with pytest.raises(SimgmcError, match="possible: pool, loop"):
        make(*build("resnet20-GN"), route="split")


@pytest.mark.parametrize("case", ["mlp", "cnn"])
def test_bits_do_not_depend_on_where_a_point_lies_in_memory(case):
    model, shape = build(case)
    workload = make(model, shape, dtype=torch.float32)
    at = workload.initial_parameters()[None]
    shifted = torch.zeros(1, workload.d + 3)[:, 3:]
    shifted.copy_(at)
    assert torch.equal(workload.gradients(at, 0)[0], workload.gradients(shifted, 0)[0])


@pytest.mark.parametrize("case", ["mlp", "cnn", "resnet20-BN"])
def test_one_worker_alone_gets_its_row(case):
    model, shape = build(case)
    workload, alone = make(model, shape), make(model, shape)
    at = workload.initial_parameters()
    gradients, losses = workload.gradients(at[None], 4)
    for worker in (3, 0):
        gradient, loss = alone.gradient(worker, at, 4)
        torch.testing.assert_close(gradient, gradients[worker], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(loss, losses[worker], rtol=1e-12, atol=1e-12)
        for name, rows in alone.state_dict().items():
            assert torch.equal(rows[worker], workload.state_dict()[name][worker])


def test_every_call_returns_memory_of_its_own_and_leaves_the_point_alone():
    workload = make(*build("cnn"))
    at = workload.initial_parameters()[None]
    kept = at.clone()
    first, _ = workload.gradients(at, 0)
    copied = first.clone()
    workload.gradients(at, 1)
    assert torch.equal(first, copied) and torch.equal(at, kept)
    assert not first.requires_grad


def test_gradients_work_where_the_caller_has_switched_gradients_off():
    for case in ("mlp", "cnn"):
        workload = make(*build(case))
        at = workload.initial_parameters()[None]
        with torch.no_grad():
            off = workload.gradients(at, 0)[0]
        assert torch.equal(off, workload.gradients(at, 0)[0]) and off.abs().sum() > 0


@pytest.mark.parametrize(("route", "worker"), [("pool", None), ("plain", 2)])
def test_evaluation_is_the_mean_over_the_whole_test_set_with_averaged_statistics_or_a_workers_own(route, worker):
    model, shape = build("resnet20-BN")
    workload = make(model, shape, batch=8, route=route)
    at = workload.initial_parameters()
    for step in range(2):
        workload.gradients(at[None], step)
    before = workload.state_dict()
    found = workload.evaluate(at, worker)
    module = copy.deepcopy(model).double().eval()
    for name, buffer in module.named_buffers():
        rows = before[name]
        if worker is not None:
            buffer.copy_(rows[worker])
        elif rows.is_floating_point():
            between = before[name.replace("_var", "_mean")].var(0, correction=0) if name.endswith("_var") else 0
            buffer.copy_(rows.mean(0) + between)
        else:
            buffer.copy_(rows[0])
    data = synthetic(shape)
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (data.mean, data.std))
    logits = module(torch.from_numpy((data.test_images - mean) / std))
    labels = torch.from_numpy(data.test_labels)
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)
    assert found.accuracy == (logits.argmax(1) == labels).double().mean().item()
    after = workload.state_dict()
    assert all(
        torch.equal(one, after[name]) if torch.is_tensor(one) else one == after[name] for name, one in before.items()
    )


def test_averaged_statistics_are_those_of_all_samples_together():
    samples = torch.randn(3, 50, 4, dtype=torch.float64) + torch.arange(3).reshape(3, 1, 1)
    rows = {"a.running_mean": samples.mean(1), "a.running_var": samples.var(1, correction=0), "scale": samples[:, 0]}
    found = averaged({**rows, "a.num_batches_tracked": torch.ones(3, dtype=torch.long)})
    together = samples.reshape(150, 4)
    assert found.keys() == rows.keys()
    torch.testing.assert_close(found["a.running_mean"], together.mean(0))
    torch.testing.assert_close(found["a.running_var"], together.var(0, correction=0))
    torch.testing.assert_close(found["scale"], samples[:, 0].mean(0))


def test_the_header_tells_of_statistics_that_are_averaged_and_of_no_others():
    class Shifted(nn.Linear):
        def __init__(self):
            super().__init__(64, 10)
            self.register_buffer("shift", torch.ones(10))

        def forward(self, x):
            return super().forward(x.flatten(1)) + self.shift

    model, shape = build("resnet20-BN")
    assert any("running statistics (1568 numbers)" in note for note in make(model, shape).notes)
    assert not make(Shifted(), (1, 8, 8)).notes


def test_a_restored_state_continues_with_the_same_bits():
    model, shape = build("resnet20-BN")
    first, second = (make(model, shape, dtype=torch.float32) for _ in range(2))
    at = first.initial_parameters()[None]
    first.gradients(at, 0)
    second.load_state_dict(first.state_dict())
    for workload in (first, second):
        workload.gradients(at, 1)
    for name, rows in first.state_dict().items():
        assert np.array_equal(rows, second.state_dict()[name])
    assert first.evaluate(at[0]) == second.evaluate(at[0])


def test_measuring_gives_positive_seconds_and_leaves_the_state_alone():
    workload = make(*build("resnet20-BN"))
    before = workload.state_dict()
    assert 0 < gradient_seconds(workload, repetitions=1) < 60
    assert all(torch.equal(before[name], rows) for name, rows in workload.state_dict().items())


def test_flops_of_a_linear_model_are_counted_in_closed_form():
    workload = make(*build("logistic"))
    # forward and weight gradient, two operations per multiply-add; the input needs no gradient
    assert workload.flops == 2 * 2 * BATCH * 64 * CLASSES


def test_dropout_is_a_pure_function_of_seed_step_and_worker():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, CLASSES))
    first, second = make(model, (1, 8, 8)), make(model, (1, 8, 8))
    assert first.route == "plain" and first.reasons == ["random numbers in forward"]
    at = first.initial_parameters()[None]
    state = torch.random.get_rng_state()
    gradients, _ = first.gradients(at, 2)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(7)
    assert torch.equal(second.gradient(3, at[0], 2)[0], gradients[3])
    assert not torch.equal(first.gradients(at, 2 + 10**6)[0], gradients)
    assert torch.equal(first.gradients(at, 2)[0], gradients)


class Tied(nn.Module):
    """One weight used twice, one frozen, one never used."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.full((10,), 0.5), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.second(torch.tanh(self.first(x.flatten(1)[:, :10]))) * self.frozen


@pytest.mark.parametrize("shared", [True, False])
def test_tied_frozen_and_unused_parameters_are_handled(shared):
    torch.manual_seed(0)
    model = Tied()
    workload = make(model, (1, 8, 8))
    assert workload.layout.names == ("unused", "first.weight") and workload.d == 102
    at = workload.initial_parameters()[None].repeat(1 if shared else WORKERS, 1)
    gradients, _ = workload.gradients(at, 0)
    for worker, module in enumerate(fresh_modules(model)):
        data, index = synthetic((1, 8, 8)), workload._training.minibatches.indices(0, worker)
        x = torch.from_numpy((data.train_images[index] - data.mean) / data.std)
        F.cross_entropy(module(x), torch.from_numpy(data.train_labels[index])).backward()
        expected = module.first.weight.grad.flatten()
        torch.testing.assert_close(gradients[worker, 2:], expected, rtol=1e-12, atol=1e-12)
        assert not gradients[worker, :2].any()


def test_a_cuda_device_is_asked_to_add_in_the_same_order_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for before, after in ((None, ":4096:2"), (":16:8", ":16:8")):
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", before or "")
        if before is None:
            monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
        assert _device("cuda").type == "cuda" and os.environ["CUBLAS_WORKSPACE_CONFIG"] == after


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), np.random.standard_normal, lambda: random.getrandbits(1)])
def test_whoever_draws_on_the_host_is_noticed_on_cuda_too(monkeypatch, draw):
    monkeypatch.setattr(torch.cuda, "default_generators", [torch.Generator()])
    with drawing_from(3, torch.device("cuda:0")):
        assert not drew(3, torch.device("cuda:0"))
        draw()
        assert drew(3, torch.device("cuda:0")) and not drew(3, torch.device("cuda:0"))


def test_impossible_workloads_are_refused_in_one_line():
    model, shape = build("mlp")
    with pytest.raises(SimgmcError, match="batch = 0"):
        make(model, shape, batch=0)
    flat = Dataset("flat", np.zeros((9, 4)), np.zeros(9, int), np.zeros((3, 4)), np.zeros(3, int), 2)
    linear = nn.Linear(4, 2)
    with pytest.raises(SimgmcError, match="augmentation needs images"):
        ClassificationWorkload(linear, flat, [np.arange(9)], batch=2, seed=0, augment=True)
    with pytest.raises(SimgmcError, match="must be 'cpu' or 'cuda'"):
        ClassificationWorkload(linear, flat, [np.arange(9)], batch=2, seed=0, device="meta")
    plain = ClassificationWorkload(linear, flat, [np.arange(9)], batch=2, seed=0)
    assert plain.gradients(plain.initial_parameters()[None], 0)[0].shape == (1, 10)


@settings(max_examples=25, deadline=None)
@given(
    workers=st.integers(1, 9),
    batch=st.integers(1, 6),
    hidden=st.lists(st.integers(1, 5), max_size=3),
    activation=st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU]),
    bias=st.booleans(),
    shared=st.booleans(),
)
def test_split_and_loop_agree_for_any_chain_of_linear_layers(workers, batch, hidden, activation, bias, shared):
    rng = np.random.default_rng(1)
    data = Dataset(
        "features",
        rng.normal(size=(40, 7)),
        rng.integers(0, 3, 40),
        rng.normal(size=(5, 7)),
        rng.integers(0, 3, 5),
        3,
    )
    owned = partition("iid", data.train_labels, workers, 0)
    widths = [7, *hidden, 3]
    layers = []
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), activation()]
    split, loop = (
        ClassificationWorkload(
            nn.Sequential(*layers), data, owned, batch=batch, seed=0, dtype=torch.float64, route=route
        )
        for route in ("split", "loop")
    )
    at = torch.randn(1 if shared else workers, split.d, dtype=torch.float64)
    for a, b in zip(split.gradients(at, 1), loop.gradients(at, 1), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("route", ["split", "loop"])
def test_layers_that_write_over_their_input_give_the_same_gradients(route):
    def gradients(inplace):
        torch.manual_seed(4)
        model = nn.Sequential(
            nn.Flatten(),
            nn.LeakyReLU(0.1, inplace),
            nn.Linear(64, 16),
            nn.ReLU(inplace),
            nn.Linear(16, CLASSES),
            nn.ELU(inplace=inplace),
        )
        workload = make(model, (1, 8, 8), route=route)
        at = workload.initial_parameters()[None]
        return [*workload.gradients(at, 0), *workload.gradients(at, 1)]

    for one, other in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def complex_numbers():
    return nn.Linear(64, CLASSES, dtype=torch.cfloat)


def scripted():
    return nn.Sequential(nn.Flatten(), torch.jit.script(nn.Linear(64, CLASSES)))


def sparse_embedding():
    return nn.Sequential(nn.Embedding(5, 2, sparse=True), nn.Flatten(), nn.Linear(128, CLASSES))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.LazyLinear(CLASSES), "parameter weight has no shape yet"),
        (lambda: nn.Linear(64, CLASSES, device="meta"), "parameter weight has no values"),
        (complex_numbers, "parameter weight is complex64: only real parameters"),
        (scripted, "Sequential: 1 is TorchScript, whose parameters cannot be exchanged"),
        (sparse_embedding, "Sequential: 0 gives sparse gradients: make it with sparse = False"),
    ],
)
def test_a_module_whose_parameters_cannot_be_trained_is_refused(build, words):
    with pytest.raises(SimgmcError, match=words):
        seeded(build, 0)
    with pytest.raises(SimgmcError, match=words):
        ready(build())


class Uncopyable(nn.Linear):
    def __getstate__(self):
        raise TypeError("not to be copied")


def test_a_module_that_cannot_be_copied_is_refused():
    with pytest.raises(SimgmcError, match="Uncopyable cannot be copied: not to be copied"):
        make(nn.Sequential(nn.Flatten(), Uncopyable(64, CLASSES)), (1, 8, 8))


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise KeyError("no way back")


class Failing(nn.Module):
    """Does as it is told once it has been called ``after`` times, or when it is evaluated."""

    def __init__(self, fail, after=0, in_evaluation=False):
        super().__init__()
        self.linear = nn.Linear(64, CLASSES)
        self.fail, self.after, self.in_evaluation, self.calls = fail, after, in_evaluation, 0

    def forward(self, x):
        self.calls += 1
        out = self.linear(x.flatten(1))
        return self.fail(out) if self.calls > self.after and self.training != self.in_evaluation else out


def refuses(out):
    raise KeyError("not today")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            Failing(refuses),
            r"model Failing: does not take a batch of shape \(4, 1, 8, 8\) \(float64\): KeyError: 'not today'",
        ),
        (Failing(refuses, after=3), "model Failing: its gradients failed: KeyError: 'not today'"),
        (
            Failing(lambda out: out[:1], after=3),
            "model Failing: the loss of its output failed: ValueError: Expected input batch_size",
        ),
        (Failing(NoWayBack.apply), "model Failing: its backward pass failed: KeyError: 'no way back'"),
        (Failing(lambda out: out.to(torch.complex64)), "model Failing: the loss of its output failed"),
        (
            Failing(refuses, in_evaluation=True),
            r"does not take a batch of shape \(2, 1, 8, 8\) \(float64\) in evaluation: KeyError",
        ),
        (
            Failing(lambda out: out[:1], in_evaluation=True),
            r"a tensor of shape \(1, 10\); needed are logits of shape \(2, 10\)",
        ),
        (Failing(lambda out: None, in_evaluation=True), r"NoneType; needed are logits of shape \(2, 10\)"),
    ],
)
def test_a_model_that_fails_at_any_moment_is_named_in_one_line(model, words):
    def train_and_evaluate():
        workload = make(model, (1, 8, 8))
        at = workload.initial_parameters()
        for step in range(4):
            workload.gradients(at[None], step)
        workload.evaluate(at)

    with pytest.raises(SimgmcError, match=words) as refusal:
        train_and_evaluate()
    assert "\n" not in str(refusal.value)


def test_a_model_without_a_single_number_to_train_is_refused():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.none = nn.Parameter(torch.zeros(0))

    with pytest.raises(SimgmcError, match="model Empty has no parameters to train"):
        make(Empty(), (1, 8, 8))


def test_reparametrised_weights_are_trained_as_their_parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, CLASSES)))
    workload = make(model, (1, 8, 8))
    assert workload.layout.names == tuple(name for name, _ in model.named_parameters()) and workload.d == CLASSES * 66
    gradients, losses = workload.gradients(workload.initial_parameters()[None], 0)
    assert gradients.abs().amax(0).view(-1)[:CLASSES].all() and losses.isfinite().all()
