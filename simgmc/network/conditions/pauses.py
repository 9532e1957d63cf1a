"""Pauses: workers that stand still at regular times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.core.units import DURATION, QuantityOption
from simgmc.network.conditions.condition import Condition


@dataclass(frozen=True)
class Pauses(Condition):
    """Every worker stands still for ``length`` every ``period`` (garbage collection, checkpoints, other jobs).

    Each worker's first pause begins at its own seeded moment within a period.
    """

    key = "pauses"
    static = True
    whole = True

    period: float = declared(
        QuantityOption("from one pause to the next", units=DURATION, example="20 s", positive=True)
    )
    length: float = declared(QuantityOption("of each pause", units=DURATION, example="1 s", positive=True))

    def check_fields(self) -> None:
        """A worker is not always still."""
        if not self.length < self.period:
            raise SimgmcError(f"length {self.length} must be below period {self.period}")

    def done(self, seed: int, worker: int, start: float, seconds: float) -> float:
        offset = float(generator(seed, "pauses", worker).random()) * self.period
        return self.stretched(start, seconds, offset)

    def stretched(self, start: float, seconds: float, offset: float) -> float:
        """When work of ``seconds`` s begun at ``start`` is done; pauses begin at ``offset``, ``offset + period`` ..."""
        # Work is done only outside pauses: count in units of work since the first pause's end.
        period, length = float(self.period), float(self.length)
        busy = period - length
        since = start - offset - length
        whole = np.floor(since / period)
        within = since - whole * period
        # A start inside a pause counts as the end of that pause's segment of work.
        work = whole * busy + min(within, busy) + seconds
        turns = np.floor(work / busy)
        rest = work - turns * busy
        if rest == 0.0 and seconds > 0.0:
            turns, rest = turns - 1, busy
        return max(float(offset + length + turns * period + rest), start)
