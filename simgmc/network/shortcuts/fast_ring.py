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

DONE_WITH = ("arrival", "card", "adding")


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
    last: np.ndarray
    """What each rank was done with: an index into :data:`DONE_WITH`."""
    trail: list[tuple]
    """Per step and slice: when each rank's card began, whether an arrival released it, when the
    slice had left; then the same of the adding by each rank, None where nothing is added."""

    def back(
        self, ring: Ring, rank: int, ready: float, end: float, extra: np.ndarray, first: np.ndarray
    ) -> tuple[float, float, float, int, float]:
        """Follow a rank's chain of causes from ``end`` back to ``ready`` or to a readiness, on one network.

        Returns seconds of transfer, latency and adding, the rank whose readiness it starts
        from, and when that was (``ready`` if the chain goes back further).
        """
        workers, slices = len(self.finish), ring.slices
        place = len(self.trail) - 1
        transfer = lost = adding = 0.0
        if ring.final is not None:
            spent = min(float(ring.final[rank]), end - ready)
            adding, end = adding + spent, end - spent
        what = DONE_WITH[self.last[rank]]
        if what == "arrival":
            rank = (rank - 1) % workers
        elif what == "adding":
            assert ring.adding is not None
            place = len(ring.adding) * slices - 1
        while end > ready:
            begin, late, left, add_begin, add_late = self.trail[place]
            if what == "adding" or (what == "arrival" and add_begin is not None):
                adder = rank if what == "adding" else (rank + 1) % workers
                spent = min(end - float(add_begin[adder]), end - ready)
                adding, end = adding + spent, end - spent
                if end <= ready:
                    break
                if not add_late[adder]:
                    # Released by the adding of the slice before, or by its own readiness.
                    if place == 0:
                        return transfer, lost, adding, adder, end
                    place, rank, what = place - 1, adder, "adding"
                    continue
                rank, what = (adder - 1) % workers, "arrival"
            if what == "arrival" or ring.lock_step:
                spent = min(end - float(left[rank]), end - ready)
                lost, end = lost + spent, end - spent
            hold = float((extra if place else first)[rank])
            start = max(float(begin[rank]), ready)
            if start < end:
                transfer, end = transfer + end - start, start
            spent = min(hold, end - ready)
            lost, end = lost + spent, end - spent
            if place == 0:
                return transfer, lost, adding, rank, end
            if late[rank]:
                # The slice of the step before, from the rank before (through its adding).
                place, rank, what = place - slices, (rank - 1) % workers, "arrival"
            else:
                place, what = place - 1, "card"
        return transfer, lost, adding, rank, end


def solve(
    ring: Ring,
    rate: np.ndarray,
    latency: np.ndarray,
    ready: np.ndarray,
    extra: np.ndarray,
    first: np.ndarray,
    trail: bool = True,
) -> RingTimes:
    """Times of a sliced ring whose routes share no link, on one network (K,) or on N of them (N, K).

    ``rate``: bytes/s and ``latency``: s from each rank to the next; ``ready``: s; ``extra``: s that
    every message's start is held up, ``first``: s the first's. Without the ``trail``, which takes
    memory for every slice, :meth:`RingTimes.back` is not possible.
    """
    workers = ready.shape[-1]
    rank = np.broadcast_to(np.arange(workers), ready.shape)
    before = np.arange(workers) - 1
    zero = np.zeros(ready.shape)
    where, maximum = np.where, np.maximum
    adding_steps = 0 if ring.adding is None else len(ring.adding)
    # The card: free at, and the chain (latency, adding, origin) of what it sent last.
    free, free_l, free_a, free_o = ready, zero, zero, rank
    # The adder likewise; it cannot start before its rank is ready.
    idle, idle_l, idle_a, idle_o = ready, zero, zero, rank + workers  # told apart from chains that begin at a card
    usable: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    held = bool(extra.any() or first.any())
    kept: list[tuple] = []
    never = np.zeros(ready.shape, dtype=bool)
    for step in range(len(ring.chunk)):
        take = ring.chunk[step] / ring.slices / rate
        work = ring.adding[step] / ring.slices if ring.adding is not None and step < adding_steps else None
        arrived = []
        for j in range(ring.slices):
            if step:
                time, time_l, time_a, time_o = usable[j]
                late = time >= free
                begin = maximum(time, free)
                chain_l, chain_a = where(late, time_l, free_l), where(late, time_a, free_a)
                chain_o = where(late, time_o, free_o)
            else:
                late = never
                begin, chain_l, chain_a, chain_o = free, free_l, free_a, free_o
            if held:
                hold = extra if step or j else first
                begin, chain_l = begin + hold, chain_l + hold
            free, free_l, free_a, free_o = begin + take, chain_l, chain_a, chain_o
            card = (begin, late, free)
            landed, landed_l = free + latency, chain_l + latency
            time, time_l, time_a, time_o = (one[..., before] for one in (landed, landed_l, chain_a, chain_o))
            if ring.lock_step:
                free, free_l = landed, landed_l
            if work is None:
                if trail:
                    kept.append((*card, None, None))
            else:
                late = time >= idle
                begin = maximum(time, idle)
                time_l, time_o = where(late, time_l, idle_l), where(late, time_o, idle_o)
                time_a = where(late, time_a, idle_a) + work
                time = begin + work
                if trail:
                    kept.append((*card, begin, late))
                idle, idle_l, idle_a, idle_o = time, time_l, time_a, time_o
            arrived.append((time, time_l, time_a, time_o))
        usable = arrived
    finish, finish_l, finish_a, finish_o = usable[-1]
    last = np.zeros(ready.shape, dtype=np.int8)
    ends = [(DONE_WITH.index("card"), free, free_l, free_a, free_o)]
    if 0 < adding_steps < len(ring.chunk):
        ends.append((DONE_WITH.index("adding"), idle, idle_l, idle_a, idle_o))
    for what, time, time_l, time_a, time_o in ends:
        late = time > finish
        last = where(late, what, last)
        finish = maximum(finish, time)
        finish_l, finish_a = where(late, time_l, finish_l), where(late, time_a, finish_a)
        finish_o = where(late, time_o, finish_o)
    if ring.final is not None:
        finish, finish_a = finish + ring.final, finish_a + ring.final
    return RingTimes(finish, finish_o % workers, finish_o < workers, finish_l, finish_a, last, kept)
