"""Rings as array recurrences, all ranks of many networks at once: the fast path, exact where it applies.

Where the ranks' routes to their successors share no link, every slice has its route to
itself, because a card sends in order. Then the fluid network has nothing to share out and

    slice j of step s leaves rank i at  max(card free, slice j of step s-1 usable at i)

is all there is. Which of the two released it decides where the time went: that is carried
along. It is noted too, for :mod:`.ring_chains`, which follows back from the end what only a part is wanted of.

Arrays are in the order of the pieces, not of the ranks: at step s rank i has piece i - s. So a piece keeps its column
on its way round, and what its rank sent before it is in the next column. Where all ranks are alike, pieces with the
same times so far share a column: they are a class. A class is split where the next piece holds up some of it alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from simgmc.network.exchanges.ring import Ring

FEW = 0.25
"""So many classes for each piece, at most, are worth their bookkeeping."""
SLICE, CARD, ADDER = range(3)
"""What the end of a rank waits for."""


@dataclass(frozen=True)
class RingWays:
    """What messages round a ring meet on N networks of K ranks: each array is (N, K)."""

    rate: np.ndarray
    """Bytes/s from each rank to the next."""
    latency: np.ndarray
    """Seconds from each rank to the next."""
    extra: np.ndarray
    """Seconds that the start of every message but the first is held up."""
    first: np.ndarray
    """Seconds that the start of the first is held up."""

    @cached_property
    def alike(self) -> bool:
        """Whether all ranks of each network have the same."""
        return all(bool((one == one[:, :1]).all()) for one in (self.rate, self.latency, self.extra, self.first))

    @cached_property
    def held_up(self) -> bool:
        """Whether the start of any message is."""
        return bool(self.extra.any() or self.first.any())


class Choice(NamedTuple):
    """Of one slice of every piece: whether it was itself what came last, and not what it had to wait for."""

    classes: np.ndarray
    """(K,) class of each piece then."""
    bits: np.ndarray | None
    """(N, classes / 8), eight classes to a byte; None: it was, everywhere."""

    def of(self, network: np.ndarray, piece: np.ndarray) -> np.ndarray:
        """(E,) bool, of these pieces on these networks."""
        if self.bits is None:
            return np.ones(len(piece), bool)
        place = self.classes[piece]
        return (self.bits[network, place >> 3] >> (place & 7).astype(np.uint8)) & 1 == 1


@dataclass(frozen=True)
class RingTimes:
    """When each rank is done on N networks, and what that hung on."""

    finish: np.ndarray
    """(N, K) seconds."""
    origin: np.ndarray
    """(N, K) the rank whose readiness the chain of causes starts from."""
    sends: np.ndarray
    """(N, K) bool: the chain starts with what that rank sends first; otherwise with what it adds first."""
    latency: np.ndarray
    """(N, K) seconds of latency and fixed costs on that chain."""
    aggregate: np.ndarray
    """(N, K) seconds of adding on that chain."""
    last: np.ndarray
    """(N, K) what the rank's end waited for: SLICE, CARD or ADDER."""
    classes: np.ndarray
    """(K,) class of each piece in the end: those of one had the same choices all the way."""
    sent: list[Choice]
    """By step and slice, without the first step: the slice was usable when its card was already free."""
    added: list[Choice]
    """By adding step and slice: the slice came when the adder was already free."""


