"""What runs found, from Python: one run or several side by side, as tidy frames, tables and final models."""

from __future__ import annotations

import os
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simgmc.core.errors import SimgmcError, show_value
from simgmc.results import frames
from simgmc.results.directory.details import Details
from simgmc.results.directory.partition_table import PartitionTable, read_partition_table
from simgmc.results.directory.records import SeriesKey
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.measures import measure_of
from simgmc.results.series.read import Results, read_results
from simgmc.results.series.summary import Row, summarize
from simgmc.results.series.together import Together, check_comparable
from simgmc.results.tables.written import check_kind, numbers, written

if TYPE_CHECKING:  # torch takes seconds to load
    from torch import Tensor, nn

Frame = Any
"""A pandas or polars DataFrame."""


class Readable(ABC):
    """What one run and several have in common: their tables as frames."""

    def __init__(self, backend: str | None):
        if backend is not None:
            frames.backend(backend)  # refused now rather than later
        self._wanted = backend

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""

    @property
    @abstractmethod
    def target(self) -> float | None:
        """The value to reach of what it is measured by."""

    @property
    @abstractmethod
    def baseline(self) -> str | None:
        """The method that speed-ups compare with."""

    @property
    @abstractmethod
    def results(self) -> Results:
        """The series as arrays, as figures and tables read them."""

    @abstractmethod
    def details(self) -> Mapping[SeriesKey, Details]:
        """Workers, links and staleness by series."""

    @abstractmethod
    def partitions(self) -> Sequence[PartitionTable]:
        """Who holds what."""

    @abstractmethod
    def rows(self, file: str) -> Iterable[tuple[SeriesKey, Any]]:
        """Series and row of every line of a file, such as ``workers.csv``, that belongs to a finished series."""

    @property
    @abstractmethod
    def keys(self) -> frames.KeyColumns:
        """The columns that every frame begins with."""

    @cached_property
    def evaluations(self) -> Frame:
        """A row per evaluation: ``round``, ``epoch``, ``sim_time_s`` (s), ``train_loss``, ``test_loss``,
        ``test_accuracy`` (0 to 1), ``bytes_up``, ``bytes_down`` (of all workers, since the start), ``rcc``, and a
        column for each further value that some method has."""
        return self._frame(frames.evaluations(self.results, self.keys))

    @property
    def summary(self) -> Frame:
        """A row per method and grid point: means and sample standard deviations over seeds of the final value, of the
        simulated time (s), of the time to the target (s) and of bytes, the speed-up over the baseline with its bounds,
        and the shares (0 to 1) of a worker's time. Columns as in ``summary.csv``."""
        return self.summarize()

    def summarize(self, target: float | None = None, baseline: str | None = None) -> Frame:
        """:attr:`summary` for another target (in the measure's unit: 0.8 of an accuracy) or another baseline."""
        return self._frame(self._summary(target, baseline))

    @cached_property
    def breakdown(self) -> Frame:
        """A row per finished series: rounds, simulated time, where a worker's time went (s), bytes."""
        return self._table("breakdown.csv")

    @cached_property
    def workers(self) -> Frame:
        """A row per worker of each finished series: its gradients, and where its time went (s)."""
        return self._table("workers.csv")

    @cached_property
    def links(self) -> Frame:
        """A row per link (one direction of a cable) of each finished series that carried something: bytes, messages."""
        return self._table("links.csv")

    @cached_property
    def staleness(self) -> Frame:
        """A row per staleness of each series that has one: how many gradients (or messages) had it."""
        return self._table("staleness.csv")

    @cached_property
    def participation(self) -> Frame:
        """A row per worker, where some can be left out of a round: rounds missed, messages lost and carried."""
        return self._table("participation.csv")

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names, in the scenario's order."""
        return self.results.methods

    def table(self, kind: str = "results", form: str = "markdown") -> str:
        """The table that a run prints, as text.

        Args:
            kind: "results", what was found, or "rounds", where each method's time went.
            form: "markdown"; "latex", a ``tabular`` that needs ``\\usepackage{booktabs}``; or "csv", exact numbers
                with their units in the columns' names (of "rounds" those of :attr:`breakdown`).

        Example:
            >>> print(simgmc.load("runs/quickstart").table(form="latex"))
        """
        check_kind(kind)
        if form == "csv":
            rounds = frames.table_of(self.rows("breakdown.csv"), "breakdown.csv", self.keys)
            return numbers(self._summary() if kind == "results" else rounds)
        target, baseline = self.target, self.baseline
        return written(self.results, self._summaries(target, baseline), target, baseline, kind=kind, form=form)

    def _summaries(self, target: float | None, baseline: str | None) -> list[Row]:
        return summarize(self.results, target, baseline)

    def _summary(self, target: float | None = None, baseline: str | None = None) -> frames.Columns:
        rows = self._summaries(self.target if target is None else target, baseline or self.baseline)
        return frames.summary(self.results, rows, self.keys)

    def _table(self, file: str) -> Frame:
        return self._frame(frames.table_of(self.rows(file), file, self.keys))

    def _frame(self, columns: frames.Columns) -> Frame:
        return frames.frame(columns, frames.backend(self._wanted))


