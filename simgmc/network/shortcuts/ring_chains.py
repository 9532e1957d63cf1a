"""Where the time of a ring's ranks went: the chain of causes of each, from when it was ready itself.

A rank is done when the last of what it waited for is. That waited for something in turn, and so on, back to a rank
that was ready, whose chain it is. Where that was before the rank itself was ready, the chain has to be cut: it is
followed back by the choices that the recurrence noted, and its seconds are summed again from its beginning, in the
order in which they passed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simgmc.network.exchanges.ring import Ring
from simgmc.network.shortcuts.fast_ring import ADDER, CARD, RingTimes, RingWays, in_rows

_SENT, _LANDED, _ADDED, _CROSSED = 1, 2, 4, 8
"""What a chain does with a slice at a step: it is sent, its latency passes, it is added; before all that, the chain
crossed from the next piece, which the same rank had at the step before."""
_KEPT = 2**24
"""Bytes for what chains do that is kept at a time, about."""
_SUMMED = 2**17
"""Numbers that are summed at a time, about."""


Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(N, K) seconds of transfer, latency and adding, and when the chain of causes begins."""


def ring_parts(ring: Ring, ways: RingWays, ready: np.ndarray, times: RingTimes) -> Parts:
    """Where each rank's time went, from when it was ready, (N, K) s, to its end."""
    begin = np.take_along_axis(ready, times.origin, axis=1)
    transfer = times.finish - begin - times.latency - times.aggregate
    # A chain that starts before the participant's own time has to be cut there: mostly while the first
    # slice is still sent.
    before = np.maximum(ready - begin, 0.0)
    hold, take = (
        np.take_along_axis(one, times.origin, axis=1) for one in (ways.first, ring.sent(0) / ring.slices / ways.rate)
    )
    simple = times.sends & (before <= hold + take)
    held = np.where(simple, np.minimum(before, hold), 0.0)
    latency, transfer = times.latency - held, transfer - np.where(simple, before - held, 0.0)
    aggregate, begin = times.aggregate.copy(), np.where(simple, begin + before, begin)
    for network, rank, lost, adding in _cut(ring, ways, ready, times, *np.nonzero(~simple & (before > 0))):
        since, finish = ready[network, rank], times.finish[network, rank]
        latency[network, rank], aggregate[network, rank], begin[network, rank] = lost, adding, since
        transfer[network, rank] = finish - since - lost - adding
    return transfer, latency, aggregate, begin


