"""Sparse all-reduce by reduce-scatter: partial sums grow as supports unite on the way."""

from __future__ import annotations

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import CollectiveEntry
from simgmc.network.collectives.options import SLICES, Options
from simgmc.network.collectives.pieces import alone
from simgmc.network.collectives.sliced_ring import ring_schedule, slices_of
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.ring import Ring
from simgmc.network.exchanges.schedule import Schedule


def sparse_reduce_scatter(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """A ring over the coordinates cut into K equal ranges: range c starts at worker c with
    that worker's entries, unites with the entries of c+1, c+2, ... and, when whole, goes
    round once more. The sizes on the way are those of the real unions (``average.partial``).
    """
    workers = len(average.up)
    if workers == 1:
        return alone()
    partial = average.partial
    if partial is None:
        if not average.summable:
            raise SimgmcError(
                "collective 'sparse-reduce-scatter' needs to know how unions of supports grow, and these costs do not "
                "say (they were stored without it); use 'ring-all-gather' or 'parameter-server'"
            )
        partial = np.tile(np.asarray(average.up, dtype=float) / workers, (workers, 1))
    partial = np.asarray(partial, dtype=float)
    if partial.shape != (workers, workers):
        raise SimgmcError(f"union sizes of shape {partial.shape}: must be ({workers}, {workers}), additions by ranges")
    work = np.array([[aggregation.part(n, workers - 1) for n in row] for row in partial[: workers - 1]])
    slices = options.slices or slices_of(float(partial.max()))
    return ring_schedule(Ring(partial, 2 * (workers - 1), slices, work if work.any() else None))


COLLECTIVES = (
    CollectiveEntry(
        "sparse-reduce-scatter",
        "ring all-reduce of sparse messages; partial sums grow as supports unite",
        "Li & Hoefler, Ok-Topk, PPoPP 2022",
        SLICES,
        "any",
        sparse_reduce_scatter,
        needs_unions=True,
        round_a_ring=True,
        needs_everybody="it needs to know how the supports of all workers' messages unite; use another collective",
    ),
)
