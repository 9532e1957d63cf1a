"""The story of a run, from a scenario to its report: ``simgmc run``.

    scenario -> plan -> preflight -> for each training: first cluster, costs, replays on the others -> report

Trainings run one after another or side by side, see :mod:`simgmc.experiment.engines`. Each training is told how by its
own kind, see :mod:`simgmc.experiment.training`; a run that was stopped goes on where it was, see
:mod:`simgmc.results.directory.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.core.interruption import SAVED_EVERY, Interruption
from simgmc.core.processes.side_by_side import Beside
from simgmc.core.terminal import plain_console
from simgmc.experiment.answers.told import tell
from simgmc.experiment.assembly import Given, WorkloadFactory
from simgmc.experiment.engines.choice import Choice, Sweeping, check_jobs
from simgmc.experiment.engines.here import Here
from simgmc.experiment.engines.task import Engine, Failure, Task, replay_kept
from simgmc.experiment.header import print_cluster, print_resumed
from simgmc.experiment.partition_tables import write_partition_tables
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.compute_times import times_of_run
from simgmc.experiment.preflight.trial import print_trial, try_out
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.stored import Stored
from simgmc.experiment.sweeps.best import print_best
from simgmc.experiment.sweeps.halving import judge_of
from simgmc.experiment.sweeps.recognised import carry_over
from simgmc.experiment.tracking.tracking import Tracking
from simgmc.experiment.tracking.tracking import check as check_trackers
from simgmc.experiment.training import Progress, Training
from simgmc.results.directory import outside_files, run_directory
from simgmc.results.directory.checkpoint import CHECKPOINTS, Checkpoints, check_interval
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.run_lock import writing
from simgmc.scenario import ScenarioFile


def run(
    file: ScenarioFile,
    *,
    out: str | Path,
    device: str = "auto",
    data_dir: str | None = None,
    threads: int | None = None,
    jobs: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    checkpoint_every: float = SAVED_EVERY,
    refined: bool = False,
    console: Console | None = None,
    given: Given | None = None,
    plots: bool = True,
    sweeping: Sweeping | None = None,
    log: Sequence[str] = (),
) -> Path:
    """Run a scenario into the directory ``out``; returns it.

    A run of the same scenario that is there goes on; ``resume`` makes it an error if there is
    none. A training under way is saved every ``checkpoint_every`` seconds, and when the run is
    asked to stop (KeyboardInterrupt is then raised, with the signal's number). ``jobs``: trainings at once, each in a
    process of its own, that share the ``threads``; as many as cores and memory allow, where that pays, unless given.
    ``refined``: say where the answer flips to :data:`simgmc.experiment.answers.refine.ACCURACY`. ``given``: the data
    and the model that a scenario calls ``given``. ``plots``: whether any are drawn. ``sweeping``: as ``simgmc sweep``:
    others go on where a training fails (SimgmcError at the end), and what the directory holds of an earlier version of
    the scenario is kept where it is the same. ``log``: where evaluations are logged too, see
    :mod:`simgmc.experiment.tracking.tracking`.
    """
    log = [log] if isinstance(log, str) else log
    check_trackers(log)
    check_interval(checkpoint_every)
    check_jobs(jobs)
    console = console or plain_console()
    here = device if sweeping is None else sweeping.device_here(device)
    workload_of = WorkloadFactory(here, data_dir, threads, given)
    file = times_of_run(file, out, workload_of, overwrite)
    text, outside = file.resolved(), file.outside_files()
    file.require_code_unchanged()
    if sweeping is not None and not overwrite and Path(out).is_dir():
        with writing(out):
            carry_over(file, Path(out))
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

        tracking, metric = Tracking(log, directory), file.points[0].scenario.report.metric
        with closing(tracking), RunProgress(console, len(plan), metric, tracking=tracking) as progress:
            judge = judge_of(file, plan, directory) if sweeping is not None else None
            choice = Choice(
                file, trial, workload_of, directory, checkpoint_every, interruption, console, jobs, device, threads,
                sweeping, judge,
            )  # fmt: skip

            def engine(tasks: Sequence[Task]) -> Engine:
                tracking.expect(tasks)
                return choice(tasks)

            order = list if judge is None else judge.order
            failures = run_trainings(
                plan, directory, workload_of, progress, checkpoint_every, interruption, engine, order
            )
            tracking.catch_up(at_last=True)
        if len(failures) == len(plan):
            raise SimgmcError("\n".join(f"{one.task.training.title}: {one.reason}" for one in failures))

        with Beside() as beside:
            results = tell(console, directory, file, plan, beside, plots=plots, refined=refined)
        if sweeping is not None:
            print_best(console, file, results, failures)
    if failures:
        raise SimgmcError(
            f"{len(failures)} of {len(plan)} trainings failed (see above); the others are kept, and the same command "
            "tries those again"
        )
    return directory.path


def run_trainings(
    plan: Sequence[Training],
    directory: RunDirectory,
    workload_of: WorkloadFactory,
    progress: Progress,
    checkpoint_every: float = SAVED_EVERY,
    interruption: Interruption | None = None,
    choose: Callable[[Sequence[Task]], Engine] | None = None,
    order: Callable[[Sequence[Task]], Sequence[Task]] = list,
) -> list[Failure]:
    """Run what is not finished yet: what only has to be put on other clusters first, then what has to be trained.

    ``choose``: who trains these tasks; this process, one after another, unless given. ``order``: of them; that of the
    plan unless given. Returns those that failed, see :class:`simgmc.experiment.engines.task.Engine`.
    """
    stored, tasks = Stored.read(directory), list[Task]()
    for number, training in enumerate(plan):
        missing = [place for place, one in enumerate(training.points) if training.series(one) not in stored.finished]
        task = Task(number, training, tuple(missing))
        if training.is_kept(stored, task.points):
            Checkpoints(directory.path / CHECKPOINTS, training.key).remove()  # of a run killed just before it did
            replay_kept(training, task.points, stored, progress)
        else:
            tasks.append(task)
    engine: Engine = Here(workload_of, checkpoint_every, interruption or Interruption())
    if tasks and choose is not None:
        engine = choose(tasks)
    failures = engine.train(order(tasks), directory, progress)
    directory.put_in_order([training.series(point) for training in plan for point in training.points])
    return failures
