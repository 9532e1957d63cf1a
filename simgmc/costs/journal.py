"""What a worker's program asks of the simulated cluster, where the clock drives the training.

The torch-free side of :mod:`simgmc.algorithms.effects`: a message is a number, its content
stays with the numerics. Plain integers, so that a run's requests can be kept and given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from simgmc.core.errors import SimgmcError


class Kind(IntEnum):
    """What is asked for."""

    GRADIENT = 0
    EXCHANGE = 1
    REQUEST = 2
    SEND = 3
    COLLECT = 4
    START = 5
    """Request, and go on."""
    WAIT = 6
    ROUND = 7
    """Nothing: a round is finished."""
    DIVERGED = 8
    """Nothing more: a number is no longer finite."""


NOTHING = -1
"""The answer that holds no message."""


@dataclass(frozen=True)
class Request:
    """One request of one worker."""

    kind: Kind
    to: int = 0
    """A rank; how many messages to wait for (COLLECT); which started request (WAIT)."""
    message: int = NOTHING
    nbytes: int = 0
    compressed: int = 0
    """Bytes that a compressor read before (0: none ran)."""
    staleness: tuple[int, ...] = ()
    """Of the gradients that were applied (or the messages that were added) since the last request."""


@dataclass(frozen=True)
class Reply:
    """One reply to a request that was served."""

    to: int
    message: int
    nbytes: int
    compressed: int = 0


@dataclass(frozen=True)
class Served:
    """What serving one request gave."""

    replies: tuple[Reply, ...] = ()
    staleness: tuple[int, ...] = ()


class Journal:
    """Every answer of the numerics to the clock, in order, as integers.

    The clock's side is deterministic: given the same answers again, it goes through the same
    events, without any training. That is how a stopped run finds back to where it was, and how
    a finished one can be watched.
    """

    def __init__(self, words: np.ndarray | None = None):
        self._words: list[int] = [] if words is None else [int(word) for word in words]
        self._at = 0

    @property
    def over(self) -> bool:
        """Whether everything has been read."""
        return self._at >= len(self._words)

    def to_array(self) -> np.ndarray:
        """(n,) int64; what the constructor takes."""
        return np.array(self._words, dtype=np.int64)

    def write(self, answer: Request | Served) -> None:
        """Add one answer at the end."""
        words = self._words
        if isinstance(answer, Request):
            words += (int(answer.kind), answer.to, answer.message, answer.nbytes, answer.compressed)
        else:
            words.append(len(answer.replies))
            for one in answer.replies:
                words += (one.to, one.message, one.nbytes, one.compressed)
        words.append(len(answer.staleness))
        words += answer.staleness
        self._at = len(words)

    def read_request(self) -> Request:
        """The next answer, which is a request."""
        kind, to, message, nbytes, compressed = self._take(5)
        return Request(Kind(kind), to, message, nbytes, compressed, self._staleness())

    def read_served(self) -> Served:
        """The next answer, which is of a request served."""
        (count,) = self._take(1)
        replies = tuple(Reply(*self._take(4)) for _ in range(count))
        return Served(replies, self._staleness())

    def _staleness(self) -> tuple[int, ...]:
        (count,) = self._take(1)
        return tuple(self._take(count))

    def _take(self, count: int) -> list[int]:
        if not 0 <= count <= len(self._words) - self._at:
            raise SimgmcError("the journal of this training ends in the middle: it is damaged")
        self._at += count
        return self._words[self._at - count : self._at]
