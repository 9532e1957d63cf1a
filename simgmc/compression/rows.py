"""Work on the rows of a stacked tensor: one row, one task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.threads import Pool
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.core.processes.cores import usable_cores

T = TypeVar("T")

POOL = Pool(usable_cores())
"""What rows are spread over; whoever runs a training says how many threads it has."""
_local = threading.local()


def for_each_row(task: Callable[[int], T], rows: int, device: torch.device | None = None) -> list[T]:
    """``[task(0), ..., task(rows - 1)]``, spread over the threads of :data:`POOL`.

    Rows that live on a ``device`` other than the CPU are computed by the calling thread.
    """
    if device is not None and device.type != "cpu":
        return [task(row) for row in range(rows)]
    return POOL.map(task, rows)


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
