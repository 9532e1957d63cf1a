"""The story of a run, from a scenario to its report: ``simgmc run``.

    scenario -> plan -> preflight -> for each training: first cluster, costs, replays on the others -> report

Each training is told how by its own kind, see :mod:`simgmc.experiment.training`; a run that was stopped goes on
where it was, see :mod:`simgmc.results.directory.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.interruption import Interruption
from simgmc.core.terminal import plain_console
from simgmc.experiment.answers.explanation import explain
from simgmc.experiment.answers.refine import refine
from simgmc.experiment.answers.report_page import print_page
from simgmc.experiment.assembly import Given, WorkloadFactory
from simgmc.experiment.header import print_cluster, print_resumed
from simgmc.experiment.partition_tables import write_partition_tables
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.compute_times import times_of_run
from simgmc.experiment.preflight.trial import print_trial, try_out
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.series import write_all
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import Care, Finished, Progress, Training
from simgmc.results.directory import outside_files, run_directory
from simgmc.results.directory.checkpoint import CHECKPOINTS, DEFAULT_EVERY, Checkpoints, check_interval
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.run_lock import writing
from simgmc.results.report import report
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.tables.explanations import print_explanations
from simgmc.scenario import GridPoint, ScenarioFile


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
    refined: bool = False,
    console: Console | None = None,
    given: Given | None = None,
    plots: bool = True,
) -> Path:
    """Run a scenario into the directory ``out``; returns it.

    A run of the same scenario that is there goes on; ``resume`` makes it an error if there is
    none. A training under way is saved every ``checkpoint_every`` seconds, and when the run is
    asked to stop (KeyboardInterrupt is then raised, with the signal's number). ``refined``: say where the
    answer flips to :data:`simgmc.experiment.answers.refine.ACCURACY`. ``given``: the data and the model that a
    scenario calls ``given``. ``plots``: whether any are drawn.
    """
    check_interval(checkpoint_every)
    console = console or plain_console()
    workload_of = WorkloadFactory(device, data_dir, threads, given)
    file = times_of_run(file, out, workload_of, overwrite)
    text, outside = file.resolved(), file.outside_files()
    file.require_code_unchanged()
    if not overwrite:
        outside_files.check_unchanged(Path(out), outside)
    if not run_directory.check_free(out, text, overwrite=overwrite) and resume:
        raise SimgmcError(f"{out} holds no run that could go on: check --out, or leave --resume away to begin one")

    plan = trainings(file.points)
    trial = try_out(plan, workload_of)

    interruption = Interruption()
    with interruption.listening(), writing(out):
        directory = run_directory.create(out, trial.heading + text, grid_keys=tuple(file.grid), overwrite=overwrite)
        outside_files.keep(directory.path, outside, directory.replace)
        print_cluster(console, file)
        print_trial(console, file, trial, workload_of)
        write_partition_tables(directory, file.points, workload_of.load)
        print_resumed(console, plan, directory, trial.heading)

        with RunProgress(console, len(plan), file.points[0].scenario.report.metric) as progress:
            run_trainings(plan, directory, workload_of, progress, checkpoint_every, interruption)

        results = report(console, directory, file.points, plots=plots)
        if refined:
            refine(console, directory, file, plan, results)
        if len(file.points) <= MAX_POINTS:
            print_explanations(console, list(explain(directory, plan)))
        if plots:
            print_page(console, directory, results)
    return directory.path


def run_trainings(
    plan: Sequence[Training],
    directory: RunDirectory,
    workload_of: WorkloadFactory,
    progress: Progress,
    checkpoint_every: float = DEFAULT_EVERY,
    interruption: Interruption | None = None,
) -> None:
    """Run what is not finished yet, in the order of the plan."""
    stored, interruption = Stored.read(directory), interruption or Interruption()
    for training in plan:
        checkpoints = Checkpoints(directory.path / CHECKPOINTS, training.key, checkpoint_every, progress.warned)
        with _memory_named(training):
            run_training(training, stored, workload_of, Care(checkpoints, interruption, progress))


def run_training(training: Training, stored: Stored, workload_of: WorkloadFactory, care: Care) -> None:
    """Train on the first cluster, put what that leaves on the others, and write a series for each.

    What an earlier run has finished is not trained again.
    """
    directory, on_round = stored.directory, None
    missing = [point for point in training.points if training.series(point) not in stored.finished]
    if training.is_kept(stored, missing):
        care.checkpoints.remove()  # of a run that was killed just before it did
        if not missing:
            care.progress.skipped(training)
            return
        finished = training.restored(stored)
        care.progress.started(training, len(finished.outcome.rounds))
        for state in finished.outcome.states:
            care.progress.evaluated(training, state)
        on_round = care.progress.round_done
    else:
        workload = workload_of(training.scenario, training.seed)
        # Only what is kept of it may be missing: then the first cluster asks for the rounds again.
        first = (missing or training.points)[0]
        with care.interruption.held():
            finished = training.train(workload, first, care)
            finished.keep(directory)
            _write(training, missing[:1], finished, directory, care.progress)
            care.checkpoints.remove()
        missing = missing[1:]
    _write(training, missing, finished, directory, care.progress, on_round)
    care.progress.ended(training, finished.outcome)


def _write(
    training: Training,
    points: Sequence[GridPoint],
    finished: Finished,
    directory: RunDirectory,
    progress: Progress,
    on_round: Callable[[int, float], None] | None = None,
) -> None:
    """The series of a finished training on these points' clusters; ``on_round`` hears of replayed rounds."""
    keys = [training.series(point) for point in points]
    for key, series in write_all(directory, keys, finished.on(points, on_round), training.shared):
        if why := series.breakdown.stopped:
            where = [key.method, str(key.transport), *(value for _, value in key.grid), f"seed {key.seed}"]
            progress.warned(f"{', '.join(where)}: ended early: {why}")


@contextmanager
def _memory_named(training: Training) -> Iterator[None]:
    """Names the training in which the memory ran out, and what can be done."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise SimgmcError(
            f"{training.title}: the memory ran out; what was finished or saved is kept, and the same command goes "
            "on from there, once other programs leave more or with fewer --threads"
        ) from None
