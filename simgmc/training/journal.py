"""What an asynchronous training says to the clock, effect by effect, and the journal of it.

The event loop (:mod:`simgmc.experiment.under_way.event_loop`) hears the effects that programs yield, with a
:class:`Parcel` in the place of each message: its content stays with the trainer. Plain integers are
left of an effect then, so that a journal can keep it and give it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from simgmc.algorithms.effects import Addressed, Collect, Exchange, Gradient, Request, Send, Start, Wait
from simgmc.core.errors import SimgmcError

NOTHING = -1
"""The answer that holds no message."""


class Parcel(NamedTuple):
    """A message on its way."""

    number: int
    """By which the trainer keeps its content."""
    nbytes: int
    """Encoded size."""
    compressed: int = 0
    """Bytes that a compressor read to make it (0: none ran)."""


@dataclass(frozen=True)
class RoundOver:
    """In an effect's place: the program has come to the end of its round."""


@dataclass(frozen=True)
class Diverged:
    """In an effect's place: a number is no longer finite, and training is over."""


Step = Gradient | Exchange[Parcel] | Request[Parcel] | Send[Parcel] | Collect | Start | Wait | RoundOver | Diverged
"""What a program does next, as the clock sees it."""


class Asked(NamedTuple):
    """The next step of a program."""

    step: Step
    staleness: tuple[int, ...] = ()
    """Of the gradients applied (or the messages added) by this worker since its last step."""


class Served(NamedTuple):
    """What the answer to a request is."""

    replies: tuple[tuple[int, Parcel], ...] = ()
    """Ranks and what each of them gets."""
    staleness: tuple[int, ...] = ()


class Programs(Protocol):
    """The workers' programs, as the event loop drives them."""

    def advance(self, worker: int, answer: int | Sequence[int]) -> Asked:
        """Give a program its answer (a message's number, several for Collect, or NOTHING) and get its next step."""

    def serve(self, asked: int, asker: int, message: int) -> Served:
        """Let a worker or the server answer a request that has arrived."""


class Journal:
    """Everything that programs have said to the clock, in order.

    What it holds already is read from it; then ``programs`` go on, and what they say is written
    down. The event loop is deterministic, so the same words lead it through the same events
    without any training: that is how a stopped run finds back to where it was, and how a finished
    one can be looked at again (``programs`` may be None for that).
    """

    def __init__(self, programs: Programs | None, words: np.ndarray | None = None):
        self._programs = programs
        self._words: list[int] = [] if words is None else [int(word) for word in words]
        self._at = 0

    @property
    def replaying(self) -> bool:
        """Whether there is more to be read."""
        return self._at < len(self._words)

    def to_array(self) -> np.ndarray:
        """(n,) int64; what the constructor takes as ``words``."""
        return np.array(self._words, dtype=np.int64)

    def advance(self, worker: int, answer: int | Sequence[int]) -> Asked:
        """See :class:`Programs`."""
        if self.replaying or self._programs is None:
            return Asked(_step(*self._take(5)), self._staleness())
        said = self._programs.advance(worker, answer)
        self._write(*_words(said.step), len(said.staleness), *said.staleness)
        return said

    def serve(self, asked: int, asker: int, message: int) -> Served:
        """See :class:`Programs`."""
        if self.replaying or self._programs is None:
            (count,) = self._take(1)
            replies = [self._take(4) for _ in range(count)]
            return Served(tuple((rank, Parcel(*parcel)) for rank, *parcel in replies), self._staleness())
        said = self._programs.serve(asked, asker, message)
        self._write(len(said.replies), *(word for rank, parcel in said.replies for word in (rank, *parcel)))
        self._write(len(said.staleness), *said.staleness)
        return said

    def _write(self, *words: int) -> None:
        self._words += words
        self._at = len(self._words)

    def _staleness(self) -> tuple[int, ...]:
        (count,) = self._take(1)
        return tuple(self._take(count))

    def _take(self, count: int) -> list[int]:
        if not 0 <= count <= len(self._words) - self._at:
            raise SimgmcError("the journal of this training ends in the middle: it is damaged")
        self._at += count
        return self._words[self._at - count : self._at]


_KINDS: dict[type[Step], Callable[[int, Parcel], Step]] = {
    Gradient: lambda which, parcel: Gradient(at=None),
    Exchange: Exchange,
    Request: Request,
    Send: Send,
    Collect: lambda which, parcel: Collect(which),
    Start: lambda which, parcel: Start(Request(which, parcel)),
    Wait: lambda which, parcel: Wait(which),
    RoundOver: lambda which, parcel: RoundOver(),
    Diverged: lambda which, parcel: Diverged(),
}
"""How a step of each kind is made of its integers. A kind's number in files is its place here."""
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


def _words(step: Step) -> tuple[int, ...]:
    """A step as five integers: its kind; to whom, how many or which; and its parcel."""
    which, parcel = 0, Parcel(NOTHING, 0)
    match step:
        case (Addressed() as sent) | Start(effect=Addressed() as sent):
            which, parcel = sent.to, sent.message
        case Collect(at_least=count):
            which = count
        case Wait(handle=int(handle)):
            which = handle
    return (_NUMBERS[type(step)], which, *parcel)


def _step(kind: int, which: int, *parcel: int) -> Step:
    """The step that :func:`_words` made these integers of."""
    if not 0 <= kind < len(_KINDS):
        raise SimgmcError(f"the journal of this training is damaged: it has a step of kind {kind}")
    return list(_KINDS.values())[kind](which, Parcel(*parcel))
