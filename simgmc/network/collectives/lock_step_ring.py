"""Rings in lock-step: a rank's next step begins when its send and its receive are complete.

A textbook ring, which pays a latency at every step; see :mod:`.sliced_ring` for the ring
that libraries run.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs import Average
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.pieces import alone, cut
from simgmc.network.conditions import Cost
from simgmc.network.schedule import Schedule, Structure, StructureBuilder


@cache
def _all_reduce(workers: int) -> Structure:
    build = StructureBuilder(workers)
    before: list[int] = []
    added: list[int] = []
    for step in range(2 * (workers - 1)):
        now = []
        for rank in range(workers):
            after = (before[rank], before[rank - 1]) if step else ()
            if step == workers - 1:
                after = (before[rank], added[rank])
            now.append(build.flow(rank, (rank + 1) % workers, after, gates=() if step else (rank,)))
        if step == workers - 2:
            # The last adding of the reduce-scatter counts even where nothing waits for it.
            added = [build.local(rank, after=(now[rank - 1],), gates=(rank,)) for rank in range(workers)]
        before = now
    for rank in range(workers):
        build.finish(rank, [before[rank], before[rank - 1]])
    return build.build()


def all_reduce_chunks(workers: int) -> np.ndarray:
    """(2(workers-1), workers): which chunk each rank sends at each step."""
    step, rank = np.mgrid[0 : 2 * (workers - 1), 0:workers]
    return (rank - step) % workers


@cache
def _all_reduce_layout(workers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Flow numbers and chunks of the sends, and numbers and chunks of the local addings."""
    chunks = all_reduce_chunks(workers)
    flows = np.arange(chunks.size).reshape(chunks.shape)
    flows[workers - 1 :] += workers
    added = np.arange((workers - 1) * workers, workers * workers)
    return flows, chunks, added, chunks[workers - 1]


def lock_step_all_reduce(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce-scatter, then all-gather, each of K-1 steps round the ring (Thakur,
    Rabenseifner & Gropp 2005; Patarasuk & Yuan 2009), in lock-step.

    Time with equal workers: 2(K-1)(L + n/(K B)).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    flows, chunks, added, last = _all_reduce_layout(workers)
    size = cut(average.up[0], average.item_bytes, workers)
    structure = _all_reduce(workers)
    nbytes = np.zeros(structure.flows)
    delay = np.zeros(structure.flows)
    nbytes[flows] = size[chunks]
    adding = np.array([aggregation.part(float(chunk), workers - 1) for chunk in size])
    # The chunk that a rank sends at step 1 .. K-2 is the one it has just added to.
    delay[flows[1 : workers - 1]] = adding[chunks[1 : workers - 1]]
    delay[added] = adding[last]
    return Schedule(structure, nbytes, delay)


@cache
def _all_gather(workers: int) -> Structure:
    build = StructureBuilder(workers)
    before: list[int] = []
    for step in range(workers - 1):
        now = []
        for rank in range(workers):
            after = (before[rank], before[rank - 1]) if step else ()
            now.append(build.flow(rank, (rank + 1) % workers, after, gates=() if step else (rank,)))
        before = now
    for rank in range(workers):
        build.finish(rank, [build.local(rank, after=(before[rank], before[rank - 1]))])
    return build.build()


def lock_step_all_gather(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every message travels K-1 steps round the ring, in lock-step; each worker adds all of
    them after its last has arrived. Sizes may differ.

    Time with equal messages of k bytes: (K-1)(L + k/B).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    up = np.asarray(average.up, dtype=float)
    step, rank = np.mgrid[0 : workers - 1, 0:workers]
    adding = np.full(workers, aggregation.of(float(up.sum())))
    nbytes = np.concatenate([up[(rank - step) % workers].ravel(), np.zeros(workers)])
    delay = np.concatenate([np.zeros((workers - 1) * workers), adding])
    return Schedule(_all_gather(workers), nbytes, delay)
