"""What a round costs: the one thing that numerics and cluster say to each other.

Training (torch) makes a :class:`Round`, the cluster (simpy) turns its steps into time. Who takes
part in an average may depend on that time, so the cluster says so at each average. What a round has
cost in the end is kept as :class:`RoundCosts`. Plain numpy, so that stored costs can be replayed
without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol

import numpy as np

from simgmc.core.errors import SimgmcError

SERVER = -1
"""The server, where ranks of workers are given."""

MAX_UNITED = 64
"""Workers up to which it is recorded how the supports of sparse messages unite: workers x workers numbers a round."""


@dataclass(frozen=True)
class Compute:
    """Every worker computes stochastic gradients; nothing is sent."""

    gradients: int = 1
    """Gradients (of one batch each) per worker."""

    def of_each(self, workers: int) -> np.ndarray:
        """(workers,) int64: gradients of each worker; where not all compute, whatever number of them is given."""
        return np.full(workers, self.gradients, np.int64)

    @property
    def mean(self) -> float:
        """Gradients of a worker, on average."""
        return self.gradients

    def seconds(self, times: np.ndarray) -> np.ndarray:
        """(workers,): how long each computes, if it takes ``times`` where it does."""
        return times


@dataclass(frozen=True)
class SomeCompute(Compute):
    """Some workers compute; the others, who have made their local steps, go on at once."""

    workers: np.ndarray = field(default_factory=lambda: np.ones(0, bool))
    """(workers,) bool: who computes."""

    def of_each(self, workers: int) -> np.ndarray:
        return self.gradients * self.workers.astype(np.int64)

    @property
    def mean(self) -> float:
        return self.gradients * float(self.workers.mean())

    def seconds(self, times: np.ndarray) -> np.ndarray:
        return np.where(self.workers, times, 0.0)


@dataclass(frozen=True)
class Compress:
    """Every worker runs its compressor once."""

    nbytes: int
    """Bytes of the uncompressed vector that the compressor reads."""


@dataclass(frozen=True)
class Average:
    """Every worker contributes a message and gets the average of all."""

    up: np.ndarray
    """(workers,) int64: encoded bytes of each worker's message."""
    down: int
    """Encoded bytes of the average, as a server would send it to one worker."""
    summable: bool
    """All messages cover the same coordinates, so partial sums keep their size
    (dense vectors, shared-seed blocks): a ring all-reduce can carry them."""
    item_bytes: int
    """Bytes of one value of the message: what a chunk of it can be cut into."""
    floats_up: np.ndarray
    """(workers,) int64: the papers' count, in floats (a sparse component counts 2)."""
    floats_down: int
    """The papers' count for the average sent to one worker."""
    partial: np.ndarray | None = None
    """(workers, workers) int64, only for messages that cannot be summed in place: how unions
    of supports grow. ``partial[s, c]`` is the encoded size of the sum of workers c, c+1 ...
    c+s (mod workers), restricted to the c-th of as many equal ranges of coordinates. None:
    not recorded; a sparse reduce-scatter then refuses."""
    background: bool = False
    """Workers go on at once; a later :class:`Wait` waits for the average."""
    participants: np.ndarray | None = None
    """(workers,) bool: whose messages the average is of, where some were left out; None: all."""
    receivers: int | None = None
    """How many workers the average is sent to, where ``participants`` are stated."""

    @property
    def floats_in_all(self) -> int:
        """The papers' count of what a server receives and takes, and sends."""
        workers = len(self.floats_up)
        taken = self.floats_up if self.participants is None else self.floats_up[self.participants]
        return int(taken.sum()) + (workers if self.receivers is None else self.receivers) * self.floats_down


@dataclass(frozen=True)
class Mix:
    """Every worker sends its message to its neighbours of this round, and has what it needs as
    soon as the messages for it have arrived."""

    nbytes: np.ndarray
    """(workers,) int64: encoded bytes of each worker's message; every neighbour gets the same."""
    edges: np.ndarray
    """(edges, 2) int64: pairs (sender, receiver)."""
    floats: np.ndarray
    """(workers,) int64: the papers' count of each message, in floats."""
    background: bool = False
    """Workers go on at once; a later :class:`Wait` waits for the messages."""


@dataclass(frozen=True)
class Wait:
    """Every worker waits for an exchange that was started in the background."""

    step: int
    """Which step of the round started it."""


Step = Compute | SomeCompute | Compress | Average | Mix | Wait

Participation = Literal["all", "present", "dropped", "carried"]
"""Who is in an average: everybody; those that are there; the first k messages, later ones
dropped or carried into the round that they arrive in."""


@dataclass(frozen=True)
class Membership:
    """Who takes part in one average, as the clock had it."""

    taken: frozenset[int]
    """Whose messages the average is of."""
    receivers: int
    """How many workers the average is sent to."""
    lost: frozenset[int] = frozenset()
    """Who had sent a message that came too late and is thrown away."""


class Round(Protocol):
    """One round, step by step: every average is resolved before the steps after it are asked for."""

    def step(self, number: int) -> Step | None:
        """The step of that number, None past the last. An average that is not resolved yet has
        everybody's message and ``down = 0``."""

    def resolve(self, number: int, membership: Membership) -> Average:
        """Say who takes part in the average that is step ``number``; returns what it costs."""


class RoundCosts(tuple[Step, ...]):
    """A round whose steps are all known, in the order in which every worker takes them."""

    __slots__ = ()

    def step(self, number: int) -> Step | None:
        """The step of that number, None past the last."""
        return self[number] if number < len(self) else None

    def resolve(self, number: int, membership: Membership) -> Average:
        """The average as it is known. Raises SimgmcError where others took part in it."""
        average = self[number]
        assert isinstance(average, Average)
        if average.participants is not None and set(np.flatnonzero(average.participants)) != membership.taken:
            raise SimgmcError(
                "these costs are of another cluster, where others took part in the averages: train on this one"
            )
        return average


@cache
def _everybody(workers: int) -> Membership:
    return Membership(frozenset(range(workers)), workers)


def with_everybody(round: Round, workers: int) -> RoundCosts:
    """Run a round to its end with all workers in every average; returns what it costs."""
    everybody = _everybody(workers)
    steps: list[Step] = []
    while (step := round.step(len(steps))) is not None:
        steps.append(round.resolve(len(steps), everybody) if isinstance(step, Average) else step)
    return RoundCosts(steps)
