"""Where the answer flips, to a stated accuracy: replays between neighbours of the grid, where another is first."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.core.terminal import print_line
from simgmc.core.units import grid_numbers
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
FROM_NOTHING = 1e-3
"""Of the least value of the grid above 0, the largest up to which a flip from 0 on may lie."""
FILE = "flips.csv"


def refine(
    console: Console, directory: RunDirectory, file: ScenarioFile, plan: Sequence[Training], results: Results
) -> list[Flip]:
    """The flips of a finished run along the numeric keys of its cluster, each known to :data:`ACCURACY`: on every line
    of its grid, whose other keys have the grid's values.

    Networks in the middle (of the logarithm) of every interval are replayed until it is short enough, or lies between
    two whole numbers that follow each other. What is found is printed, and written to ``flips.csv``.

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
    verdict = Verdict(results, target, baseline)
    networks = _Networks(file, kept, verdict)
    lines = {(key, rest) for key in verdict.numeric if key.startswith("cluster.") for rest in verdict.lines(key)}
    while True:
        between = [flip for flip in verdict.flips if (flip.key, flip.rest) in lines]
        middles = [(flip, middle) for flip in between if (middle := networks.middle(flip)) is not None]
        if not middles:
            break
        series = (*results.series, *networks.replayed(middles, results.measure.column))
        results = replace(results, series=series, points=compared_at(series))
        verdict = Verdict(results, target, baseline)
    _write(directory, verdict, between)
    few = _few(between, verdict)
    said = [f"The answer flips{verdict.place(flip.rest)}: {verdict.flip_text(flip)}." for flip in few]
    if between:
        all_flips = "this flip is" if len(between) == 1 else f"all {len(between)} flips are"
        said.append(f"Refined by {networks.count} replays; {all_flips} in {directory.path / FILE}.")
    else:
        said.append("The answer flips nowhere along the cluster's keys, so nothing was refined.")
    print_line(console, "\n".join(said))
    return between


class _Networks:
    """Replays of finished trainings on networks between those of the grid."""

    def __init__(self, file: ScenarioFile, kept: Sequence[tuple[Training, Finished]], verdict: Verdict):
        """``verdict``: of the grid as it was run."""
        self._file, self._kept = file, kept
        self._made: dict[str, GridPoint] = {}
        self._least = {
            key: min((number for number in found[0].values() if number > 0), default=0.0)
            for key in verdict.numeric
            if (found := verdict.numbers(key)) is not None
        }
        self._whole: dict[str, bool] = {}
        self.count = 0
        """Series replayed so far."""

    def middle(self, flip: Flip) -> str | float | int | None:
        """The middle of an interval, of the logarithm where that is possible, in the unit of its upper end; None where
        the interval is short enough."""
        found = grid_numbers((flip.below, flip.above))
        assert found is not None
        (below, above), unit = (found[0][text] for text in (flip.below, flip.above)), found[1]
        if above <= (below * ACCURACY if below > 0 else self._least[flip.key] * FROM_NOTHING):
            return None
        middle = math.sqrt(below * above) if below > 0 else above / 2
        if not unit:
            if not self._is_whole(flip):
                return float(f"{middle:.4g}")
            return round(middle) if below < round(middle) < above else self._next(below, above)
        number, symbol = _WRITTEN.fullmatch(flip.above).groups()  # type: ignore[union-attr]  # it was parsed
        return f"{float(number) * middle / above:.4g} {symbol}"

    def _next(self, below: float, above: float) -> int | None:
        """A whole number between two."""
        return int(below) + 1 if int(below) + 1 < above else None

    def _is_whole(self, flip: Flip) -> bool:
        """Whether a key of bare numbers takes whole ones alone."""
        if flip.key not in self._whole:
            between, above = (float(flip.below) + float(flip.above)) / 2, float(flip.above)
            while between.is_integer():
                between = (between + above) / 2
            try:
                self._point({**self._kept[0][0].points[0].values, flip.key: between})
            except SimgmcError:
                self._whole[flip.key] = True
            else:
                self._whole[flip.key] = False
        return self._whole[flip.key]

    def replayed(self, middles: Sequence[tuple[Flip, str | float | int]], column: str) -> Iterator[Series]:
        """Every series at these middles of intervals."""
        for training, finished in self._kept:
            points = [point for flip, middle in middles for point in self._between(training, flip, middle)]
            for point, one in zip(points, finished.on(points), strict=True):
                self.count += 1
                yield as_read(training, point, one, column)

    def _between(self, training: Training, flip: Flip, middle: str | float | int) -> list[GridPoint]:
        """A training's points in the middle of an interval: over every collective, with all its settings."""
        lines: dict[str, GridPoint] = {}
        for point in training.points:
            rest = {name: value for name, value in point.values.items() if name != flip.key}
            if tuple(pair for pair in grid_texts(rest) if not pair[0].startswith(TUNED)) == flip.rest:
                lines.setdefault(repr(rest), point)
        return [self._point({**point.values, flip.key: middle}) for point in lines.values()]

    def _point(self, values: dict[str, Any]) -> GridPoint:
        key = repr(values)
        if key not in self._made:
            alone = [(f"grid.{name}", None) for name in self._file.grid]
            scenario = self._file.with_settings([*alone, *values.items()]).points[0].scenario
            self._made[key] = GridPoint(values, scenario)
        return self._made[key]


_WRITTEN = re.compile(r"([-+.\d]+(?:[eE][-+]?\d+)?)\s*(\S+)")
"""A number and its unit."""


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