class Run(Readable, os.PathLike[str]):
    """What a run directory holds.

    Frames are pandas or polars DataFrames, made when they are asked for. Each begins with ``method``, ``collective``
    and ``seed`` and has a column for every varied key: rates in Mbit/s (``bandwidth_mbit_s``), times in seconds
    (``cluster_latency_s``), sizes in bytes; unknown numbers are NaN (pandas) or null (polars).

    Attributes:
        path: the run directory; the run itself is path-like, and ``run / "summary.csv"`` is a file in it.
    """

    def __init__(self, path: str | Path | Run, *, backend: str | None = None):
        super().__init__(backend)
        self._directory = open_run(Path(os.fspath(path)))
        self.path = self._directory.path

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"simgmc.load({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The run directory, for messages."""
        return str(self.path)

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The resolved scenario: every default written out, quantities as text with their units."""
        return tomllib.loads(self._directory.scenario_text())

    @property
    def target(self) -> float | None:
        """The value to reach that the scenario states."""
        return self._report.get("target")

    @property
    def baseline(self) -> str | None:
        """The method that speed-ups compare with."""
        return self._report.get("baseline")

    @cached_property
    def costs(self) -> Frame:
        """A row per step of every round of each training that is kept: ``kind``, ``gradients`` of each worker,
        ``bytes_compressed`` (what each compressor reads), ``bytes_sent`` and ``bytes_received`` of all workers. None of
        asynchronous methods, whose rounds are no steps that all workers take.

        Raises:
            SimgmcError: the run's scenario cannot be read any more (a part of one's own that is gone).
        """
        from simgmc.experiment.plan import trainings  # loads the whole network
        from simgmc.scenario import ScenarioFile  # as it does

        plan = trainings(ScenarioFile.read(self.path / "scenario.toml").points)
        kept = [one for one in plan if self._directory.has_costs(one.key)]
        points = [{key: cell(value) for key, value in one.values.items()} for one in kept]
        keys = frames.KeyColumns(list(dict.fromkeys(key for point in points for key in point)), points)
        rounds = (
            ({"method": one.method.name, "seed": one.seed, **keys.varied(point)}, self._directory.read_costs(one.key))
            for one, point in zip(kept, points, strict=True)
        )
        return self._frame(frames.costs(rounds))

    def model(
        self, method: str, seed: int | None = None, into: nn.Module | None = None, at: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor] | nn.Module:
        """The model that a training ended with, with the running statistics that it was evaluated with.

        Args:
            method: whose.
            seed: of the training; may be left out where there is only one.
            into: a module of the user's own, whose parameters and buffers get the model's values (``load_state_dict``,
                strictly); it is returned. Without it the result is the state dict: tensors on the CPU by name.
            at: values of the varied keys that make it another training, where there are several.

        Raises:
            SimgmcError: there is no such model (it diverged, or the run is older), several fit, or the module has other
                parameters.

        Example:
            >>> net = run.model("GMC", seed=1, into=Net())
        """
        from simgmc.experiment.final_model import read_model  # loads torch

        return read_model(self._directory, method, seed, dict(at or {}), into)

    @cached_property
    def results(self) -> Results:
        """The series as arrays, as figures and tables read them."""
        names = [method["name"] for method in self.scenario.get("methods", ()) if "name" in method]
        metric = self._report.get("metric")
        measure = None if metric is None else measure_of(metric, self._report.get("better") == "higher")
        return read_results(self._directory, names, measure)

    def details(self) -> Mapping[SeriesKey, Details]:
        """As of :class:`Readable`."""
        return self._directory.details()

    def partitions(self) -> Sequence[PartitionTable]:
        """As of :class:`Readable`."""
        return read_partition_table(self._directory)

    def rows(self, file: str) -> Iterable[tuple[SeriesKey, Any]]:
        """As of :class:`Readable`."""
        return self._directory.rows(file)

    @cached_property
    def keys(self) -> frames.KeyColumns:
        """As of :class:`Readable`."""
        return frames.KeyColumns.of_run(self.results)

    @property
    def _report(self) -> Mapping[str, Any]:
        return self.scenario.get("report", {})


class Comparison(Readable):
    """Several runs side by side, see :func:`compare`.

    Its frames are those of a :class:`Run`, with the column ``run`` and one for every key that differs between the runs'
    scenarios, among them those that vary within one.
    """

    def __init__(
        self,
        runs: Sequence[str | Path | Run] | Mapping[str, str | Path | Run],
        *,
        target: float | None = None,
        baseline: str | None = None,
        backend: str | None = None,
    ):
        super().__init__(backend)
        self.runs = _named(runs, backend)
        self._together = Together({name: one.scenario for name, one in self.runs.items()})
        measures = {name: one.results.measure.name for name, one in self.runs.items()}
        targets = {} if target is not None else {name: one.target for name, one in self.runs.items()}
        check_comparable({name: one.scenario for name, one in self.runs.items()}, measures, targets)
        self._target = next(iter(targets.values()), target)
        stated = {one.baseline for one in self.runs.values()}
        self._baseline = baseline or (stated.pop() if len(stated) == 1 else None)
        self.results.only({}, [self.baseline] if self.baseline else [], self.name)  # the baseline is there

    @property
    def name(self) -> str:
        """Of all runs, for messages."""
        return "the comparison"

    @property
    def target(self) -> float | None:
        """The value to reach in all runs."""
        return self._target

    @property
    def baseline(self) -> str | None:
        """The method that speed-ups compare with, within each run."""
        return self._baseline

    def __repr__(self) -> str:
        return f"simgmc.compare({ {name: str(one.path) for name, one in self.runs.items()} })"

    @cached_property
    def results(self) -> Results:
        """The series of all runs, the run being the first key of their grid."""
        return self._together.results({name: one.results for name, one in self.runs.items()})

    def details(self) -> Mapping[SeriesKey, Details]:
        """As of :class:`Readable`."""
        found = ((name, one.details()) for name, one in self.runs.items())
        return {self._together.key(name, key): details for name, here in found for key, details in here.items()}

    def partitions(self) -> Sequence[PartitionTable]:
        """Who holds what in the first run."""
        return next(iter(self.runs.values())).partitions()

    def rows(self, file: str) -> Iterable[tuple[SeriesKey, Any]]:
        """As of :class:`Readable`."""
        return ((self._together.key(name, key), row) for name, one in self.runs.items() for key, row in one.rows(file))

    @cached_property
    def keys(self) -> frames.KeyColumns:
        """As of :class:`Readable`: the run, and every key that differs within or between the runs."""
        return frames.KeyColumns.of_run(self.results, self._together.differing)


RunLike = str | Path | Run | Comparison | Sequence[str | Path | Run] | Mapping[str, str | Path | Run]
"""What can be looked at: a run or a comparison, or what :func:`simgmc.load` and :func:`simgmc.compare` take."""


def readable(run: RunLike) -> Run | Comparison:
    """A run directory as a :class:`Run`, several as a :class:`Comparison`."""
    if isinstance(run, (Run, Comparison)):
        return run
    return Run(run) if isinstance(run, (str, Path)) else Comparison(run)


def readable_all(runs: Sequence[str | Path], target: float | None = None) -> Run | Comparison:
    """One run by itself, several side by side; with a target of their own all the same."""
    return Run(runs[0]) if len(runs) == 1 and target is None else Comparison(runs, target=target)


def _named(runs: Sequence[str | Path | Run] | Mapping[str, str | Path | Run], backend: str | None) -> dict[str, Run]:
    if isinstance(runs, (str, os.PathLike)) or len(runs) == 0:
        raise SimgmcError("compare needs several runs: a list of run directories, or a dict of them by name")
    if isinstance(runs, Mapping):
        return {str(name): Run(one, backend=backend) for name, one in runs.items()}
    found: dict[str, Run] = {}
    for run in (Run(one, backend=backend) for one in runs):
        name = run.path.resolve().name
        if name in found:
            raise SimgmcError(
                f"compare: {found[name].path} and {run.path} are both called {show_value(name)}: give a dict of names "
                "and runs"
            )
        found[name] = run
    return found
