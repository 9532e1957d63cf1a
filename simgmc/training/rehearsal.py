"""How much memory a method needs beside its gradients: counted on a few rounds of a small model.

What a round of an algorithm holds at once, its state, messages and temporaries, is a multiple of
the number of parameters: so much for every worker, so much for each thread that compresses. Both are
counted here on random gradients of a small layout, and hold for any size.
"""

from __future__ import annotations

import contextlib
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simgmc.compression.rows import alone
from simgmc.errors import DivergenceError
from simgmc.layout import Layout

SIZE = 40_000
"""Parameters of the small model, about."""
ROUNDS = 3


@dataclass(frozen=True)
class Needed:
    """Bytes per parameter, at the worst moment of a round and while gradients are computed."""

    per_worker: float
    per_thread: float
    """Of what is shared by all workers, or held while one worker's row is compressed."""
    gradient_per_worker: float
    """Of what is held while gradients are computed, they among it."""
    gradient_shared: float
    separate: bool
    """Whether workers compute gradients at points of their own."""


def rehearse(make: Callable[[Any], Any], layout: Layout) -> Needed:
    """Count what a method needs; ``make(workload)`` gives its trainer."""
    small = _small(layout)
    low, high = (_Rehearsal(make, small, workers) for workers in (2, 6))
    slope, gradient = (high.peak - low.peak) / 4, (high.noise.held - low.noise.held) / 4
    return Needed(
        slope / small.d, max(0.0, low.peak - 2 * slope) / small.d,
        gradient / small.d, max(0.0, low.noise.held - 2 * gradient) / small.d, high.noise.separate,
    )  # fmt: skip


class _Noise:
    """Random gradients on every worker."""

    def __init__(self, workers: int, layout: Layout):
        self.workers, self.layout, self.d = workers, layout, layout.d
        self.batches_per_epoch, self.device, self.dtype = 100.0, torch.device("cpu"), torch.float32
        self._generator = torch.Generator().manual_seed(0)
        self.live: LiveTensors | None = None
        self.held, self.separate = 0, False

    def initial_parameters(self) -> Tensor:
        return torch.zeros(self.d)

    def gradients(self, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        drawn = torch.randn(self.workers, self.d, generator=self._generator)
        self.held, self.separate = max(self.held, self.live.now), self.separate or len(at) > 1
        return drawn, torch.zeros(self.workers)

    def state_dict(self) -> dict[str, Tensor]:
        """There is none."""
        return {}


def _small(layout: Layout) -> Layout:
    """The same tensors, shortened until there are few parameters."""
    share = min(1.0, SIZE / layout.d)
    shapes = tuple((max(1, round(shape[0] * share)), *shape[1:]) if shape else shape for shape in layout.shapes)
    return Layout(layout.names, shapes)


class _Rehearsal:
    """A few rounds of a method on some workers."""

    def __init__(self, make: Callable[[Any], Any], layout: Layout, workers: int):
        self.noise = _Noise(workers, layout)
        traced = tracemalloc.is_tracing()
        with alone(), LiveTensors() as live:
            self.noise.live = live
            trainer = make(self.noise)
            _rounds(trainer, 1)
            if not traced:
                tracemalloc.start()
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                _rounds(trainer, ROUNDS - 1)
                arrays = max(0, tracemalloc.get_traced_memory()[1] - before)
            finally:
                if not traced:
                    tracemalloc.stop()
        self.peak = live.peak + arrays


def _rounds(trainer: Any, count: int) -> None:
    """Runs rounds; a learning rate at which noise diverges ends them, which the run itself will report."""
    with contextlib.suppress(DivergenceError):
        for _ in range(count):
            trainer.run_round()


class LiveTensors(TorchDispatchMode):
    """Bytes of all tensors made while it lasts that are still alive, and their peak."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = {tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                storage = tensor.untyped_storage()
                if storage._cdata not in taken:  # a view, or a result written into what was there
                    self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
