"""What is said of workers and links over seeds: idle shares, the busiest link, staleness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simgmc.results.directory.details import PARTS, Details, idle_share
from simgmc.results.directory.records import SeriesKey
from simgmc.results.series.reach import Spread
from simgmc.results.series.read import ComparisonPoint, Results

SHOWN_PARTS = {
    "compute": ("compute",),
    "compress": ("compress",),
    "communication": ("transfer", "latency", "aggregate"),
    "wait": ("wait",),
}
"""What a worker's time is shown as, and the parts that each is made of."""


@dataclass(frozen=True)
class Load:
    """One method at one grid point. K workers, S seeds."""

    method: str
    point: ComparisonPoint
    details: Sequence[Details]
    """Of every seed; all have the same number of workers."""

    @cached_property
    def shares(self) -> dict[str, np.ndarray]:
        """Part as shown -> (S, K) share of each worker's time, 0 where no time passed."""
        seconds = np.stack([one.seconds for one in self.details])
        total = seconds.sum(axis=-1)
        safe = np.where(total > 0, total, 1.0)
        return {
            name: seconds[..., [PARTS.index(part) for part in parts]].sum(axis=-1) / safe
            for name, parts in SHOWN_PARTS.items()
        }

    @cached_property
    def idle(self) -> np.ndarray:
        """(S, K) idle share of each worker, see :func:`simgmc.results.directory.details.idle_share`."""
        return np.stack([idle_share(one.seconds) for one in self.details])

    @property
    def mean_idle(self) -> Spread:
        """The mean over workers, over seeds."""
        return Spread.of(self.idle.mean(axis=1))

    @property
    def worst(self) -> tuple[int, float]:
        """The worker that is idle most, by its mean over seeds, and that mean."""
        mean = self.idle.mean(axis=0)
        return int(mean.argmax()), float(mean.max())

    @property
    def uneven(self) -> bool:
        """Whether some worker's idle share is a percentage point away from another's."""
        mean = self.idle.mean(axis=0)
        return bool(np.ptp(mean) > 0.01)

    @cached_property
    def busiest_link(self) -> tuple[str, str, float, float] | None:
        """Source, destination, bytes and messages (means over seeds) of the link with most bytes.

        None where nothing is sent.
        """
        totals: dict[tuple[str, str], np.ndarray] = {}
        for one in self.details:
            for link in one.links:
                ends = link.source, link.destination
                totals[ends] = totals.get(ends, 0.0) + np.array([link.bytes, link.messages], dtype=float)
        if not totals:
            return None
        ends = max(totals, key=lambda ends: totals[ends][0])
        nbytes, messages = totals[ends] / len(self.details)
        return *ends, float(nbytes), float(messages)

    @property
    def stale(self) -> str:
        """What has a staleness: gradients or messages."""
        return self.details[0].stale

    @cached_property
    def staleness(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Staleness 0, 1 ... (largest), and the (S, those) share of each seed's gradients (or messages) with it.

        None where there is none.
        """
        if not all(one.staleness for one in self.details):
            return None
        values = np.arange(1 + max(max(one.staleness) for one in self.details))
        counts = np.array([[one.staleness.get(int(value), 0) for value in values] for one in self.details], dtype=float)
        return values, counts / counts.sum(axis=1, keepdims=True)

    @cached_property
    def staleness_summary(self) -> tuple[Spread, float, int] | None:
        """Mean (over seeds), 95th percentile and largest (of all seeds' gradients together).

        None where there is none.
        """
        if self.staleness is None:
            return None
        values, shares = self.staleness
        return Spread.of(shares @ values), self.staleness_at_most(0.95), int(values[-1])

    def staleness_at_most(self, part: float) -> int:
        """The least staleness that this part of all seeds' gradients does not exceed."""
        together = np.cumsum(self.staleness[1].mean(axis=0))
        return int(np.searchsorted(together, part * together[-1] * (1 - 1e-12)))


def loads_of(results: Results, details: Mapping[SeriesKey, Details]) -> list[Load]:
    """Grid point by grid point, methods in order; of the seeds that have details.

    A method that uses no collective has one at each of the grid's other values, under what carries its
    messages, unless all grid points say that already.
    """
    loads: dict[tuple[str, ComparisonPoint], Load] = {}
    for point in results.points:
        for method in results.methods:
            series = results.at(method, point)
            found = [details[one.key] for one in series if one.key in details]
            if found and len({len(one.gradients) for one in found}) == 1:
                own = series[0].point
                loads.setdefault((method, own), Load(method, own, found))
    return list(loads.values())
