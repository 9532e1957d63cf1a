"""What a sweep is for: each method at the best of its settings, in one table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from simgmc.core.quantities import time_text
from simgmc.core.terminal import print_line, print_table
from simgmc.experiment.engines.task import Failure
from simgmc.results.series.read import Results, key_labels, value_text
from simgmc.results.series.summary import Row, summarize
from simgmc.results.tables.tables import measure_text
from simgmc.scenario import ScenarioFile


def print_best(console: Console, file: ScenarioFile, results: Results, failures: Sequence[Failure]) -> None:
    """Each method's best settings by ``sweep.optimise``, a row for each network."""
    report = file.points[0].scenario.report
    target = None if file.sweep is not None and file.sweep.optimise == "final" else report.target
    by_time = target is not None
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in summarize(results, report.target, report.baseline):
        found.setdefault((row.method, str(row.transport), *_network(row)), []).append(row)
    searched = [key for key in file.grid if not key.startswith("cluster.")]
    networks = [key for key in file.grid if key.startswith("cluster.")]
    what = "end best" if target is None else f"reach {results.measure.value_text(target)} soonest"
    lines = []
    for rows in found.values():
        best = min(rows, key=lambda row: _rank(row, results.measure.higher_is_better, by_time))
        values = {key: value_text(text) for key, text in best.point.grid}
        cells = [values.get(key, "-") for key in (*networks, *searched)]
        reach = [_reach_text(best)] if report.target is not None else []
        counts = len(rows), sum(len(row.stopped) for row in rows), sum(len(row.diverged) for row in rows)
        lines.append([best.method, *cells, measure_text(results, best.final), *reach, *map(str, counts)])
    keys = key_labels([*networks, *searched]).values()
    reached = ["time to target"] if report.target is not None else []
    header = ["method", *keys, "final", *reached, "tried", "given up", "diverged"]
    heading = f"Best settings of each method (those that {what})"
    print_table(console, heading, header, {"": lines}, names=1 + len(keys))
    for failure in failures:
        print_line(console, f"failed: {failure.task.training.title}: {failure.reason}")


def _network(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in row.point.grid if key.startswith("cluster."))


def _rank(row: Row, higher: bool, by_time: bool) -> tuple[float, float]:
    final = math.inf if row.final is None else (-row.final.mean if higher else row.final.mean)
    return (_seconds(row) if by_time else 0.0), final


def _seconds(row: Row) -> float:
    """Mean time to the target; infinite where a seed has not reached it."""
    return math.inf if row.reach is None or row.reach.spent else row.reach.at_least


def _reach_text(row: Row) -> str:
    seconds = _seconds(row)
    return "not by every seed" if math.isinf(seconds) else time_text(seconds)
