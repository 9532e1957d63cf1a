"""When a training under way is evaluated, what is found, and what it leaves in the end."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING

from simgmc.core.errors import DivergenceError
from simgmc.costs.log import RoundLog
from simgmc.costs.steps import RoundCosts
from simgmc.scenario import Scenario
from simgmc.scenario.workload import Method
from simgmc.workloads.workload import Workload

if TYPE_CHECKING:  # for annotations alone: replays evaluate nothing and do without torch
    from torch import Tensor


GIVEN_UP = "given up by the search"
"""How the reason begins, as it stands in ``breakdown.csv``."""


class Milestones:
    """When a training ends and when it is evaluated, in rounds."""

    def __init__(self, scenario: Scenario, method: Method, batches_per_epoch: float):
        workload = scenario.workload
        self._per_epoch = batches_per_epoch
        self._rounds = method.rounds(workload)
        self.gradients = math.inf if self._rounds else scenario.gradients(method, batches_per_epoch)
        """Of every worker, where the length is stated in epochs; else infinite."""
        self._every, self._unit = workload.evaluation_interval()

    def total(self, gradients_per_round: float = 1.0) -> int:
        """Rounds in all (an estimate where rounds differ in their number of gradients)."""
        return self.left(0, 0, gradients_per_round)

    def left(self, rounds: int, gradients: float, gradients_per_round: float) -> int:
        """Rounds after so many (an estimate likewise)."""
        if self._rounds:
            return self._rounds - rounds
        return math.ceil((self.gradients - gradients) / gradients_per_round - 1e-9)

    def over(self, rounds: int, gradients: float) -> bool:
        """Whether training has ended."""
        return rounds >= self._rounds if self._rounds else gradients >= self.gradients

    def due(self, rounds: int, gradients: float, gradients_before: float) -> bool:
        """Whether the state after this round is to be evaluated."""
        if self.over(rounds, gradients):
            return True
        if self._unit == "rounds":
            return rounds % int(self._every) == 0
        return self._unit == "epochs" and self._crossed(gradients, gradients_before, self._every * self._per_epoch)

    def evaluations(self, rounds: int, gradients_per_round: float) -> float:
        """How many there are in so many rounds, about; of those at stated times only the first and the last."""
        step = self._every * (self._per_epoch if self._unit == "epochs" else 1)
        done = rounds * (gradients_per_round if self._unit == "epochs" else 1)
        return 2 if self._unit == "seconds" else 1 + max(1, done / step)

    @property
    def seconds(self) -> float | None:
        """Simulated seconds between two evaluations, where the interval is stated in time."""
        return self._every if self._unit == "seconds" else None

    def over_by_clock(self, gradients: float) -> bool:
        """Whether an asynchronous training has ended; ``gradients`` per worker, on average."""
        return gradients + 1e-9 >= self.total()

    def due_by_clock(self, gradients: float, before: float) -> bool:
        """Whether an asynchronous training is to be evaluated at this instant, by its gradients
        per worker now and when it was last asked."""
        step = self._every * (self._per_epoch if self._unit == "epochs" else 1)
        return self._unit != "seconds" and self._crossed(gradients, before, step)

    @staticmethod
    def _crossed(now: float, before: float, step: float) -> bool:
        """Whether a multiple of the step lies in (before, now]."""
        return int(now / step + 1e-9) > int(before / step + 1e-9)


@dataclasses.dataclass(frozen=True)
class State:
    """What an evaluation found; where the rounds decide when it was, its time and bytes are each cluster's own."""

    round: int
    epoch: float
    train_loss: float | None
    test_loss: float
    test_accuracy: float | None
    rcc: float | None = None
    others: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Further values by name: of the workload (gap, distance), at the method's other points, of single workers."""
    time: float | None = None
    """Simulated seconds of the evaluation, where they are known."""
    bytes_up: int = 0
    """Sent by workers until then, where ``time`` is known."""
    bytes_down: int = 0
    """Received by workers until then."""


@dataclasses.dataclass
class Outcome:
    """What a training leaves: its evaluations and, where rounds make it up, what each of them cost."""

    rounds: MutableSequence[RoundCosts] = dataclasses.field(default_factory=RoundLog)
    states: list[State] = dataclasses.field(default_factory=list)
    rcc: float | None = None
    """Relative communication cost of the whole training."""
    diverged: str | None = None
    """Why and when training was ended as it diverged, if it did."""
    diverged_round: int | None = None
    """The round in which it did; 0 is the start."""
    given_up: str | None = None
    """Why a search ended it early, if one did; with :data:`GIVEN_UP` at its beginning."""


