"""Where the answer flips, to a stated accuracy: replays between neighbours of the grid, where another is first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.core.terminal import print_line
from simgmc.core.units import grid_number
from simgmc.experiment.answers.replayed import as_read
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import Finished, Training
from simgmc.results.directory.records import grid_texts
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.read import Results, Series, compared_at
from simgmc.results.series.verdict import TUNED, Flip, Verdict
from simgmc.scenario import GridPoint, ScenarioFile

ACCURACY = 1.05
"""Ratio of the two values between which a flip lies, at most."""
MAX_STEPS = 40
"""Times that all intervals are halved; a ratio of a million takes 9."""
FILE = "flips.csv"


def refine(
    console: Console, directory: RunDirectory, file: ScenarioFile, plan: Sequence[Training], results: Results
) -> list[Flip]:
    """The flips of a finished run along the numeric keys of its cluster, each known to :data:`ACCURACY`.

    Networks in the middle (of the logarithm) of every interval are replayed until it is short enough. What
    is found is printed, and written to ``flips.csv``.

    Raises SimgmcError where nothing can flip, or where a method cannot be replayed on another network.
    """
    scenario = file.points[0].scenario
    target, baseline = scenario.report.target, scenario.report.baseline
    if target is None:
        raise SimgmcError(f"{file.place}: --refine: report.target is not stated, so no method is first at anything")
    if not any(key.startswith("cluster.") for key in Verdict(results, target, baseline).numeric):
        raise SimgmcError(
            f"{file.place}: --refine: no key of the cluster has several numbers in the grid, along which the answer "
            'could flip; such as --set \'grid.cluster.bandwidth=["1 Mbit/s", "1 Gbit/s"]\''
        )
    if bound := [training.method.name for training in plan if training.bound]:
        raise SimgmcError(
            f"{file.place}: --refine: another network gives another training of {', '.join(dict.fromkeys(bound))}; "
            "leave it out"
        )
    stored = Stored.read(directory)
    kept = [(training, training.restored(stored)) for training in plan]
    networks, between = _Networks(file, kept), []
    verdict = Verdict(results, target, baseline)
    for _ in range(MAX_STEPS):
        between = [flip for flip in verdict.flips if flip.key.startswith("cluster.")]
        wide = [flip for flip in between if _ratio(flip) > ACCURACY]
        if not wide:
            break
        series = (*results.series, *networks.replayed(wide, results.measure.column))
        results = replace(results, series=series, points=compared_at(series))
        verdict = Verdict(results, target, baseline)
    _write(directory, verdict, between)
    few = _few(between, verdict)
    said = [f"The answer flips{verdict.place(flip.rest)}: {verdict.flip_text(flip)}." for flip in few]
    if between:
        said.append(f"Refined by {networks.count} replays; all {len(between)} flips are in {directory.path / FILE}.")
    else:
        said.append("The answer flips nowhere along the cluster's keys, so nothing was refined.")
    print_line(console, "\n".join(said))
    return between


class _Networks:
    """Replays of finished trainings on networks between those of the grid."""

    def __init__(self, file: ScenarioFile, kept: Sequence[tuple[Training, Finished]]):
        self._file, self._kept = file, kept
        self._made: dict[str, GridPoint] = {}
        self.count = 0
        """Series replayed so far."""

    def replayed(self, flips: Sequence[Flip], column: str) -> Iterator[Series]:
        """Every series at the middle of each of these intervals."""
        for training, finished in self._kept:
            points = [point for flip in flips for point in self._between(training, flip)]
            for point, one in zip(points, finished.on(points), strict=True):
                self.count += 1
                yield as_read(training, point, one, column)

    def _between(self, training: Training, flip: Flip) -> list[GridPoint]:
        """A training's points in the middle of an interval: over every collective, with all its settings."""
        lines: dict[str, GridPoint] = {}
        for point in training.points:
            rest = {name: value for name, value in point.values.items() if name != flip.key}
            if tuple(pair for pair in grid_texts(rest) if not pair[0].startswith(TUNED)) == flip.rest:
                lines.setdefault(repr(rest), point)
        return [self._point({**point.values, flip.key: _middle(flip)}) for point in lines.values()]

    def _point(self, values: dict[str, Any]) -> GridPoint:
        key = repr(values)
        if key not in self._made:
            alone = [(f"grid.{name}", None) for name in self._file.grid]
            scenario = self._file.with_settings([*alone, *values.items()]).points[0].scenario
            self._made[key] = GridPoint(values, scenario)
        return self._made[key]


def _ends(flip: Flip) -> tuple[float, float]:
    below, above = grid_number(flip.below), grid_number(flip.above)
    assert below is not None and above is not None
    return below[0], above[0]


def _ratio(flip: Flip) -> float:
    """How many times the lower end of an interval the upper one is; from 0 on it is never short."""
    below, above = _ends(flip)
    return above / below if below > 0 else math.inf


def _middle(flip: Flip) -> str:
    """The middle of an interval, of the logarithm where that is possible, in the unit of its upper end."""
    below, above = _ends(flip)
    middle = math.sqrt(below * above) if below > 0 else above / 2
    number, _, unit = flip.above.partition(" ")
    if not unit:  # "10ms", or a bare number
        number = number.rstrip("".join(set(number) - set("0123456789.+-e")))
        unit = flip.above.removeprefix(number)
    return f"{float(number) * middle / above:.4g}{' ' if unit else ''}{unit}"


def _few(flips: Sequence[Flip], verdict: Verdict) -> list[Flip]:
    """Those on the lines of which a verdict speaks."""
    spoken = {(key, rest) for key in verdict.numeric for rest in verdict.spoken(key)}
    return [flip for flip in flips if (flip.key, flip.rest) in spoken]


def _write(directory: RunDirectory, verdict: Verdict, flips: Sequence[Flip]) -> None:
    """``flips.csv``: along which key, at which values of the others, between which two values, from whom to whom."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    others = list(dict.fromkeys(key for flip in flips for key, _ in flip.rest))
    writer.writerow(["along", "first_up_to", "then_from", "first", "then", *others])
    for flip in flips:
        names = [choice.text if choice else "" for choice in (flip.first, flip.then)]
        writer.writerow([flip.key, flip.below, flip.above, *names, *(dict(flip.rest).get(key, "") for key in others)])
    directory.replace(directory.path / FILE, stream.getvalue().encode())
