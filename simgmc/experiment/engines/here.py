"""Trainings one after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from simgmc.core.interruption import Interruption
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.engines.task import Failure, Task, train
from simgmc.experiment.training import Care, Progress
from simgmc.results.directory.checkpoint import CHECKPOINTS, Checkpoints
from simgmc.results.directory.run_directory import RunDirectory


class Here:
    """Trains in the order of the plan; what one of them fails for is raised at once."""

    def __init__(self, workload_of: WorkloadFactory, checkpoint_every: float, interruption: Interruption):
        self._workload_of, self._every, self._interruption = workload_of, checkpoint_every, interruption

    def train(self, tasks: Sequence[Task], directory: RunDirectory, progress: Progress) -> list[Failure]:
        """See :class:`simgmc.experiment.engines.task.Engine`."""
        for task in tasks:
            folder = directory.path / CHECKPOINTS
            checkpoints = Checkpoints(folder, task.training.key, self._every, progress.warned)
            train(task, self._workload_of, directory, Care(checkpoints, self._interruption, progress))
        return []
