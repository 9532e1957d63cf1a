"""``simgmc run --dry-run``: what a run would need, send and take, from a few rounds on random gradients."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from simgmc.core.quantities import bytes_text, time_text
from simgmc.core.terminal import plain_console, print_line, print_table
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.header import line, print_cluster
from simgmc.experiment.plan import of_one_seed
from simgmc.experiment.preflight.compute_times import state_times
from simgmc.experiment.preflight.prediction import predict
from simgmc.experiment.preflight.trial import print_trial, try_out
from simgmc.experiment.progress import LINE_SECONDS
from simgmc.experiment.training import Training
from simgmc.results.series.read import key_labels, value_text
from simgmc.scenario import ScenarioFile


class _Trying:
    """Says how far it is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, steps: int):
        self._console, self._steps, self._done = console, steps, 0
        columns = TextColumn("trying {task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bars.add_task("", total=steps)
        self._printed = time.monotonic()

    def __enter__(self) -> _Trying:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def tell(self, training: Training) -> None:
        """This training is tried next."""
        self._bars.update(self._task, description=training.title, completed=self._done)
        self._done += 1
        if not self._console.is_terminal and time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            print_line(self._console, f"[{self._done}/{self._steps}] trying {training.title}")


def dry_run(
    file: ScenarioFile,
    *,
    device: str = "auto",
    data_dir: str | None = None,
    threads: int | None = None,
    console: Console | None = None,
) -> None:
    """Print what memory the run would need, what it would send, and how long it would take: simulated, and really.

    By a part of what the run itself would do, and so never longer than that: each workload is built once, each method
    trained for a moment.
    """
    console = console or plain_console()
    file.require_code_unchanged()
    workload_of = WorkloadFactory(device, data_dir, threads)
    file = state_times(file, workload_of)
    plan = of_one_seed(file.points)
    with _Trying(console, 2 * len(plan)) as trying:
        trial = try_out(plan, workload_of, paced=True, tell=trying.tell)
        workload_of.let_go()
        predictions = []
        for training in plan:
            trying.tell(training)
            built = trial.built_for(training)
            predictions.append(predict(training, built.layout, built.batches_per_epoch))
    print_cluster(console, file)
    print_trial(console, file, trial, workload_of)
    keys = tuple(file.grid) or tuple(plan[0].series(plan[0].points[0]).texts)
    rows = []
    bounded, stops, in_all, sampled = False, [], 0.0, dict[str, None]()
    for training, found_on in zip(plan, predictions, strict=True):
        seconds = trial.pace_of(training).seconds
        in_all += seconds + sum(found.simulating_s for found in found_on)
        for number, found in enumerate(found_on):
            bounded |= found.upper_bound
            sign = "≥ " if found.lower_bound else "≤ " if found.upper_bound else ""
            if found.sampled:
                sampled[f"{found.method}: {found.sampled}"] = None
            series = training.series(found.point)
            values = {key: value_text(text) for key, text in series.texts.items()}
            if found.stopped:
                where = ", ".join([str(series.transport), *(values[key] for key, _ in series.grid)])
                stops.append(f"{found.method} ({where}) ends early: {found.stopped}")
            through = sign + bytes_text(found.bytes_server) if found.bytes_server else "-"
            numbers = str(found.rounds), sign + time_text(found.sim_time_s), bytes_text(found.bytes_up), through
            # Trained on the first cluster, put on the others.
            took = time_text((0 if number else seconds) + found.simulating_s)
            rows.append([found.method, *(values[key] for key in keys), *numbers, took])
    shown = key_labels(keys).values()
    print_table(
        console,
        "prediction (nothing is trained to its end, nothing is kept)",
        ("method", *shown, "rounds", "simulated time", "sent by workers", "through server", "real time"),
        {"": rows},
        names=1 + len(shown),
    )
    if bounded:
        print_line(
            console,
            "≤: sparse supports taken as independent on every worker; real ones overlap, so the server sends less.",
        )
    count = len(plan) * len(file.points[0].scenario.seeds)
    took = time_text(in_all * count / len(plan))
    line(
        console,
        "training",
        f"about {took} for {count}, one after another on --threads {workload_of.threads}; --jobs "
        "trains several at once (from the time that a few real rounds and an evaluation of each method took)",
    )
    for words in sampled:
        line(console, "sample", words)
    for stop in stops:
        print_line(console, stop)
