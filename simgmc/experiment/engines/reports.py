"""What a process that trains for another tells it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from simgmc.core.errors import GivenUp
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import Outcome, State

Message = tuple[str, int, tuple[Any, ...]]
"""What it is about, the task's number in the plan, and more."""


class Reports:
    """Tells what becomes of the task under way; a :class:`simgmc.experiment.training.Progress`."""

    def __init__(self, send: Callable[[Message], None], verdict: Callable[[], str | None] | None, every: float = 0.05):
        """``verdict``: waits for what the other says to an evaluation: why the training is given up, None where it is
        not; None where nobody judges. ``every``: seconds between two messages of rounds that are done."""
        self._send, self._verdict, self._every = send, verdict, every
        self._told = self._began = 0.0
        self._unsaid: tuple[Any, ...] | None = None
        """The last round that is done, where nothing was told of it."""
        self._evaluated: set[int] = set()
        """After which rounds evaluations were whose simulated time the other waits for."""
        self.number = -1
        """The task under way."""

    def tell(self, kind: str, *content: Any) -> None:
        """Send a message."""
        self._send((kind, self.number, content))

    def skipped(self, training: Training) -> None:
        self.tell("skipped")

    def started(self, training: Training, rounds: int) -> None:
        self._began, self._unsaid = time.monotonic(), None
        self._evaluated.clear()
        self.tell("started", rounds)

    def resumed(self, training: Training, rounds: int, where: str) -> None:
        self.tell("resumed", rounds, where)

    def evaluated(self, training: Training, state: State) -> None:
        """Raises GivenUp where the other says so."""
        self.tell("evaluated", state)
        if state.time is None:
            self._evaluated.add(state.round)
        if self._verdict is not None and (why := self._verdict()):
            raise GivenUp(why)

    def round_done(self, training: Training, number: int, sim_time: float) -> None:
        self._unsaid = number, sim_time
        if number + 1 in self._evaluated:
            self._evaluated.discard(number + 1)
            self._told = -math.inf
        if self._now_and_then("round_done", number, sim_time):
            self._unsaid = None

    def simulated(self, training: Training, seconds: float) -> None:
        self._now_and_then("simulated", seconds)

    def warned(self, message: str) -> None:
        self.tell("warned", message)

    def ended(self, training: Training, outcome: Outcome, seconds: float | None = None) -> None:
        """Without the costs of its rounds, which are written; with the seconds that it took here."""
        if self._unsaid is not None:
            self.tell("round_done", *self._unsaid)
        last = Outcome([], outcome.states[-1:], outcome.rcc, outcome.diverged, outcome.diverged_round)
        self.tell("ended", last, time.monotonic() - self._began)

    def failed(self, training: Training, reason: str) -> None:
        self.tell("failed", reason)

    def _now_and_then(self, kind: str, *content: Any) -> bool:
        now = time.monotonic()
        if now - self._told < self._every:
            return False
        self._told = now
        self.tell(kind, *content)
        return True
