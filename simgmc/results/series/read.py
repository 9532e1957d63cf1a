"""The series of a run as arrays, and the questions asked of them: when, how much, at what cost.

Between two evaluations a series has the value of the earlier one (previous-value, or step,
interpolation): nothing is known to have been reached before it was measured. After its last
evaluation a series keeps its last value, since training has ended and the model stays.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.transport import Transport
from simgmc.core.units import grid_number
from simgmc.results.directory.records import COLLECTIVE_KEY, RUN_KEY, Breakdown, OtherMetric, SeriesKey
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.arrays import read_arrays
from simgmc.results.series.measures import ACCURACY, LOSS, Measure
from simgmc.results.series.reach import Reach, Spread
from simgmc.results.series.tariff import Tariff


@dataclass(frozen=True)
class ComparisonPoint:
    """Where methods are compared: a transport, and a value for each of the grid's keys but the collective."""

    transport: Transport | None
    """None where methods of different transports are compared, see :func:`compared_at`."""
    grid: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Series:
    """One method at one grid point with one seed: an array per column of ``metrics.csv``."""

    key: SeriesKey
    columns: Mapping[str, np.ndarray]
    """Each (evaluations,) float64, NaN where unknown; the names of ``other_metrics.csv`` are columns too."""
    breakdown: Breakdown | None
    """None while the series is unfinished."""

    @property
    def point(self) -> ComparisonPoint:
        return ComparisonPoint(self.key.transport, self.key.grid)

    @property
    def finished(self) -> Breakdown:
        """Its bytes and times. Raises SimgmcError where it is not finished."""
        if self.breakdown is None:
            raise SimgmcError(f"{self.key.words} is not finished; give the run's command again")
        return self.breakdown

    @property
    def diverged(self) -> int | None:
        """The round in which training was ended as it diverged, None where it was not."""
        return self.breakdown.diverged if self.breakdown else None

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    def first_reaching(self, measure: Measure, target: float) -> int | None:
        """Index of the first evaluation that meets the target, None if none does."""
        hits = np.flatnonzero(measure.reached(self[measure.column], target))
        return int(hits[0]) if len(hits) else None

    def previous_value(self, column: str, along: str, at: np.ndarray | float) -> np.ndarray:
        """``column`` at each value of ``along``: that of the last evaluation not after it, NaN before the first.

        After its last evaluation a series that diverged has no value.
        """
        index = np.searchsorted(self[along], at, side="right") - 1
        known = index >= 0 if self.diverged is None else (index >= 0) & (at <= self[along][-1])
        return np.where(known, self[column][np.maximum(index, 0)], math.nan)


