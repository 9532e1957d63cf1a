"""What time besides transfers costs: computing, compressing, adding, and stragglers.

A cost is always stated, as a duration or as a throughput; there is no default of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.errors import SimgmcError
from simgmc.randomness import generator


@dataclass(frozen=True)
class Duration:
    """A fixed number of seconds each time."""

    seconds: float

    def __post_init__(self):
        if not 0 <= self.seconds < float("inf"):
            raise SimgmcError(f"duration {self.seconds!r} must be a finite number of seconds, at least 0")

    def of(self, nbytes: float) -> float:
        """Seconds for one piece of work on ``nbytes`` bytes."""
        return self.seconds

    def part(self, nbytes: float, parts: int) -> float:
        """Seconds for one of ``parts`` equal steps of the work, touching ``nbytes`` bytes."""
        return self.seconds / parts

    def share(self, nbytes: float, share: float) -> float:
        """Seconds for a share of the work, touching ``nbytes`` bytes."""
        return self.seconds * share


@dataclass(frozen=True)
class Throughput:
    """Bytes handled per second."""

    bytes_per_second: float

    def __post_init__(self):
        if not self.bytes_per_second > 0:
            raise SimgmcError(f"throughput {self.bytes_per_second!r} must be above 0 bytes/s")

    def of(self, nbytes: float) -> float:
        """Seconds for one piece of work on ``nbytes`` bytes."""
        return nbytes / self.bytes_per_second

    def part(self, nbytes: float, parts: int) -> float:
        """Seconds for one of several steps of the work, the one that touches ``nbytes`` bytes."""
        return nbytes / self.bytes_per_second

    def share(self, nbytes: float, share: float) -> float:
        """Seconds for the share of the work that touches ``nbytes`` bytes."""
        return nbytes / self.bytes_per_second


Cost = Duration | Throughput
"""Compressing: a duration is per message compressed, a throughput is of the uncompressed
bytes the compressor reads. Adding: a duration is the whole adding of one collective, a
throughput is of the encoded bytes that are added."""


@dataclass(frozen=True)
class ComputeTime:
    """Seconds of a gradient on every worker, with stragglers.

    ``seconds`` x ``slowdown[k]`` x a log-normal factor with median 1 and shape ``sigma``,
    drawn per (seed, round, worker): a round's draws never depend on the order of events.
    """

    seconds: float
    """Seconds of one gradient on a worker with slowdown 1."""
    slowdown: Sequence[float] = ()
    """Per worker; empty: 1 for all."""
    sigma: float = 0.0
    """Standard deviation of the factor's logarithm; 0: no stragglers."""
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.seconds < float("inf"):
            raise SimgmcError(f"compute time {self.seconds!r} must be a finite number of seconds, at least 0")
        if not 0 <= self.sigma < float("inf"):
            raise SimgmcError(f"straggler sigma {self.sigma!r} must be a finite number, at least 0")
        if any(not 0 < factor < float("inf") for factor in self.slowdown):
            raise SimgmcError(f"slowdown {list(self.slowdown)} must be above 0 for every worker")

    def factors(self, round: int, step: int, workers: int) -> np.ndarray:
        """(workers,) straggler factors of one compute step of one round."""
        if self.sigma == 0.0:
            return np.ones(workers)
        draw = generator(self.seed, "straggler", round, step)
        return np.exp(self.sigma * draw.standard_normal(workers))

    def times(self, round: int, step: int, gradients: int, workers: int) -> np.ndarray:
        """(workers,) seconds that ``gradients`` gradients take in one step of one round."""
        base = np.asarray(self.slowdown, dtype=float) if len(self.slowdown) else np.ones(workers)
        if len(base) != workers:
            raise SimgmcError(f"slowdown names {len(base)} workers, the cluster has {workers}")
        return gradients * self.seconds * base * self.factors(round, step, workers)
