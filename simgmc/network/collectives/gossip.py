"""Gossip: every worker sends its message to its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder


@cache
def _neighbours(links: tuple[tuple[int, ...], ...]) -> tuple[Structure, np.ndarray]:
    workers = len(links)
    build = StructureBuilder(workers)
    received: list[list[int]] = [[] for _ in range(workers)]
    senders = []
    for rank, targets in enumerate(links):
        for other in targets:
            if other == rank or not 0 <= other < workers:
                raise SimgmcError(
                    f"worker {rank} cannot send to {other}: neighbours are other workers, 0 to {workers - 1}"
                )
            received[other].append(build.flow(rank, other, gates=(rank,)))
            senders.append(rank)
    for rank in range(workers):
        if received[rank]:
            received[rank] = [build.local(rank, received[rank], (rank,))]
        build.finish(rank, received[rank])
    return build.build(), np.array(senders, dtype=np.int64)


def gossip(links: Sequence[Sequence[int]], up: Sequence[int] | np.ndarray, aggregation: Cost) -> Schedule:
    """Every worker sends its message to each of its neighbours, all at once, and is done when
    all its neighbours' messages have arrived (D-PSGD, Lian et al. 2017, and its kin) and it
    has added them to its own.

    ``links[k]``: whom worker k sends to; ``up[k]``: its message's bytes.
    """
    structure, senders = _neighbours(tuple(tuple(targets) for targets in links))
    sizes = np.asarray(up, dtype=float)
    nbytes, delay = np.zeros(structure.flows), np.zeros(structure.flows)
    nbytes[: len(senders)] = sizes[senders]
    source, destination = structure.endpoints
    added = sizes + np.bincount(destination[: len(senders)], sizes[senders], len(sizes))
    delay[len(senders) :] = [aggregation.of(float(added[rank])) for rank in source[len(senders) :]]
    return Schedule(structure, nbytes, delay)
