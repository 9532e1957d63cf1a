"""The simulated network: topologies, fluid flows, collectives, conditions. No torch here.

Alone: :func:`completion_times` of a list of :class:`Flow` on a directed graph.
With training: :func:`simulate` turns the costs of rounds into simulated time.
"""

from simgmc.network.cluster.cluster import ClusterSettings, Timing, simulate
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.flows.flows import BandwidthChange, Flow, completion_times
from simgmc.network.flows.fluid import StuckError
from simgmc.network.topology.catalogue import Host, star, worker_names

__all__ = [
    "BandwidthChange", "ClusterSettings", "ComputeTime", "Duration", "Flow", "Host", "StuckError", "Throughput",
    "Timing", "completion_times", "simulate", "star", "worker_names",
]  # fmt: skip