class Evaluations:
    """Evaluates models on a workload and keeps what was found in an outcome.

    ``single_workers``: evaluate the workers' own models too, where they differ. ``listener``
    hears of every state.
    """

    def __init__(
        self,
        workload: Workload,
        outcome: Outcome,
        divergence_factor: float,
        single_workers: bool,
        listener: Callable[[State], None],
    ):
        self._workload = workload
        self._outcome = outcome
        self._divergence_factor = divergence_factor
        self._single_workers = single_workers
        self._listener = listener

    def add(
        self,
        round: int,
        epoch: float,
        latest: Sequence[int] | None,
        model: Tensor,
        points: Mapping[str, Tensor],
        workers: Sequence[Tensor],
        others: Mapping[str, float] | None = None,
        *,
        statistics: Mapping[str, Tensor] | None = None,
        rcc: float | None = None,
        time: float | None = None,
        bytes_up: int = 0,
        bytes_down: int = 0,
    ) -> None:
        """Evaluate a state of the training and keep it.

        ``latest``: each worker's latest minibatch; ``model`` (d,) is what counts; ``points``: further ones (d,) by
        name; ``workers``: every worker's own (d,), or none where all hold the same; ``others``: values to keep beside
        what is found; ``statistics``: the workload's state at that time, where it has gone on since. The rest are
        further fields of :class:`State`.

        Raises :class:`~simgmc.core.errors.DivergenceError` for a loss that is not finite, or above
        ``divergence_factor`` times the start's (if that is above 0); the latter is kept before.
        """
        with self._as_it_was(statistics):
            state = self._found(round, epoch, latest, model, points, workers, others or {})
        state = dataclasses.replace(state, rcc=rcc, time=time, bytes_up=bytes_up, bytes_down=bytes_down)
        self._outcome.states.append(state)
        self._listener(state)
        start, loss = self._outcome.states[0].test_loss, state.test_loss
        if 0 < start * self._divergence_factor < loss:
            raise DivergenceError(
                f"round {round}: the loss is {loss:.3g}, "
                f"more than {self._divergence_factor:g} times that of the start, {start:.3g}"
            )

    @contextlib.contextmanager
    def _as_it_was(self, statistics: Mapping[str, Tensor] | None) -> Iterator[None]:
        """The workload in an earlier state, for as long as it lasts."""
        if not statistics:
            yield
            return
        now = self._workload.state_dict()
        self._workload.load_state_dict(statistics)
        try:
            yield
        finally:
            self._workload.load_state_dict(now)

    def _found(
        self,
        round: int,
        epoch: float,
        latest: Sequence[int] | None,
        model: Tensor,
        points: Mapping[str, Tensor],
        workers: Sequence[Tensor],
        others: Mapping[str, float],
    ) -> State:
        """What is found, without time and bytes. Raises DivergenceError for a loss that is not finite."""
        evaluate = self._workload.evaluate
        found = evaluate(model)
        if not math.isfinite(found.loss):
            raise DivergenceError(f"round {round}: the test loss is {found.loss}")
        train_loss = None if latest is None else self._workload.minibatch_loss(model, latest)
        values = {**found.others, **others}
        for name, point in points.items():
            there = evaluate(point)
            here = {"test_loss": there.loss, "test_accuracy": there.accuracy, **there.others}
            values |= {f"{metric} at {name}": value for metric, value in here.items() if value is not None}
        if len(workers) > 1:
            values |= self._of_workers(workers)
        return State(round, epoch, train_loss, found.loss, found.accuracy, others=values)

    def _of_workers(self, workers: Sequence[Tensor]) -> dict[str, float]:
        """Consensus distance sqrt(mean_k |x_k - mean x|^2); mean and worst over the workers' own models."""
        # In float64: the rounding of a float32 mean would be a distance between workers that hold the same.
        mean = sum(point.double() for point in workers) / len(workers)
        square = sum(float((point.double() - mean).square().sum()) for point in workers) / len(workers)
        values = {"consensus distance": math.sqrt(square)}
        if self._single_workers:
            found = [self._workload.evaluate(point, worker) for worker, point in enumerate(workers)]
            losses = [one.loss for one in found]
            accuracies = [one.accuracy for one in found if one.accuracy is not None]
            values |= {"test_loss mean worker": sum(losses) / len(losses), "test_loss worst worker": max(losses)}
            if accuracies:
                values |= {
                    "test_accuracy mean worker": sum(accuracies) / len(accuracies),
                    "test_accuracy worst worker": min(accuracies),
                }
        return values
