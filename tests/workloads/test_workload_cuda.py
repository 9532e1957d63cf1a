"""The gradient engine on a CUDA device, against itself on the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from simgmc.experiment.preflight.compute_times import gradient_seconds
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.models.catalogue import build_model
from simgmc.workloads.partitions.catalogue import partition

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

WORKERS, BATCH, CLASSES = 5, 4, 10
MODELS = {
    "logistic": ("logistic", {}),
    "mlp": ("mlp", {"hidden": [24, 16]}),
    "cnn": ("cnn", {}),
    "resnet20-BN": ("resnet20", {}),
    "resnet20-GN": ("resnet20", {"norm": "group"}),
    "resnet20-BN-A": ("resnet20", {"shortcut": "A"}),
}


def make(model, device, **options):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 3, 16, 16), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, 120)
    data = Dataset(
        "random",
        images,
        labels,
        images[:30],
        labels[:30],
        CLASSES,
        np.full(3, 120.0),
        np.full(3, 60.0),
    )
    owned = partition("iid", labels, WORKERS, 0)
    options = {"batch": BATCH, "seed": 3, "dtype": torch.float64, **options}
    return ClassificationWorkload(model, data, owned, device=device, **options)


def build(case):
    name, options = MODELS[case]
    return build_model(name, (3, 16, 16), CLASSES, seed=1, **options)


def points(workload, rows):
    noise = torch.randn(rows, workload.d, generator=torch.Generator().manual_seed(0), dtype=workload.dtype)
    return workload.initial_parameters() + 0.05 * noise.to(workload.device)


@pytest.mark.parametrize("augment", [False, True], ids=["plain", "augmented"])
@pytest.mark.parametrize("route", [None, "cuda streams"], ids=["graph", "streams"])
@pytest.mark.parametrize("case", MODELS)
def test_gradients_losses_buffers_and_evaluation_agree_with_the_cpu(case, route, augment):
    model = build(case)
    cpu, cuda = make(model, "cpu", augment=augment), make(model, "cuda", route=route, augment=augment)
    assert not cuda.reasons and cuda.route == (route or "cuda graph")
    assert torch.equal(cpu.initial_parameters(), cuda.initial_parameters().cpu())
    for name, rows in cuda.state_dict().items():  # capturing leaves no trace
        assert torch.equal(rows.cpu(), cpu.state_dict()[name])
    for step, rows in enumerate((1, WORKERS, 1, WORKERS)):
        at = points(cpu, rows)
        ours, expected = cuda.gradients(at.cuda(), step), cpu.gradients(at, step)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-11)
    for name, rows in cuda.state_dict().items():
        torch.testing.assert_close(rows.cpu(), cpu.state_dict()[name], rtol=1e-9, atol=1e-11)
    a, b = cuda.evaluate(at[0].cuda()), cpu.evaluate(at[0])
    assert a.loss == pytest.approx(b.loss, rel=1e-9) and a.accuracy == b.accuracy


@pytest.mark.parametrize("case", MODELS)
def test_the_same_run_twice_has_the_same_bits(case):
    model, results = build(case), []
    for _ in range(2):
        workload = make(model, "cuda", dtype=torch.float32)
        at = points(workload, 1)
        for step in range(5):
            gradients, losses = workload.gradients(at, step)
            at = at - 0.01 * gradients.mean(0, keepdim=True)
        results.append([at, losses, *workload.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_every_call_returns_memory_of_its_own():
    workload = make(build("cnn"), "cuda")
    at = points(workload, 1)
    first, _ = workload.gradients(at, 0)
    copied = first.clone()
    second, _ = workload.gradients(at, 1)
    assert torch.equal(first, copied) and not torch.equal(first, second)


def test_one_worker_alone_gets_its_row():
    workload = make(build("resnet20-BN"), "cuda")
    at = points(workload, 1)
    gradients, losses = workload.gradients(at, 2)
    gradient, loss = workload.gradient(3, at[0], 2)
    torch.testing.assert_close(gradient, gradients[3], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(loss, losses[3], rtol=1e-9, atol=1e-11)


def test_more_workers_than_streams():
    model = build("cnn")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 3, 16, 16), dtype=np.uint8), np.arange(200) % 10
    data = Dataset("random", images, labels, images, labels, 10, np.full(3, 120.0), np.full(3, 60.0))
    owned = partition("iid", labels, 40, 0)
    cpu, cuda = (
        ClassificationWorkload(model, data, owned, batch=3, seed=0, device=device, dtype=torch.float64)
        for device in ("cpu", "cuda")
    )
    at = points(cpu, 40)
    ours, expected = cuda.gradients(at.cuda(), 0)[0].cpu(), cpu.gradients(at, 0)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


class Waiting(nn.Module):
    """Looks at its data on the host, which no graph can."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 16 * 16, CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        return self.linear(x * 2 if x.sum().item() > 0 else x)


