"""Collectives by name: what each can carry, and its dependency graph of flows.

``schedule(name, average, aggregation)`` gives the flows of one exchange: a pure function
of the message sizes. Workers are hosts 0 .. K-1 of the schedule, the server (where there
is one) is host K.
"""

from simgmc.network.collectives.registry import COLLECTIVES, Collective, check, find, names, schedule

__all__ = ["COLLECTIVES", "Collective", "check", "find", "names", "schedule"]
