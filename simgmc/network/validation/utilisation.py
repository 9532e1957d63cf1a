"""Measured runs of local steps and synchronisations: seconds of a synchronisation, and the share of time that computes.

Workers make H local steps, then average the whole vector round NCCL's ring; of the time between two averages the share
H compute / (H compute + sync) is computing (compute utilisation).

Links are shaped by a token bucket with a queue of 50 ms. NCCL hands half of its 4 MiB buffer for each of two channels
to its sockets at once, whatever the round trip, so that below 84 MB/s the queue overflows: ``transport.queue`` and
``burst`` say so, with nothing fitted. What they leave out are the seconds of a synchronisation beyond the exchange
(pseudo-gradients, the outer step, launching), some 15 ms here, which are fitted on the runs with H = 1.

DDP sends buckets of 25 MiB, the first one of 1 MiB, while the backward pass goes on. Its seconds are those of NCCL's
trees, 2 n/B where a ring takes 2 (K-1)/K n/B. Where no rate was measured there is
nothing to simulate: only the runs with H = 1 say what the others should take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.network import collectives
from simgmc.network.calibration.exchange import dense
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.routing import Links
from simgmc.network.topology.shapes import star

BUCKETED = "ddp"
TRANSPORT = Overheads(queue=0.05, burst=4 * 2**20)
LATENCY = 5e-5
"""Seconds, one way, within a placement group."""
BUCKET, FIRST_BUCKET = 25 * 2**20, 2**20
HEADERS = 0.9926
"""Of the bandwidth where only the nominal one is known: what iperf measured of it elsewhere in the file."""


@dataclass(frozen=True)
class UtilisationRow:
    """One run."""

    algorithm: str
    local_steps: int
    nodes: int
    nbytes: float
    bandwidth: float | None
    """Bytes/s of payload; None: not known."""
    compute: float
    """Seconds of a local step."""
    measured: float
    """Seconds of a synchronisation."""
    simulated: float | None
    """Seconds, nothing fitted; None: the bandwidth is not known."""
    fitted: float
    """Seconds with what was fitted on the runs with H = 1."""

    @property
    def held_out(self) -> bool:
        """Whether nothing was fitted on it."""
        return self.local_steps > 1 or self.algorithm == BUCKETED

    def utilisation(self, sync: float) -> float:
        """The share of time that computes, if a synchronisation takes so long."""
        computing = self.local_steps * self.compute
        return computing / (computing + sync)

    @property
    def points_off(self) -> float:
        """Of the utilisation, fitted less measured, as a share."""
        return self.utilisation(self.fitted) - self.utilisation(self.measured)


@dataclass(frozen=True)
class UtilisationReport:
    """All runs of a file."""

    rows: tuple[UtilisationRow, ...]
    beyond: float
    """Seconds of a synchronisation beyond the exchange, fitted."""

    @property
    def held_out(self) -> list[UtilisationRow]:
        """The rows that nothing was fitted on."""
        return [row for row in self.rows if row.held_out]

    @property
    def largest(self) -> float:
        """Largest error of the utilisation of a held-out row, as a share."""
        return max((abs(row.points_off) for row in self.held_out), default=0.0)

    @property
    def said(self) -> tuple[str, ...]:
        """What the table says, in lines."""
        stated = [row for row in self.rows if row.simulated is not None and row.algorithm != BUCKETED]
        off = [abs((row.simulated or 0.0) / row.measured - 1) for row in stated]
        points = [abs(row.utilisation(row.simulated or 0.0) - row.utilisation(row.measured)) for row in stated]
        first = (
            f"nothing fitted (transport.queue = 50 ms, burst = 4 MiB): a synchronisation is off by {np.mean(off):.1%} "
            f"on average ({max(off):.1%} at most), the utilisation by {100 * max(points):.1f} points at most"
            if stated
            else "no row states its bandwidth"
        )
        return (
            first,
            f"* H = 1, on which {1e3 * self.beyond:.1f} ms a synchronisation beyond the exchange were fitted; the "
            f"{len(self.held_out)} held-out rows: the utilisation is off by {100 * self.largest:.1f} points at most",
            "not modelled: how DDP's buckets overlap with the backward pass, and runs whose bandwidth was not measured "
            "(held against their own H = 1)",
        )


def utilisation_report(rows: Sequence[dict]) -> UtilisationReport:
    """Every run simulated, and again with what a synchronisation takes beyond the exchange."""
    found = [(row, _bandwidth(row)) for row in rows]
    simulated = [None if rate is None else sync_seconds(row, rate) for row, rate in found]
    first = [place for place, row in enumerate(rows) if row["H"] == 1 and row["algorithm"] != BUCKETED]
    known = [(rows[place]["sync_s"], one) for place in first if (one := simulated[place]) is not None]
    # Least squares of relative errors in one number.
    weights = sum(1 / measured**2 for measured, _ in known)
    beyond = max(0.0, sum((measured - one) / measured**2 for measured, one in known) / weights) if known else 0.0
    unknown = [rows[place]["sync_s"] for place in first if simulated[place] is None]
    untouched = float(np.median(unknown)) if unknown else math.nan
    return UtilisationReport(
        tuple(
            UtilisationRow(
                row["algorithm"], row["H"], row["nodes"], row["bytes"], rate, row["compute_s"], row["sync_s"], one,
                untouched if one is None else one + beyond,
            )
            for (row, rate), one in zip(found, simulated)
            if one is not None or (untouched == untouched and row["algorithm"] != BUCKETED)
        ),
        beyond,
    )  # fmt: skip


def _bandwidth(row: dict) -> float | None:
    """Bytes/s of payload: what iperf measured, or of the nominal rate what it measured elsewhere."""
    if row.get("iperf_bit_s") is not None:
        return row["iperf_bit_s"] / 8
    return None if row.get("nominal_bit_s") is None else HEADERS * row["nominal_bit_s"] / 8


def sync_seconds(row: dict, bandwidth: float, overheads: Overheads = TRANSPORT) -> float:
    """What the simulated network takes for one synchronisation of a run."""
    nodes, nbytes = row["nodes"], float(row["bytes"])
    if row["algorithm"] != BUCKETED:
        return _exchange("ring", nodes, nbytes, bandwidth, overheads)
    rest = max(0.0, nbytes - FIRST_BUCKET)
    whole, last = divmod(rest, BUCKET)
    sizes = [min(nbytes, FIRST_BUCKET), *([BUCKET] * int(whole)), *([last] if last else [])]
    times = {size: _exchange("double-binary-tree", nodes, size, bandwidth, overheads) for size in set(sizes)}
    return sum(times[size] for size in sizes)


def _exchange(name: str, nodes: int, nbytes: float, bandwidth: float, overheads: Overheads) -> float:
    names = worker_names(nodes)
    links = Links(overheads.seen(star([Host(one, bandwidth, bandwidth, LATENCY / 2) for one in names])))
    schedule: Schedule = collectives.schedule(name, dense(nodes, nbytes), Duration(0.0))
    return max(run_alone(schedule, Placement(schedule.structure, names, links, overheads)).landed)
