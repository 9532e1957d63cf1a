"""Double binary tree all-reduce: two trees, each with half the message, in slices."""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import Collective
from simgmc.network.collectives.options import SLICES, Options
from simgmc.network.collectives.pieces import alone, cut
from simgmc.network.collectives.schedule import Schedule, Structure, StructureBuilder
from simgmc.network.collectives.sliced_ring import MAX_SLICES, PACKET
from simgmc.network.conditions.work import Cost


def binary_tree(ranks: int) -> list[int]:
    """Parent of every rank (-1: the root): an in-order tree in which odd ranks are inner
    nodes or the root and, but for the root, even ranks are leaves."""
    parent = []
    for rank in range(ranks):
        if rank == 0:
            parent.append(-1)
            continue
        bit = rank & -rank
        above = (rank ^ bit) | (bit << 1)
        parent.append(above if above < ranks else rank ^ bit)
    return parent


def double_binary_tree(ranks: int) -> tuple[list[int], list[int]]:
    """Two trees in which no rank is an inner node twice (Sanders, Speck & Traeff 2009): the
    second is the first mirrored (even number of ranks) or shifted by one (odd)."""
    first = binary_tree(ranks)
    if ranks % 2 == 0:
        mirrored = [
            ranks - 1 - first[ranks - 1 - rank] if first[ranks - 1 - rank] >= 0 else -1 for rank in range(ranks)
        ]
        return first, mirrored
    shifted = [
        (first[(rank - 1) % ranks] + 1) % ranks if first[(rank - 1) % ranks] >= 0 else -1 for rank in range(ranks)
    ]
    return first, shifted


@cache
def _structure(workers: int, slices: int) -> tuple[Structure, np.ndarray, np.ndarray]:
    """The flows, and per flow which tree's half it carries (-1: none), per flow whether it adds."""
    build = StructureBuilder(workers)
    half: list[int] = []
    adds: list[bool] = []
    ends: list[list[int]] = [[] for _ in range(workers)]
    for tree, parent in enumerate(double_binary_tree(workers)):
        children: list[list[int]] = [[] for _ in range(workers)]
        for rank, above in enumerate(parent):
            if above >= 0:
                children[above].append(rank)
        root = parent.index(-1)
        order = [root]
        for rank in order:
            order.extend(children[rank])
        up: dict[int, int] = {}
        down: dict[int, int] = {}
        added: dict[int, int] = {}
        for j in range(slices):
            for rank in reversed(order):
                ready: list[int] = [up[child] for child in children[rank]]
                if ready:
                    before = [added[rank]] if j else []
                    added[rank] = build.local(rank, ready + before, gates=(rank,))
                    half.append(tree)
                    adds.append(True)
                    ready = [added[rank]]
                if rank != root:
                    gates = () if ready else (rank,)
                    up[rank] = build.flow(rank, parent[rank], ready, up.get(rank, -1), gates)
                    half.append(tree)
                    adds.append(False)
            for rank in order:
                for child in children[rank]:
                    after = [added[root]] if rank == root else [down[rank]]
                    down[child] = build.flow(rank, child, after, down.get(child, -1))
                    half.append(tree)
                    adds.append(False)
        for rank in range(workers):
            ends[rank].append(down[rank] if rank != root else added[root])
    for rank in range(workers):
        build.finish(rank, ends[rank])
    return build.build(), np.array(half), np.array(adds)


def slices_of(half: float, workers: int) -> int:
    """How many slices half a message is cut into, none smaller than a packet.

    A slice passes one rank after the other, up the tree and down, before the last rank has its first. That
    adds about depth / slices to 2 n/B, so a deeper tree needs more slices: ten per level keep it below a tenth.
    """
    depth = (workers - 1).bit_length()
    return int(min(max(MAX_SLICES, 10 * (depth - 1)), max(1.0, half // PACKET)))


def tree_all_reduce(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce up and broadcast down two complementary binary trees, each with half of the
    message, slice by slice (Sanders, Speck & Traeff 2009).

    A fixed adding duration is split evenly over the slices of the deeper tree's addings.
    Exposes 2 x depth latencies; unless ``slices`` is stated, at most 1.1 x 2 n/B where slices are no smaller than
    a packet (8 to 256 workers).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    halves = cut(average.up[0], average.item_bytes, 2)
    slices = options.slices or slices_of(halves.max(), workers)
    structure, half, adds = _structure(workers, slices)
    size = halves[half] / slices
    depth = max((workers - 1).bit_length(), 1)
    delay = np.array([aggregation.part(n, depth * slices) if adding else 0.0 for n, adding in zip(size, adds)])
    return Schedule(structure, np.where(adds, 0.0, size), delay)


COLLECTIVES = (
    Collective(
        "double-binary-tree",
        "reduce and broadcast on two complementary binary trees, in slices",
        "Sanders, Speck & Traeff, Parallel Computing 2009",
        SLICES,
        "summable",
        tree_all_reduce,
    ),
)
