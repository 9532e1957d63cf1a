"""Recursive halving and doubling: few steps, each with a partner twice as far away."""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import THAKUR, CollectiveEntry
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.pieces import Pieces, PiecesBuilder, alone
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder


@cache
def _halving_doubling(workers: int) -> Pieces:
    """The flows, in chunks of the message.

    P = 2^p <= workers ranks halve and double; each of the ranks beyond P first hands its
    whole message to a partner and gets the result back at the end.
    """
    build = PiecesBuilder(workers)
    power = 1 << (workers.bit_length() - 1)
    extra = workers - power
    whole = (0, power)
    # Per rank: what must have happened before its next step (empty: its own readiness).
    before: list[list[int]] = [[] for _ in range(power)]
    for rank in range(extra):
        handed = build.send(power + rank, rank, (), whole, (power + rank,))
        before[rank] = [build.add(rank, (handed,), whole, (rank,))]
    span = [whole] * power
    distance = power // 2
    while distance:
        sent = []
        for rank in range(power):
            low, high = span[rank]
            middle = (low + high) // 2
            keep, give = ((low, middle), (middle, high)) if rank & distance == 0 else ((middle, high), (low, middle))
            gates = () if before[rank] else (rank,)
            sent.append((build.send(rank, rank ^ distance, before[rank], give, gates), keep))
        for rank in range(power):
            own, keep = sent[rank]
            received = sent[rank ^ distance][0]
            before[rank] = [own, build.add(rank, (received,), keep, (rank,))]
            span[rank] = keep
        distance //= 2
    distance = 1
    while distance < power:
        sent_now = [build.send(rank, rank ^ distance, before[rank], span[rank]) for rank in range(power)]
        for rank in range(power):
            before[rank] = [sent_now[rank], sent_now[rank ^ distance]]
        span = [(min(span[r][0], span[r ^ distance][0]), max(span[r][1], span[r ^ distance][1])) for r in range(power)]
        distance *= 2
    for rank in range(power):
        build.finish(rank, before[rank])
    for rank in range(extra):
        build.finish(power + rank, [build.send(rank, power + rank, before[rank], whole)])
    return build.build(power)


def halving_doubling(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce-scatter by recursive halving, all-gather by recursive doubling (Rabenseifner
    2004; Thakur et al. 2005). A step begins when the send and the receive before are done.

    Time for K = 2^p equal hosts: 2 log2(K) L + 2(K-1)/K n/B; other K add 2(L + n/B).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    pieces = _halving_doubling(workers)
    return pieces.schedule(average, pieces.count, aggregation)


@cache
def _doubling_all_gather(workers: int) -> tuple[Structure, tuple[tuple[int, ...], ...]]:
    """At step s rank r sends r - 2^s (mod K) all it has, up to what that rank still lacks
    (Bruck et al. 1997): every message once, in ceil(log2 K) steps. For K = 2^p the pairs
    exchange as in recursive doubling."""
    build = StructureBuilder(workers)
    carries: list[tuple[int, ...]] = []
    pairs = workers & (workers - 1) == 0
    held = [[rank] for rank in range(workers)]
    before: list[list[int]] = [[] for _ in range(workers)]
    distance = 1
    while distance < workers:
        sent, receiver = [], []
        for rank in range(workers):
            partner = rank ^ distance if pairs else (rank - distance) % workers
            blocks = held[rank] if pairs else held[rank][: workers - len(held[rank])]
            sent.append(build.flow(rank, partner, before[rank], gates=() if before[rank] else (rank,)))
            carries.append(tuple(blocks))
            receiver.append(partner)
        came = {receiver[rank]: rank for rank in range(workers)}
        gained = [held[rank] + list(carries[sent[came[rank]]]) for rank in range(workers)]
        before = [[sent[rank], sent[came[rank]]] for rank in range(workers)]
        held = gained
        distance *= 2
    for rank in range(workers):
        build.finish(rank, [build.local(rank, before[rank])])
    return build.build(), tuple(carries)


def doubling_all_gather(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """All-gather in ceil(log2 K) steps of doubling size (recursive doubling; Bruck et al.
    1997 where K is no power of two); each worker adds all messages at the end.

    Time with equal messages of k bytes: ceil(log2 K) L + (K-1) k/B.
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    structure, carries = _doubling_all_gather(workers)
    up = np.asarray(average.up, dtype=float)
    nbytes = np.zeros(structure.flows)
    nbytes[: len(carries)] = [sum(up[block] for block in blocks) for blocks in carries]
    delay = np.zeros(structure.flows)
    delay[len(carries) :] = aggregation.of(float(up.sum()))
    return Schedule(structure, nbytes, delay)


COLLECTIVES = (
    CollectiveEntry(
        "halving-doubling",
        "reduce-scatter by recursive halving, all-gather by recursive doubling",
        THAKUR,
        {},
        "summable",
        halving_doubling,
    ),
    CollectiveEntry(
        "doubling-all-gather",
        "all-gather by recursive doubling; each worker adds all messages",
        "Bruck et al., IEEE TPDS 1997",
        {},
        "any",
        doubling_all_gather,
    ),
)
