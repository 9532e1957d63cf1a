"""``simgmc replay``: a finished run's rounds on another cluster, without training and without torch."""

from __future__ import annotations

import gc
import tomllib
from collections import deque
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.files import read_text, reading_copies
from simgmc.core.processes.side_by_side import Beside
from simgmc.core.terminal import plain_console
from simgmc.experiment.answers.replayed import replayed
from simgmc.experiment.answers.told import tell
from simgmc.experiment.header import line, print_cluster
from simgmc.experiment.partition_tables import copy_partition_tables
from simgmc.experiment.plan import require_stated_times, trainings
from simgmc.experiment.series import write_all
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import bound
from simgmc.results.directory import outside_files, run_directory
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.run_lock import writing
from simgmc.results.directory.scenario_changes import differences, heading
from simgmc.results.series.grids import MAX_POINTS
from simgmc.scenario import ScenarioFile
from simgmc.scenario.code import changed


def replay(
    run: str | Path,
    *,
    settings: Iterable[tuple[str, Any]] = (),
    cluster: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    refined: bool = False,
    console: Console | None = None,
    plots: bool = True,
) -> Path:
    """Put a run on another cluster; returns the new run directory.

    ``settings`` change ``cluster`` keys (or the grid's), ``cluster`` is a TOML file whose
    ``[cluster]`` table replaces the run's. The metrics are those of a full run there. ``plots``: whether any are drawn.
    ``refined``: say where the answer flips to :data:`simgmc.experiment.answers.refine.ACCURACY`.
    """
    source = run_directory.open_run(Path(run) if Path(run).name not in ("", "..") else Path(run).resolve())
    console = console or plain_console()
    for file in outside_files.changed(source.path):
        line(console, "note", f"{file} has changed since the run: the copy that {source.path} keeps is used")
    gc.freeze()  # what is loaded stays: it is not looked through again and again while series are made by the thousand
    try:
        with reading_copies(outside_files.copies(source.path)):
            return _replay(source, settings, cluster, out, overwrite, refined, console, plots)
    finally:
        gc.unfreeze()


def _replay(
    source: RunDirectory,
    settings: Iterable[tuple[str, Any]],
    cluster: str | Path | None,
    out: str | Path | None,
    overwrite: bool,
    refined: bool,
    console: Console,
    plots: bool,
) -> Path:
    before = ScenarioFile.read(source.path / "scenario.toml")
    for package in changed(before.code):
        line(console, "note", f"{package} is another version than the run used")
    changes = list(settings)
    if cluster is not None:
        fixed = [(f"grid.{key}", None) for key in before.grid if key.startswith("cluster.")]
        changes = [("cluster", _cluster_table(cluster)), *fixed, *changes]
    after = before.with_settings(changes)
    _refuse_other_changes(before, after)
    require_stated_times(after.points, after.place)
    after, left_out = _replayable(after, before)
    out = Path(out) if out else source.path.with_name(source.path.name + "-replay")
    if out.resolve() == source.path.resolve():
        raise SimgmcError(f"{out}: is the run that is replayed; choose another directory with --out")
    text, keys = heading(source.scenario_text()) + after.resolved(), tuple(after.grid)
    run_directory.check_free(out, text, overwrite=overwrite)
    plan, stored = trainings(after.points), Stored.read(source)
    for training in plan:  # all that is needed is there, before anything is written
        kept = training.restored(stored)
        for point in training.points:
            kept.check(point)
    with writing(out), Beside() as beside:
        if plots and len(after.points) > MAX_POINTS:
            beside.call(import_module, "simgmc.results.figures.plots")  # while what they show is replayed
        directory = run_directory.create(out, text, grid_keys=keys, overwrite=overwrite)
        outside_files.keep(directory.path, after.outside_files(), directory.replace)
        print_cluster(console, after)
        for name in left_out:
            line(console, "left out", f"{name}: {_ANOTHER}; run it there with simgmc run")
        finished = directory.finished()
        missing = (
            (training, [point for point in training.points if training.series(point) not in finished])
            for training in plan
        )
        for one, points, series in replayed(missing, stored):
            training = one.training
            directory.copy_training(source, training.key)
            keys = [training.series(point) for point in points]
            deque(write_all(directory, keys, series, training.shared), maxlen=0)
        copy_partition_tables(source, directory)
        tell(console, directory, after, plan, beside, plots=plots, refined=refined, replayed=True)
    return directory.path


_ANOTHER = "the clock drives its training, or says who takes part in it, so that another network gives another one"


def _replayable(file: ScenarioFile, before: ScenarioFile) -> tuple[ScenarioFile, list[str]]:
    """The file with those methods only whose training does not depend on the clock, neither there
    nor in the run as it was, and the others' names.

    Raises SimgmcError where none is left, or the baseline is not.
    """
    scenario = file.points[0].scenario
    if scenario.workload.evaluation_interval()[1] == "seconds":
        raise SimgmcError(
            f"{file.place}: workload.evaluate_every = {show_value(scenario.workload.evaluate_every)}: "
            "on another network other rounds would be evaluated at these times; run it there with simgmc run"
        )
    points = (*file.points, *before.points)
    left_out = [method.name for method in scenario.methods if any(bound(point, method) for point in points)]
    if not left_out:
        return file, []
    if len(left_out) == len(scenario.methods):
        raise SimgmcError(
            f"{file.place}: {', '.join(left_out)}: cannot be replayed: {_ANOTHER}; run it there with simgmc run"
        )
    if scenario.report.baseline in left_out:
        raise SimgmcError(
            f"{file.place}: report.baseline = {show_value(scenario.report.baseline)}: cannot be replayed: {_ANOTHER}; "
            "choose another with --set report.baseline=NAME, or run it there with simgmc run"
        )
    return file.only([method.name for method in scenario.methods if method.name not in left_out]), left_out


def _cluster_table(path: str | Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(read_text(path, "scenario"))
    except (ValueError, RecursionError) as error:
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
        content.pop("code", None)  # of the methods as it was, see above; of the cluster another
        return content

    if found := differences(training_half(before), training_half(after)):
        raise SimgmcError(
            f"{after.place}: {found[0]}; only cluster and report keys can differ from the run that is replayed, "
            "for others train again with simgmc run"
        )
