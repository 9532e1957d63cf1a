"""All-reduce on two trees, each with half the message, in slices: of single workers, and of nodes with several."""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import CollectiveEntry
from simgmc.network.collectives.options import GROUPS, SLICES, Groups, Options, workers_by_group
from simgmc.network.collectives.pieces import alone, cut
from simgmc.network.collectives.sliced_ring import MAX_SLICES, PACKET
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder


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


Parents = tuple[int, ...]
"""Of one tree: the rank above every rank; -1: the root."""


@cache
def _structure(trees: tuple[Parents, ...], slices: int) -> tuple[Structure, np.ndarray, np.ndarray]:
    """The flows, and per flow which tree's part it carries, per flow whether it adds."""
    workers = len(trees[0])
    build = StructureBuilder(workers)
    half: list[int] = []
    adds: list[bool] = []
    ends: list[list[int]] = [[] for _ in range(workers)]
    for tree, parent in enumerate(trees):
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


def height(parent: Parents) -> int:
    """Links from the root of a tree to its deepest rank."""
    deep: dict[int, int] = {-1: -1}

    def depth(rank: int) -> int:
        trail = [rank]
        while trail[-1] not in deep:
            trail.append(parent[trail[-1]])
        for one in reversed(trail[:-1]):
            deep[one] = deep[parent[one]] + 1
        return deep[rank]

    return max(depth(rank) for rank in range(len(parent)))


def slices_of(half: float, depth: int) -> int:
    """How many slices half a message is cut into, none smaller than a packet; ``depth``: of the deeper tree.

    A slice passes one rank after the other, up the tree and down, before the last rank has its first. That
    adds about depth / slices to 2 n/B, so a deeper tree needs more slices: ten per level keep it below a tenth.
    """
    return int(min(max(MAX_SLICES, 10 * (depth - 1)), max(1.0, half // PACKET)))


def _all_reduce(average: Average, aggregation: Cost, slices: int | None, trees: tuple[Parents, Parents]) -> Schedule:
    """Reduce up and broadcast down both trees, each with half of the message, slice by slice.

    A fixed adding duration is split evenly over the slices of the deeper tree's addings.
    """
    halves = cut(average.up[0], average.item_bytes, 2)
    depth = max(1, *(height(parent) for parent in trees))
    slices = slices or slices_of(halves.max(), depth)
    structure, half, adds = _structure(trees, slices)
    size = halves[half] / slices
    delay = np.array([aggregation.part(n, depth * slices) if adding else 0.0 for n, adding in zip(size, adds)])
    return Schedule(structure, np.where(adds, 0.0, size), delay)


def tree_all_reduce(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce up and broadcast down two complementary binary trees of all workers, each with half of the
    message, slice by slice (Sanders, Speck & Traeff 2009).

    Exposes 2 x depth latencies; unless ``slices`` is stated, at most 1.1 x 2 n/B where slices are no smaller than
    a packet (8 to 256 workers).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    first, second = double_binary_tree(workers)
    return _all_reduce(average, aggregation, options.slices, (tuple(first), tuple(second)))


def trees_of_chains(groups: Groups) -> tuple[Parents, Parents]:
    """Two trees over nodes of several devices: a chain inside each node, its head in a binary tree of all nodes.

    The second tree enters every node at its last device, so that no device bears both.
    """
    trees = []
    for parents, chains in zip(double_binary_tree(len(groups)), (groups, [group[::-1] for group in groups])):
        above = [-1] * sum(map(len, groups))
        for chain, parent in zip(chains, parents):
            above[chain[0]] = chains[parent][0] if parent >= 0 else -1
            for rank, before in zip(chain[1:], chain):
                above[rank] = before
        trees.append(tuple(above))
    return trees[0], trees[1]


def nccl_tree(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """NCCL's tree all-reduce on nodes of several devices: two trees, each with half of the message, of chains inside
    the nodes and a double binary tree between them.

    Between two nodes every byte crosses once each way, where a ring of K devices lets 2 (K-1)/K of them cross. Time on
    two nodes of g devices in one slice (g even; l and B between devices of a node, L >= g l and B' <= B/g between
    nodes): 2 (g-1) (l + n/(2 B)) + 2 (L + n/(2 B')); of a large message in slices close to n/B'.
    """
    if len(average.up) == 1:
        return alone()
    groups = workers_by_group(options.groups, len(average.up), "nccl-tree")
    return _all_reduce(average, aggregation, options.slices, trees_of_chains(groups))


COLLECTIVES = (
    CollectiveEntry(
        "double-binary-tree",
        "reduce and broadcast on two complementary binary trees, in slices",
        "Sanders, Speck & Traeff, Parallel Computing 2009",
        SLICES,
        "summable",
        tree_all_reduce,
    ),
    CollectiveEntry(
        "nccl-tree",
        "a chain in each node of several devices, two complementary binary trees between the nodes, in slices",
        "NCCL 2.4 (Jeaugey 2019), held against measurements by simgmc validate",
        SLICES | GROUPS,
        "summable",
        nccl_tree,
        groups_needed=1,
    ),
)
