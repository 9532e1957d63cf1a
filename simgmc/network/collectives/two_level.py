"""Two-level all-reduce: inside each site, between the sites, inside again."""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import CollectiveEntry
from simgmc.network.collectives.options import GROUPS, Groups, Options, workers_by_group
from simgmc.network.collectives.pieces import adding_times, alone, cut
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder


class _Recorder:
    """Builds a structure and keeps, per flow, the shares of the message it carries or adds."""

    def __init__(self, workers: int):
        self.build = StructureBuilder(workers)
        self.carries: list[tuple[int, int]] = []
        self.adds: list[tuple[int, int]] = []

    def send(self, source: int, destination: int, after, chunk: tuple[int, int], gates=()) -> int:
        self.carries.append(chunk)
        self.adds.append((0, 0))
        return self.build.flow(source, destination, after, gates=gates)

    def add(self, rank: int, after, chunk: tuple[int, int], gates=()) -> int:
        self.carries.append((0, 0))
        self.adds.append(chunk)
        return self.build.local(rank, after, gates=gates)

    def ring_reduce_scatter(self, ranks, chunks, before) -> list[list[int]]:
        """Each of the ranks ends with one summed chunk: the i-th rank with chunk i + 1."""
        size = len(ranks)
        for step in range(size - 1):
            sent = []
            for i, rank in enumerate(ranks):
                gates = () if before[i] else (rank,)
                sent.append(self.send(rank, ranks[(i + 1) % size], before[i], chunks[(i - step) % size], gates))
            before = [
                [sent[i], self.add(rank, (sent[i - 1],), chunks[(i - 1 - step) % size], (rank,))]
                for i, rank in enumerate(ranks)
            ]
        return before

    def ring_all_gather(self, ranks, chunks, before) -> list[list[int]]:
        """Undoes the reduce-scatter: every rank ends with every chunk."""
        size = len(ranks)
        for step in range(size - 1):
            sent = [
                self.send(rank, ranks[(i + 1) % size], before[i], chunks[(i + 1 - step) % size])
                for i, rank in enumerate(ranks)
            ]
            before = [[sent[i], sent[i - 1]] for i in range(size)]
        return before


@cache
def _structure(workers: int, groups: Groups) -> tuple[Structure, tuple, tuple, int]:
    """The flows, what each carries and adds in units of the smallest piece, the number of pieces."""
    record = _Recorder(workers)
    inside = len(groups[0])
    sites = len(groups)
    if all(len(group) == inside for group in groups):
        pieces = inside * sites
        shards = [(g * sites, (g + 1) * sites) for g in range(inside)]
        before: list[list[int]] = [[] for _ in range(workers)]
        for group in groups:
            for rank, after in zip(group, record.ring_reduce_scatter(group, shards, [[] for _ in group])):
                before[rank] = after
        for place in range(inside):
            across = [group[place] for group in groups]
            low = shards[(place + 1) % inside][0] if inside > 1 else 0
            parts = [(low + site, low + site + 1) for site in range(sites)]
            state = record.ring_reduce_scatter(across, parts, [before[rank] for rank in across])
            for rank, after in zip(across, record.ring_all_gather(across, parts, state)):
                before[rank] = after
        for group in groups:
            for rank, after in zip(group, record.ring_all_gather(group, shards, [before[rank] for rank in group])):
                before[rank] = after
        for rank in range(workers):
            record.build.finish(rank, before[rank])
    else:
        pieces = sites
        whole = (0, pieces)
        leaders = [group[0] for group in groups]
        added: list[list[int]] = []
        for group in groups:
            arrived = [record.send(rank, group[0], (), whole, (rank,)) for rank in group[1:]]
            added.append([record.add(group[0], arrived, whole, (group[0],))] if arrived else [])
        parts = [(site, site + 1) for site in range(sites)]
        state = record.ring_reduce_scatter(leaders, parts, added)
        state = record.ring_all_gather(leaders, parts, state)
        for group, after in zip(groups, state):
            record.build.finish(group[0], after)
            for rank in group[1:]:
                record.build.finish(rank, [record.send(group[0], rank, after, whole)])
    return record.build.build(), tuple(record.carries), tuple(record.adds), pieces


def two_level(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce-scatter inside each site, a ring all-reduce of every shard between the sites,
    all-gather inside (hierarchical all-reduce, in lock-step). Sites of unequal size send to
    a leader instead, the leaders run a ring, and each leader sends the result round.

    Time with R equal sites of g hosts, inner bandwidth B, an uplink B' per site:
    2(g-1)(l + n/(g B)) + 2(R-1)(L + n/(R B')).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    groups = workers_by_group(options.groups, workers, "two-level")
    structure, carries, adds, pieces = _structure(workers, groups)
    ends = np.concatenate([[0], np.cumsum(cut(average.up[0], average.item_bytes, pieces))])
    nbytes = np.array([ends[b] - ends[a] for a, b in carries], dtype=float)
    added = np.array([ends[b] - ends[a] for a, b in adds], dtype=float)
    return Schedule(structure, nbytes, adding_times(added, workers, aggregation))


COLLECTIVES = (
    CollectiveEntry(
        "two-level",
        "all-reduce inside each site, between the sites, inside again",
        "hierarchical all-reduce; Cho et al., BlueConnect, MLSys 2019",
        GROUPS,
        "summable",
        two_level,
        groups_needed=2,
    ),
)
