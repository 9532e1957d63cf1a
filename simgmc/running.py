"""``simgmc run``: header, trainings, tables, plots."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simgmc.assembly import WorkloadFactory, state_times, times_are_stated
from simgmc.console import plain_console
from simgmc.dry_run import predict, wire_format
from simgmc.header import line, print_cluster
from simgmc.progress import RunProgress
from simgmc.reporting import report
from simgmc.results import run_directory
from simgmc.results.grids import MOST_POINTS
from simgmc.results.quantities import bytes_text, time_text
from simgmc.results.run_lock import writing
from simgmc.scenario import ScenarioFile
from simgmc.simulation import Simulation, Training, training_values, trainings
from simgmc.why import explain, print_explanations


def run(
    file: ScenarioFile,
    *,
    out: str | Path,
    device: str = "auto",
    data_dir: str | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Run a scenario into the directory ``out``; returns it."""
    console = console or plain_console()
    if threads:
        from simgmc.compression.rows import set_threads

        set_threads(threads)
    workload_of = WorkloadFactory(device, data_dir, threads)
    file = _stated(file, out, workload_of, overwrite)
    text, keys = file.resolved(), tuple(file.grid)
    run_directory.check_free(out, text, overwrite=overwrite)
    plan = trainings(file.points)
    _build_each(plan, workload_of)
    with writing(out):
        directory = run_directory.create(out, text, grid_keys=keys, overwrite=overwrite)
        _header(console, file, workload_of)
        with RunProgress(console, len(plan), file.points[0].scenario.report.metric) as progress:
            Simulation(file.points, directory, workload_of, progress).run()
        report(console, directory, file.points)
        if len(file.points) <= MOST_POINTS:
            print_explanations(console, list(explain(directory, file.points)))
    return directory.path


def _build_each(plan: list[Training], workload_of: WorkloadFactory) -> None:
    """Builds one workload per combination of training keys, so that what cannot be built fails before anything is written."""
    built: set[str] = set()
    for training in plan:
        group = repr(training_values(training.points[0]))
        if group not in built:
            built.add(group)
            workload_of(training.scenario, training.seed)


def _stated(file: ScenarioFile, out: str | Path, workload_of: WorkloadFactory, overwrite: bool) -> ScenarioFile:
    """The file with its times stated; a stopped run goes on with the times that it measured."""
    earlier = Path(out) / "scenario.toml"
    if not times_are_stated(file) and not overwrite and os.path.isfile(earlier):
        before = ScenarioFile.read(earlier)
        if _without_times(before) == _without_times(file):
            return before
    return state_times(file, workload_of)


def _without_times(file: ScenarioFile) -> dict[str, Any]:
    content = tomllib.loads(file.resolved())
    del content["cluster"]["compute"]
    for method in content["methods"]:
        method.pop("compression_time", None)
    return content


def dry_run(file: ScenarioFile, *, device: str = "auto", data_dir: str | None = None, console: Console | None = None) -> None:
    """Print what the run would send and how long it would take in simulated time."""
    console = console or plain_console()
    workload_of = WorkloadFactory(device, data_dir, None)
    file = state_times(file, workload_of)
    _header(console, file, workload_of)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="prediction (nothing is trained)", title_justify="left")
    for column in ("method", *(file.grid or ("collective",))):
        table.add_column(column.removeprefix("cluster."), no_wrap=True)
    for column in ("rounds", "simulated time", "sent by workers", "through the server"):
        table.add_column(column, justify="right", no_wrap=True)
    bounded = False
    for training in _one_seed(file):
        workload = workload_of(training.scenario, training.seed)
        for found in predict(training, workload.layout, workload.batches_per_epoch):
            bounded |= found.upper_bound
            sign = "≤ " if found.upper_bound else ""
            grid = [str(value) for value in found.point.values.values()] or [found.point.scenario.cluster.collective]
            table.add_row(Text(found.method), *map(Text, grid), str(found.rounds), sign + time_text(found.sim_time_s), bytes_text(found.bytes_up), sign + bytes_text(found.bytes_server) if found.bytes_server else "-")
    console.print(table)
    if bounded:
        console.print("≤: sparse supports taken as independent on every worker; real ones overlap, so the server sends less.")


def _one_seed(file: ScenarioFile) -> list[Training]:
    first = file.points[0].scenario.seeds[0]
    return [training for training in trainings(file.points) if training.seed == first]


def _header(console: Console, file: ScenarioFile, workload_of: WorkloadFactory) -> None:
    print_cluster(console, file)
    scenario = file.points[0].scenario
    workload = workload_of(scenario, scenario.seeds[0])
    what = scenario.workload.describe(workload.d)
    line(console, "workload", f"{what}; gradients on {workload.device}, route: {workload.route}")
    for training in _one_seed(file)[: len(scenario.methods)]:
        line(console, "wire", f"{training.method.name}: {wire_format(training, workload.layout)}")
