"""``simgmc run --dry-run``: what a run would need, send and take, from a few rounds on random gradients."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simgmc.core.quantities import bytes_text, time_text
from simgmc.core.terminal import plain_console
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.header import print_cluster
from simgmc.experiment.plan import of_one_seed
from simgmc.experiment.preflight.compute_times import state_times
from simgmc.experiment.preflight.prediction import predict
from simgmc.experiment.preflight.trial import print_trial, try_out
from simgmc.results.series.read import value_text
from simgmc.scenario import ScenarioFile


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
    file.require_code_unchanged()
    workload_of = WorkloadFactory(device, data_dir, threads)
    file = state_times(file, workload_of)
    plan = of_one_seed(file.points)
    trial = try_out(plan, workload_of)
    print_cluster(console, file)
    print_trial(console, file, trial, workload_of)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="prediction (nothing is trained)", title_justify="left")
    keys = tuple(file.grid) or tuple(plan[0].series(plan[0].points[0]).texts)
    for column in ("method", *keys):
        table.add_column(column.removeprefix("cluster."), no_wrap=True)
    for column in ("rounds", "simulated time", "sent by workers", "through the server"):
        table.add_column(column, justify="right", no_wrap=True)
    bounded, stops = False, []
    for training in plan:
        workload = workload_of(training.scenario, training.seed)
        for found in predict(training, workload.layout, workload.batches_per_epoch):
            bounded |= found.upper_bound
            sign = "≤ " if found.upper_bound else ""
            series = training.series(found.point)
            values = {key: value_text(text) for key, text in series.texts.items()}
            if found.stopped:
                where = ", ".join([str(series.transport), *(values[key] for key, _ in series.grid)])
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
