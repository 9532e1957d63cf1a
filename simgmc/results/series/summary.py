"""What a run found, one row per method and grid point: accuracy, time to target, bytes, and where time went.

``write_summary`` gives raw numbers in SI units as CSV; ``print_summary`` in tables.py shows
the same in a terminal. Everything "over seeds" is a mean and a sample standard deviation.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.transport import Transport
from simgmc.results.directory.details import PARTS
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.reach import Ratio, Reach, Spread, advantage, too_close
from simgmc.results.series.read import ComparisonPoint, Results, Series
from simgmc.results.series.tariff import Tariff


@dataclass(frozen=True)
class Row:
    """One method at one grid point."""

    method: str
    transport: Transport
    """What carries its messages."""
    point: ComparisonPoint
    seeds: int
    unfinished: int
    """Seeds whose series did not run to its end; their latest evaluation counts."""
    diverged: tuple[int, ...]
    """The round of each seed that diverged (its training ended there)."""
    stopped: tuple[str, ...]
    """Why the cluster ended it early, of each seed that it did that to."""
    final: Spread | None
    """What the run is measured by at the last evaluation, over the seeds that did not diverge; None if all did."""
    sim_time_s: Spread
    reach: Reach | None
    """Simulated time to the target, seed by seed; None without a target."""
    speedup: Ratio | None
    """Of the time to target against the baseline's at the same grid point; see reach.advantage."""
    too_close: bool
    """Whether nobody can tell which of it and the baseline is sooner, see reach.too_close."""
    resolution_s: float | None
    """Seconds between the evaluation that met the target and the one before: how well the time to target is known."""
    at_equal_time: Spread | None
    equal_time_s: float
    """The latest time that every method's every seed at this grid point has lived to see."""
    bytes_sent_by_workers: Spread
    bytes_through_server: Spread | None
    """Into it and out of it; 0 where the collective has no server, None while unfinished."""
    rcc: Spread | None
    seconds_per_round: Spread | None
    shares: dict[str, float] | None
    """Part of a worker's time (see details.PARTS) -> fraction; None while unfinished. Of ``compute`` it is the
    compute utilisation: of the seconds that workers spent, the part in which they took gradients."""
    picked: Mapping[str, float] = field(default_factory=dict)
    """Where the collective is picked for each message: the share of them that each carried."""
    bill: Bill | None = None
    """None where the scenario states neither prices nor watts."""


@dataclass(frozen=True)
class Bill:
    """Money and energy of one method at one grid point, over seeds; None where unknown or not stated."""

    tariff: Tariff
    money: Spread | None
    """Of the whole training, in the tariff's currency."""
    energy_kwh: Spread | None
    """Of all workers in the whole training."""
    money_to_target: Spread | None
    energy_to_target_kwh: Spread | None
    """The same until the target, over the seeds that met it."""


def summarize(results: Results, target: float | None = None, baseline: str | None = None) -> list[Row]:
    """The rows, grid point by grid point, methods in order; remembered, as tables and the page both show them.

    Raises SimgmcError where the baseline is none of the methods.
    """
    key = "rows", target, baseline
    if key not in results.remembered:
        results.remembered[key] = tuple(_rows(results, target, baseline))
    return list(results.remembered[key])


def _rows(results: Results, target: float | None, baseline: str | None) -> list[Row]:
    if baseline is not None and results.series and baseline not in results.methods:
        raise SimgmcError(f"the baseline {baseline!r} is none of the methods: {', '.join(results.methods)}")
    rows = []
    for point in results.points:
        base = None
        if target is not None and baseline is not None:
            base = results.reach(baseline, point, target)
        for method in results.methods:
            if series := results.at(method, point):
                reach = None if target is None else results.reach(method, point, target)
                speedup = None if base is None or reach is None else advantage(reach, base)
                if speedup is not None and method == baseline:  # of the very same times
                    speedup = replace(speedup, least=1.0, most=1.0)
                alike = method != baseline and speedup is not None and too_close(reach, base)
                resolution = None if target is None else results.resolution(method, point, target)
                rows.append(_row(results, method, point, series, target, reach, speedup, alike, resolution))
    return rows


def _row(
    results: Results,
    method: str,
    point: ComparisonPoint,
    series: list[Series],
    target: float | None,
    reach: Reach | None,
    speedup: Ratio | None,
    alike: bool,
    resolution: float | None,
) -> Row:
    def last(column: str) -> list[float]:
        return [float(one[column][-1]) for one in series]

    finished = [one.breakdown for one in series if one.breakdown is not None]
    complete = len(finished) == len(series)
    rcc = [one["rcc"][-1] for one in series if np.isfinite(one["rcc"][-1])]
    shares = None
    if complete:
        seconds = {part: sum(getattr(one, part + "_s") for one in finished) for part in PARTS}
        total = sum(seconds.values())
        shares = {part: value / total if total > 0 else 0.0 for part, value in seconds.items()}
    return Row(
        method=method,
        transport=series[0].key.transport,
        point=point,
        seeds=len(series),
        unfinished=len(series) - len(finished),
        diverged=tuple(one.diverged for one in series if one.diverged is not None),
        stopped=tuple(one.stopped for one in finished if one.stopped),
        final=Spread.of([float(one[results.measure.column][-1]) for one in series if one.diverged is None]),
        sim_time_s=Spread.of([one.sim_time_s for one in finished] if complete else last("sim_time_s")),
        reach=reach,
        speedup=speedup,
        too_close=alike,
        resolution_s=resolution,
        at_equal_time=results.at_equal_time(method, point),
        equal_time_s=results.equal_time(point),
        bytes_sent_by_workers=Spread.of(
            [one.bytes_sent_by_workers for one in finished] if complete else last("bytes_up")
        ),
        bytes_through_server=Spread.of([one.bytes_into_server + one.bytes_out_of_server for one in finished])
        if complete
        else None,
        rcc=Spread.of([one.rcc for one in finished if one.rcc is not None] if complete else rcc),
        seconds_per_round=Spread.of([one.sim_time_s / one.rounds for one in finished if one.rounds])
        if complete
        else None,
        shares=shares,
        picked=_picked([one.picks() for one in finished]),
        bill=_bill(results, series, target),
    )


