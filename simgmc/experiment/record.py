"""What a training leaves for the clusters, as it is made and as a run directory holds it."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping, MutableSequence

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.costs.log import RoundLog
from simgmc.costs.steps import Average, Compute, Mix, RoundCosts
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import COLLECTIVE_KEY, Breakdown, Evaluation, RunDirectory, SeriesKey

if typing.TYPE_CHECKING:
    from simgmc.experiment.plan import Training


class Milestones:
    """When a training ends and when it is evaluated, in rounds."""

    def __init__(self, training: Training, batches_per_epoch: float):
        workload, method = training.scenario.workload, training.method
        self._per_epoch = batches_per_epoch
        self._rounds = method.rounds(workload)
        self._epochs = method.epochs(workload)
        self._every, self._unit = workload.evaluation_interval()

    def total(self, gradients_per_round: float = 1.0) -> int:
        """Rounds in all (an estimate where rounds differ in their number of gradients)."""
        if self._rounds:
            return self._rounds
        return max(1, round(self._epochs * self._per_epoch / gradients_per_round))

    def over(self, rounds: int, gradients: int) -> bool:
        """Whether training has ended."""
        if self._rounds:
            return rounds >= self._rounds
        return gradients >= max(1, round(self._epochs * self._per_epoch))

    def due(self, rounds: int, gradients: int, gradients_before: int) -> bool:
        """Whether the state after this round is to be evaluated."""
        if self.over(rounds, gradients):
            return True
        if self._unit == "rounds":
            return rounds % int(self._every) == 0
        return self._unit == "epochs" and self._crossed(gradients, gradients_before, self._every * self._per_epoch)

    @property
    def seconds(self) -> float | None:
        """Simulated seconds between two evaluations, where the interval is stated in time."""
        return self._every if self._unit == "seconds" else None

    def over_by_clock(self, gradients: float) -> bool:
        """Whether a training that the clock drives has ended; ``gradients`` per worker, on average."""
        return gradients + 1e-9 >= self.total()

    def due_by_clock(self, gradients: float, before: float) -> bool:
        """Whether a training that the clock drives is to be evaluated at this instant, by its gradients
        per worker now and when it was last asked."""
        step = self._every * (self._per_epoch if self._unit == "epochs" else 1)
        return self._unit != "seconds" and self._crossed(gradients, before, step)

    @staticmethod
    def _crossed(now: float, before: float, step: float) -> bool:
        """Whether a multiple of the step lies in (before, now]."""
        return int(now / step + 1e-9) > int(before / step + 1e-9)


@dataclasses.dataclass(frozen=True)
class State:
    """What an evaluation found, before it has a time."""

    round: int
    epoch: float
    train_loss: float | None
    test_loss: float
    test_accuracy: float | None
    rcc: float | None = None
    others: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Further values by name: of the workload (gap, distance), at the method's other points, of single workers."""
    time: float | None = None
    """Simulated seconds of the evaluation, where the clock drives the training (else the round says when)."""
    bytes_up: int = 0
    """Sent by workers until then, where ``time`` is known."""
    bytes_down: int = 0
    """Received by workers until then."""


@dataclasses.dataclass
class Record:
    """What a training leaves for the clusters: the costs of its rounds, and its evaluations."""

    rounds: MutableSequence[RoundCosts] = dataclasses.field(default_factory=RoundLog)
    states: list[State] = dataclasses.field(default_factory=list)
    rcc: float | None = None
    """Relative communication cost of the whole training."""
    diverged: str | None = None
    """Why and when training was ended as it diverged, if it did."""
    diverged_round: int | None = None
    """The round in which it did; 0 is the start."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """The finished series of a run directory, read once for all of its trainings."""

    directory: RunDirectory
    finished: dict[SeriesKey, Breakdown]
    evaluations: dict[SeriesKey, list[Evaluation]]
    others: dict[SeriesKey, dict[int, dict[str, float]]]

    @classmethod
    def read(cls, directory: RunDirectory) -> Stored:
        """Reads everything but the costs."""
        evaluations = directory.evaluations()
        return cls(directory, directory.finished_among(evaluations), evaluations, directory.other_metrics())

    def of(self, training: Training) -> tuple[Record, int | None]:
        """What is stored of a training, and how many rounds its evaluations are known for.

        None: all. It is a number where every cluster that the training was timed on stopped
        before its end. Raises SimgmcError where no series of it is finished, or where the costs
        are missing, damaged or not those of that series.
        """
        again = "give the same simgmc run command again to finish or restore it"
        wanted = {key: cell(value) for key, value in training.values.items()}
        found: tuple[int, SeriesKey] | None = None
        for key, breakdown in self.finished.items():
            own = {**dict(key.grid), COLLECTIVE_KEY: str(key.transport)}
            same = all(own.get(name) == value for name, value in wanted.items())
            if same and (key.method, key.seed) == (training.method.name, training.seed):
                if found is None or breakdown.rounds > found[0]:
                    found = breakdown.rounds, key
        if found is None:
            raise SimgmcError(f"{self.directory.path}: the training {training.title!r} is not finished; {again}")
        if not self.directory.has_costs(training.key):
            raise SimgmcError(f"{self.directory.path}: the costs of {training.title!r} are missing; {again}")
        try:
            rounds = self.directory.read_costs(training.key)
        except SimgmcError as error:
            raise SimgmcError(f"{error}; {again}") from None
        known, key = found
        breakdown, others = self.finished[key], self.others.get(key, {})
        states = [
            State(
                row.round,
                row.epoch,
                row.train_loss,
                row.test_loss,
                row.test_accuracy,
                row.rcc,
                others.get(row.round, {}),
            )
            for row in self.evaluations[key]
        ]
        order = [state.round for state in states]
        in_order = order[0] == 0 and all(a < b for a, b in itertools.pairwise(order))
        if known > len(rounds) or not in_order or not are_of(rounds, training.scenario.workload.workers):
            raise SimgmcError(
                f"{self.directory.path}: the costs of {training.title!r} do not belong to its evaluations; {again}"
            )
        record = Record(rounds, states, breakdown.rcc, diverged_round=breakdown.diverged)
        if record.diverged_round is not None:
            record.diverged = f"round {record.diverged_round}"
        whole = known == len(rounds) and (record.diverged is not None or _is_whole(training, record))
        return record, None if whole else known


def are_of(rounds: list[RoundCosts], workers: int) -> bool:
    """Whether costs are those of this many workers."""
    steps = [step for costs in rounds for step in costs]
    mixes = [step for step in steps if isinstance(step, Mix)]
    return (
        all(len(step.up) == workers for step in steps if isinstance(step, Average))
        and all(len(step.nbytes) == workers == len(step.floats) for step in mixes)
        and all(step.edges.ndim == 2 and (not step.edges.size or step.edges.max() < workers) for step in mixes)
    )


def _is_whole(training: Training, record: Record) -> bool:
    """Whether stored rounds are all of a training's; the number of gradients per epoch follows from its last evaluation."""
    gradients = np.cumsum(
        [sum(step.gradients for step in costs if isinstance(step, Compute)) for costs in record.rounds]
    )
    last = record.states[-1]
    if last.round != len(record.rounds) or not last.round or not last.epoch > 0:
        return False
    return Milestones(training, float(gradients[last.round - 1]) / last.epoch).over(last.round, int(gradients[-1]))
