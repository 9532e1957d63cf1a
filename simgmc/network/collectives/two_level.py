"""Two-level all-reduce: inside each site, between the sites, inside again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import CollectiveEntry
from simgmc.network.collectives.options import GROUPS, Groups, Options, workers_by_group
from simgmc.network.collectives.pieces import Pieces, PiecesBuilder, Span, alone
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule


def _ring_reduce_scatter(
    build: PiecesBuilder, ranks: Sequence[int], chunks: Sequence[Span], before: list[list[int]]
) -> list[list[int]]:
    """Each of the ranks ends with one summed chunk: the i-th rank with chunk i + 1.

    ``before``: per rank what its first step waits for (nothing: its own readiness). Returns what the next waits for.
    """
    size = len(ranks)
    for step in range(size - 1):
        sent = []
        for i, rank in enumerate(ranks):
            gates = () if before[i] else (rank,)
            sent.append(build.send(rank, ranks[(i + 1) % size], before[i], chunks[(i - step) % size], gates))
        before = [
            [sent[i], build.add(rank, (sent[i - 1],), chunks[(i - 1 - step) % size], (rank,))]
            for i, rank in enumerate(ranks)
        ]
    return before


def _ring_all_gather(
    build: PiecesBuilder, ranks: Sequence[int], chunks: Sequence[Span], before: list[list[int]]
) -> list[list[int]]:
    """Undoes the reduce-scatter: every rank ends with every chunk."""
    size = len(ranks)
    for step in range(size - 1):
        sent = [
            build.send(rank, ranks[(i + 1) % size], before[i], chunks[(i + 1 - step) % size])
            for i, rank in enumerate(ranks)
        ]
        before = [[sent[i], sent[i - 1]] for i in range(size)]
    return before


@cache
def _pieces(workers: int, groups: Groups) -> Pieces:
    """The flows, in units of the smallest piece."""
    alike = len({len(group) for group in groups}) == 1
    return _of_equal_groups(workers, groups) if alike else _by_leaders(workers, groups)


def _of_equal_groups(workers: int, groups: Groups) -> Pieces:
    """A shard of the message for each place in a group; rings of the hosts of one place between the groups."""
    build, inside, sites = PiecesBuilder(workers), len(groups[0]), len(groups)
    shards = [(g * sites, (g + 1) * sites) for g in range(inside)]
    before: list[list[int]] = [[] for _ in range(workers)]
    for group in groups:
        for rank, after in zip(group, _ring_reduce_scatter(build, group, shards, [[] for _ in group])):
            before[rank] = after
    for place in range(inside):
        across = [group[place] for group in groups]
        low = shards[(place + 1) % inside][0]
        parts = [(low + site, low + site + 1) for site in range(sites)]
        state = _ring_reduce_scatter(build, across, parts, [before[rank] for rank in across])
        for rank, after in zip(across, _ring_all_gather(build, across, parts, state)):
            before[rank] = after
    for group in groups:
        for rank, after in zip(group, _ring_all_gather(build, group, shards, [before[rank] for rank in group])):
            before[rank] = after
    for rank in range(workers):
        build.finish(rank, before[rank])
    return build.build(inside * sites)


def _by_leaders(workers: int, groups: Groups) -> Pieces:
    """The first host of every group adds what the others send it; a ring of these; and the result to the others."""
    build, sites = PiecesBuilder(workers), len(groups)
    whole, leaders = (0, sites), [group[0] for group in groups]
    added: list[list[int]] = []
    for group in groups:
        arrived = [build.send(rank, group[0], (), whole, (rank,)) for rank in group[1:]]
        added.append([build.add(group[0], arrived, whole, (group[0],))] if arrived else [])
    parts = [(site, site + 1) for site in range(sites)]
    state = _ring_reduce_scatter(build, leaders, parts, added)
    state = _ring_all_gather(build, leaders, parts, state)
    for group, after in zip(groups, state):
        build.finish(group[0], after)
        for rank in group[1:]:
            build.finish(rank, [build.send(group[0], rank, after, whole)])
    return build.build(sites)


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
    return _pieces(workers, groups).schedule(average, workers, aggregation)


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
