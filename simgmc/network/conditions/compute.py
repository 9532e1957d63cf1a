"""How long a gradient takes on every worker, all conditions aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.errors import SimgmcError


@dataclass(frozen=True)
class ComputeTime:
    """Seconds of a gradient: ``seconds`` times each worker's own ``slowdown``."""

    seconds: float
    """Seconds of one gradient on a worker with slowdown 1."""
    slowdown: Sequence[float] = ()
    """Per worker; empty: 1 for all. A worker that is always slow has a factor above 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise SimgmcError(f"compute time {self.seconds!r} must be a finite number of seconds, at least 0")
        if any(not 0 < factor < float("inf") for factor in self.slowdown):
            raise SimgmcError(f"slowdown {list(self.slowdown)} must be above 0 for every worker")

    def times(self, gradients: int, workers: int) -> np.ndarray:
        """(workers,) seconds that so many gradients take."""
        base = np.asarray(self.slowdown, dtype=float) if len(self.slowdown) else np.ones(workers)
        if len(base) != workers:
            raise SimgmcError(f"slowdown names {len(base)} workers, the cluster has {workers}")
        return gradients * self.seconds * base
