"""What a process elsewhere needs to train any training of a plan, and the place where it does."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simgmc.core.errors import SimgmcError
from simgmc.core.interruption import Interruption
from simgmc.core.own_code.errors import described, own_places
from simgmc.experiment.assembly import Given, LoadedAs, WorkloadFactory
from simgmc.experiment.engines.task import Task, train
from simgmc.experiment.plan import trainings
from simgmc.experiment.training import Care, Progress
from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.results.directory.run_directory import RunDirectory, create
from simgmc.scenario import ScenarioFile
from simgmc.workloads.data.dataset import Dataset


@dataclass(frozen=True)
class Recipe:
    """A plan and the means to train it; goes to other processes by cloudpickle."""

    file: ScenarioFile
    text: str
    """The resolved scenario, as the run directory has it."""
    device: str
    data_dir: str | None
    threads: int
    given: Given
    checkpoint_every: float


def said_of(error: Exception) -> tuple[str, bool]:
    """What went wrong in a training, for another process; and whether it is the user's to mend, or simgmc's."""
    if isinstance(error, SimgmcError):
        return str(error), True
    if own_places(error):
        return f"in code of your own: {described(error)}", True
    return "".join(traceback.format_exception(error)), False


class Workplace:
    """Trains tasks of a recipe, each into a run directory of its own."""

    def __init__(self, recipe: Recipe, datasets: Mapping[LoadedAs, Dataset] | None = None):
        """``datasets``: those that need not be read here."""
        self._recipe = recipe
        self.plan = trainings(recipe.file.points)
        self._workload_of = WorkloadFactory(recipe.device, recipe.data_dir, recipe.threads, recipe.given)
        self._workload_of.loaded.update(datasets or {})

    @property
    def device(self) -> str:
        """On which gradients are computed here."""
        return self._workload_of.device

    def train(
        self,
        number: int,
        missing: Sequence[int],
        into: Path,
        checkpoints_in: Path,
        interruption: Interruption,
        progress: Progress,
    ) -> RunDirectory:
        """Train one, and write all that it gives into a new run directory ``into``."""
        recipe, training = self._recipe, self.plan[number]
        directory = create(into, recipe.text, grid_keys=tuple(recipe.file.grid), overwrite=True)
        checkpoints = Checkpoints(checkpoints_in, training.key, recipe.checkpoint_every, progress.warned)
        care = Care(checkpoints, interruption, progress)
        train(Task(number, training, tuple(missing)), self._workload_of, directory, care)
        return directory
