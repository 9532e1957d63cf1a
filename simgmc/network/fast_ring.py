"""Rings as array recurrences, all ranks at once: the fast path, exact where it applies.

Where the ranks' routes to their successors share no link, every slice has its route to
itself, because a card sends in order. Then the fluid network has nothing to share out and

    slice j of step s leaves rank i at  max(card free, slice j of step s-1 usable at i)

is all there is. Which of the two released it decides where the time went; that is carried
along, so the breakdown needs no search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ring:
    """One exchange round a ring."""

    chunk: np.ndarray
    """(steps, K) bytes each rank sends at each step."""
    slices: int
    adding: np.ndarray | None = None
    """(adding steps, K) seconds to add what each rank receives at each of the first steps."""
    final: np.ndarray | None = None
    """(K,) seconds of work at the end."""
    lock_step: bool = False
    """A card is free when what it sent has arrived, not when it has left."""


@dataclass(frozen=True)
class RingTimes:
    """When each rank is done and how its time came about."""

    finish: np.ndarray
    """(K,) seconds."""
    origin: np.ndarray
    """(K,) the rank whose readiness the chain of causes starts from."""
    latency: np.ndarray
    """(K,) seconds of latency and fixed costs on that chain."""
    aggregate: np.ndarray
    """(K,) seconds of adding on that chain."""


def solve(ring: Ring, rate: np.ndarray, latency: np.ndarray, ready: np.ndarray, extra: np.ndarray, first: np.ndarray) -> RingTimes:
    """Times of a sliced ring whose routes share no link.

    ``rate``: (K,) bytes/s and ``latency``: (K,) s from each rank to the next; ``ready``: (K,)
    s; ``extra``: (K,) s that every message's start is held up, ``first``: (K,) s the first's.
    """
    workers = len(ready)
    rank = np.arange(workers)
    before = rank - 1
    zero = np.zeros(workers)
    where, maximum = np.where, np.maximum
    adding_steps = 0 if ring.adding is None else len(ring.adding)
    # The card: free at, and the chain (latency, adding, origin) of what it sent last.
    free, free_l, free_a, free_o = ready, zero, zero, rank
    # The adder likewise; it cannot start before its rank is ready.
    idle, idle_l, idle_a, idle_o = ready, zero, zero, rank
    usable: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    held = bool(extra.any() or first.any())
    for step in range(len(ring.chunk)):
        take = ring.chunk[step] / ring.slices / rate
        work = ring.adding[step] / ring.slices if step < adding_steps else None
        arrived = []
        for j in range(ring.slices):
            if step:
                time, time_l, time_a, time_o = usable[j]
                late = time >= free
                begin = maximum(time, free)
                chain_l, chain_a = where(late, time_l, free_l), where(late, time_a, free_a)
                chain_o = where(late, time_o, free_o)
            else:
                begin, chain_l, chain_a, chain_o = free, free_l, free_a, free_o
            if held:
                hold = extra if step or j else first
                begin, chain_l = begin + hold, chain_l + hold
            free, free_l, free_a, free_o = begin + take, chain_l, chain_a, chain_o
            landed, landed_l = free + latency, chain_l + latency
            time, time_l, time_a, time_o = landed[before], landed_l[before], chain_a[before], chain_o[before]
            if ring.lock_step:
                free, free_l = landed, landed_l
            if work is not None:
                late = time >= idle
                begin = maximum(time, idle)
                time_l, time_o = where(late, time_l, idle_l), where(late, time_o, idle_o)
                time_a = where(late, time_a, idle_a) + work
                time = begin + work
                idle, idle_l, idle_a, idle_o = time, time_l, time_a, time_o
            arrived.append((time, time_l, time_a, time_o))
        usable = arrived
    finish, finish_l, finish_a, finish_o = usable[-1]
    ends = [(free, free_l, free_a, free_o)]
    if adding_steps:
        ends.append((idle, idle_l, idle_a, idle_o))
    for time, time_l, time_a, time_o in ends:
        late = time > finish
        finish = maximum(finish, time)
        finish_l, finish_a = where(late, time_l, finish_l), where(late, time_a, finish_a)
        finish_o = where(late, time_o, finish_o)
    if ring.final is not None:
        finish, finish_a = finish + ring.final, finish_a + ring.final
    return RingTimes(finish, finish_o, finish_l, finish_a)
