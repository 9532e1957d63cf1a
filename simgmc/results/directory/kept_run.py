"""What a run directory says, to whoever reads it; :mod:`~simgmc.results.directory.run_directory` lists its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import numpy as np

from simgmc.core.errors import SimgmcError, reason
from simgmc.costs import log as stored_costs
from simgmc.costs.steps import RoundCosts
from simgmc.results.directory import details as of_details
from simgmc.results.directory.details import Details
from simgmc.results.directory.records import Breakdown, Evaluation, OtherMetric, SeriesKey
from simgmc.results.directory.rows import read_bytes, read_table, read_text
from simgmc.results.directory.series_tables import BREAKDOWN, METRICS, OTHER_METRICS, TABLES, SeriesTable, TableReader
from simgmc.results.directory.shared_evaluations import Rows, SharedEvaluations

EVALUATIONS = "evaluations"
MEASURED = "measured.json"
"""Says of a run on real processes how its times were measured."""
_RESTORED = "give the same simgmc run command again to restore it"
_MAX_NAME = 150
"""Bytes of a costs file's name before its end; a longer key is cut, and told apart by its hash."""

Row = TypeVar("Row")


def read_shared(file: Path) -> SharedEvaluations:
    """Evaluations of one training on many clusters. Raises SimgmcError where they cannot be read."""
    try:
        return SharedEvaluations.from_bytes(file.read_bytes())
    except (*stored_costs.DAMAGED, json.JSONDecodeError, TypeError) as error:
        raise SimgmcError(f"{file}: cannot be read: {reason(error)}; {_RESTORED}") from None


def _complete(breakdown: Breakdown, evaluations: Sequence[Evaluation]) -> bool:
    """Whether a series with these evaluations is all there."""
    if breakdown.evaluations is not None:
        return len(evaluations) == breakdown.evaluations
    # Before the number was written: training ends with an evaluation, unless it diverged.
    last = evaluations[-1].round if evaluations else -1
    return last == breakdown.rounds or (breakdown.diverged is not None and 0 <= last <= breakdown.rounds)


