"""What time besides transfers costs: computing, compressing, adding, and stragglers.

A cost is always stated, as a duration or as a throughput; there is no default of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator


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
class Pauses:
    """A worker stands still for ``length`` s every ``period`` s (garbage collection, checkpoints,
    other jobs). Each worker's first pause begins at its own seeded moment within a period."""

    period: float
    length: float

    def __post_init__(self):
        if not 0 < self.length < self.period < float("inf"):
            raise SimgmcError(f"pauses of {self.length!r} s every {self.period!r} s: need 0 < length < period")

    def stretched(self, start: float, seconds: float, offset: float) -> float:
        """When work of ``seconds`` s begun at ``start`` is done, pauses beginning at ``offset``,
        ``offset + period`` ... ."""
        # Work is done only outside pauses: count in units of work since the first pause's end.
        period, busy = self.period, self.period - self.length
        since = start - offset - self.length
        whole = np.floor(since / period)
        within = since - whole * period
        # A start inside a pause counts as the end of that pause's segment of work.
        work = whole * busy + min(within, busy) + seconds
        turns = np.floor(work / busy)
        rest = work - turns * busy
        if rest == 0.0 and seconds > 0.0:
            turns, rest = turns - 1, busy
        return max(float(offset + self.length + turns * period + rest), start)


@dataclass(frozen=True)
class ComputeTime:
    """Seconds of a gradient on every worker, with stragglers.

    ``seconds`` x ``slowdown[k]`` x a factor drawn per (seed, round, worker), so that a round's
    draws never depend on the order of events: log-normal with median 1 (``sigma``), times 1
    plus an exponential with mean ``exponential`` (the shifted exponential of Lee et al. 2018).
    """

    seconds: float
    """Seconds of one gradient on a worker with slowdown 1."""
    slowdown: Sequence[float] = ()
    """Per worker; empty: 1 for all. A persistent slow worker is one factor above 1."""
    sigma: float = 0.0
    """Standard deviation of the log-normal factor's logarithm; 0: none."""
    seed: int = 0
    exponential: float = 0.0
    """Mean of the exponential part, as a share of the rest; 0: none."""
    pauses: Pauses | None = None

    def __post_init__(self):
        if not 0 <= self.seconds < float("inf"):
            raise SimgmcError(f"compute time {self.seconds!r} must be a finite number of seconds, at least 0")
        if not 0 <= self.sigma < float("inf"):
            raise SimgmcError(f"straggler sigma {self.sigma!r} must be a finite number, at least 0")
        if not 0 <= self.exponential < float("inf"):
            raise SimgmcError(f"straggler exponential {self.exponential!r} must be a finite number, at least 0")
        if any(not 0 < factor < float("inf") for factor in self.slowdown):
            raise SimgmcError(f"slowdown {list(self.slowdown)} must be above 0 for every worker")

    @property
    def random(self) -> bool:
        """Whether rounds differ in their compute times."""
        return self.sigma > 0 or self.exponential > 0 or self.pauses is not None

    def factors(self, round: int, step: int, workers: int) -> np.ndarray:
        """(workers,) straggler factors of one compute step of one round."""
        factors = np.ones(workers)
        if self.sigma > 0:
            draw = generator(self.seed, "straggler", round, step)
            factors = np.exp(self.sigma * draw.standard_normal(workers))
        if self.exponential > 0:
            draw = generator(self.seed, "straggler, exponential", round, step)
            factors = factors * (1.0 + draw.exponential(self.exponential, workers))
        return factors

    def times(self, round: int, step: int, gradients: int, workers: int) -> np.ndarray:
        """(workers,) seconds that ``gradients`` gradients take in one step of one round, pauses aside."""
        base = np.asarray(self.slowdown, dtype=float) if len(self.slowdown) else np.ones(workers)
        if len(base) != workers:
            raise SimgmcError(f"slowdown names {len(base)} workers, the cluster has {workers}")
        return gradients * self.seconds * base * self.factors(round, step, workers)

    def done(self, worker: int, start: float, seconds: float) -> float:
        """When work of ``seconds`` s that a worker begins at ``start`` is done, pauses included."""
        if self.pauses is None:
            return start + seconds
        offset = float(generator(self.seed, "pauses", worker).random()) * self.pauses.period
        return self.pauses.stretched(start, seconds, offset)