@dataclass(frozen=True)
class Results:
    """All series of a run."""

    series: tuple[Series, ...]
    methods: tuple[str, ...]
    """In the scenario's order."""
    points: tuple[ComparisonPoint, ...]
    """Where methods are compared, see :func:`compared_at`."""
    measure: Measure
    tariff: Tariff | None = None
    """What series cost in money and energy, where the scenario states it."""
    time: str = "simulated time"
    """What the column ``sim_time_s`` holds, in words: runs on real processes have measured time in it."""

    @cached_property
    def remembered(self) -> dict[Hashable, Any]:
        """What follows from it and is asked for more than once."""
        return {}

    def at(self, method: str, point: ComparisonPoint) -> list[Series]:
        """A method's seeds at a point, sorted; a method that uses no collective has the same at every collective."""
        found = self._by_place.get((method, point), [])
        if not found:
            there = self._by_grid.get((method, point.grid), [])
            found = [one for one in there if point.transport is None or not one.key.transport.is_collective]
        return list(found)

    def reach(self, method: str, point: ComparisonPoint, target: float, column: str = "sim_time_s") -> Reach:
        """What each seed had used of ``column`` when it first met the target."""
        key = "reach", method, point, target, column
        if key not in self.remembered:
            self.remembered[key] = self.reach_of(self.at(method, point), target, column)
        return self.remembered[key]

    def reach_of(self, series: Sequence[Series], target: float, column: str = "sim_time_s") -> Reach:
        """The same of these series, a seed each."""
        needed, spent, before = {}, {}, {}
        for one in series:
            index = one.first_reaching(self.measure, target)
            values = one[column]
            (spent if index is None else needed)[one.key.seed] = float(values[-1 if index is None else index])
            if index:
                before[one.key.seed] = float(values[index - 1])
        return Reach(needed, spent, before)

    def resolution(self, method: str, point: ComparisonPoint, target: float) -> float | None:
        """Seconds between the evaluation that first met the target and the one before, the mean over seeds.

        None where no seed met it after its first evaluation.
        """
        gaps = []
        for one in self.at(method, point):
            index = one.first_reaching(self.measure, target)
            if index:
                gaps.append(float(one["sim_time_s"][index] - one["sim_time_s"][index - 1]))
        return float(np.mean(gaps)) if gaps else None

    def equal_time(self, point: ComparisonPoint) -> float:
        """The latest simulated time that every series at this point reached, those that diverged left out."""
        return self._equal_times[point]

    def at_equal_time(self, method: str, point: ComparisonPoint) -> Spread | None:
        """A method's measure at :meth:`equal_time`: which is best if all get the same time."""
        time, seeds = self.equal_time(point), self.at(method, point)
        alive = [one for one in seeds if one.diverged is None]
        return Spread.of([float(one.previous_value(self.measure.column, "sim_time_s", time)) for one in alive])

    def only(self, at: Mapping[str, Any], methods: Sequence[str], place: str) -> Results:
        """The series at the grid points that have these values, of these methods (of all where none is named).

        The methods keep their places, and so their looks. A collective that is asked for leaves methods that use none.
        Raises SimgmcError, which begins with ``place``, where no series has such a key, value or method.
        """
        for method in methods:
            if method not in self.methods:
                raise SimgmcError(
                    f"{place}: no method is called {show_value(method)}; {suggestion(method, self.methods)}"
                )
        series = [one for one in self.series if not methods or one.key.method in methods]
        keys = list(dict.fromkeys(key for one in self.series for key in one.key.texts))
        for key, value in at.items():
            if key not in keys:
                raise SimgmcError(f"{place}: {show_value(key)} does not vary; {suggestion(key, keys)}")
            fitting = [
                one
                for one in series
                if same_value(one.key.texts[key], value)
                or (key == COLLECTIVE_KEY and not one.key.transport.is_collective)
            ]
            if not fitting:
                known = ", ".join(dict.fromkeys(one.key.texts[key] for one in series))
                raise SimgmcError(f"{place}: {key} = {show_value(value)} is not there; it has {known}")
            series = fitting
        return (
            self if len(series) == len(self.series) else replace(self, series=tuple(series), points=compared_at(series))
        )

    # Looked up once, since grids of hundreds of points ask for every method at every point.

    @cached_property
    def _by_place(self) -> dict[tuple[str, ComparisonPoint], list[Series]]:
        found: dict[tuple[str, ComparisonPoint], list[Series]] = {}
        for one in sorted(self.series, key=lambda one: one.key.seed):
            found.setdefault((one.key.method, one.point), []).append(one)
        return found

    @cached_property
    def _by_grid(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[Series]]:
        return {(method, point.grid): found for (method, point), found in self._by_place.items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """Methods with their transport, where the points do not say it: ``D-PSGD (gossip ring)``."""
        said = {point.transport for point in self.points}
        transports: dict[str, dict[str, None]] = {method: {} for method in self.methods}
        for one in self.series:
            if one.key.transport not in said:
                transports[one.key.method][str(one.key.transport)] = None
        common = {method: _common_words(list(found)) for method, found in transports.items()}
        return {method: f"{method} ({words})" if words else method for method, words in common.items()}

    @cached_property
    def _equal_times(self) -> dict[ComparisonPoint, float]:
        times: dict[ComparisonPoint, float] = {}
        for point in self.points:
            here = [one for method in self.methods for one in self.at(method, point)]
            lived = [one for one in here if one.diverged is None] or here[:1]
            times[point] = min(float(one["sim_time_s"][-1]) for one in lived)
        return times

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The grid's keys that have several values at the points, in the grid's order."""
        pairs = zip(*(point.grid for point in self.points), strict=True)
        return tuple(here[0][0] for here in pairs if len({value for _, value in here}) > 1)

    @cached_property
    def key_labels(self) -> dict[str, str]:
        """What every key of the grid is called, in all figures and tables: ``bandwidth``, ``density``."""
        return key_labels([key for key, _ in self.points[0].grid] if self.points else [])

    @cached_property
    def _told_by_value(self) -> set[str]:
        """The varying keys whose values need no label: of a unit that no other varying key has."""
        units = {}
        for key in self.varying:
            found = [grid_number(dict(point.grid)[key]) for point in self.points]
            units[key] = {None if one is None else one[1] for one in found}
        alone = set()
        for key, own in units.items():
            others = set().union(*(unit for other, unit in units.items() if other != key))
            if not own & {None, ""} and not own & others:
                alone.add(key)
        return alone | {RUN_KEY}

    def label(self, point: ComparisonPoint) -> str:
        """``ring, 10 Mbit/s``: the transport and those of the grid's values that vary; a run's name comes first."""
        values = self.values(point)
        first = values[:1] if RUN_KEY in self.varying else []
        shown = [transport_text(point.transport)] if point.transport or not values else []
        return ", ".join([*first, *shown, *values[len(first) :]])

    def values(self, point: ComparisonPoint) -> list[str]:
        """The grid's values that vary within the run, with the key's label where the value does not tell it."""
        return [self.value(key, text) for key, text in point.grid if key in self.varying]

    def value(self, key: str, text: str) -> str:
        """One value of the grid, with the key's label where the value does not tell it."""
        return text if key in self._told_by_value else f"{self.key_labels[key]} {value_text(text)}"


def short_names(keys: Sequence[str], taken: Callable[[str, str], bool] = lambda key, name: False) -> dict[str, str]:
    """Each dotted key's shortest ending that no other key has and that is not taken, with ``_`` between words.

    ``taken``: says of a key and a name whether something else has the name already.
    """
    names = {}
    for key in keys:
        parts = [part for part in key.split(".") if part != "*"]
        others = [[part for part in other.split(".") if part != "*"] for other in keys if other != key]
        for count in range(1, len(parts) + 1):
            names[key] = "_".join(parts[-count:])
            if not taken(key, names[key]) and not any(other[-count:] == parts[-count:] for other in others):
                break
    return names


def key_labels(keys: Sequence[str]) -> dict[str, str]:
    """What keys are called beside each other: ``bandwidth``, ``learning rate``."""
    return {key: name.replace("_", " ") for key, name in short_names(keys).items()}


def compared_at(series: Sequence[Series]) -> tuple[ComparisonPoint, ...]:
    """The points at which methods are compared, in the order in which they first appear.

    Where all series have the same transport, it is that of every point. Where some methods were run on several
    collectives, there is a point for each of them, and methods that use none are compared with the others on
    each. Otherwise points have no transport.
    """
    shared = dict.fromkeys(one.point for one in series if one.key.transport.is_collective)
    if len({one.key.transport for one in series}) == 1:
        return tuple(dict.fromkeys(one.point for one in series))
    if len({point.transport for point in shared}) < 2:
        return tuple(dict.fromkeys(ComparisonPoint(None, one.point.grid) for one in series))
    grids, first = {point.grid for point in shared}, next(iter(shared)).transport
    places = (
        one.point if one.key.transport.is_collective else ComparisonPoint(first, one.point.grid) for one in series
    )
    return tuple(dict.fromkeys(place for place in places if place in shared or place.grid not in grids))


def _common_words(texts: Sequence[str]) -> str:
    """One text as it is; of several the words with which all begin."""
    if len(texts) <= 1:
        return "".join(texts)
    words = zip(*(text.partition(" (")[0].split(" ") for text in texts), strict=False)
    return " ".join(first for first, *_ in takewhile(lambda some: len(set(some)) == 1, words))


def same_value(text: str, value: Any) -> bool:
    """Whether a grid's value, as the run's files hold it, is this one: equal as written, or the same quantity."""
    if text == cell(value):
        return True
    quantity = grid_number(text)
    return quantity is not None and quantity == grid_number(cell(value))


def key_text(key: str) -> str:
    """The last word of a dotted key, as people write it."""
    return key.rpartition(".")[2].replace("_", " ")


def value_text(value: str) -> str:
    """A grid's value as people write it: of a table its name and, in brackets, its options."""
    try:
        table = json.loads(value)
    except ValueError:
        return value
    if not isinstance(table, dict):
        return value
    name = [str(table.pop("name"))] if "name" in table else []
    options = ", ".join(f"{key_text(key)} {cell(option)}" for key, option in table.items())
    return " ".join([*name, f"({options})"] if options else name)


def transport_text(transport: Transport | None) -> str:
    """A transport as people write it; without one, points hold methods of different transports."""
    return "all methods" if transport is None else str(transport)


def read_results(
    directory: RunDirectory, methods: Sequence[str] | None = None, measure: Measure | None = None
) -> Results:
    """Reads a run.

    ``methods`` gives their order (the scenario's); without it they come as in ``metrics.csv``.
    ``measure`` is what the run is measured by; without it the accuracy or, where the task has none, the loss.

    Raises SimgmcError where the run does not hold the metric.
    """
    breakdowns, others = directory.breakdowns(), directory.other_rows()
    series = []
    for key, columns in read_arrays(directory).items():
        series.append(Series(key, columns | _as_columns(others.get(key, ()), columns["round"]), breakdowns.get(key)))
    present = list(dict.fromkeys(one.key.method for one in series))
    ordered = list(dict.fromkeys([*(methods or ()), *present]))
    points = compared_at(series)
    if measure is not None:
        if not all(measure.column in one.columns for one in series):
            raise SimgmcError(f"{directory.path} holds no {measure.text}")
    else:
        has_accuracy = any(np.isfinite(one["test_accuracy"]).any() for one in series)
        measure = ACCURACY if has_accuracy or not series else LOSS
    return Results(tuple(series), tuple(ordered), points, measure, tariff_of(directory), time_of(directory))


def time_of(directory: RunDirectory) -> str:
    """What time a run's is, in words."""
    return "measured time" if directory.is_measured else "simulated time"


def tariff_of(directory: RunDirectory) -> Tariff | None:
    """The prices and watts that a run's scenario states."""
    return Tariff.of(tomllib.loads(directory.scenario_text()))


def _as_columns(rows: Sequence[OtherMetric], rounds: np.ndarray) -> dict[str, np.ndarray]:
    """Further values as arrays beside the evaluations, NaN where there is none.

    Evaluations at stated times can have the same round: the n-th value of a name at a round
    belongs to the n-th of them.
    """
    if not rows:
        return {}
    places: dict[int, list[int]] = {}
    for place, number in enumerate(rounds.tolist()):
        places.setdefault(int(number), []).append(place)
    columns: dict[str, np.ndarray] = {}
    used: dict[tuple[str, int], int] = {}
    for row in rows:
        column = columns.setdefault(row.name, np.full(len(rounds), math.nan))
        here, nth = places.get(row.round, ()), used.get((row.name, row.round), 0)
        if nth < len(here):  # others are of an evaluation that was being written when the run was killed
            column[here[nth]] = row.value
            used[row.name, row.round] = nth + 1
    return columns
