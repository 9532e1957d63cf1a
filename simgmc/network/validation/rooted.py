"""Collectives with a root, which measured rows are compared with: broadcast, reduce, gather."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder


@cache
def _chain(workers: int, root: int, slices: int, towards_root: bool) -> Structure:
    build = StructureBuilder(workers)
    order = [(root + step) % workers for step in range(workers)]
    hops = list(zip(order, order[1:]))
    if towards_root:
        hops = [(b, a) for a, b in reversed(hops)]
    arrived: list[int] = []
    last: dict[int, int] = {}
    for source, destination in hops:
        row = []
        for j in range(slices):
            after = (arrived[j],) if arrived else ()
            last[source] = build.flow(source, destination, after, last.get(source, -1), (source,))
            row.append(last[source])
        arrived = row
        if not towards_root:
            build.finish(destination, [row[-1]])
    for source, _ in hops:
        if towards_root or source == root:
            build.finish(source, [build.flow(source, source, (), last[source])])
    if towards_root and workers > 1:
        build.finish(root, [arrived[-1]])
    return build.build()


def broadcast(workers: int, root: int, nbytes: float, slices: int) -> Schedule:
    """The root's message goes down a chain through all workers, in slices (NCCL's ring broadcast).

    Time with equal hosts and m slices: (m + K - 2) n/(m B) + (K-1) L.
    """
    structure = _chain(workers, root, slices, False)
    return _chain_schedule(structure, nbytes / slices)


def reduce(workers: int, root: int, nbytes: float, slices: int) -> Schedule:
    """Sums travel up a chain of all workers to the root, in slices (NCCL's ring reduce).

    Time with equal hosts and m slices: (m + K - 2) n/(m B) + (K-1) L.
    """
    return _chain_schedule(_chain(workers, root, slices, True), nbytes / slices)


def _chain_schedule(structure: Structure, slice_bytes: float) -> Schedule:
    moves = np.array([a != b for a, b in zip(structure.source, structure.destination)], dtype=float)
    return Schedule(structure, moves * slice_bytes, np.zeros(structure.flows))


@cache
def _gather(workers: int, root: int) -> Structure:
    build = StructureBuilder(workers)
    sent = {rank: build.flow(rank, root, gates=(rank,)) for rank in range(workers) if rank != root}
    for rank, flow in sent.items():
        build.finish(rank, [build.flow(rank, rank, (), flow)])
    build.finish(root, list(sent.values()))
    return build.build()


def gather(root: int, up: Sequence[int]) -> Schedule:
    """Every worker sends its message to the root. Time with equal hosts: L + sum of the others / B."""
    workers = len(up)
    structure = _gather(workers, root)
    nbytes = np.zeros(structure.flows)
    nbytes[: workers - 1] = [n for rank, n in enumerate(up) if rank != root]
    return Schedule(structure, nbytes, np.zeros(structure.flows))
