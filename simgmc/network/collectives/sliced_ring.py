"""Rings as libraries run them: chunks cut into slices, forwarded through an in-order card.

Slice j of step s leaves a rank when its network card has sent everything before it and
slice j of step s-1 has arrived (and been added, in a reduce-scatter). So a ring exposes
about one latency instead of one per step. With m slices a chunk and tau = S/(K m B):

    T = max( 2(K-1) m tau + L ,  2(K-1)(tau + L) + (m-1) tau )

A rank is done when it has received everything and its own last byte has left.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import THAKUR, CollectiveEntry, either
from simgmc.network.collectives.options import SLICES, Options
from simgmc.network.collectives.pieces import alone, cut
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.ring import Ring
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder

MAX_SLICES = 8
"""Slices a chunk is cut into, unless that makes them smaller than a packet."""
PACKET = 1500.0
"""Bytes: no slice is made smaller than this."""


def slices_of(chunk: float) -> int:
    """How many slices the largest chunk of a ring is cut into."""
    return int(min(MAX_SLICES, max(1.0, chunk // PACKET)))


@cache
def ring_structure(workers: int, steps: int, slices: int, adding_steps: int, lock_step: bool = False) -> Structure:
    """``steps`` steps of ``slices`` slices round the ring.

    Flows come step by step, slice by slice, rank by rank; after the flows of each of the
    first ``adding_steps`` steps come as many local addings by the receiving ranks. The last
    ``workers`` flows are the ranks' ends. In lock-step a send also waits until the one before
    it has arrived, not only left.
    """
    build = StructureBuilder(workers)
    last = [-1] * workers
    added = [-1] * workers
    arrived: list[list[int]] = []
    for step in range(steps):
        usable: list[list[int]] = []
        for j in range(slices):
            row = []
            for rank in range(workers):
                after: tuple[int, ...] = (arrived[j][rank],) if step else ()
                gates = () if last[rank] >= 0 else (rank,)
                behind = last[rank]
                if lock_step and behind >= 0:
                    after, behind = (*after, behind), -1
                last[rank] = build.flow(rank, (rank + 1) % workers, after, behind, gates)
                row.append(last[rank])
            usable.append([row[rank - 1] for rank in range(workers)])
        if step < adding_steps:
            for j in range(slices):
                for rank in range(workers):
                    before = (added[rank],) if added[rank] >= 0 else ()
                    added[rank] = build.local(rank, (usable[j][rank], *before), gates=() if before else (rank,))
                    usable[j][rank] = added[rank]
        arrived = usable
    for rank in range(workers):
        after = (*(row[rank] for row in arrived[-1:]), *((added[rank],) if added[rank] >= 0 else ()))
        behind = last[rank]
        if lock_step:
            after, behind = (*after, behind), -1
        build.finish(rank, [build.flow(rank, rank, after, behind)])
    return build.build()


def ring_schedule(ring: Ring) -> Schedule:
    """One exchange round a ring; its flows are listed only when they are needed."""
    return Schedule(ring=ring, flows=lambda: _flows(ring))


def _flows(ring: Ring) -> tuple[Structure, np.ndarray, np.ndarray]:
    workers, slices = ring.pieces.shape[-1], ring.slices
    structure = ring_structure(workers, ring.steps, slices, ring.adding_steps, ring.lock_step)
    nbytes, delay = [], []
    for step in range(ring.steps):
        size = np.tile(ring.sent(step) / slices, slices)
        nbytes.append(size)
        delay.append(np.zeros_like(size))
        if step < ring.adding_steps:
            nbytes.append(np.zeros_like(size))
            delay.append(np.tile(ring.adding(step) / slices, slices))
    nbytes.append(np.zeros(workers))
    delay.append(np.zeros(workers) if ring.final is None else np.asarray(ring.final, dtype=float))
    return structure, np.concatenate(nbytes), np.concatenate(delay)


def all_reduce_ring(average: Average, aggregation: Cost, slices: int | None, lock_step: bool = False) -> Ring:
    """Reduce-scatter, then all-gather, of K > 1 equal messages."""
    workers = len(average.up)
    size = cut(average.up[0], average.item_bytes, workers).astype(float)
    work = np.array([aggregation.part(n, workers - 1) for n in size])
    steps = 2 * (workers - 1)
    return Ring(size, steps, slices or slices_of(size.max()), work if work.any() else None, None, lock_step)


def all_gather_ring(average: Average, aggregation: Cost, slices: int | None, lock_step: bool = False) -> Ring:
    """Every message of K > 1 goes round the ring; each worker adds them all at the end."""
    up = np.asarray(average.up, dtype=float)
    final = np.full(len(up), aggregation.of(float(up.sum())))
    return Ring(up, len(up) - 1, slices or slices_of(up.max()), None, final, lock_step)


def ring_all_reduce(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce-scatter, then all-gather, sliced (NCCL's ring; Patarasuk & Yuan 2009)."""
    if len(average.up) == 1:
        return alone()
    return ring_schedule(all_reduce_ring(average, aggregation, options.slices))


def ring_all_gather(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every message goes round the ring, sliced; each worker adds them all at the end."""
    if len(average.up) == 1:
        return alone()
    return ring_schedule(all_gather_ring(average, aggregation, options.slices))


COLLECTIVES = (
    CollectiveEntry(
        "ring",
        "sliced ring: all-reduce where messages can be summed on the way, all-gather otherwise",
        "NCCL; Patarasuk & Yuan, JPDC 2009",
        SLICES,
        "any",
        either(ring_all_reduce, ring_all_gather),
        round_a_ring=True,
    ),
    CollectiveEntry(
        "ring-all-reduce",
        "reduce-scatter and all-gather round a ring, in slices",
        "NCCL; Patarasuk & Yuan, JPDC 2009",
        SLICES,
        "summable",
        ring_all_reduce,
        round_a_ring=True,
    ),
    CollectiveEntry(
        "ring-all-gather",
        "every message goes round the ring in slices; each worker adds them all",
        THAKUR,
        SLICES,
        "any",
        ring_all_gather,
        round_a_ring=True,
    ),
)
