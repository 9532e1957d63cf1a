"""What a series costs in money and in energy, where a scenario states prices (``report.price``) or watts
(``report.power``).

Money is for every byte that leaves a worker or a server, and for every worker's hours until the last of them is done.
Energy is what a worker draws while it computes (compressing included), exchanges (transfer, latency, adding) or waits,
times the seconds of each. Until the target it is the same share of the whole as the time: rounds are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simgmc.core.units import POWER, parse
from simgmc.results.directory.records import Breakdown, SeriesKey

_WORKERS = "workload.workers"
_JOULES_PER_KWH = 3.6e6


class Series(Protocol):
    """What is asked of a series, see :class:`simgmc.results.series.read.Series`."""

    @property
    def key(self) -> SeriesKey:
        """Which it is."""

    @property
    def breakdown(self) -> Breakdown | None:
        """Its seconds and bytes; None while it is unfinished."""

    def __getitem__(self, column: str) -> np.ndarray:
        """(evaluations,) a column of its metrics."""


@dataclass(frozen=True)
class Power:
    """Watts of one worker."""

    compute: float
    network: float
    idle: float


@dataclass(frozen=True)
class Tariff:
    """Prices and watts as a scenario states them."""

    workers: int | None
    """None where the grid varies them."""
    currency: str | None = None
    """None: no prices are stated."""
    per_gb: float = 0.0
    per_worker_hour: float = 0.0
    power: Power | None = None
    """None: no watts are stated."""

    @classmethod
    def of(cls, scenario: Mapping[str, Any]) -> Tariff | None:
        """Of a resolved scenario; None where it states neither."""
        report = scenario.get("report", {})
        price, watts = report.get("price"), report.get("power")
        if price is None and watts is None:
            return None
        power = None if watts is None else Power(**{key: float(parse(text, POWER, "")) for key, text in watts.items()})
        workers = scenario.get("workload", {}).get("workers")
        if price is None:
            return cls(workers, power=power)
        per_gb, per_hour = price.get("per_gb_sent", 0.0), price.get("per_worker_hour", 0.0)
        return cls(workers, price["currency"], per_gb, per_hour, power)

    def money(self, one: Series, at: int | None = None) -> float | None:
        """What a finished series cost, in the currency; ``at``: until that evaluation.

        What servers had sent by then is the share of what workers had received that is from servers in the whole.
        """
        done = one.breakdown
        if self.currency is None or done is None:
            return None
        if at is None:
            sent, seconds = done.bytes_sent_by_workers + done.bytes_out_of_server, done.sim_time_s
        else:
            received = done.bytes_received_by_workers
            from_servers = done.bytes_out_of_server / received if received else 0.0
            sent, seconds = one["bytes_up"][at] + from_servers * one["bytes_down"][at], one["sim_time_s"][at]
        return float(self.per_gb * sent / 1e9 + self.per_worker_hour * self._workers(one) * seconds / 3600)

    def energy_kwh(self, one: Series, at: int | None = None) -> float | None:
        """What all workers of a finished series drew; ``at``: until that evaluation."""
        done, watts = one.breakdown, self.power
        if watts is None or done is None:
            return None
        compute = done.compute_s + done.compress_s
        network = done.transfer_s + done.latency_s + done.aggregate_s
        idle = max(done.sim_time_s - compute - network, 0.0)
        joules = self._workers(one) * (watts.compute * compute + watts.network * network + watts.idle * idle)
        share = 1.0 if at is None or not done.sim_time_s else float(one["sim_time_s"][at]) / done.sim_time_s
        return joules * share / _JOULES_PER_KWH

    def _workers(self, one: Series) -> int:
        return int(dict(one.key.grid).get(_WORKERS, self.workers or 0))