@dataclass(frozen=True)
class KeptRun:
    """A run directory, read. Nothing is changed."""

    path: Path
    grid_keys: tuple[str, ...]
    """The grid's keys with a column in every table of series, in order."""

    @property
    def is_measured(self) -> bool:
        """Whether its times were measured on real processes, not simulated."""
        return (self.path / MEASURED).is_file()

    @property
    def plots(self) -> Path:
        """Where the plots go (may not exist yet)."""
        return self.path / "plots"

    def scenario_text(self) -> str:
        """The resolved scenario, as it was given."""
        return read_text(self.path / "scenario.toml")

    def evaluations(self) -> dict[SeriesKey, Sequence[Evaluation]]:
        """The evaluations of every series, in the order in which they were written."""
        rows: dict[SeriesKey, list[Evaluation]] = {}
        for key, evaluation in self._rows(METRICS):
            rows.setdefault(key, []).append(evaluation)
        found: dict[SeriesKey, Sequence[Evaluation]] = dict(rows)
        for shared in self.shared_evaluations():
            found.update((key, Rows(columns)) for key, columns, _ in shared.arrays())
        return found

    def shared_evaluations(self) -> list[SharedEvaluations]:
        """Those of trainings on many clusters."""
        return [read_shared(file) for file in sorted((self.path / EVALUATIONS).glob("*.npz"))]

    def other_metrics(self) -> dict[SeriesKey, dict[int, dict[str, float]]]:
        """Further values of every series' evaluations: by round (the last of a round), then by name.

        In the order in which they were written.
        """
        found: dict[SeriesKey, dict[int, dict[str, float]]] = {}
        for key, rows in self.other_rows().items():
            for row in rows:
                found.setdefault(key, {}).setdefault(row.round, {})[row.name] = row.value
        return found

    def other_rows(self) -> dict[SeriesKey, list[OtherMetric]]:
        """Further values of every series' evaluations, in the order in which they were written.

        Where several evaluations have the same round, the n-th value of a name is that of the n-th of them.
        """
        return self._counted(OTHER_METRICS, self.breakdowns())

    def breakdowns(self) -> dict[SeriesKey, Breakdown]:
        """Bytes and parts of the time of every finished series."""
        return dict(self._rows(BREAKDOWN))

    def rows(self, file: str) -> list[tuple[SeriesKey, Any]]:
        """Series and row of every line of a file that belongs to a finished series, such as ``workers.csv``.

        Raises SimgmcError where it has lost rows of one.
        """
        finished = self.breakdowns()
        if file == BREAKDOWN.file:
            return list(finished.items())
        found = self._counted(TABLES[file], finished)
        return [(key, row) for key, rows in found.items() if key in finished for row in rows]

    def details(self) -> dict[SeriesKey, Details]:
        """Workers, links and staleness of every series that has them: in runs from before they were written none has.

        Raises SimgmcError where a file has lost rows of a finished series.
        """
        found: dict[SeriesKey, dict[str, list]] = {}
        breakdowns = self.breakdowns()
        for file in of_details.FILES:
            for key, rows in self._counted(TABLES[file], breakdowns).items():
                found.setdefault(key, {})[file] = rows
        try:
            return {key: of_details.from_rows(rows) for key, rows in found.items() if "workers.csv" in rows}
        except ValueError as error:
            raise SimgmcError(f"{self.path / 'workers.csv'} is damaged: {error}") from None

    def finished(self) -> set[SeriesKey]:
        """The series that need not be run again: those with a breakdown, and with the evaluations that belong to it."""
        return set(self.finished_among(self.evaluations()))

    def finished_among(self, evaluations: Mapping[SeriesKey, Sequence[Evaluation]]) -> dict[SeriesKey, Breakdown]:
        """The breakdowns of those series that have the evaluations that belong to them."""
        return {key: one for key, one in self.breakdowns().items() if _complete(one, evaluations.get(key, ()))}

    def training_keys(self) -> list[str]:
        """The keys under which costs are stored, sorted."""
        return sorted(stored_costs.key_of(file) or unquote(file.stem) for file in (self.path / "costs").glob("*.npz"))

    def has_costs(self, training_key: str) -> bool:
        """Whether costs are stored under this key."""
        return self.costs_path(training_key).is_file()

    def read_costs(self, training_key: str) -> list[RoundCosts]:
        """What :meth:`write_costs` stored. Raises SimgmcError where nothing (readable) is."""
        file = self.costs_path(training_key)
        if not file.is_file():
            raise SimgmcError(
                f"{self.path} holds no costs of {training_key!r}; it has {', '.join(self.training_keys()) or 'none'}"
            )
        try:
            content = read_bytes(file)
        except OSError as error:
            raise SimgmcError(f"cannot read {file}: {reason(error)}") from None
        return stored_costs.from_bytes(content, str(file))

    def costs_path(self, training_key: str) -> Path:
        """The file of a training's costs; other files of the training have its name and another end."""
        name = quote(training_key, safe=" ()+=,@")
        whole = self.path / "costs" / f"{name}.npz"  # what earlier versions wrote, up to what file systems take
        if len(name) > _MAX_NAME and not (len(name) < 250 and whole.is_file()):
            digest = hashlib.sha256(training_key.encode()).hexdigest()[:32]
            name = f"{name[: _MAX_NAME - 33]}-{digest}"
        return self.path / "costs" / f"{name}.npz"

    def _journal_path(self, training_key: str) -> Path:
        return self.costs_path(training_key).with_suffix(".journal")

    def reader(self, table: SeriesTable[Row], header: Sequence[str]) -> TableReader[Row]:
        """Reads a table of this run whose file has this header. Raises SimgmcError where it cannot be one of it."""
        return TableReader(table, header, self.grid_keys, self.path / table.file)

    def read_journal(self, training_key: str) -> np.ndarray:
        """What :meth:`write_journal` stored. Raises SimgmcError where nothing (readable) is."""
        file = self._journal_path(training_key)
        try:
            return stored_costs.arrays_of(read_bytes(file))["journal"]
        except FileNotFoundError:
            raise SimgmcError(f"{self.path} holds no journal of {training_key!r}; {_RESTORED}") from None
        except stored_costs.DAMAGED as error:
            raise SimgmcError(f"{file}: cannot be read: {reason(error)}; {_RESTORED}") from None

    def has_journal(self, training_key: str) -> bool:
        """Whether there is one that can be read."""
        try:
            self.read_journal(training_key)
        except SimgmcError:
            return False
        return True

    def _read(self, table: SeriesTable[Row]) -> tuple[TableReader[Row], list[tuple[SeriesKey, Row, list[str]]]]:
        header, cells = read_table(self.path / table.file)
        reader = self.reader(table, header)
        return reader, list(reader.rows(cells))

    def _rows(self, table: SeriesTable[Row]) -> list[tuple[SeriesKey, Row]]:
        return [(key, row) for key, row, _ in self._read(table)[1]]

    def _counted(
        self, table: SeriesTable[Row], breakdowns: Mapping[SeriesKey, Breakdown]
    ) -> dict[SeriesKey, list[Row]]:
        """The rows of every series in a file, none where there is no such file.

        Raises SimgmcError where a finished series has not as many as when it was finished.
        """
        found: dict[SeriesKey, list[Row]] = {}
        if not (self.path / table.file).is_file():
            return found
        for key, row in self._rows(table):
            found.setdefault(key, []).append(row)
        for key, breakdown in breakdowns.items():
            there, wanted = len(found.get(key, ())), breakdown.row_counts().get(table.file)
            if wanted is not None and there != wanted:
                raise SimgmcError(
                    f"{self.path / table.file}: has {there} of the {wanted} rows of {key.words}: it was cut short or "
                    "changed after the run. Put it back from a copy, or remove it to go on without it; the other "
                    "files of the run are not touched"
                )
        return found
