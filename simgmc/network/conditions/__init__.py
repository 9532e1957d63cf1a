"""What makes a cluster imperfect: stragglers, pauses, overlap, transports, changes of the network, crashes.

A condition is one class in one file (:class:`~simgmc.network.conditions.condition.Condition`): its keys in a scenario
with their units and limits, what it does to the cluster, and whether exchanges can still be solved at once.
:mod:`~simgmc.network.conditions.catalogue` lists them. May import flows, topology and core.
"""
