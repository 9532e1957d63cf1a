"""What is remarked of a training under way that may not be meant, once each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for annotations alone, as it loads torch
    from simgmc.training.trainer import Trainer

ENOUGH = 2
"""Rounds of every worker after which a program should have changed and sent something: in the first one its learning
rate may be 0, or its first message still on its way."""


class Remarks:
    """A program that changes nothing or sends nothing; workers' programs that run one by one; what a method of one's
    own keeps where no checkpoint does."""

    def __init__(self, trainer: Trainer, warn: Callable[[str], None]):
        self._trainer, self._warn = trainer, warn
        self._name = trainer.name
        self._start = None if trainer.gradients else trainer.model()
        self._said: set[str] = set()

    def after_round(self) -> None:
        """What is known once a round is over."""
        reason = self._trainer.one_by_one
        if reason:
            self._say(f"{self._name}: every worker's program runs by itself, not one for all of them: {reason}")
        outside = getattr(self._trainer.algorithm, "said_outside", "")
        if outside:
            self._say(
                f"{self._name}: {outside} changes while it runs; a run that is stopped and goes on loses that: keep it "
                "as an attribute of the worker"
            )

    def after_evaluation(self, rounds: int, sent: Callable[[], bool]) -> None:
        """What the first evaluation after enough rounds of every worker shows; ``sent``: whether anything was."""
        if self._start is None or rounds < ENOUGH:
            return
        start, self._start = self._start, None
        algorithm = self._trainer.algorithm
        if bool((self._trainer.model() == start).all()):
            sets = "its serve(...) set asked.params" if algorithm.centralised else "its program set worker.params"
            self._say(f"{self._name} has changed nothing in its first {rounds} rounds: does {sets}?")
        if not sent():
            yields = "Exchange, Request or Send" if algorithm.asynchronous else "Average or Mix"
            self._say(f"{self._name} has sent nothing in its first {rounds} rounds: does its program yield {yields}?")

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._warn(message)
