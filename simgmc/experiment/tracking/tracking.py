"""A run's evaluations in TensorBoard or Weights & Biases, whose clock then is the simulated one.

Those of a training under way are logged as they come, on the cluster that it is trained on, wherever it is trained; the
bytes that this cluster carried follow when it is over, and so do its series on other clusters. What was logged before a
run was stopped is not logged again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from simgmc.core.transport import Kind
from simgmc.experiment.engines.task import Task
from simgmc.experiment.tracking.trackers import Point, Tracker, needed, tracker
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import State
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import RunDirectory

OFTEN = 5.0
"""Seconds between two looks into the run directory, at least."""
BYTES = ("bytes_up", "bytes_down")
"""What of an evaluation is a cluster's account, known of a training under way only where the clock drives it."""
_BYTES_KNOWN: tuple[Kind, ...] = ("asynchronous gossip", "pairwise", "asynchronous server")


@dataclass
class _UnderWay:
    """A training that is heard of, on the cluster where it is trained."""

    key: SeriesKey
    untimed: dict[int, State] = field(default_factory=dict)
    """Evaluations whose simulated time is not known yet, by their rounds."""
    heard: Counter[int] = field(default_factory=Counter)
    """The rounds of those that were heard of since it began; when it goes on or begins anew some come again."""


class Tracking:
    """Logs evaluations as they are heard of, and what a run directory has; ``names``: of the trackers.

    Raises SimgmcError for a name or a package that there is not.
    """

    def __init__(self, names: Sequence[str], directory: RunDirectory):
        self._directory, self._looked = directory, -math.inf
        self._trackers: list[Tracker] = [tracker(name)(directory) for name in dict.fromkeys(names)]
        self._whole = set[SeriesKey]()
        self._under_way: dict[str, _UnderWay] = {}
        """By the trainings' keys."""
        self._there: dict[tuple[int, SeriesKey], Counter[int]] = {}
        """What each tracker has of a series under way."""

    def expect(self, tasks: Sequence[Task]) -> None:
        """These will be trained, and are to be heard of."""
        for task in tasks if self._trackers else ():
            first = (task.points or task.training.points)[0]
            if task.points:
                self._under_way[task.training.key] = _UnderWay(task.training.series(first))

    def started(self, training: Training) -> None:
        """It begins, maybe anew."""
        if one := self._under_way.get(training.key):
            one.untimed.clear()
            one.heard.clear()

    def evaluated(self, training: Training, state: State) -> None:
        """An evaluation, which is logged as soon as its simulated time is known."""
        if one := self._under_way.get(training.key):
            if state.time is None and state.round:
                one.untimed[state.round] = state
            else:
                self._log(one, state, state.time or 0.0)

    def round_done(self, training: Training, number: int, sim_time: float) -> None:
        """A round (from 0) is over at this simulated second."""
        one = self._under_way.get(training.key)
        if one and (state := one.untimed.pop(number + 1, None)):
            self._log(one, state, sim_time)

    def over(self, training: Training) -> None:
        """No more of it will be heard."""
        self._under_way.pop(training.key, None)
        self.catch_up()

    def close(self) -> None:
        """No more of any will be heard, for now."""
        for each in self._trackers:
            each.close()

    def catch_up(self, at_last: bool = False) -> None:
        """Log what is missing of finished series; ``at_last``: also where that was looked for a moment ago."""
        if not self._trackers or (not at_last and time.monotonic() - self._looked < OFTEN):
            return
        for key, points in self._new():
            for place, each in enumerate(self._trackers):
                if not each.is_whole(key):
                    each.complete(key, list(self._missing(key, points, self._rounds(place, key))))
                self._there.pop((place, key), None)
            self._whole.add(key)
        self._looked = time.monotonic()

    def _rounds(self, place: int, key: SeriesKey) -> Counter[int]:
        found = self._there.get((place, key))
        if found is None:
            found = self._there[place, key] = Counter(self._trackers[place].rounds(key))
        return found

    def _log(self, one: _UnderWay, state: State, seconds: float) -> None:
        one.heard[state.round] += 1
        known = one.key.transport.kind in _BYTES_KNOWN
        values = values_of(state, (state.bytes_up, state.bytes_down) if known else None)
        for place, each in enumerate(self._trackers):
            there = self._rounds(place, one.key)
            if one.heard[state.round] > there[state.round]:
                each.add(one.key, (state.round, seconds, {**values, **state.others}))
                there[state.round] += 1

    def _missing(self, key: SeriesKey, points: Sequence[Point], there: Counter[int]) -> Iterator[Point]:
        """Whole evaluations, and of those that were logged under way the bytes."""
        seen = Counter[int]()
        for number, seconds, values in points:
            seen[number] += 1
            if seen[number] > there[number]:
                yield number, seconds, values
            elif key.transport.kind not in _BYTES_KNOWN:
                yield number, seconds, {name: values[name] for name in BYTES}

    def _new(self) -> Iterator[tuple[SeriesKey, list[Point]]]:
        evaluations = self._directory.evaluations()
        others = self._directory.other_rows()
        for key in self._directory.finished_among(evaluations):
            if key in self._whole:
                continue
            further: dict[int, list[dict[str, float]]] = {}
            for row in others.get(key, ()):
                of_round = further.setdefault(row.round, [{}])
                if row.name in of_round[-1]:  # the next evaluation of the same round
                    of_round.append({})
                of_round[-1][row.name] = row.value
            points: list[Point] = []
            for one in evaluations[key]:
                more = further.get(one.round, [{}])
                values = values_of(one, (one.bytes_up, one.bytes_down))
                points.append((one.round, one.sim_time_s, values | (more.pop(0) if len(more) > 1 else more[0])))
            yield key, points


def values_of(one: State | Evaluation, carried: tuple[int, int] | None) -> dict[str, float]:
    """What an evaluation found, by the names of the run's own table; ``carried``: the bytes, where they are known."""
    own = {
        "epoch": one.epoch, "train_loss": one.train_loss, "test_loss": one.test_loss,
        "test_accuracy": one.test_accuracy, "rcc": one.rcc, **dict(zip(BYTES, carried or (), strict=False)),
    }  # fmt: skip
    return {name: float(value) for name, value in own.items() if value is not None}


def check(names: Sequence[str]) -> None:
    """Raises SimgmcError for a name or a package that there is not: before anything is computed."""
    for name in names:
        tracker(name)
        needed(name, name)
