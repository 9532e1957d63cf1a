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
    _way: _Way
    _late: list[np.ndarray]
    """Per step and slice, a bit for each rank: whether an arrival released its card, not the slice before."""
    _added_late: list[np.ndarray]
    """The same of its adding."""

    def back(self, rank: int, ready: float, end: float) -> tuple[float, float, float, int, float]:
        """Follow a rank's chain of causes from ``end`` back to ``ready`` or to a readiness, on one network.

        Returns seconds of transfer, latency and adding, the rank whose readiness it starts
        from, and when that was (``ready`` if the chain goes back further).
        """
        spent = {"transfer": 0.0, "latency": 0.0, "aggregate": 0.0}
        chain = self._chain(rank)
        for what, since in reversed(self._segments(chain, rank)):
            since = max(since, ready)
            if since < end:
                spent[what] += end - since
                end = since
        return spent["transfer"], spent["latency"], spent["aggregate"], chain[-1][2], end

    def _chain(self, rank: int) -> list[tuple[bool, int, int]]:
        """What a rank was done with and what each waited for, the last first: (an adding?, step and slice, rank)."""
        ring, workers = self._way.ring, len(self.finish)
        added = ring.adding_steps * ring.slices
        place, adding = ring.steps * ring.slices - 1, False
        done_with = DONE_WITH[self.last[rank]]
        if done_with == "arrival":
            adding = place < added
            rank = rank if adding else (rank - 1) % workers
        elif done_with == "adding":
            place, adding = added - 1, True
        chain = [(adding, place, rank)]
        while True:
            if adding:
                if _bit(self._added_late[place], rank):
                    adding, rank = False, (rank - 1) % workers
                elif place:
                    place -= 1
                else:
                    return chain
            elif not place:
                return chain
            elif _bit(self._late[place], rank):
                # The slice of the step before, from the rank before (through the adding).
                place -= ring.slices
                adding = place < added
                rank = rank if adding else (rank - 1) % workers
            else:
                place -= 1
            chain.append((adding, place, rank))

    def _segments(self, chain: list[tuple[bool, int, int]], rank: int) -> list[tuple[str, float]]:
        """What a chain consists of from its readiness on, and when each began."""
        way, ring = self._way, self._way.ring
        found: list[tuple[str, float]] = []
        time, sender = float(way.ready[chain[-1][2]]), -1
        for adding, place, here in reversed(chain):
            if sender >= 0 and (sender != here or ring.lock_step):
                found.append(("latency", time))
                time += float(way.latency[sender])
            if adding:
                found.append(("aggregate", time))
                time += float(ring.adding(place // ring.slices)[here] / ring.slices)
                sender = -1
                continue
            found.append(("latency", time))
            time += float((way.extra if place else way.first)[here])
            found.append(("transfer", time))
            time += float(ring.sent(place // ring.slices)[here] / ring.slices / way.rate[here])
            sender = here
        if sender >= 0 and (sender != rank or ring.lock_step):
            found.append(("latency", time))
            time += float(way.latency[sender])
        if ring.final is not None:
            found.append(("aggregate", time))
        return found


@dataclass(frozen=True)
class _Way:
    """What :func:`solve` was given."""

    ring: Ring
    rate: np.ndarray
    latency: np.ndarray
    ready: np.ndarray
    extra: np.ndarray
    first: np.ndarray


def _bit(packed: np.ndarray, place: int) -> int:
    return int(packed[place >> 3]) >> (7 - (place & 7)) & 1


def _from_before(values: np.ndarray) -> np.ndarray:
    """(..., K) what each rank gets from the rank before it."""
    return np.concatenate((values[..., -1:], values[..., :-1]), axis=-1)


Chain = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(..., K) times, and of the chain of causes of each: seconds of latency and of adding, the rank it starts from (plus
K, if with an adding)."""


def _later(one: Chain, other: Chain) -> tuple[Chain, np.ndarray]:
    """The later of two chains at every rank, the first where they tie; and where it is the first."""
    first = one[0] >= other[0]
    if first.all():
        return one, first
    if not first.any():
        return other, first
    time, latency, adding, origin = (np.where(first, a, b) for a, b in zip(one, other))
    return (time, latency, adding, origin), first


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
    every message's start is held up, ``first``: s the first's. Without the ``trail``, a bit for every
    slice, :meth:`RingTimes.back` is not possible.
    """
    workers = ready.shape[-1]
    zero, rank = np.zeros(ready.shape), np.broadcast_to(np.arange(workers), ready.shape)
    # The card: free at, and the chain of what it sent last; the adder likewise. Both wait for their rank's readiness.
    card: Chain = (ready, zero, zero, rank)
    adder: Chain = (ready, zero, zero, rank + workers)
    usable: list[Chain] = []
    held = bool(extra.any() or first.any())
    late: list[np.ndarray] = []
    added_late: list[np.ndarray] = []
    never = np.zeros(ready.shape, dtype=bool)
    for step in range(ring.steps):
        take = ring.sent(step) / ring.slices / rate
        work = ring.adding(step) / ring.slices if step < ring.adding_steps else None
        arrived = []
        for j in range(ring.slices):
            released = never
            if step:
                card, released = _later(usable[j], card)
            if trail:
                late.append(np.packbits(released))
            begin, lost, adding, origin = card
            if held:
                hold = extra if step or j else first
                begin, lost = begin + hold, lost + hold
            left = begin + take
            landed, landed_lost = left + latency, lost + latency
            card = (landed, landed_lost, adding, origin) if ring.lock_step else (left, lost, adding, origin)
            came = (
                _from_before(landed), _from_before(landed_lost), _from_before(adding), _from_before(origin),
            )  # fmt: skip
            if work is not None:
                came, released = _later(came, adder)
                if trail:
                    added_late.append(np.packbits(released))
                adder = came = (came[0] + work, came[1], came[2] + work, came[3])
            arrived.append(came)
        usable = arrived
    done = usable[-1]
    last = np.zeros(ready.shape, dtype=np.int8)
    ends = [("card", card)]
    if 0 < ring.adding_steps < ring.steps:
        ends.append(("adding", adder))
    for what, end in ends:
        done, before = _later(done, end)
        last = np.where(before, last, DONE_WITH.index(what))
    finish, lost, adding, origin = done
    if ring.final is not None:
        finish, adding = finish + ring.final, adding + ring.final
    way = _Way(ring, rate, latency, ready, extra, first)
    return RingTimes(finish, origin % workers, origin < workers, lost, adding, last, way, late, added_late)
