"""``simgmc replay``: a finished run's rounds on another cluster, without training and without torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from simgmc.console import plain_console
from simgmc.errors import SimgmcError
from simgmc.header import print_cluster
from simgmc.network import simulate
from simgmc.reporting import report
from simgmc.results import run_directory
from simgmc.results.run_directory import COLLECTIVE_KEY, Breakdown, RunDirectory, SeriesKey
from simgmc.scenario import ScenarioFile
from simgmc.scenario.tables import show_value
from simgmc.simulation import Record, State, Training, cluster_settings, training_values, trainings, write_series
from simgmc.why import MOST_POINTS, explain, print_explanations


def replay(
    run: str | Path,
    *,
    settings: Iterable[tuple[str, Any]] = (),
    cluster: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Put a run on another cluster; returns the new run directory.

    ``settings`` change ``cluster`` keys (or the grid's), ``cluster`` is a TOML file whose
    ``[cluster]`` table replaces the run's. The metrics are those of a full run there.
    """
    console = console or plain_console()
    source = run_directory.open_run(run)
    before = ScenarioFile.read(source.path / "scenario.toml")
    changes = list(settings)
    if cluster is not None:
        changes.insert(0, ("cluster", _cluster_table(cluster)))
        changes += [(f"grid.{key}", None) for key in before.grid if key.startswith("cluster.")]
    after = before.with_settings(changes)
    _refuse_other_changes(before, after)
    out = Path(out) if out else source.path.with_name(source.path.name + "-replay")
    directory = run_directory.create(out, after.resolved(), grid_keys=tuple(after.grid), overwrite=overwrite)
    finished = directory.finished()
    evaluations, others = source.evaluations(), source.other_metrics()
    print_cluster(console, after)
    for training in trainings(after.points):
        key, breakdown = _recorded(source, training)
        states = [
            State(row.round, row.epoch, row.train_loss, row.test_loss, row.test_accuracy, row.rcc, others.get(key, {}).get(row.round, {}))
            for row in evaluations.get(key, ())
        ]
        record = Record(source.read_costs(training.key), states, breakdown.rcc, diverged_round=breakdown.diverged)
        for point in training.points:
            if training.series(point) not in finished:
                timing = simulate(cluster_settings(point.scenario, training.method, training.seed), record.rounds)
                write_series(directory, training.series(point), record, timing)
        directory.write_costs(training.key, record.rounds)
    report(console, directory, after.points)
    if len(after.points) <= MOST_POINTS:
        print_explanations(console, list(explain(directory, after.points)))
    return directory.path


def _cluster_table(path: str | Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SimgmcError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SimgmcError(f"{path}: not valid TOML: {error}") from None
    if not isinstance(content.get("cluster"), dict):
        raise SimgmcError(f"{path}: has no [cluster] table")
    return content["cluster"]


def _refuse_other_changes(before: ScenarioFile, after: ScenarioFile) -> None:
    """A replay may change when things happen, never what is computed."""

    def training_half(file: ScenarioFile) -> dict[str, Any]:
        content = tomllib.loads(file.resolved())
        del content["cluster"]
        content["grid"] = {key: value for key, value in file.grid.items() if not key.startswith("cluster.")}
        for method in content["methods"]:
            method.pop("compression_time", None)
        del content["report"]
        return content

    old, new = training_half(before), training_half(after)
    for key in old:
        if old[key] != new.get(key):
            raise SimgmcError(
                f"{after.place}: {key} = {show_value(new.get(key))}: differs from the run that is replayed; "
                "only cluster and report keys can, for the rest train again with simgmc run"
            )


def _recorded(source: RunDirectory, training: Training) -> tuple[SeriesKey, Breakdown]:
    """A series of the run that is replayed in which this training was timed."""
    wanted = {key: run_directory.cell(value) for key, value in training_values(training.points[0]).items()}
    for key, breakdown in source.breakdowns().items():
        own = {name: value for name, value in key.grid if not name.startswith("cluster.") and name != COLLECTIVE_KEY}
        if (key.method, key.seed, own) == (training.method.name, training.seed, wanted):
            return key, breakdown
    raise SimgmcError(f"{source.path}: the training {training.key!r} is not finished; finish it with simgmc run first")
