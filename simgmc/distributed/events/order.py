"""The order of events of an asynchronous training on real processes, and the same training again from it.

An event is a program that goes on, or a request that is served; each changes one worker (or the server) alone, by
what it holds and the messages that it takes. So any order that keeps each one's own events in theirs, and every
message after the event that sent it, leads to the same numbers: that of Lamport's clocks (1978) does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from simgmc.algorithms.worker import Worker
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import SERVER
from simgmc.training.journal import NOTHING, Asked, Parcel, Served
from simgmc.training.per_worker import PerWorkerTrainer

_ROOM = 1 << 40
"""Numbers that each sender has for its messages."""


class Event(NamedTuple):
    """One event of a worker or of the server."""

    clock: int
    """Lamport's: above that of the event before it, and of those that sent what it takes."""
    who: int
    """A worker's rank, or :data:`~simgmc.costs.steps.SERVER`."""
    asker: int
    """Whose request is served; :data:`GOES_ON`: none is, the worker's program goes on."""
    known: int
    """Gradients of the others (for the server: of all) that it had heard of: by them it knows the epoch."""
    messages: tuple[int, ...] = ()
    """The numbers of those that it takes; none: nothing was awaited, or the inbox was empty."""
    many: bool = False
    """Whether they are what an inbox held."""


GOES_ON = -2


class OrderedPrograms(PerWorkerTrainer):
    """Programs whose events come in an order that is not simulated.

    Messages are numbered by who sends them, and the epoch is what the one whose event it is knows of it.
    """

    who = SERVER
    """Whose event it is."""
    known = 0
    """See :attr:`Event.known`."""

    def __init__(self, *arguments: Any, **options: Any):
        self._sent_by: dict[int, int] = {}
        super().__init__(*arguments, **options)

    @property
    def epoch(self) -> float:
        own = 0 if self.who == SERVER or not hasattr(self, "runs") else self.runs[self.who].gradients
        return (self.known + own) / (self.workload.workers * self.workload.batches_per_epoch)

    def _post(self, sender: Worker, content: Any) -> Parcel:
        rank = sender.rank
        count = self._sent_by.get(rank, 0)
        self._sent_by[rank] = count + 1
        self._next_message = (rank + 1) * _ROOM + count
        return super()._post(sender, content)

    def happen(self, event: Event) -> Asked | Served:
        """Let an event happen; its messages are there."""
        self.who, self.known = event.who, event.known
        if event.asker != GOES_ON:
            return self.serve(event.who, event.asker, event.messages[0])
        answer: int | Sequence[int] = event.messages if event.many else (*event.messages, NOTHING)[0]
        return self.advance(event.who, answer)


def to_array(events: Iterable[Event]) -> np.ndarray:
    """(n,) int64: what :func:`from_array` reads."""
    words: list[int] = []
    for event in events:
        words += [event.clock, event.who, event.asker, event.known, int(event.many), len(event.messages)]
        words += event.messages
    return np.array(words, dtype=np.int64)


def from_array(words: np.ndarray) -> list[Event]:
    """The events that :func:`to_array` wrote. Raises SimgmcError where they are cut short."""
    found, at, held = [], 0, words.tolist()
    while at < len(held):
        clock, who, asker, known, many, count = held[at : at + 6]
        at += 6
        if at + count > len(held):
            raise SimgmcError("the order of events of this training ends in the middle: it is damaged")
        found.append(Event(clock, who, asker, known, tuple(held[at : at + count]), bool(many)))
        at += count
    return found


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events of all ranks in one order that respects what follows from what."""
    return sorted(events, key=lambda event: (event.clock, event.who))
