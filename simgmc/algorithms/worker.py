"""The worker that an algorithm's program runs on, and the base of all algorithms."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, ClassVar

from simgmc.randomness import Randomness


class Worker:
    """One worker's state, or all workers' stacked: the program cannot tell.

    An algorithm adds its own named tensors as attributes, so a run can be
    checkpointed between any two rounds by storing :meth:`state`.
    """

    params: Any
    """Tensor ``(..., d)``: the model, in one flat vector."""
    lr: float
    """Learning rate of this round."""
    previous_lr: float
    """Learning rate of the round before (of this one, in the first)."""
    round: int
    """Rounds finished so far."""

    _CONTEXT = frozenset({"lr", "previous_lr", "round"})

    def __init__(self, params: Any, seed: int, ranks: Sequence[int]):
        self.params = params
        self._seed = seed
        self._ranks = ranks
        self._calls = 0

    def begin(self, round: int, lr: float, previous_lr: float) -> None:
        """Set the context of the round about to run."""
        self.round, self.lr, self.previous_lr = round, lr, previous_lr
        self._calls = 0

    def zeros(self) -> Any:
        """A zero vector like the parameters: where every residual and momentum starts."""
        return self.params * 0

    def randomness(self) -> Randomness:
        """Randomness for the next compression of this round."""
        self._calls += 1
        return Randomness(self._seed, self.round, self._calls, self._ranks)

    def state(self) -> dict[str, Any]:
        """The named tensors that make up the worker between rounds."""
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in self._CONTEXT
        }


Program = Generator[Any, Any, None]
"""One round of one worker: yields effects, receives their answers."""


class Algorithm:
    """A method of distributed training, written as one worker's program.

    Subclasses are frozen dataclasses: their fields are the method's parameters.
    Programs act on the last dimension only and keep all state on the worker.
    """

    source: ClassVar[str]
    """Paper and equation or algorithm number."""

    def start(self, worker: Worker) -> None:
        """Give the worker the state that the first round finds."""

    def round(self, worker: Worker) -> Program:
        """One round of one worker."""
        raise TypeError(f"{type(self).__name__} has no round")

    def model(self, worker: Worker) -> Any:
        """Tensor ``(..., d)``: the point at which the method is evaluated; its mean over workers counts."""
        return worker.params
