"""A stacked round step by step: at each exchange it waits to be told who takes part.

What is exact about those who do not:

- The mean is that of the participants' messages, added in rank order; so are its size and
  the papers' count.
- A worker that misses a round (it is absent, or gives its gradient up as the server has closed
  the round) does not advance: its rows of the state are put back to the round's start, those
  of the workload's running statistics too. Vectors that all workers share (a leading dimension
  of 1) advance for everybody: they are what it fetches when it is back.
- Every gradient takes the next minibatch of each worker, whether it takes part or not: a
  minibatch of a missed round is passed over. Its loss does not count.
- A message that was sent and came too late is lost with ``late = "dropped"``: the worker's
  memory (momentum, residual) has advanced, error feedback does not know. With ``"carried"`` it
  is held for the mean of the round that it arrives in; until then its worker computes nothing
  else, so it misses the rounds in between, that one included.
"""

from __future__ import annotations

import typing
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from simgmc.core.errors import SimgmcError
from simgmc.costs import steps as costs

if typing.TYPE_CHECKING:
    from simgmc.training.stacked import StackedTrainer


@dataclass(frozen=True, eq=False)
class Offer:
    """An exchange whose participants are not known yet: everybody's message."""

    message: Any
    reply: Any = None
    """As of :class:`simgmc.algorithms.effects.Average`."""
    maximum: Any = None
    """Numbers ``(..., n)`` whose maximum is asked for in place of the mean."""


class StackedRound:
    """One round of a :class:`~simgmc.training.stacked.StackedTrainer`, as :class:`simgmc.costs.steps.Unfolding`.

    It has run as far as it comes without being told who takes part. Raises DivergenceError
    where a message is no longer finite.
    """

    def __init__(self, trainer: StackedTrainer):
        self._trainer = trainer
        self.steps: list[costs.Step] = []
        self.over = False
        self._answer: Any = None
        self._offer: Offer | None = None
        self._exchanges = 0
        self._missing: set[int] = set()
        """Workers that miss this round."""
        self._before: dict[str, Any] = {}
        self._buffers: dict[str, torch.Tensor] = {}
        self._held_before = dict(trainer.held)
        if trainer.participation != "all":
            self._before = dict(trainer.worker.state())
            self._buffers = trainer.workload.state_dict()
            self._missing |= set(trainer.held)
        self._program: Generator[Offer, Any, None] = trainer.walk(self.steps)
        self._go_on()

    def step(self, number: int) -> costs.Step | None:
        """The step of that number, None past the last."""
        while len(self.steps) <= number and not self.over:
            self._go_on()
        return self.steps[number] if number < len(self.steps) else None

    def settle(self, number: int, membership: costs.Membership) -> costs.Average:
        """Form the mean of those who take part; the program goes on when its next step is asked for."""
        offer, self._offer = self._offer, None
        workers = set(range(self._trainer.workload.workers))
        with self._trainer.divergence_named():
            self._answer, average = self._trainer.average(offer, membership)
        late = workers - membership.taken
        if self._trainer.participation == "carried":
            self._hold(offer.message, late - set(self._trainer.held))
            self._trainer.release(membership.taken)
        else:
            self._missing |= late - membership.lost
        self.steps[number] = replace(average, background=self.steps[number].background)
        return self.steps[number]

    def whole(self) -> costs.RoundCosts:
        """Run to the end with everybody; returns what the round cost."""
        everybody = frozenset(range(self._trainer.workload.workers))
        while not self.over:
            if self._offer is not None:
                self.settle(len(self.steps) - 1, costs.Membership(everybody, len(everybody)))
            self._go_on()
        return tuple(self.steps)

    def finish(self) -> costs.RoundCosts:
        """Run to the end after everybody has left the round; returns what it cost.

        Where nobody was left for an exchange, the round has changed nothing.
        """
        if self._offer is not None:
            self._program.close()
            self._offer = None
            for name, value in self._before.items():
                setattr(self._trainer.worker, name, value)
            self._trainer.held = dict(self._held_before)
            self._missing = set(range(self._trainer.workload.workers))
            del self.steps[-1:]
            self._end()
        self.step(len(self.steps))
        return tuple(self.steps)

    def _go_on(self) -> None:
        """Run to the next exchange, or to the end."""
        if self._offer is not None:
            raise RuntimeError("an exchange is to be settled before the round goes on")
        answer, self._answer = self._answer, None
        with self._trainer.divergence_named():
            try:
                self._offer = self._program.send(answer)
            except StopIteration:
                self._end()
                return
        self._exchanges += 1
        if self._trainer.participation in ("dropped", "carried") and self._exchanges > 1:
            raise SimgmcError(
                f"round {self._trainer.rounds + 1} of {self._trainer.name} has several exchanges: a server that waits for the first k "
                "messages needs rounds with one, as whoever is late for the first has nothing to say in the second"
            )
        if self._trainer.participation == "carried":
            refusal = self._offer.message.late_refusal
            if refusal is not None:
                raise SimgmcError(refusal)

    def _hold(self, message: Any, ranks: set[int]) -> None:
        """Keep late messages, as vectors."""
        if not ranks:
            return
        dense = message.dense().reshape(-1, message.d)
        for rank in sorted(ranks):
            row = rank if message.rows > 1 else 0
            self._trainer.held[rank] = {
                "vector": dense[row].clone(),
                "nbytes": int(message.nbytes[row]),
                "floats": int(message.floats[row]),
            }

    def _end(self) -> None:
        self.over = True
        trainer = self._trainer
        missing = sorted(self._missing)
        if missing:
            for name, value in trainer.worker.state().items():
                setattr(trainer.worker, name, _put_back(value, self._before[name], missing))
            buffers = trainer.workload.state_dict()
            for name, rows in buffers.items():
                rows[missing] = self._buffers[name][missing]
            trainer.workload.load_state_dict(buffers)
        trainer.end_round(missing)
        self._before, self._buffers = {}, {}


def _put_back(now: Any, before: Any, ranks: list[int]) -> Any:
    """A stacked vector with the rows of these workers as they were; what all share stays."""
    if not isinstance(now, torch.Tensor) or len(now) == 1 or now is before:
        return now
    now = now.clone()
    now[ranks] = before[ranks] if len(before) > 1 else before
    return now


def provisional(message: Any, held: dict[int, dict[str, Any]], workers: int) -> costs.Average:
    """What everybody's message weighs, before it is known who takes part."""
    up, floats = (np.broadcast_to(sizes, (workers,)).copy() for sizes in (message.nbytes, message.floats))
    for rank, late in held.items():
        up[rank], floats[rank] = late["nbytes"], late["floats"]
    return costs.Average(up, 0, message.summable, message.item_bytes, floats, 0)


def mean_of(message: Any, taken: frozenset[int], held: dict[int, dict[str, Any]], workers: int) -> Any:
    """The mean over those who take part, in rank order; where a message is held, of that one."""
    late = {rank: held[rank]["vector"] for rank in sorted(taken & held.keys())}
    if late:
        return message.with_late(sorted(taken), late).mean()
    return (message if len(taken) == workers else message.among(sorted(taken))).mean()
