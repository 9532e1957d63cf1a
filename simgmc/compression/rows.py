"""Work on the rows of a stacked tensor: one row, one task, on a pool of threads.

Every row is computed by the same single-threaded code whatever the size of the
pool, so the results never depend on it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from simgmc.core.errors import DivergenceError, SimgmcError

T = TypeVar("T")

_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()
_local = threading.local()


def set_threads(threads: int) -> None:
    """Size of the pool that rows are spread over (default: the cores this process may use)."""
    global _threads, _pool
    if threads < 1:
        raise SimgmcError(f"compression threads: {threads} is not a number of threads, at least 1 is needed")
    with _lock:
        _threads = threads
        if _pool is not None:
            _pool.shutdown(wait=True)
            _pool = None


def for_each_row(task: Callable[[int], T], rows: int, device: torch.device | None = None) -> list[T]:
    """``[task(0), ..., task(rows - 1)]``, computed on the pool.

    The calling thread takes its share; everyone takes the next row that nobody has
    begun. A single row, a call from inside one of the pool's own tasks, and rows that
    live on a ``device`` other than the CPU are computed by the calling thread alone. Of
    several errors the one of the lowest row is raised.
    """
    global _pool
    alone = rows <= 1 or _threads == 1 or getattr(_local, "inside", False)
    if alone or (device is not None and device.type != "cpu"):
        return [task(row) for row in range(rows)]
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_threads - 1, thread_name_prefix="compression", initializer=_mark)
        pool = _pool
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}
    next_row = itertools.count()  # its steps are atomic

    def work() -> None:
        while (row := next(next_row)) < rows:
            try:
                results[row] = task(row)
            except Exception as error:  # raised below, by the calling thread
                errors[row] = error

    others = [pool.submit(work) for _ in range(min(_threads, rows) - 1)]
    work()
    for other in others:
        if not other.cancel():
            other.result()
    if errors:
        raise errors[min(errors)]
    return [results[row] for row in range(rows)]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """As long as it lasts, rows are computed by the thread that calls."""
    before, _local.inside = getattr(_local, "inside", False), True
    try:
        yield
    finally:
        _local.inside = before


def _mark() -> None:
    _local.inside = True


def scratch(name: str, size: int, dtype: np.dtype | type) -> np.ndarray:
    """An uninitialised array that this thread keeps between calls (fresh memory costs page faults)."""
    buffers = _local.__dict__.setdefault("buffers", {})
    buffer = buffers.get((name, dtype))
    if buffer is None or buffer.size < size:
        buffer = buffers[name, dtype] = np.empty(size, dtype)
    return buffer[:size]


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A tensor of an array's numbers; where it has to be copied to a device, nobody waits for it."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda" and len(array):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def as_rows(vector: Tensor) -> Tensor:
    """A contiguous ``(rows, d)`` view of a vector or of stacked vectors."""
    if vector.dim() == 0 or not vector.is_floating_point():
        raise SimgmcError(
            f"a compressor takes float tensors (..., d), not shape {tuple(vector.shape)} of {vector.dtype}"
        )
    if vector.dtype not in (torch.float32, torch.float64):
        raise SimgmcError(f"a compressor takes float32 or float64, not {vector.dtype}")
    return vector.detach().reshape(-1, vector.shape[-1]).contiguous()


def refuse_non_finite(values: Tensor) -> None:
    """Raise :class:`SimgmcError` naming the first row of ``(rows, n)`` that holds a NaN or an infinity.

    One reading pass: a row whose sum is finite holds neither.
    """
    if values.device.type == "cpu":
        sums = for_each_row(lambda row: float(values[row].sum()), len(values))
        suspects = [row for row, total in enumerate(sums) if not np.isfinite(total)]
    else:  # one wait for the device
        suspects = np.flatnonzero(~np.isfinite(values.sum(1).cpu().numpy())).tolist()
    for row in suspects:
        if not bool(torch.isfinite(values[row]).all()):
            raise non_finite(row)


def non_finite(row: int) -> DivergenceError:
    return DivergenceError(
        f"row {row} of the vector to compress holds NaN or infinity; only finite numbers can be sent"
    )