def test_a_model_that_cannot_be_captured_runs_on_streams_and_says_why():
    model = Waiting()
    cpu, cuda = make(model, "cpu"), make(model, "cuda")
    assert cuda.route == "cuda streams" and cuda.reasons
    at = points(cpu, 1)
    ours, expected = cuda.gradients(at.cuda(), 0)[0].cpu(), cpu.gradients(at, 0)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_dropout_runs_worker_by_worker_with_seeds_of_its_own():
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.Dropout(0.5), nn.Linear(32, CLASSES))
    first, second = make(model, "cuda"), make(model, "cuda")
    assert first.route == "plain"
    at, state = points(first, 1), torch.cuda.get_rng_state()
    gradients, _ = first.gradients(at, 2)
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert torch.equal(second.gradient(3, at[0], 2)[0], gradients[3])


def test_single_precision_is_full_single_precision():
    # TF32 would leave errors of 1e-3
    model = build("resnet20-GN")
    exact, single = make(model, "cuda"), make(model, "cuda", dtype=torch.float32)
    at = exact.initial_parameters()[None]
    a, b = exact.gradients(at, 0)[0], single.gradients(at.float(), 0)[0]
    assert ((a - b).norm() / a.norm()).item() < 1e-4


@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_models_of_tokens_agree_with_the_cpu(name):
    blocks = np.random.default_rng(0).integers(0, 11, (60, 8))
    data = Dataset("text", blocks, blocks, blocks[:10], blocks[:10], 11, tokens=True)
    model = build_model(name, (8,), 11, 1, True)
    cpu, cuda = (
        ClassificationWorkload(
            model, data, np.split(np.arange(60), 4), batch=3, seed=0, device=device, dtype=torch.float64
        )
        for device in ("cpu", "cuda")
    )
    at = points(cpu, 4)
    for rows in (1, 4):
        ours, expected = cuda.gradients(at[:rows].cuda(), rows), cpu.gradients(at[:rows], rows)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("at_once", [1, 2])
def test_fewer_workers_at_once_give_the_same_gradients(at_once, monkeypatch):
    model = build("resnet20-BN")
    side_by_side = make(model, "cuda")
    monkeypatch.setattr("simgmc.workloads.classification.streams", lambda *arguments: at_once)
    waiting = make(model, "cuda")
    assert (side_by_side.at_once, waiting.at_once) == (WORKERS, at_once)
    at = points(waiting, WORKERS)
    for step in range(2):
        for a, b in zip(waiting.gradients(at, step), side_by_side.gradients(at, step), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(("precision", "least", "most"), [("tf32", 1e-5, 2e-2), ("bfloat16", 1e-3, 0.4)])
def test_coarser_precisions_are_near_single_precision_and_not_it(precision, least, most):
    model = build("resnet20-GN")
    single, coarse = (make(model, "cuda", dtype=torch.float32, precision=one) for one in ("float32", precision))
    assert coarse.route == "cuda graph"
    at = single.initial_parameters()[None]
    a, b = coarse.gradients(at, 0)[0], single.gradients(at, 0)[0]
    assert a.dtype == torch.float32 and least < ((a - b).norm() / b.norm()).item() < most
    assert coarse.evaluate(at[0]) == single.evaluate(at[0])


def test_measuring_gives_positive_seconds_and_leaves_the_state_alone():
    workload = make(build("resnet20-BN"), "cuda")
    before = workload.state_dict()
    assert 0 < gradient_seconds(workload, repetitions=3) < 60
    assert all(torch.equal(before[name], rows) for name, rows in workload.state_dict().items())
    assert workload.flops == make(build("resnet20-BN"), "cpu").flops
