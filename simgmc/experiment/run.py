"""``simgmc run``: header, trainings, tables, plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simgmc.compression.rows import set_threads
from simgmc.core.errors import SimgmcError
from simgmc.core.heap import give_back
from simgmc.core.interruption import Interruption
from simgmc.core.layout import Layout
from simgmc.core.quantities import bytes_text, time_text
from simgmc.core.terminal import plain_console
from simgmc.experiment.assembly import Given, WorkloadFactory
from simgmc.experiment.explanation import explain, print_explanations
from simgmc.experiment.header import gossip_lines, line, print_cluster
from simgmc.experiment.partition_tables import write_partition_tables
from simgmc.experiment.plan import Training, training_values, trainings
from simgmc.experiment.preflight.checks import late_milestones
from simgmc.experiment.preflight.compute_times import state_times, times_of_run
from simgmc.experiment.preflight.memory import Prediction, TooLarge, predict_memory, require_memory
from simgmc.experiment.preflight.prediction import predict, wire_format
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.simulation import Simulation
from simgmc.results.directory import run_directory
from simgmc.results.directory.checkpoint import CHECKPOINTS, DEFAULT_EVERY, Checkpoints, check_interval
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import COLLECTIVE_KEY, RunDirectory
from simgmc.results.directory.run_lock import writing
from simgmc.results.directory.scenario_changes import heading
from simgmc.results.report import report
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.series.read import value_text
from simgmc.scenario import ScenarioFile


def run(
    file: ScenarioFile,
    *,
    out: str | Path,
    device: str = "auto",
    data_dir: str | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    checkpoint_every: float = DEFAULT_EVERY,
    console: Console | None = None,
    given: Given | None = None,
) -> Path:
    """Run a scenario into the directory ``out``; returns it.

    A run of the same scenario that is there goes on; ``resume`` makes it an error if there is
    none. A training under way is saved every ``checkpoint_every`` seconds, and when the run is
    asked to stop (KeyboardInterrupt is then raised, with the signal's number). ``given``: the data
    and the model that a scenario calls ``given``.
    """
    check_interval(checkpoint_every)
    console = console or plain_console()
    workload_of = _factory(device, data_dir, threads, given)
    file = times_of_run(file, out, workload_of, overwrite)
    text, keys = file.resolved(), tuple(file.grid)
    if not run_directory.check_free(out, text, overwrite=overwrite) and resume:
        raise SimgmcError(f"{out} holds no run that could go on: check --out, or leave --resume away to begin one")
    plan = trainings(file.points)
    needed, ways = _build_fitting(plan, workload_of)
    interruption = Interruption()
    with interruption.listening(), writing(out):
        directory = run_directory.create(out, _computed_with(ways) + text, grid_keys=keys, overwrite=overwrite)
        _header(console, file, workload_of, needed)
        write_partition_tables(directory, file.points, workload_of.load)
        _say_what_is_there(console, plan, directory, ways)
        with RunProgress(console, len(plan), file.points[0].scenario.report.metric) as progress:
            Simulation(file.points, directory, workload_of, progress, checkpoint_every, interruption).run()
        report(console, directory, file.points)
        if len(file.points) <= MAX_POINTS:
            print_explanations(console, list(explain(directory, file.points)))
    return directory.path


def _factory(device: str, data_dir: str | None, threads: int | None, given: Given | None = None) -> WorkloadFactory:
    """Builds workloads on so many threads, which compressors use too."""
    made = WorkloadFactory(device, data_dir, threads, given)
    set_threads(made.threads)
    return made


def _build_fitting(plan: list[Training], workload_of: WorkloadFactory) -> tuple[Prediction | None, list[str]]:
    """As :func:`_build_each`; on fewer threads, where only so the run fits into the memory."""
    while True:
        try:
            return _build_each(plan, workload_of)
        except TooLarge as error:
            if error.threads is None:
                raise
            workload_of.fewer_threads(error.threads)
            set_threads(error.threads)


def _build_each(plan: list[Training], workload_of: WorkloadFactory) -> tuple[Prediction | None, list[str]]:
    """Builds one workload per combination of training keys and lets every method send a first message of that size.

    So what cannot be built or sent, or would not fit into the memory, fails before anything is written.
    Returns the memory of the training that needs most, and the ways in which gradients are computed.
    """
    most: Prediction | None = None
    ways: list[str] = []
    layouts: dict[str, Layout] = {}
    sent: set[tuple[str, str]] = set()
    for training in plan:
        group = repr(training_values(training.points[0]))
        if group not in layouts:
            workload = workload_of(training.scenario, training.seed)
            layouts[group] = workload.layout
            ways.append(_way(workload))
        if (group, training.method.name) not in sent:
            sent.add((group, training.method.name))
            if not training.asynchronous:
                wire_format(training, layouts[group])
            needed = predict_memory(training, workload)
            require_memory(needed, workload.workers)
            if training.asynchronous:  # whose first messages take all workers, and so the memory of a whole run
                wire_format(training, layouts[group])
                give_back()
            most = max((one for one in (most, needed) if one), key=lambda one: one.total)
    return most, list(dict.fromkeys(ways))


def _way(workload: Any) -> str:
    """How gradients are computed: device, route, precision."""
    device = str(workload.device)
    if workload.device.type == "cuda":
        device = f"{device} ({torch.cuda.get_device_name(workload.device)})"
    return f"on {device}, route: {workload.route}, {getattr(workload, 'precision', str(workload.dtype).removeprefix('torch.'))}"


def _computed_with(ways: list[str]) -> str:
    """The heading of the resolved scenario. Neither it nor a result depends on the number of threads."""
    return "".join(f"# gradients {way}; torch {torch.__version__}\n" for way in ways)


def _say_what_is_there(console: Console, plan: list[Training], directory: RunDirectory, ways: list[str]) -> None:
    """The header's lines on a run that goes on."""
    finished = directory.finished()
    whole = sum(all(training.series(point) in finished for point in training.points) for training in plan)
    parts = [f"{whole} of {len(plan)} trainings finished before"] if finished else []
    if (directory.path / CHECKPOINTS).is_dir():
        for training in plan:
            saved = Checkpoints(directory.path / CHECKPOINTS, training.key).load(arrays=False)
            if saved is not None:
                parts.append(f"{training.title} goes on after {saved[1]['at']}")
    if parts:
        line(console, "resumed", "; ".join(parts))
    before, now = heading(directory.scenario_text()), _computed_with(ways)
    if whole < len(plan) and before not in ("", now):  # runs from before it was written have none
        was, goes_on = (" and ".join(text.replace("# ", "").splitlines()) for text in (before, now))
        line(console, "note", f"was begun with {was}; goes on with {goes_on}, which need not round alike")


def dry_run(
    file: ScenarioFile,
    *,
    device: str = "auto",
    data_dir: str | None = None,
    threads: int | None = None,
    console: Console | None = None,
) -> None:
    """Print what memory the run would need, what it would send and how long it would take in simulated time."""
    console = console or plain_console()
    workload_of = _factory(device, data_dir, threads)
    file = state_times(file, workload_of)
    needed, _ = _build_fitting(_one_seed(file), workload_of)
    _header(console, file, workload_of, needed)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="prediction (nothing is trained)", title_justify="left")
    keys = tuple(file.grid) or (COLLECTIVE_KEY,)
    for column in ("method", *keys):
        table.add_column(column.removeprefix("cluster."), no_wrap=True)
    for column in ("rounds", "simulated time", "sent by workers", "through the server"):
        table.add_column(column, justify="right", no_wrap=True)
    bounded, stops = False, []
    for training in _one_seed(file):
        workload = workload_of(training.scenario, training.seed)
        for found in predict(training, workload.layout, workload.batches_per_epoch):
            bounded |= found.upper_bound
            sign = "≤ " if found.upper_bound else ""
            transport = str(training.series(found.point).transport)
            values = {key: value_text(cell(value)) for key, value in found.point.values.items()} | {
                COLLECTIVE_KEY: transport
            }
            if found.stopped:
                where = ", ".join([transport, *(values[key] for key in keys if key != COLLECTIVE_KEY)])
                stops.append(f"{found.method} ({where}) ends early: {found.stopped}")
            through = sign + bytes_text(found.bytes_server) if found.bytes_server else "-"
            numbers = str(found.rounds), sign + time_text(found.sim_time_s), bytes_text(found.bytes_up), through
            table.add_row(Text(found.method), *(Text(values[key]) for key in keys), *numbers)
    console.print(table)
    if bounded:
        console.print(
            "≤: sparse supports taken as independent on every worker; real ones overlap, so the server sends less."
        )
    for stop in stops:
        console.print(stop, markup=False, highlight=False, soft_wrap=True)


def _one_seed(file: ScenarioFile) -> list[Training]:
    first = file.points[0].scenario.seeds[0]
    return [training for training in trainings(file.points) if training.seed == first]


def _header(
    console: Console, file: ScenarioFile, workload_of: WorkloadFactory, needed: Prediction | None = None
) -> None:
    print_cluster(console, file)
    scenario = file.points[0].scenario
    workload = workload_of(scenario, scenario.seeds[0])
    what = scenario.workload.describe(workload.d)
    for late in late_milestones(file, workload.batches_per_epoch):
        line(console, "note", late)
    line(console, "workload", f"{what}; gradients {_way(workload)}")
    if needed is not None:
        line(console, "memory", str(needed))
    if workload_of.threads < workload_of.threads_wanted:
        used = f"{workload_of.threads} of {workload_of.threads_wanted}"
        line(console, "threads", f"{used}: what more of them hold at once would not fit into the memory")
    first = {training.method.name: training for training in reversed(_one_seed(file))}
    for training in (first[method.name] for method in scenario.methods):
        line(console, "wire", f"{training.method.name}: {wire_format(training, workload.layout)}")
    for gossip in gossip_lines(scenario):
        line(console, "gossip", gossip)
