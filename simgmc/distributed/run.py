"""The story of a run on real processes, on every rank: ``python -m simgmc.distributed``.

    scenario -> plan -> rank 0 tries it -> for each training: a group of all ranks, rounds, what came of it -> report

Rank 0 alone writes the run directory, and speaks. A run that was stopped goes on when the same command is given
again, or when torchrun starts it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.core.processes.cores import usable_cores
from simgmc.core.processes.side_by_side import Beside
from simgmc.core.terminal import plain_console
from simgmc.distributed import measured
from simgmc.distributed.checkpoints import RankCheckpoints
from simgmc.distributed.events.training import EventsOnRanks
from simgmc.distributed.group import Group, Place
from simgmc.distributed.server import serve
from simgmc.distributed.synchronous import Keeper, Manner, RoundsOnRanks, needs_server
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.header import print_cluster
from simgmc.experiment.partition_tables import write_partition_tables
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.compute_times import times_of_run
from simgmc.experiment.preflight.trial import print_trial, try_out
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.stored import Stored
from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.experiment.training import Training
from simgmc.results.directory import outside_files, run_directory
from simgmc.results.directory.checkpoint import CHECKPOINTS
from simgmc.results.directory.kept_run import MEASURED
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.run_lock import writing
from simgmc.results.report import report
from simgmc.scenario import ScenarioFile


@dataclass(frozen=True)
class Choices:
    """What the command line says."""

    out: Path
    manner: Manner
    device: str = "auto"
    backend: str = "auto"
    data_dir: str | None = None
    threads: int | None = None
    overwrite: bool = False
    timeout: float = 300.0
    """Seconds that a rank waits for another."""
    plots: bool = True


class NotPreparedError(SimgmcError):
    """Rank 0 has found something wrong, and has said what."""


def run(file: ScenarioFile, choices: Choices) -> None:
    """Run a scenario on this rank of a group. Raises SimgmcError; RankLostError where another rank is gone."""
    rank = int(os.environ["RANK"])
    _refuse_what_cannot_be(file, int(os.environ["WORLD_SIZE"]))
    device = _device(choices.device)
    backend = choices.backend if choices.backend != "auto" else "nccl" if device.type == "cuda" else "gloo"
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = choices.threads or max(1, usable_cores() // local)
    torch.set_num_threads(threads)
    workload_of = WorkloadFactory(device.type, choices.data_dir, threads)
    plan = trainings(file.points)

    def join(name: str, together: int | None = None) -> Group:
        return Group(backend, device, choices.timeout, name, together)

    with contextlib.ExitStack() as closing:
        home: _Home | None = None
        first = join("preparation")
        if rank == 0:
            home = _prepared(first, lambda: _Home.opened(file, choices, workload_of, closing))
        elif not first.told(None):
            raise NotPreparedError("rank 0 could not begin")
        places = first.gathered(Place.here().host)
        first.leave()
        if home is not None:
            home.say_how(choices, backend, places)
        for number, training in enumerate(plan):
            synchronous = isinstance(training, SynchronousTraining)
            group = join(f"training {number}", training.scenario.workload.workers if synchronous else None)
            try:
                _run_training(training, workload_of, group, choices, home)
            finally:
                group.leave()
        if home is not None:
            home.report(file, choices)


def _run_training(
    training: Training, workload_of: WorkloadFactory, group: Group, choices: Choices, home: _Home | None
) -> None:
    (point,) = training.points
    if home is not None:
        group.tell("finished", str(home.is_finished(training)))
    if group.asked("finished") == "True":
        if home is not None:
            home.progress.skipped(training)
        return
    if group.rank >= group.size:
        if needs_server(training):
            serve(group, group.size)
        return
    workload = workload_of(training.scenario, training.seed)
    keeper = None if home is None else Keeper(home.directory, home.progress)
    folder = choices.out / CHECKPOINTS / f"ranks-{hashlib.sha256(training.key.encode()).hexdigest()[:16]}"
    checkpoints = RankCheckpoints(folder, group, choices.manner.checkpoint_every)
    if isinstance(training, AsynchronousTraining):
        EventsOnRanks(training, workload, group, choices.manner, checkpoints, keeper).run()
        return
    assert isinstance(training, SynchronousTraining)
    RoundsOnRanks(training, workload, group, choices.manner, checkpoints, keeper).run()


def _refuse_what_cannot_be(file: ScenarioFile, size: int) -> None:
    """Raises SimgmcError for what real processes cannot do."""
    if len(file.points) > 1:
        raise SimgmcError(
            f"{file.place}: has a grid of {len(file.points)} points; real processes run on the one network that they "
            "have: choose a point, such as --set " + next(f"{key}={values[0]}" for key, values in file.grid.items())
        )
    scenario = file.points[0].scenario
    workers = scenario.workload.workers
    servers = max(len(scenario.cluster.server_names(scenario.exchange(method))) for method in scenario.methods)
    if size not in (workers, workers + servers):
        more = f", or {workers + servers} with processes for the servers" if servers else ""
        raise SimgmcError(
            f"{file.place}: workload.workers = {workers}, and there are {size} processes: each worker is one; start "
            f"torchrun with --nproc-per-node {workers}{more}, or give --set workload.workers={size}"
        )


def _device(name: str) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise SimgmcError(f"device = {name}: rank {local} of this machine has no CUDA device: choose --device cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@dataclass(frozen=True)
class _Home:
    """What rank 0 alone has: the run directory and a voice."""

    console: Console
    file: ScenarioFile
    directory: RunDirectory
    progress: RunProgress
    stored: Stored

    @classmethod
    def opened(
        cls, file: ScenarioFile, choices: Choices, workload_of: WorkloadFactory, closing: contextlib.ExitStack
    ) -> _Home:
        """Try the scenario and open the run directory, as ``simgmc run`` does."""
        console, out = plain_console(), choices.out
        file = times_of_run(file, out, workload_of, choices.overwrite)
        text, outside = file.resolved(), file.outside_files()
        file.require_code_unchanged()
        if not choices.overwrite:
            outside_files.check_unchanged(out, outside)
        run_directory.check_free(out, text, overwrite=choices.overwrite)
        trial = try_out(trainings(file.points), workload_of)
        closing.enter_context(writing(out))
        directory = run_directory.create(out, trial.heading + text, grid_keys=(), overwrite=choices.overwrite)
        outside_files.keep(directory.path, outside, directory.replace)
        print_cluster(console, file)
        print_trial(console, file, trial, workload_of)
        write_partition_tables(directory, file.points, workload_of.load)
        progress = RunProgress(console, len(trainings(file.points)), file.points[0].scenario.report.metric, "measured")
        closing.enter_context(progress)
        return cls(console, file, directory, progress, Stored.read(directory))

    def is_finished(self, training: Training) -> bool:
        """Whether an earlier run has finished it."""
        return all(training.series(point) in self.stored.finished for point in training.points)

    def say_how(self, choices: Choices, backend: str, hosts: Sequence[str]) -> None:
        """Write that times are measured, and how."""
        about = {
            "times": "measured on real processes; columns that a simulation calls simulated time hold seconds of a "
            "clock that stands still while a state is evaluated or saved",
            "backend": backend,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "hosts": list(hosts),
            "sums": "in rank order" if choices.manner.in_rank_order else "by the group's own all_reduce where it can",
            "gradients": "as long as on the scenario's cluster" if choices.manner.paced else "as long as they take",
            "steps": f"{measured.FOLDER}/KEY.csv: a row for each rank, round and step",
        }
        content = json.dumps(about, indent=2) + "\n"
        self.directory.replace(self.directory.path / MEASURED, content.encode())

    def report(self, file: ScenarioFile, choices: Choices) -> None:
        """Tables and plots."""
        self.progress.__exit__()
        with Beside() as beside:
            reported = report(self.console, self.directory, self.file.points, beside, plots=choices.plots)
            reported.print_files(self.console, self.directory)


def _prepared(group: Group, prepare: Callable[[], _Home]) -> _Home:
    """What rank 0 prepares, with a word to the others whether it could."""
    try:
        home = prepare()
    except BaseException:
        group.told(False)
        raise
    group.told(True)
    return home
