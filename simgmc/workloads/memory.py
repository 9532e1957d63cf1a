"""The memory of a device: what this process holds of it, and what it can still have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from simgmc.core import heap
from simgmc.core.errors import SimgmcError
from simgmc.core.quantities import bytes_text


def resident(device: str) -> float:
    """Bytes that this process holds now."""
    if device == "cuda":
        return float(torch.cuda.memory_reserved())
    return heap.held()


def available(device: str) -> float | None:
    """Bytes that can still be allocated: of the machine or of the container, whichever is less; None if unknown."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    found = [_machine(), *(_container(*files) for files in _CONTAINERS)]
    return min((one for one in found if one is not None), default=None)


_CONTAINERS: Sequence[tuple[str, str, str]] = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)  # fmt: skip
"""Limit, use and its parts, of control groups of version 2 and 1."""


def _machine() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _container(limit: str, use: str, parts: str) -> float | None:
    """Free in a control group; files that it keeps in memory count as free."""
    try:
        most, used = Path(limit).read_text().strip(), float(Path(use).read_text())
        stat = dict(line.split()[:2] for line in Path(parts).read_text().splitlines())
        return max(0.0, float(most) - used + float(stat.get("inactive_file", stat.get("total_inactive_file", 0))))
    except (OSError, ValueError):  # none, or "max": no limit
        return None


def require_model_memory(parameters: int, item: int, device: str) -> None:
    """Raises SimgmcError where not even one worker's copies of a model would fit: six, before anything else."""
    free, least = available(device), 6.0 * parameters * item
    if free is not None and least > free:
        raise SimgmcError(
            f"workload.model: {parameters:,} parameters need at least {bytes_text(least)} for one worker; "
            f"{bytes_text(free)} are free: a smaller model would need less"
        )
