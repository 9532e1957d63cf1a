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

from simgmc.costs import Average
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.pieces import alone, cut
from simgmc.network.conditions import Cost
from simgmc.network.schedule import Schedule, Structure, StructureBuilder

SLICES = 8
"""Slices a chunk is cut into, unless that makes them smaller than a packet."""
PACKET = 1500.0
"""Bytes: no slice is made smaller than this."""


def slices_of(chunk: float) -> int:
    """How many slices the largest chunk of a ring is cut into."""
    return int(min(SLICES, max(1.0, chunk // PACKET)))


@cache
def ring_structure(workers: int, steps: int, slices: int, adding_steps: int) -> Structure:
    """``steps`` steps of ``slices`` slices round the ring.

    Flows come step by step, slice by slice, rank by rank; after the flows of each of the
    first ``adding_steps`` steps come as many local addings by the receiving ranks. The last
    ``workers`` flows are the ranks' ends.
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
                after = (arrived[j][rank],) if step else ()
                gates = () if last[rank] >= 0 else (rank,)
                last[rank] = build.flow(rank, (rank + 1) % workers, after, last[rank], gates)
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
        after = [*(row[rank] for row in arrived[-1:]), *([added[rank]] if added[rank] >= 0 else [])]
        build.finish(rank, [build.flow(rank, rank, after, behind=last[rank])])
    return build.build()


def ring_schedule(chunk: np.ndarray, slices: int, adding: np.ndarray | None, final: np.ndarray | None) -> Schedule:
    """A sliced ring from its chunks.

    ``chunk``: (steps, workers) bytes each rank sends at each step; ``adding``: (adding
    steps, workers) seconds to add what each rank receives at each of the first steps;
    ``final``: (workers,) seconds of work at the end.
    """
    steps, workers = chunk.shape
    adding_steps = 0 if adding is None else len(adding)
    structure = ring_structure(workers, steps, slices, adding_steps)
    nbytes, delay = [], []
    for step in range(steps):
        size = np.tile(chunk[step] / slices, slices)
        nbytes.append(size)
        delay.append(np.zeros_like(size))
        if step < adding_steps:
            nbytes.append(np.zeros_like(size))
            delay.append(np.tile(adding[step] / slices, slices))
    nbytes.append(np.zeros(workers))
    delay.append(np.zeros(workers) if final is None else np.asarray(final, dtype=float))
    return Schedule(structure, np.concatenate(nbytes), np.concatenate(delay))


def all_reduce_chunks(size: np.ndarray) -> np.ndarray:
    """(2(K-1), K) bytes each rank sends at each step of an all-reduce of K chunks."""
    workers = len(size)
    step, rank = np.mgrid[0 : 2 * (workers - 1), 0:workers]
    return np.asarray(size, dtype=float)[(rank - step) % workers]


def all_gather_chunks(size: np.ndarray) -> np.ndarray:
    """(K-1, K) bytes each rank sends at each step of an all-gather of K messages."""
    return all_reduce_chunks(size)[: len(size) - 1]


def ring_all_reduce(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce-scatter, then all-gather, sliced (NCCL's ring; Patarasuk & Yuan 2009)."""
    workers = len(average.up)
    if workers == 1:
        return alone()
    size = cut(average.up[0], average.item_bytes, workers)
    chunk = all_reduce_chunks(size)
    # At step s a rank receives, and adds to, what the rank before it sends.
    adding = np.array([[aggregation.part(n, workers - 1) for n in np.roll(row, 1)] for row in chunk[: workers - 1]])
    return ring_schedule(chunk, options.slices or slices_of(size.max()), adding if adding.any() else None, None)


def ring_all_gather(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every message goes round the ring, sliced; each worker adds them all at the end."""
    workers = len(average.up)
    if workers == 1:
        return alone()
    up = np.asarray(average.up, dtype=float)
    final = np.full(workers, aggregation.of(float(up.sum())))
    return ring_schedule(all_gather_chunks(up), options.slices or slices_of(up.max()), None, final)