Chain = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(N, classes) times, and of the chain of causes of each: seconds of latency and of adding, and how many pieces after
this one is what its origin begins with (twice that, and 1 where it begins with an adding)."""


class _Pieces:
    """The pieces of a ring on their way round, in classes."""

    def __init__(self, ring: Ring, ways: RingWays, ready: np.ndarray):
        self._ring, self._alike, self._step, self._row = ring, ways.alike, 0, -1
        every = (ways.rate, ways.latency, ways.extra, ways.first)
        self._ranks = [one[:, :1] if self._alike else np.concatenate((one, one), axis=1) for one in every]
        first, self.classes = _alike(ring, ready) if self._alike else _each(ready.shape[1])
        ready = ready[:, first]
        zero = np.zeros(ready.shape)
        send, add = (ready, zero, zero, zero.astype(int)), (ready, zero, zero, zero.astype(int) + 1)
        self.chains: list[Chain] = [send] * (ring.slices + 1) + [add]
        """By slice: when it is usable at the rank that has the piece. Then, of the next piece, which that rank had
        before: when that has left, and when the rank before has added it."""
        self._take_up(first)

    def _take_up(self, first: np.ndarray) -> None:
        """Take up new classes; ``first``: (classes,) a piece of each."""
        self._whole = len(first) == len(self.classes)
        self._next = np.concatenate((self.classes[1:], self.classes[:1]))
        if not self._whole:
            both = self.classes * len(first) + self._next
            _, self._pairs, self._pair = np.unique(both, return_index=True, return_inverse=True)
            self._class, self._next = self.classes[self._pairs], self._next[self._pairs]
        self._sizes, self._works = (
            in_rows(np.zeros(len(self.classes)) if one is None else one)[..., first] / self._ring.slices
            for one in (self._ring.pieces, self._ring.work)
        )
        self._row = -1
        self.turn(self._step)

    def turn(self, step: int) -> None:
        """Go on to a step: seconds that each piece takes in it."""
        row = min(step, max(len(self._sizes), len(self._works)) - 1)
        if self._alike and row == self._row:
            return
        self._step, self._row = step, row
        turned = step % len(self.classes)
        here = slice(None) if self._alike else slice(turned, turned + len(self.classes))
        rate, self.latency, self.extra, self.first = (one[:, here] for one in self._ranks)
        self.take = self._sizes[min(step, len(self._sizes) - 1)] / rate
        self.work = self._works[min(step, len(self._works) - 1)]

    def later(self, number: int, other: int, crossing: bool, noted: list[Choice]) -> Chain:
        """The later of two chains, the first where they tie; ``crossing``: the other is of the next piece."""
        one, before = self.chains[number], self.chains[other]
        if crossing:
            time = before[0].take(self._next, axis=1)
            if ((one[0] if self._whole else one[0].take(self._class, axis=1)) >= time).all():
                noted.append(Choice(self.classes, None))
                return one
            latency, adding, origin = (each.take(self._next, axis=1) for each in before[1:])
            before = time, latency, adding, origin + 2
            if len(self._next) > one[0].shape[1]:
                before, one = self._split(before), self.chains[number]
        itself = one[0] >= before[0]
        if itself.all():
            noted.append(Choice(self.classes, None))
            return one
        noted.append(Choice(self.classes, np.packbits(itself, axis=1, bitorder="little")))
        if not itself.any():
            return before
        time, latency, adding, origin = (np.where(itself, a, b) for a, b in zip(one, before))
        return time, latency, adding, origin

    def _split(self, beside: Chain) -> Chain:
        """Make a class of every class with one next to it, or of every piece; gives chains of the next of each, by
        pair, to these."""
        workers = len(self.classes)
        first, classes = (self._pairs, self._pair) if len(self._pairs) <= FEW * workers else _each(workers)
        self.chains = [_of(one, self.classes[first]) for one in self.chains]
        beside, self.classes = _of(beside, self._pair[first]), classes
        self._take_up(first)
        return beside

    def in_ranks(self, number: int, steps: int) -> Chain:
        """Of the piece that each rank had after so many steps: (N, K) each, with the rank that its origin is (plus K,
        where it begins with an adding)."""
        workers = len(self.classes)
        piece = (np.arange(workers) - steps) % workers
        time, latency, adding, origin = _of(self.chains[number], self.classes[piece])
        return time, latency, adding, (piece + origin // 2) % workers + workers * (origin % 2)


def _of(chain: Chain, which: np.ndarray) -> Chain:
    time, latency, adding, origin = (each[:, which] for each in chain)
    return time, latency, adding, origin


def _later(one: Chain, other: Chain) -> tuple[Chain, np.ndarray]:
    """The later of two chains, the first where they tie; and whether it is the first."""
    first = one[0] >= other[0]
    time, latency, adding, origin = (np.where(first, a, b) for a, b in zip(one, other))
    return (time, latency, adding, origin), first


def _each(workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Every piece a class of its own: (classes,) a piece of each, (K,) the class of each."""
    each = np.arange(workers)
    return each, each


def _alike(ring: Ring, ready: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pieces that begin at the same time and have the same sizes a class, where these are few; as :func:`_each`."""
    workers = ready.shape[1]
    works = () if ring.work is None else (ring.work,)
    rows = np.concatenate([one.reshape(-1, workers) for one in (ready, ring.pieces, *works)])
    begins = np.concatenate(([True], (rows[:, 1:] != rows[:, :-1]).any(axis=0)))
    if begins.sum() > FEW * workers:
        return _each(workers)
    runs = np.flatnonzero(begins)
    _, first, classes = np.unique(rows[:, runs], axis=1, return_index=True, return_inverse=True)
    return runs[first], classes.reshape(-1)[np.cumsum(begins) - 1]


def in_rows(values: np.ndarray) -> np.ndarray:
    """Sizes or seconds of a ring's pieces in any of their forms, as (rows, 1 or N, K)."""
    return values if values.ndim == 3 else values.reshape(-1, 1, values.shape[-1])


def solve(ring: Ring, ways: RingWays, ready: np.ndarray) -> RingTimes:
    """Times of a sliced ring whose routes share no link, on N networks; ``ready``: (N, K) s."""
    pieces, slices, workers = _Pieces(ring, ways, ready), ring.slices, ready.shape[1]
    card, adder, held = slices, slices + 1, ways.held_up
    sent: list[Choice] = []
    added: list[Choice] = []
    for step in range(ring.steps):
        pieces.turn(step)
        for j in range(slices):
            begin, lost, adding, origin = pieces.later(j, card, not j, sent) if step else pieces.chains[card]
            if held:
                hold = pieces.extra if step or j else pieces.first
                begin, lost = begin + hold, lost + hold
            left = begin + pieces.take
            landed = left + pieces.latency, lost + pieces.latency, adding, origin
            pieces.chains[j] = landed
            pieces.chains[card] = landed if ring.lock_step else (left, lost, adding, origin)
            if step < ring.adding_steps:
                time, lost, adding, origin = pieces.later(j, adder, not j, added)
                came = time + pieces.work, lost, adding + pieces.work, origin
                pieces.chains[j] = pieces.chains[adder] = came
    done, first = _later(pieces.in_ranks(slices - 1, ring.steps), pieces.in_ranks(card, ring.steps - 1))
    last = np.where(first, SLICE, CARD)
    if 0 < ring.adding_steps < ring.steps:
        done, first = _later(done, pieces.in_ranks(adder, ring.adding_steps))
        last = np.where(first, last, ADDER)
    finish, lost, adding, origin = done
    if ring.final is not None:
        finish, adding = finish + ring.final, adding + ring.final
    return RingTimes(finish, origin % workers, origin < workers, lost, adding, last, pieces.classes, sent, added)
