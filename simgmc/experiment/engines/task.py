"""One training as a task: trained here or elsewhere, by the same code, into the run directory that it is given."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.heartbeat import listening
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.series import write_all
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import Care, Finished, Progress, Training
from simgmc.experiment.under_way.evaluations import State
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.scenario import GridPoint


@dataclass(frozen=True)
class Task:
    """A training that a run has not finished."""

    number: int
    """Its place in the plan."""
    training: Training
    missing: tuple[int, ...]
    """The places, among its points, of those whose series are missing. None are where only what is kept of it for
    replays is."""

    @property
    def points(self) -> list[GridPoint]:
        """The points whose series are missing."""
        return [self.training.points[place] for place in self.missing]


@dataclass(frozen=True)
class Failure:
    """A training that could not be finished."""

    task: Task
    reason: str


class Judge(Protocol):
    """Who gives trainings up that promise little."""

    def hears(self, number: int, state: State) -> str | None:
        """What was found of the training of this number in the plan; why it is given up, None where it is not."""


class Engine(Protocol):
    """Who computes trainings."""

    def train(self, tasks: Sequence[Task], directory: RunDirectory, progress: Progress) -> list[Failure]:
        """Train each and write what it gives into the directory, in any order.

        Returns those that failed, where the others are to go on; else raises what the first of them failed for.
        """


def train(task: Task, workload_of: WorkloadFactory, directory: RunDirectory, care: Care) -> None:
    """Train on the first cluster, put what that leaves on the others, and write a series for each."""
    training, points = task.training, task.points
    with _memory_named(training), listening(functools.partial(care.progress.simulated, training)):
        workload = workload_of(training.scenario, training.seed)
        # Only what is kept of it may be missing: then the first cluster asks for the rounds again.
        first = (points or training.points)[0]
        with care.interruption.held():
            finished = training.train(workload, first, care)
            finished.keep(directory)
            _write(training, points[:1], finished, directory, care.progress)
            care.checkpoints.remove()
        _write(training, points[1:], finished, directory, care.progress)
        care.progress.ended(training, finished.outcome)


def replay_kept(training: Training, points: Sequence[GridPoint], stored: Stored, progress: Progress) -> None:
    """Put a training that an earlier run has finished on the clusters of these points."""
    if not points:
        progress.skipped(training)
        return
    with _memory_named(training), listening(functools.partial(progress.simulated, training)):
        finished = training.restored(stored)
        progress.started(training, len(finished.outcome.rounds))
        for state in finished.outcome.states:
            progress.evaluated(training, state)
        on_round = functools.partial(progress.round_done, training)
        _write(training, points, finished, stored.directory, progress, on_round)
        progress.ended(training, finished.outcome)


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
            "on from there, once other programs leave more or with fewer --jobs or --threads"
        ) from None
