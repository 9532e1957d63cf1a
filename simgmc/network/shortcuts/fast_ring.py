"""Rings as array recurrences, all ranks of many networks at once: the fast path, exact where it applies.

Where the ranks' routes to their successors share no link, every slice has its route to
itself, because a card sends in order. Then the fluid network has nothing to share out and

    slice j of step s leaves rank i at  max(card free, slice j of step s-1 usable at i)

is all there is. Which of the two released it decides where the time went; that is carried
along, so the breakdown needs no search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simgmc.network.collectives.ring import Ring


@dataclass(frozen=True)
class RingTimes:
    """When each rank is done and how its time came about, on one network (K,) or on N of them (N, K)."""

    finish: np.ndarray
    """Seconds."""
    origin: np.ndarray
    """The rank whose readiness the chain of causes starts from."""
    sends: np.ndarray
    """Whether the chain starts with what that rank sends first; otherwise with what it adds first."""
    latency: np.ndarray
    """Seconds of latency and fixed costs on that chain."""
    aggregate: np.ndarray
    """Seconds of adding on that chain."""


def _from_before(values: np.ndarray) -> np.ndarray:
    """(..., K) what each rank gets from the rank before it."""
    return np.concatenate((values[..., -1:], values[..., :-1]), axis=-1)


Chain = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(..., K) times, and of the chain of causes of each: seconds of latency and of adding, the rank it starts from (plus
K, if with an adding)."""


def _later(one: Chain, other: Chain) -> Chain:
    """The later of two chains at every rank, the first where they tie."""
    first = one[0] >= other[0]
    if first.all():
        return one
    if not first.any():
        return other
    time, latency, adding, origin = (np.where(first, a, b) for a, b in zip(one, other))
    return time, latency, adding, origin


def solve(
    ring: Ring,
    rate: np.ndarray,
    latency: np.ndarray,
    ready: np.ndarray,
    extra: np.ndarray,
    first: np.ndarray,
    since: np.ndarray | None = None,
) -> RingTimes:
    """Times of a sliced ring whose routes share no link, on one network (K,) or on N of them (N, K).

    ``rate``: bytes/s and ``latency``: s from each rank to the next; ``ready``: s; ``extra``: s that
    every message's start is held up, ``first``: s the first's. ``since``: (N, 1) s, from when on the seconds of
    latency and adding on the chains count.
    """

    def counted(seconds: np.ndarray, until: np.ndarray) -> np.ndarray:
        return seconds if since is None else np.minimum(seconds, np.maximum(until - since, 0.0))

    workers = ready.shape[-1]
    zero, rank = np.zeros(ready.shape), np.broadcast_to(np.arange(workers), ready.shape)
    # The card: free at, and the chain of what it sent last; the adder likewise. Both wait for their rank's readiness.
    card: Chain = (ready, zero, zero, rank)
    adder: Chain = (ready, zero, zero, rank + workers)
    usable: list[Chain] = []
    held = bool(extra.any() or first.any())
    for step in range(ring.steps):
        take = ring.sent(step) / ring.slices / rate
        work = ring.adding(step) / ring.slices if step < ring.adding_steps else None
        arrived = []
        for j in range(ring.slices):
            begin, lost, adding, origin = _later(usable[j], card) if step else card
            if held:
                hold = extra if step or j else first
                begin = begin + hold
                lost = lost + counted(hold, begin)
            left = begin + take
            landed = left + latency
            landed_lost = lost + counted(latency, landed)
            card = (landed, landed_lost, adding, origin) if ring.lock_step else (left, lost, adding, origin)
            came = (
                _from_before(landed), _from_before(landed_lost), _from_before(adding), _from_before(origin),
            )  # fmt: skip
            if work is not None:
                time, lost, adding, origin = _later(came, adder)
                time = time + work
                adder = came = (time, lost, adding + counted(work, time), origin)
            arrived.append(came)
        usable = arrived
    done = _later(usable[-1], card)
    if 0 < ring.adding_steps < ring.steps:
        done = _later(done, adder)
    finish, lost, adding, origin = done
    if ring.final is not None:
        finish = finish + ring.final
        adding = adding + counted(ring.final, finish)
    return RingTimes(finish, origin % workers, origin < workers, lost, adding)
