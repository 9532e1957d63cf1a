"""Collectives by name: what each can carry, and its dependency graph of flows.

``schedule(name, average, aggregation, options)`` gives the flows of one exchange: a pure
function of the message sizes. Workers are hosts 0 .. K-1 of the schedule, servers follow. May import exchanges,
conditions, costs and core.
"""

from simgmc.network.collectives.catalogue import AUTO, CHOICES, COLLECTIVES, FIRST_K, CollectiveEntry, check, schedule
from simgmc.network.collectives.options import OPTIONS, Options

__all__ = ["AUTO", "CHOICES", "COLLECTIVES", "FIRST_K", "OPTIONS", "CollectiveEntry", "Options", "check", "schedule"]
