"""Parameter servers: push, add, pull; one server, shards, shards on the workers, first k of n."""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import CollectiveEntry
from simgmc.network.collectives.options import K_OF_N, SERVERS, SHARDS, SLICES, Options
from simgmc.network.collectives.pieces import alone, cut, cut_by
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder

FIRST_K = "first-k-parameter-server"


@cache
def _structure(workers: int, shards: tuple[int, ...], slices: int) -> tuple[Structure, dict[str, np.ndarray]]:
    """Pushes of every worker to every shard, the adding of each, the pulls, slice by slice.

    Also which flow is which: ``push`` and ``pull`` (slices, shards, workers), ``added``
    (slices, shards); -1 where worker and shard are on one host.
    """
    build = StructureBuilder(workers, servers=sum(host >= workers for host in shards))
    shape = (slices, len(shards), workers)
    number = {"push": np.full(shape, -1), "pull": np.full(shape, -1), "added": np.full(shape[:2], -1)}
    for j in range(slices):
        for s, host in enumerate(shards):
            for k in range(workers):
                if k != host:
                    behind = number["push"][j - 1, s, k] if j else -1
                    number["push"][j, s, k] = build.flow(k, host, behind=int(behind), gates=() if j else (k,))
            arrived = [int(n) for n in number["push"][j, s] if n >= 0]
            own = (host,) if host < workers else ()
            before = [int(number["added"][j - 1, s])] if j else []
            number["added"][j, s] = build.local(host, arrived + before, gates=own)
    for s, host in enumerate(shards):
        for j in range(slices):
            for k in range(workers):
                if k != host:
                    behind = number["pull"][j - 1, s, k] if j else -1
                    number["pull"][j, s, k] = build.flow(host, k, (int(number["added"][j, s]),), int(behind))
    for k in range(workers):
        pulled = [int(n) for n in number["pull"][-1, :, k] if n >= 0]
        pulled += [int(number["added"][-1, s]) for s, host in enumerate(shards) if host == k]
        build.finish(k, pulled)
    return build.build(), number


def _serve(
    average: Average, aggregation: Cost, shards: tuple[int, ...], slices: int, shares: tuple[float, ...] = ()
) -> Schedule:
    """``shards``: the host of each; ``shares``: what their sizes are in proportion to, all equal unless given."""
    workers = len(average.up)
    structure, number = _structure(workers, shards, slices)

    def pieces(nbytes: int) -> np.ndarray:
        item = average.item_bytes
        return (cut_by(nbytes, item, shares) if shares else cut(nbytes, item, len(shards))) / slices

    def adding(shard: int) -> float:
        nbytes = float(up[shard].sum())
        if shares:
            return aggregation.share(nbytes, shares[shard] / sum(shares) / slices)
        return aggregation.part(nbytes, len(shards) * slices)

    up, down = np.stack([pieces(n) for n in average.up], axis=1), pieces(average.down)
    nbytes, delay = np.zeros(structure.flows), np.zeros(structure.flows)
    for j in range(slices):
        for s in range(len(shards)):
            remote = number["push"][j, s] >= 0
            nbytes[number["push"][j, s][remote]] = up[s][remote]
            nbytes[number["pull"][j, s][remote]] = down[s]
            delay[number["added"][j, s]] = adding(s)
    return Schedule(structure, nbytes, delay)


def parameter_server(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every worker pushes its message; after the last has arrived the server adds them and
    sends everyone the encoded average (Li et al., OSDI 2014, synchronous).

    Time with equal workers of bandwidth B, a server of bandwidth B and latency L between
    them: L + sum(up)/B, the adding, L + K down/B. With ``slices`` push and pull overlap:
    a slice is pulled as soon as everyone has pushed it.
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    return _serve(average, aggregation, (workers,), options.slices or 1)


def sharded_parameter_server(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """The parameters are cut among several servers; each serves its shard of every message.

    A sparse message's entries are taken to spread evenly over the shards.
    Time with M servers that limit: 2(L + K n/(M B)) where all have bandwidth B, 2(L + K n/sum(B)) where they
    differ and the shards are in proportion.
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    shards = tuple(range(workers, workers + options.servers))
    return _serve(average, aggregation, shards, options.slices or 1, options.shares)


def colocated_parameter_server(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every worker also serves one shard; its own part never crosses the network.

    Time with equal hosts: 2(L + (K-1) n/(K B)), the least any all-reduce can do.
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    return _serve(average, aggregation, tuple(range(workers)), options.slices or 1)


def first_k_parameter_server(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """The server adds the first k messages and answers everyone; k-of-n, or backup workers
    (Chen et al., Revisiting distributed synchronous SGD, 2016; K-sync and K-async SGD in
    Dutta et al., AISTATS 2018).

    The flows are those of a parameter server. Which messages it takes, and what becomes of the
    others, it decides as they arrive: :mod:`simgmc.network.cluster.first_k`.
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    return _serve(average, aggregation, (workers,), 1)


COLLECTIVES = (
    CollectiveEntry(
        "parameter-server",
        "one server: every worker pushes, the server adds, everyone pulls the encoded average",
        "Li et al., OSDI 2014",
        SLICES,
        "any",
        parameter_server,
        servers=1,
        sends_average=True,
    ),
    CollectiveEntry(
        "sharded-parameter-server",
        "the parameters cut among several servers",
        "Li et al., OSDI 2014",
        SLICES | SERVERS | SHARDS,
        "any",
        sharded_parameter_server,
        servers=-1,
        sends_average=True,
    ),
    CollectiveEntry(
        "colocated-parameter-server",
        "every worker also serves one shard",
        "Jiang et al., OSDI 2020",
        SLICES,
        "any",
        colocated_parameter_server,
        sends_average=True,
        all_to_all=True,
    ),
    CollectiveEntry(
        FIRST_K,
        "the server waits for the first k messages only; late ones are dropped or carried over",
        "Chen et al., arXiv 1604.00981; Dutta et al., AISTATS 2018",
        K_OF_N,
        "any",
        first_k_parameter_server,
        servers=1,
        sends_average=True,
        changes_average=True,
    ),
)
