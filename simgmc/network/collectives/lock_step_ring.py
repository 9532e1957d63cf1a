"""Rings in lock-step: a rank's next step begins when its send and its receive are complete.

A textbook ring, which pays a latency at every step; see :mod:`.sliced_ring` for the ring
that libraries run.
"""

from __future__ import annotations

from simgmc.costs.steps import Average
from simgmc.network.collectives.collective import THAKUR, CollectiveEntry, either
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.pieces import alone
from simgmc.network.collectives.sliced_ring import all_gather_ring, all_reduce_ring, ring_schedule
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule


def lock_step_all_reduce(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Reduce-scatter, then all-gather, each of K-1 steps round the ring (Thakur, Rabenseifner
    & Gropp 2005; Patarasuk & Yuan 2009), in lock-step.

    Time with equal workers: 2(K-1)(L + n/(K B)).
    """
    if len(average.up) == 1:
        return alone()
    return ring_schedule(all_reduce_ring(average, aggregation, 1, lock_step=True))


def lock_step_all_gather(average: Average, aggregation: Cost, options: Options) -> Schedule:
    """Every message travels K-1 steps round the ring, in lock-step; each worker adds all of
    them after its last has arrived. Sizes may differ.

    Time with equal messages of k bytes: (K-1)(L + k/B).
    """
    if len(average.up) == 1:
        return alone()
    return ring_schedule(all_gather_ring(average, aggregation, 1, lock_step=True))


COLLECTIVES = (
    CollectiveEntry(
        "lock-step-ring",
        "the textbook ring, a latency at every step: all-reduce where possible, all-gather otherwise",
        THAKUR,
        {},
        "any",
        either(lock_step_all_reduce, lock_step_all_gather),
        round_a_ring=True,
    ),
    CollectiveEntry(
        "lock-step-ring-all-reduce",
        "reduce-scatter and all-gather round a ring, each step after the one before",
        THAKUR,
        {},
        "summable",
        lock_step_all_reduce,
        round_a_ring=True,
    ),
    CollectiveEntry(
        "lock-step-ring-all-gather",
        "every message goes round the ring, each step after the one before",
        THAKUR,
        {},
        "any",
        lock_step_all_gather,
        round_a_ring=True,
    ),
)
