"""How much memory a method needs beside its passes: counted on a few rounds of a small model.

What an algorithm holds at once, its state, messages and temporaries, grows in proportion to the
number of parameters. It is counted here on random gradients of small layouts: for a stacked round,
which costs so much for every worker and so much for each thread that compresses, on few
workers; of an asynchronous training, where the clock decides what is under way at once, on all of them.
"""

from __future__ import annotations

import contextlib
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from simgmc.compression.threads import alone
from simgmc.core.errors import DivergenceError
from simgmc.core.heap import give_back
from simgmc.core.layout import Layout
from simgmc.workloads.noise import NoiseWorkload

SIZE = 40_000
"""Parameters of the small model, about."""
MAX_PARAMETERS = 400_000
"""Parameters of the small models of all workers together, about, where all of them run."""
ROUNDS = 3


@dataclass(frozen=True)
class Needed:
    """Bytes at the worst moments of a training, without what gradients and evaluations take by themselves."""

    step: float
    """Between gradients: while messages are made, sent and averaged."""
    per_thread: float
    """In addition, for each thread that compresses a row."""
    gradient: float
    """While gradients are computed, they among it."""
    evaluation: float
    """While a model is evaluated, it and the others that are to be evaluated among it."""
    separate: bool
    """Whether workers compute gradients at points of their own."""


def memory_of_rounds(begin: Callable[[NoiseWorkload], Callable[[], None]], layout: Layout, workers: int) -> Needed:
    """What a synchronous method needs; ``begin(workload)`` gives what runs a round and evaluates it."""
    small = _small(layout, SIZE)
    low, high = (_rounds(begin, few, small) for few in (2, 6))

    def split(of: Callable[[_Held], float]) -> tuple[float, float]:
        """For each worker, and apart from them."""
        slope = (of(high) - of(low)) / 4
        size = layout.d / small.d
        return slope * size, max(0.0, of(low) - 2 * slope) * size

    step, per_thread = split(lambda held: held.live.peak + held.arrays)
    held = split(lambda held: held.gradients), split(lambda held: held.evaluation)
    gradient, evaluation = (one * workers + shared for one, shared in held)
    return Needed(step * workers, per_thread, gradient, evaluation, high.separate)


def memory_of_events(run: Callable[[NoiseWorkload], None], layout: Layout, workers: int, components: int = 0) -> Needed:
    """What an asynchronous method needs; ``run(workload)`` trains for a while, evaluations included."""
    size = min(SIZE, MAX_PARAMETERS // (workers * max(1, components)))
    less, more = _small(layout, size // 4), _small(layout, size)
    low, high = (_events(run, workers, one, components) for one in (less, more))
    tensors, gradient, evaluation = (of * layout.d / more.d for of in (high.live.peak, high.gradients, high.evaluation))
    # of what is not a tensor much has nothing to do with the model's size
    arrays = max(0.0, high.arrays - low.arrays) / (more.d - less.d) * layout.d if more.d > less.d else 0.0
    return Needed(tensors + arrays, 0.0, gradient, evaluation, True)


class _Held:
    """Bytes that are held while noise is trained on."""

    def __init__(self) -> None:
        self.live = LiveTensors()
        self.separate = False
        self.gradients = self.evaluation = 0
        """Of tensors while gradients are computed, and while a model is evaluated."""
        self.arrays = 0
        """Beside tensors at the worst moment, when it is over."""

    def observe(self, moment: str, at: Tensor) -> None:
        """As of :class:`~simgmc.workloads.noise.NoiseWorkload`."""
        if moment == "evaluation":
            self.evaluation = max(self.evaluation, self.live.now)
        else:
            self.separate = self.separate or (at.ndim > 1 and len(at) > 1)
            self.gradients = max(self.gradients, self.live.now)

    def noise(self, workers: int, layout: Layout, components: int = 0) -> NoiseWorkload:
        """Random gradients, of an epoch that does not end meanwhile."""
        return NoiseWorkload(workers, layout, batches_per_epoch=100.0, components=components, observe=self.observe)


def _small(layout: Layout, size: int) -> Layout:
    """The same tensors, shortened until there are few parameters."""
    share = min(1.0, size / layout.d)
    shapes = tuple((max(1, round(shape[0] * share)), *shape[1:]) if shape else shape for shape in layout.shapes)
    return Layout(layout.names, shapes)


def _rounds(begin: Callable[[NoiseWorkload], Callable[[], None]], workers: int, layout: Layout) -> _Held:
    """A few rounds of a method on some workers; where noise diverges they end, which the run itself will report."""
    held = _Held()
    with alone(), held.live, contextlib.suppress(DivergenceError):
        run_round = begin(held.noise(workers, layout))
        run_round()  # what it makes once and for all is none of the arrays
        with _arrays() as arrays, contextlib.suppress(DivergenceError):
            for _ in range(ROUNDS - 1):
                run_round()
        held.arrays = arrays.peak
    return held


def _events(run: Callable[[NoiseWorkload], None], workers: int, layout: Layout, components: int) -> _Held:
    held = _Held()
    with alone(), held.live, _arrays() as arrays:
        run(held.noise(workers, layout, components))
    held.arrays = arrays.peak
    return held


@contextlib.contextmanager
def _arrays():
    """Counts what is allocated beside tensors; ``peak`` bytes afterwards."""
    counted, traced = SimpleNamespace(peak=0), tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield counted
    finally:
        counted.peak = max(0, tracemalloc.get_traced_memory()[1] - before)
        if not traced:
            tracemalloc.stop()


class LiveTensors(TorchDispatchMode):
    """Bytes of all tensors made while it lasts that are still alive, and their peak."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would load its compiler, for a second or two, to be told not to compile this."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = {tensor.untyped_storage()._cdata for tensor in _tensors(args, kwargs)}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if tensor.device.type == self.device:
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


def _tensors(*values: Any) -> list[Tensor]:
    """The tensors among the arguments or results of an operation."""
    found, waiting = [], list(values)
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
    return found


class PassMemory:
    """Bytes that a pass takes at its worst moment: ``tensors``, and what the process takes ``beside`` them, where that
    can be seen.

    Libraries take workspaces that are no tensors (convolutions on the CPU), and the allocator leaves gaps.
    """

    def __init__(self, device: str):
        self._live, self._on_cpu = LiveTensors(device), device == "cpu"
        self._before: int | None = None
        self.tensors = self.beside = 0

    def __enter__(self) -> PassMemory:
        if self._on_cpu and _CLEAR.exists():
            give_back()
            with contextlib.suppress(OSError):  # where the system does not let the high-water mark be set back
                _CLEAR.write_text("5")
                self._before = _status("VmRSS")
        self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(*raised)
        self.tensors = self._live.peak
        if self._before is not None:
            self.beside = max(0, _status("VmHWM") - self._before - self.tensors)


_CLEAR = Path("/proc/self/clear_refs")


def _status(key: str) -> int:
    """Bytes of an entry of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key + ":"))