def _picked(counts: Sequence[Mapping[str, int]]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for one in counts:
        found.update(one)
    return {name: count / found.total() for name, count in found.most_common()}


def _bill(results: Results, series: list[Series], target: float | None) -> Bill | None:
    tariff = results.tariff
    if tariff is None:
        return None
    met = [] if target is None else [(one, one.first_reaching(results.measure, target)) for one in series]
    reached = [(one, at) for one, at in met if at is not None]

    def spread(values: Iterable[float | None]) -> Spread | None:
        known = list(values)
        return None if None in known else Spread.of(known)

    return Bill(
        tariff,
        spread(tariff.money(one) for one in series),
        spread(tariff.energy_kwh(one) for one in series),
        spread(tariff.money(one, at) for one, at in reached),
        spread(tariff.energy_kwh(one, at) for one, at in reached),
    )


def write_summary(directory: RunDirectory, results: Results, rows: list[Row]) -> Path:
    """Writes ``summary.csv``: raw numbers, seconds and bytes, fractions for percentages, empty where unknown.

    ``time_to_target_mean_s`` is over the ``seeds_reached`` seeds alone: where that is less than
    ``seeds`` the true mean is larger, and ``time_to_target_at_least_s`` (unreached seeds counted
    with all the time they ran) bounds it from below. ``compared_on`` is the collective of the methods that
    ``speedup`` and ``equal_time_s`` compare it with where there are several, else what all have in common, or nothing.
    Columns of money (``cost_mean_USD``) and energy (``energy_mean_kwh``) are there where the scenario states prices or
    watts, see :mod:`simgmc.results.series.tariff`.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    records = [record(results, row) for row in rows]
    if records:
        writer.writerow(records[0])
    writer.writerows([cell(value) for value in record.values()] for record in records)
    return directory.replace(directory.path / "summary.csv", stream.getvalue().encode())


def record(results: Results, row: Row) -> dict[str, object]:
    """A row of ``summary.csv`` by column: raw numbers, None where unknown."""

    def spread(name: str, value: Spread | None, unit: str = "") -> dict[str, object]:
        return {f"{name}_mean{unit}": value and value.mean, f"{name}_std{unit}": value and value.std}

    name = results.measure.column
    record = {
        "method": row.method,
        "collective": str(row.transport),
        "compared_on": row.point.transport and str(row.point.transport),
        **dict(row.point.grid),
    }
    record |= {
        "seeds": row.seeds,
        "seeds_unfinished": row.unfinished,
        "seeds_diverged": len(row.diverged),
        "seeds_stopped": len(row.stopped),
    }
    record |= spread(f"final_{name}", row.final) | spread("sim_time", row.sim_time_s, "_s")
    record |= {"seeds_reached": len(row.reach.needed) if row.reach else None}
    record |= spread("time_to_target", row.reach and row.reach.spread, "_s")
    record |= {"time_to_target_at_least_s": row.reach and row.reach.at_least}
    record |= {"time_to_target_resolution_s": row.resolution_s}
    record |= {"speedup": row.speedup and row.speedup.value, "speedup_bound": row.speedup and row.speedup.bound}
    record |= {"speedup_least": row.speedup and row.speedup.least, "speedup_most": row.speedup and row.speedup.most}
    record |= {"speedup_too_close": row.too_close if row.speedup else None}
    record |= {"equal_time_s": row.equal_time_s} | spread(f"{name}_at_equal_time", row.at_equal_time)
    record |= spread("bytes_sent_by_workers", row.bytes_sent_by_workers)
    record |= spread("bytes_through_server", row.bytes_through_server)
    record |= spread("rcc", row.rcc) | spread("round", row.seconds_per_round, "_s")
    record |= {"picked": "; ".join(f"{name} {share:.4g}" for name, share in row.picked.items()) or None}
    record |= {f"{part}_share": row.shares and row.shares[part] for part in PARTS}
    if (bill := row.bill) is not None:
        if bill.tariff.currency is not None:
            unit = f"_{bill.tariff.currency}"
            record |= spread("cost", bill.money, unit) | spread("cost_to_target", bill.money_to_target, unit)
        if bill.tariff.power is not None:
            record |= spread("energy", bill.energy_kwh, "_kwh")
            record |= spread("energy_to_target", bill.energy_to_target_kwh, "_kwh")
    return record
