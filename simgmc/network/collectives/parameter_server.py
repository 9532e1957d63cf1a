"""Parameter server: push, add, pull."""

from __future__ import annotations

from functools import cache

import numpy as np

from simgmc.costs import Average
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.pieces import alone
from simgmc.network.conditions import Cost
from simgmc.network.schedule import Schedule, Structure, StructureBuilder


@cache
def _structure(workers: int) -> Structure:
    build = StructureBuilder(workers, servers=1)
    server = workers
    pushes = [build.flow(k, server, gates=(k,)) for k in range(workers)]
    added = build.local(server, after=pushes)
    for k in range(workers):
        build.finish(k, [build.flow(server, k, after=(added,))])
    return build.build()


def parameter_server(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every worker pushes its message; after the last has arrived the server adds them and
    sends everyone the encoded average (Li et al., OSDI 2014, synchronous).

    Time with equal workers of bandwidth B, a server of bandwidth B and latency L between
    them: L + sum(up)/B, the adding, L + K down/B.
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    up = np.asarray(average.up, dtype=float)
    nbytes = np.concatenate([up, [0.0], np.full(workers, float(average.down))])
    delay = np.zeros(2 * workers + 1)
    delay[workers] = aggregation.of(float(up.sum()))
    return Schedule(_structure(workers), nbytes, delay)
