"""One worker's program under way, and how it is kept.

A program is a generator and cannot be written to a file. Kept are the worker as it was when its round began, and all
that the program has been told since: a stopped run tells it again, and the program is where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from simgmc.algorithms.algorithm import Algorithm, Program
from simgmc.algorithms.effects import Arrival
from simgmc.algorithms.worker import Worker


@dataclass
class Ahead:
    """A gradient whose value is known before its simulated computation ends."""

    gradient: Tensor
    buffers: dict[str, Tensor]
    """The worker's running statistics after it."""
    absent: list[int]
    """Numbers of the layout's tensors that got none."""


@dataclass
class WorkerRun:
    """One worker's program under way."""

    worker: Worker
    program: Program | None = None
    effect: Any = None
    """What the program waits for."""
    start: dict[str, Any] = field(default_factory=dict)
    """The worker as it was when its round began."""
    since: list[tuple[Any, ...]] = field(default_factory=list)
    """What has happened to it since: ("answer", value), ("arrivals", list), ("lr", rate),
    ("absent", numbers of tensors without a gradient) or ("serve", asker, content)."""
    gradients: int = 0
    """Gradients finished."""
    rounds: int = 0
    previous_lr: float | None = None
    started: int = 0
    """Effects that the round has started and may wait for."""
    ahead: Ahead | None = None
    parts: int = 0
    """Minibatches of an accumulated gradient that are in ``part_sum``."""
    part_sum: Tensor | None = None
    """(d,)"""
    absent: list[int] | None = None
    """Numbers of the tensors without a gradient in any of them."""

    def begin(self, algorithm: Algorithm) -> Program:
        """Begin the round for which the worker has been made ready; its program."""
        self.started, self.start, self.since = 0, self.worker.snapshot(), []
        self.program = algorithm.round(self.worker)
        return self.program

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` takes, as nested tensors and plain values."""
        under_way = self.program is not None
        return {
            "start": self.start if under_way else self.worker.snapshot(),
            "since": [list(one) for one in self.since] if under_way else [],
            "under_way": under_way,
            "gradients": self.gradients,
            "rounds": self.rounds,
            "previous_lr": self.previous_lr,
            "started": self.started,
            "parts": self.parts,
            "part_sum": self.part_sum,
            "absent": self.absent,
            "ahead": None if self.ahead is None else vars(self.ahead),
        }

    def load_state_dict(
        self, kept: Mapping[str, Any], algorithm: Algorithm, tell: Callable[[Worker, Sequence[int]], None]
    ) -> None:
        """Lead the worker and its program to where they were; ``tell(worker, numbers)``: what its step skips."""
        self.worker.restore(kept["start"])
        self.start = self.worker.snapshot()
        self.gradients, self.rounds = kept["gradients"], kept["rounds"]
        self.previous_lr, self.started = kept["previous_lr"], kept["started"]
        self.parts, self.part_sum = kept.get("parts", 0), kept.get("part_sum")
        self.absent = kept.get("absent")
        self.since = [tuple(one) for one in kept["since"]]
        self.program = self.effect = None
        if kept["under_way"]:
            self._tell_again(algorithm, tell)
        self.worker.take_staleness()
        ahead = kept["ahead"]
        self.ahead = (
            None if ahead is None else Ahead(ahead["gradient"], ahead["buffers"], list(ahead.get("absent", ())))
        )

    def _tell_again(self, algorithm: Algorithm, tell: Callable[[Worker, Sequence[int]], None]) -> None:
        self.program = algorithm.round(self.worker)
        self.effect = self.program.send(None)
        for what, *values in self.since:
            if what == "serve":
                algorithm.serve(self.worker, *values)
            elif what == "lr":
                (self.worker.lr,) = values
            elif what == "absent":
                tell(self.worker, *values)
            else:
                answer = [Arrival(*one) for one in values[0]] if what == "arrivals" else values[0]
                self.effect = self.program.send(answer)