def _cut(
    ring: Ring, ways: RingWays, ready: np.ndarray, times: RingTimes, network: np.ndarray, rank: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of these ranks of these networks, some at a time: both again, and seconds of latency and of adding on the chain
    of each from when it was ready itself; all (E,)."""
    workers, last = ready.shape[1], times.last[network, rank]
    piece = (rank - np.array([ring.steps, ring.steps - 1, ring.adding_steps])[last]) % workers
    since, begin = ready[network, rank], ready[network, times.origin[network, rank]]
    # Ranks whose chains are alike and are cut at the same time are counted once.
    alike = np.stack([network, last, times.classes[piece], since])
    _, first, which = np.unique(alike, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(which, kind="stable")
    many = max(1, _KEPT // (ring.steps * ring.slices))
    for number in range(0, len(first), many):
        some = first[number : number + many]
        ends = order[slice(*np.searchsorted(which[order], (number, number + many)))]
        does, start = _follow(ring, times, network[some], piece[some], last[some])
        counted = _spent(ring, ways, does, network[some], start, begin[some], since[some])
        final = 0.0
        if ring.final is not None:
            final = np.broadcast_to(ring.final, ready.shape)[network[ends], rank[ends]]
            final = np.minimum(final, np.maximum(times.finish[network, rank][ends] - since[ends], 0.0))
        lost, adding = (one[which[ends] - number] for one in counted)
        yield network[ends], rank[ends], lost, adding + final


def _follow(
    ring: Ring, times: RingTimes, network: np.ndarray, piece: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow chains back from the ends of E ranks; ``piece``: (E,) the one that each has, or sent or added, last.

    Returns (steps, slices, E) uint8, what each chain does with each slice, and (E,) the piece that it begins with.
    """
    slices, workers, every = ring.slices, len(times.classes), np.arange(len(piece))
    does, piece = np.zeros((ring.steps, slices, len(piece)), np.uint8), piece.copy()
    # Places in the order in which a chain can come by; at every step: slices sent, then slices that came.
    begun = np.where(last == ADDER, ring.adding_steps, ring.steps)
    place = 2 * slices * begun - np.where(last == CARD, slices, 0) - 1

    def cross(some: np.ndarray) -> None:
        piece[some] = (piece[some] + 1) % workers
        does[step, 0, some] |= _CROSSED

    straight, step = _straight(ring, times), ring.steps - 1
    while step >= 0:
        base = 2 * slices * step
        if (many := straight[step]) and (place >= base + slices).all():
            does[step + 1 - many : step + 1, place - base - slices, every] = _SENT | _LANDED | _ADDED
            place -= 2 * slices * many
            step -= many
            continue
        for j in reversed(range(slices)):
            came = place == base + slices + j
            if step < ring.adding_steps:
                does[step, j, came] |= _ADDED
                itself = came & times.added[step * slices + j].of(network, piece)
                waited, came = came & ~itself, itself
                place[waited] = base + slices + j - 1 if j else base - 1
                if not j:
                    cross(waited)
            does[step, j, came] |= _LANDED
            place[came] = base + j
        for j in reversed(range(slices)):
            waited = place == base + j
            does[step, j, waited] |= _SENT | _LANDED if ring.lock_step else _SENT
            if step:
                itself = waited & times.sent[(step - 1) * slices + j].of(network, piece)
                place[itself], waited = base - slices + j, waited & ~itself
            if j or not step:
                place[waited] = base + j - 1
            else:
                place[waited] = base - slices - 1
                cross(waited)
        step -= 1
    return does, piece


def _straight(ring: Ring, times: RingTimes) -> list[int]:
    """By step: so many steps up to it, at which all pieces waited for nothing but themselves."""
    found = [0]
    for step in range(1, ring.steps):
        sent = times.sent[(step - 1) * ring.slices : step * ring.slices]
        added = times.added[step * ring.slices : (step + 1) * ring.slices]
        found.append(found[-1] + 1 if all(one.bits is None for one in (*sent, *added)) else 0)
    return found


def _spent(
    ring: Ring, ways: RingWays, does: np.ndarray, network: np.ndarray, piece: np.ndarray, begin: np.ndarray,
    since: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Seconds of latency, fixed costs included, and of adding on chains: (E,) each.

    ``does``, ``piece``: as :func:`_follow` found them; ``begin``: (E,) s at which a chain begins; ``since``: (E,) s
    from when on its seconds count.
    """
    slices, time, alike, held = ring.slices, begin, ways.alike, ways.held_up
    networks, workers = ways.rate.shape

    def of_networks(values: np.ndarray) -> np.ndarray:
        rows = in_rows(values) / slices
        return np.broadcast_to(rows, (len(rows), networks, workers))

    sizes, works = of_networks(ring.pieces), None if ring.work is None else of_networks(ring.work)
    # The seconds of a step in their order: of each slice to be held up (where that is) and to be sent, then the latency
    # of the last of these, then of each slice to be added.
    each = 1 + held
    holds, takes, lands = slice(0, slices * held * each, each), slice(held, slices * each, each), slices * each
    adds = slice(lands + 1, lands + 1 + slices * (works is not None))
    latency, adding = np.zeros(len(piece)), np.zeros(len(piece))
    rows = max(1, _SUMMED // (adds.stop * len(piece)))
    for first in range(0, ring.steps, rows):
        done = does[first : first + rows]
        step = np.arange(first, first + len(done))[:, None]
        column = (piece - np.cumsum(done[:, 0] & _CROSSED != 0, axis=0)) % workers
        piece = column[-1]
        rank = np.zeros_like(step) if alike else (column + step) % workers
        seconds, sent = np.zeros((len(done), adds.stop, len(piece))), done & _SENT != 0
        take = sizes[np.minimum(step, len(sizes) - 1), network, column] / ways.rate[network, rank]
        seconds[:, takes] = np.where(sent, take[:, None], 0.0)
        if held:
            seconds[:, holds] = np.where(sent, ways.extra[network, rank][:, None], 0.0)
            if not first:
                seconds[0, 0] = np.where(sent[0, 0], ways.first[network, rank[0]], 0.0)
        landed = (done & _LANDED != 0).any(axis=1)
        seconds[:, lands] = np.where(landed, ways.latency[network, rank], 0.0)
        if works is not None:
            work = works[np.minimum(step, len(works) - 1), network, column]
            added = (done & _ADDED != 0) & (step < ring.adding_steps)[:, None]
            seconds[:, adds] = np.where(added, work[:, None], 0.0)
        until = _running(time, seconds)
        time = until[-1, -1]
        counted = np.minimum(seconds, np.maximum(until - since, 0.0))
        latency = _running(latency, counted[:, [*range(*holds.indices(lands)), lands]])[-1, -1]
        if works is not None:
            adding = _running(adding, counted[:, adds])[-1, -1]
    return latency, adding


def _running(before: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(rows, height, M) sums of all before, one after the other, on top of (M,)."""
    flat = seconds.reshape(-1, len(before))
    found = np.empty_like(flat)
    np.add(before, flat[0], out=found[0])
    if len(before) < 64:
        found[1:] = flat[1:]
        np.add.accumulate(found, axis=0, out=found)
    else:
        for row in range(1, len(flat)):
            np.add(found[row - 1], flat[row], out=found[row])
    return found.reshape(seconds.shape)
