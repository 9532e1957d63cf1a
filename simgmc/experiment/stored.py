"""The finished series of a run directory, read once for all of its trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from simgmc.experiment.under_way.evaluations import State
from simgmc.results.directory.records import Breakdown, Evaluation, SeriesKey
from simgmc.results.directory.run_directory import RunDirectory


@dataclass(frozen=True)
class Stored:
    """Everything but costs and journals, which are read when they are asked for."""

    directory: RunDirectory
    finished: dict[SeriesKey, Breakdown]
    _evaluations: dict[SeriesKey, Sequence[Evaluation]]
    _others: dict[SeriesKey, dict[int, dict[str, float]]]

    @classmethod
    def read(cls, directory: RunDirectory) -> Stored:
        """Reads all series."""
        evaluations, others = directory.evaluations(), directory.other_metrics()
        for shared in directory.shared_evaluations():
            others.update(dict.fromkeys(shared.keys, shared.further()))
        return cls(directory, directory.finished_among(evaluations), evaluations, others)

    def longest(self, method: str, seed: int, values: Mapping[str, str]) -> SeriesKey | None:
        """The finished series of most rounds among those of a method and a seed that have these grid values."""
        found: SeriesKey | None = None
        for key, breakdown in self.finished.items():
            same = (key.method, key.seed) == (method, seed) and values.items() <= key.texts.items()
            if same and (found is None or breakdown.rounds > self.finished[found].rounds):
                found = key
        return found

    def states(self, key: SeriesKey) -> list[State]:
        """A series' evaluations, without the time and bytes that its cluster gave them."""
        others = self._others.get(key, {})
        return [
            State(
                row.round,
                row.epoch,
                row.train_loss,
                cast(float, row.test_loss),
                row.test_accuracy,
                row.rcc,
                others.get(row.round, {}),
            )
            for row in self._evaluations[key]
        ]
