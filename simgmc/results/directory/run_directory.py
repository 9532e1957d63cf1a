"""The directory that a run leaves behind: plain files, safe to kill at any moment.

::

    scenario.toml     the resolved scenario, as the caller wrote it
    metrics.csv       one row per evaluation
    other_metrics.csv further values of an evaluation by name, a row each, where there are any
    breakdown.csv     one row per finished series: bytes, and where its time went
    workers.csv       one row per worker of a finished series; also links.csv, staleness.csv: see details.py
    evaluations/KEY.npz  the evaluations of a training that was put on many clusters, in place of rows in metrics.csv
                      and other_metrics.csv (see shared_evaluations.py)
    costs/KEY.npz     what every round of one training cost (see simgmc.costs.log)
    costs/KEY.journal the requests of an asynchronous one (see simgmc.costs.journal)
    models/KEY.safetensors  the model that a training ended with (it may be missing: of one that diverged, and in
                      runs from before it was kept)
    checkpoint/       the states of trainings under way (see checkpoint.py), gone when they are finished
    parts/            what trainings side by side have written and the run has not taken in yet, each a run directory
    partition.csv     samples of each label that every worker has (see partition_table.py)
    measured.json     only of a run on real processes: that its times are measured, and how; measured/KEY.csv has every
                      step of every rank, measured/KEY.order.npy the order of an asynchronous one's events
    summary.csv       one row per method and grid point (see summary.py)
    flips.csv         where another method is first, to 5 %, of a run that --refine was given (see refine.py)
    report.html       all of it as one page (see experiment/answers/report_page.py)
    plots/            pictures; timeline/ holds those of simgmc timeline
    .pictures         which files in plots/ and timeline/ are the run's own (see own_files.py)

A *series* is one (method, grid point, seed). Rows are appended with one write each, whole
files are replaced atomically, and the row in ``breakdown.csv`` is written last: a series
without one is unfinished. ``other_metrics.csv`` (gap and distance to a known optimum, values
at a second point that a method reports, the point itself where there are two parameters) has
the columns method, collective, seed, round, name, value and then the grid's keys: the first
four and the grid's join it to ``metrics.csv``. It exists only where something was written.
Numbers are written so that reading them gives the same bits (``repr`` of floats), an unknown
value is an empty cell: the same run gives the same bytes. Columns: see series_tables.py.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError, reason
from simgmc.costs import log as stored_costs
from simgmc.costs.steps import RoundCosts
from simgmc.results.directory import details as of_details
from simgmc.results.directory.checkpoint import CHECKPOINTS, Checkpoints
from simgmc.results.directory.details import Details
from simgmc.results.directory.kept_run import EVALUATIONS, KeptRun, Row, read_shared
from simgmc.results.directory.own_files import PARTS, begin, check_free, clear, note
from simgmc.results.directory.records import COLLECTIVE_KEY, Breakdown, Evaluation, OtherMetric, SeriesKey
from simgmc.results.directory.rows import PARTIAL, append, line, read_header, read_text, replace
from simgmc.results.directory.series_tables import (
    BREAKDOWN,
    METRICS,
    OTHER_METRICS,
    TABLES,
    SeriesTable,
    grid_keys_of,
)
from simgmc.results.directory.shared_evaluations import SharedEvaluations


def create(
    path: str | Path, scenario_text: str, *, grid_keys: Sequence[str] = (), overwrite: bool = False
) -> RunDirectory:
    """Opens a run directory for writing.

    A new or empty directory becomes a run directory. One that already holds a run of
    exactly this scenario is continued: finished series are kept (see
    :meth:`RunDirectory.finished`), rows of unfinished ones are dropped, to be run again.
    With ``overwrite`` everything a run wrote there before is removed first.

    Raises SimgmcError where the directory holds another run, or anything else.
    """
    continues = check_free(path, scenario_text, overwrite=overwrite)
    path = Path(path)
    directory = RunDirectory(path, tuple(key for key in grid_keys if key != COLLECTIVE_KEY))
    if continues:
        directory._keep_finished_series()
        directory._take_in_parts()
        return directory
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise SimgmcError(f"cannot make the run directory {path}: {reason(error)}") from None
    directory._clear()
    directory._start(scenario_text)
    return directory


def open_run(path: str | Path) -> RunDirectory:
    """Opens a run directory for reading (nothing is changed). Raises SimgmcError where there is none."""
    path = Path(path)
    try:
        there = (path / "scenario.toml").is_file()
    except (OSError, ValueError) as error:
        raise SimgmcError(f"cannot read {path}: {reason(error)}") from None
    if not there:
        raise SimgmcError(f"{path} holds no run: it has no scenario.toml")
    directory = RunDirectory(path, grid_keys_of(read_header(path / BREAKDOWN.file)))
    directory.reader(METRICS, read_header(path / METRICS.file))
    return directory


def change_scenario(path: Path, text: str, stay: Container[SeriesKey], trainings: Iterable[str]) -> None:
    """Makes the run in a directory one of another scenario that has the same grid keys, of which these series are.

    ``trainings``: the keys of those that are the same in both; the checkpoints of others go. Killed in the middle, the
    directory holds a run of the scenario before, with fewer series.
    """
    directory = open_run(path)
    directory._keep_finished_series(stay)
    directory._take_in_parts()
    directory._keep_finished_series(stay)
    known = {directory.costs_path(key).stem for key in trainings}
    for file in sorted(file for kind in ("costs/*", "models/*", "evaluations/*") for file in path.glob(kind)):
        if file.stem not in known:
            file.unlink()
    files = {one.name for key in trainings for one in Checkpoints(path / CHECKPOINTS, key).files}
    for file in sorted((path / CHECKPOINTS).glob("*")):
        if file.name not in files:
            file.unlink()
    directory.replace(path / "scenario.toml", text.encode())


@dataclass(frozen=True)
class RunDirectory(KeptRun):
    """A run directory that a run writes into; get one from :func:`create` or :func:`open_run`."""

    _unknown: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)
    """Columns of a later version that the files of a run have that goes on; they stand at the end of its lines."""
    _together: list[dict[str, list[str]]] = field(default_factory=list, repr=False, compare=False)
    """Lines by file that wait until all that is written together is there."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is appended inside is appended at its end, with one write to each file, ``breakdown.csv`` last."""
        lines: dict[str, list[str]] = {}
        self._together.append(lines)
        try:
            yield
        finally:
            self._together.remove(lines)
            for file in sorted(lines, key=lambda file: file == BREAKDOWN.file):
                append(self.path / file, "".join(lines[file]))

    def evaluated(self, series: SeriesKey, evaluation: Evaluation, others: Mapping[str, float] | None = None) -> None:
        """Appends one row to ``metrics.csv``, and one per further value to ``other_metrics.csv``."""
        if others:
            self._append_rows(OTHER_METRICS, series, [OtherMetric(evaluation.round, *one) for one in others.items()])
        self._append_rows(METRICS, series, [evaluation])

    def finish(self, series: SeriesKey, breakdown: Breakdown, details: Details | None = None, others: int = 0) -> None:
        """Appends the details' rows, then the series' row to ``breakdown.csv``; the series then counts as finished.

        ``others``: how many further values its evaluations had, each a row of ``other_metrics.csv``.
        """
        counts = {OTHER_METRICS.file: others}
        for file, rows in of_details.rows_of(details).items() if details else ():
            self._append_rows(TABLES[file], series, rows)
            counts[file] = len(rows)
        self._append_rows(BREAKDOWN, series, [breakdown.with_row_counts(counts)])

    def write_costs(self, training_key: str, rounds: Iterable[RoundCosts]) -> Path:
        """Stores what every round of one training cost, under any text as key. Returns the file."""
        return self.replace(self.costs_path(training_key), stored_costs.to_bytes(rounds, training_key))

    def add_shared(self, training_key: str, shared: SharedEvaluations) -> Path:
        """Adds evaluations of one training on more clusters, see :mod:`shared_evaluations`, to what is kept of it."""
        return self._add_shared(self.path / EVALUATIONS / self.costs_path(training_key).name, shared)

    def _add_shared(self, file: Path, shared: SharedEvaluations, but: Container[SeriesKey] = ()) -> Path:
        there = read_shared(file) if file.is_file() else None
        more = shared.of_those([key for key in shared.keys if key not in but])
        if more is None:
            return file
        return self.replace(file, (more if there is None else there + more).to_bytes())

    def write_journal(self, training_key: str, journal: np.ndarray) -> Path:
        """Stores the requests of an asynchronous training: (n,) int64, see :mod:`simgmc.training.journal`."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, journal=journal)
        return self.replace(self._journal_path(training_key), buffer.getvalue())

    def write_model(self, training_key: str, write: Callable[[Path], object]) -> Path:
        """Stores the model that a training ended with; ``write(file)`` makes the file, or raises OSError."""
        name = self.costs_path(training_key).with_suffix(".safetensors").name
        return self.replace(self.path / "models" / name, write)

    def copy_training(self, source: RunDirectory, training_key: str) -> None:
        """Keeps what a training of another run directory cost, and the model that it ended with, where that has it."""
        costs = source.costs_path(training_key)
        self.replace(self.costs_path(training_key), partial(shutil.copyfile, costs))
        model = source.path / "models" / costs.with_suffix(".safetensors").name
        if model.is_file():
            self.write_model(training_key, partial(shutil.copyfile, model))

    # What trainings side by side write.

    def part(self, training_key: str) -> Path:
        """Where a training is written whose process does not write here."""
        return self.path / PARTS / self.costs_path(training_key).stem

    def take_in(self, part: RunDirectory, but: Container[SeriesKey] = ()) -> None:
        """Moves here what a part of this run holds: costs and models, and the rows of finished series.

        ``but``: series that are here already. Killed in the middle, it can be done again.
        """
        for file in sorted(part.path.glob(f"{EVALUATIONS}/*.npz")):
            self._add_shared(self.path / EVALUATIONS / file.name, read_shared(file), but)
        for file in sorted(file for kind in ("costs/*", "models/*.safetensors") for file in part.path.glob(kind)):
            if not file.name.endswith(PARTIAL):
                place = self.path / file.relative_to(part.path)
                place.parent.mkdir(exist_ok=True)
                os.replace(file, place)
        finished = part.finished()
        with self.together():
            for table in TABLES.values():
                if (part.path / table.file).is_file():
                    found: dict[SeriesKey, list[Any]] = {}
                    for key, row in part._rows(table):
                        if key in finished and key not in but:
                            found.setdefault(key, []).append(row)
                    for key, rows in found.items():
                        self._append_rows(table, key, rows)
        shutil.rmtree(part.path)
        with suppress(OSError):  # others are in it
            part.path.parent.rmdir()

    def _take_in_parts(self) -> None:
        """What processes of a run that was killed have finished."""
        for path in sorted((self.path / PARTS).glob("*")):
            if (path / "scenario.toml").is_file():
                self.take_in(open_run(path), self.finished())
            else:  # killed as it began
                shutil.rmtree(path)
        with suppress(OSError):  # it is not there
            (self.path / PARTS).rmdir()

    def put_in_order(self, order: Sequence[SeriesKey]) -> None:
        """Sorts the rows of all tables by their series: trainings side by side end in any order."""
        rank = {key: place for place, key in enumerate(order)}

        def place(key: SeriesKey) -> int:
            return rank.get(key, len(rank))

        there = [place(key) for key in self.breakdowns()]
        if there == sorted(there):
            return
        for table in TABLES.values():
            file = self.path / table.file
            if file.is_file():
                reader, rows = self._read(table)
                rows.sort(key=lambda row: place(row[0]))
                lines = [line((*table.header(self.grid_keys), *reader.unknown))]
                lines += [table.line(key, row, self.grid_keys, unknown) for key, row, unknown in rows]
                self.replace(file, "".join(lines).encode())

    def replace(self, file: Path, content: bytes | Callable[[Path], object]) -> Path:
        """Writes a whole file at once, see :func:`rows.replace`; a picture is noted as the run's own before."""
        note(self.path, file)
        return replace(file, content)

    def _append_rows(self, table: SeriesTable[Row], series: SeriesKey, rows: Iterable[Row]) -> None:
        """Appends rows to a file that may not exist yet, with one write."""
        if {key for key, _ in series.grid} != set(self.grid_keys):
            raise ValueError(f"the run's grid has the keys {self.grid_keys}, the series has {series.grid}")
        file = self.path / table.file
        if not file.is_file():
            self.replace(file, line(table.header(self.grid_keys)).encode())
        unknown = [""] * len(self._unknown.get(table.file, ()))
        lines = [table.line(series, row, self.grid_keys, unknown) for row in rows]
        if self._together:
            self._together[-1].setdefault(table.file, []).extend(lines)
        else:
            append(file, "".join(lines))

    def _start(self, scenario_text: str) -> None:
        begin(self.path)
        for table in (METRICS, BREAKDOWN):
            self.replace(self.path / table.file, line(table.header(self.grid_keys)).encode())
        self.replace(self.path / "scenario.toml", scenario_text.encode())

    def _keep_finished_series(self, among: Container[SeriesKey] | None = None) -> None:
        """Drops the rows of those that are not finished, or not among these."""
        finished = self.finished_among(self.evaluations())
        if among is not None:
            finished = {key: one for key, one in finished.items() if key in among}
        counted = [OTHER_METRICS, *(TABLES[file] for file in of_details.FILES)]
        for table in counted:
            self._counted(table, finished)
        lost = [table.file for table in counted if not (self.path / table.file).is_file()]
        for table in TABLES.values():
            file = self.path / table.file
            if not file.is_file():
                continue
            reader, rows = self._read(table)
            self._unknown[table.file] = reader.unknown
            lines = [line((*table.header(self.grid_keys), *reader.unknown))]
            for key, row, unknown in rows:
                if key in finished:
                    # A file that was removed is not missed from now on.
                    kept = row.without_rows_of(lost) if isinstance(row, Breakdown) else row
                    lines.append(table.line(key, kept, self.grid_keys, unknown))
            content = "".join(lines).encode()
            if content != read_text(file).encode():
                self.replace(file, content)
        for file in (self.path / EVALUATIONS).glob("*.npz"):
            shared = read_shared(file)
            if (kept := shared.of_those(finished)) is None:
                file.unlink()
            elif len(kept.keys) < len(shared.keys):
                self.replace(file, kept.to_bytes())

    def _clear(self) -> None:
        """Removes what a run wrote, the mark that a run is here first, and nothing else."""
        clear(self.path)
