"""A synchronous training under way: rounds as the cluster asks for them, and what they leave."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from simgmc.costs import Average, Compute, RoundCosts
from simgmc.errors import DivergenceError
from simgmc.recorded import Milestones, Record, State


class CommunicationCost:
    """Counts the relative communication cost: GMC paper eq. (9), reading U.

    Floats that the server receives and sends, one copy per worker, over the 2 K d that
    dense messages would take in every iteration; an iteration is one gradient on every
    worker.
    """

    def __init__(self, workers: int, d: int):
        self._workers, self._d = workers, d
        self._floats = self._gradients = 0

    def add(self, costs: RoundCosts) -> None:
        """Count one more round."""
        for step in costs:
            if isinstance(step, Average):
                self._floats += int(step.floats_up.sum()) + self._workers * step.floats_down
            elif isinstance(step, Compute):
                self._gradients += step.gradients

    @property
    def ratio(self) -> float | None:
        """The cost so far; None before the first gradient."""
        return self._floats / (2 * self._workers * self._d * self._gradients) if self._gradients else None


class LiveTraining:
    """Trains round by round, as the first cluster asks for rounds, and keeps the record.

    Training ends early where a number is no longer finite, or where an evaluation finds a
    loss above ``divergence_factor`` times the start's (if that is above 0).
    """

    def __init__(self, trainer: Any, milestones: Milestones, divergence_factor: float, on_evaluation: Any):
        self._trainer = trainer
        self._milestones = milestones
        self._divergence_factor = divergence_factor
        self._on_evaluation = on_evaluation
        self._communication = CommunicationCost(trainer.workload.workers, trainer.workload.d)
        self.record = Record()

    def rounds(self) -> Iterator[RoundCosts]:
        """The costs of every round, computed when they are asked for."""
        trainer, milestones, record = self._trainer, self._milestones, self.record
        number = 0
        try:
            self._evaluate()
            while not milestones.over(trainer.rounds, trainer.gradients):
                before, number = trainer.gradients, trainer.rounds + 1
                costs = trainer.run_round()
                record.rounds.append(costs)
                self._communication.add(costs)
                record.rcc = self._communication.ratio
                yield costs
                if milestones.due(trainer.rounds, trainer.gradients, before):
                    self._evaluate()
        except DivergenceError as error:
            record.diverged, record.diverged_round = str(error), number

    def _evaluate(self) -> None:
        progress, evaluate = self._trainer.report(), self._trainer.workload.evaluate
        found = evaluate(self._trainer.model())
        if not math.isfinite(found.loss):
            raise DivergenceError(f"round {progress.round}: the test loss is {found.loss}")
        others = dict(found.others)
        for name, point in self._trainer.other_models().items():
            there = evaluate(point)
            values = {"test_loss": there.loss, "test_accuracy": there.accuracy, **there.others}
            others |= {f"{metric} at {name}": value for metric, value in values.items() if value is not None}
        loss = progress.train_loss if progress.round else None
        state = State(progress.round, progress.epoch, loss, found.loss, found.accuracy, self.record.rcc, others)
        self.record.states.append(state)
        self._on_evaluation(state)
        start = self.record.states[0].test_loss
        if 0 < start * self._divergence_factor < found.loss:
            raise DivergenceError(
                f"round {progress.round}: the loss is {found.loss:.3g}, more than {self._divergence_factor:g} times that of the start, {start:.3g}"
            )
