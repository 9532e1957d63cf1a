"""What is remarked of a training under way that may not be meant, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from simgmc.costs.steps import Average, Mix, RoundCosts

if TYPE_CHECKING:  # for annotations alone, as it loads torch
    from simgmc.training.stacked import StackedTrainer


class Remarks:
    """Of a synchronous training: a program that changes nothing or sends nothing, one that could not be stacked, what a
    method of one's own keeps where no checkpoint does.
    """

    def __init__(self, trainer: StackedTrainer, warn: Callable[[str], None]):
        self._trainer, self._warn = trainer, warn
        self._start = trainer.model() if trainer.rounds == 0 else None
        self._said: set[str] = set()

    def after_round(self) -> None:
        """What is known once a round is over."""
        algorithm, name = self._trainer.algorithm, self._trainer.name
        reason = getattr(self._trainer.worker, "one_by_one", "")
        if reason:
            self._say(f"{name}: every worker's program runs by itself, not one for all of them: {reason}")
        outside = getattr(algorithm, "said_outside", "")
        if outside:
            self._say(
                f"{name}: {outside} changes while it runs; a run that is stopped and goes on loses that: keep it as an "
                "attribute of the worker"
            )

    def after_evaluation(self, rounds: Iterable[RoundCosts]) -> None:
        """What the first evaluation after the start shows."""
        start, self._start = self._start, None
        if start is None:
            return
        name = self._trainer.name
        if bool((self._trainer.model() == start).all()):
            self._say(f"{name} has changed nothing until its first evaluation: does its program set worker.params?")
        if not any(isinstance(step, (Average, Mix)) for costs in rounds for step in costs):
            self._say(f"{name} has sent nothing until its first evaluation: does its program yield Average or Mix?")

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._warn(message)
