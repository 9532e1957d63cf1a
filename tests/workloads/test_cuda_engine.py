"""The gradient engine of CUDA devices, its streams and graphs played on the CPU."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.gradients.cuda import GraphEngine
from simgmc.workloads.models.catalogue import build_model
from tests.workloads.pretend_cuda import PretendCUDA

WORKERS, BATCH, CLASSES = 5, 4, 10
MODELS = {
    "conv-BN": (None, {}),
    "mlp": ("mlp", {"hidden": [6]}),
    "cnn": ("cnn", {"channels": [8]}),
    "gpt": ("gpt", {"depth": 1, "dim": 8, "heads": 2}),
    "lstm": ("lstm", {"embedding": 3, "hidden": 5}),
}


@pytest.fixture
def cuda(monkeypatch):
    with PretendCUDA(monkeypatch) as pretended:
        yield pretended


def images():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8), rng.integers(0, CLASSES, 60)
    return Dataset("random", images, labels, images[:9], labels[:9], CLASSES, np.full(3, 120.0), np.full(3, 60.0))


def built(case):
    name, options = MODELS[case]
    if name is None:
        torch.manual_seed(1)
        layers = (
            nn.Conv2d(3, 8, 3, 2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 4, 3),
            nn.Flatten(),
            nn.Linear(4, CLASSES),
        )
        return nn.Sequential(*layers), images()
    if name in ("gpt", "lstm"):
        blocks = np.random.default_rng(0).integers(0, CLASSES, (60, 3))
        return build_model(name, (3,), CLASSES, 1, True, **options), Dataset(
            "text", blocks, blocks, blocks[:9], blocks[:9], CLASSES, tokens=True
        )
    return build_model(name, (3, 8, 8), CLASSES, 1, **options), images()


def workload(model, data):
    return ClassificationWorkload(
        model, data, np.split(np.arange(60), WORKERS), batch=BATCH, seed=3, route="loop", dtype=torch.float64
    )


def engine_of(work, at_once=3, **options):
    return GraphEngine(work._replicas, work._training.at_step(0), at_once, "float32", work._loss, **options)


def computed(engine, work, at, step):
    out, losses = torch.empty(WORKERS, work.d, dtype=work.dtype), torch.empty(WORKERS, dtype=work.dtype)
    engine.gradients(at, work._training.at_step(step), out, losses)
    return out, losses


def agrees(engine, work, expected, *rows):
    """Gradients, losses and running statistics are the loop's."""
    for step, many in enumerate(rows):
        at = work.initial_parameters() + 0.1 * torch.randn(many, work.d, generator=torch.Generator().manual_seed(step))
        for ours, theirs in zip(computed(engine, work, at, step), expected.gradients(at, step), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    for name, buffer in work.state_dict().items():
        torch.testing.assert_close(buffer, expected.state_dict()[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("case", "capture"), [*((case, True) for case in MODELS), ("conv-BN", False), ("mlp", False)])
def test_replayed_and_launched_rounds_are_the_loops_without_races(case, capture, cuda):
    model, data = built(case)
    work, expected = workload(model, data), workload(model, data)
    before = work.state_dict()
    engine = engine_of(work, capture=capture)
    assert engine.route == ("cuda graph" if capture else "cuda streams") and engine.fallback is None
    assert all(torch.equal(before[name], rows) for name, rows in work.state_dict().items())  # capturing leaves no trace
    agrees(engine, work, expected, 1, WORKERS, 1, WORKERS, 1)
    assert cuda.captures == (2 if capture else 0)


def test_some_workers_at_points_of_their_own_without_races(cuda):
    work, expected = (workload(*built("conv-BN")) for _ in range(2))
    engine = engine_of(work, at_once=2)
    at = work.initial_parameters() + 0.1 * torch.randn(3, work.d, generator=torch.Generator().manual_seed(0))
    for ranks, steps in (([4, 0, 2], [3, 1, 2]), ([1, 4, 0], [0, 4, 2])):
        out, losses = torch.empty(3, work.d, dtype=work.dtype), torch.empty(3, dtype=work.dtype)
        engine.several(ranks, at, [work._training.at_step(step) for step in steps], out, losses)
        for ours, theirs in zip((out, losses), expected.gradients_of(ranks, at, steps), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    agrees(engine, work, expected, 1, WORKERS)


class Waiting(nn.Module):
    """Looks at its data on the host, which no graph can."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(3 * 8 * 8, CLASSES)

    def forward(self, x):
        x = self.norm(x).flatten(1)
        return self.linear(x * 2 if x.sum().item() > 0 else x)


def test_a_model_that_waits_is_never_captured_runs_on_streams_and_says_why(cuda):
    work, expected = (workload(Waiting(), images()) for _ in range(2))
    engine = engine_of(work)
    assert engine.route == "cuda streams" and engine.fallback == "called a synchronizing CUDA operation"
    assert cuda.captures == 0 and torch.cuda.get_sync_debug_mode() == 0
    agrees(engine, work, expected, 1, WORKERS, 1)


class Refusing(nn.Module):
    """Fails when it is captured, or when its memory does not suffice."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(3 * 8 * 8, CLASSES)

    def forward(self, x):
        if Refusing.refuses():
            raise torch.OutOfMemoryError("out of memory")
        return self.linear(self.norm(x).flatten(1))

    refuses = staticmethod(lambda: False)


@pytest.mark.parametrize("from_capture", [1, 2])
def test_whichever_capture_fails_everything_runs_on_streams_and_statistics_are_as_before(
    from_capture, cuda, monkeypatch
):
    work, expected = (workload(Refusing(), images()) for _ in range(2))
    before = work.state_dict()
    monkeypatch.setattr(
        Refusing, "refuses", staticmethod(lambda: cuda.captured is not None and cuda.captures >= from_capture)
    )
    stream = cuda.current
    engine = engine_of(work)
    if from_capture == 1:
        assert all(torch.equal(before[name], rows) for name, rows in work.state_dict().items())
    agrees(engine, work, expected, 1, WORKERS, 1)
    assert engine.route == "cuda streams" and engine.fallback == "out of memory" and cuda.current is stream


def test_statistics_are_as_before_when_memory_does_not_suffice_for_the_passes_before_a_capture(cuda, monkeypatch):
    work = workload(Refusing(), images())
    before, calls = work.state_dict(), iter(range(1000))
    monkeypatch.setattr(Refusing, "refuses", staticmethod(lambda: next(calls) == 2 * WORKERS + 1))
    engine = engine_of(work)
    assert engine.route == "cuda streams" and all(
        torch.equal(before[name], rows) for name, rows in work.state_dict().items()
    )


def test_the_memory_of_an_engine_is_free_as_soon_as_it_is_let_go(cuda):
    work = workload(*built("mlp"))
    gc.disable()
    try:
        engine = engine_of(work)
        computed(engine, work, work.initial_parameters().repeat(WORKERS, 1), 0)
        held = weakref.ref(engine), weakref.ref(engine._rounds[True])
        del engine
        assert held[0]() is None and held[1]() is None
    finally:
        gc.enable()


def test_the_pretence_finds_a_race(cuda):
    one, other, shared = torch.cuda.Stream(), torch.cuda.Stream(), torch.zeros(4)
    with torch.cuda.stream(one):
        one.wait_stream(cuda.current)
    for stream in (one, other):
        stream.wait_stream(cuda.current)
    with torch.cuda.stream(one):
        shared[:2].add_(1)
    with torch.cuda.stream(other):
        shared[2:].add_(1)
        with pytest.raises(AssertionError, match="another stream"):
            shared.sum()
        other.wait_stream(one)
        assert shared.sum() == 4
