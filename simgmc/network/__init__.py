"""The simulated network: it turns the costs of rounds into simulated time. May import core and costs.

Alone: :func:`completion_times` of a list of :class:`Flow` on a directed graph.
With training: :func:`simulate` turns the costs of rounds into simulated time.

Its parts in the order of imports, each may import those before it: ``topology`` (who is linked to whom), ``flows``
(links shared max-min fairly), ``conditions`` (what makes a cluster imperfect), ``exchanges`` (graphs of flows, carried
out), ``collectives`` (averages as such graphs), ``shortcuts`` (exchanges solved as arrays, and the proofs of when that
is exact), ``cluster`` (workers that walk their rounds), ``calibration`` (what real transports cost), ``validation``
(against measurements).
"""

from simgmc.network.cluster.cluster import ClusterSettings, Timing, simulate
from simgmc.network.cluster.many import simulate_all, simulate_many
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.flows.flows import BandwidthChange, Flow, completion_times
from simgmc.network.flows.fluid import StuckError
from simgmc.network.topology.catalogue import Host, star, worker_names

__all__ = [
    "BandwidthChange", "ClusterSettings", "ComputeTime", "Duration", "Flow", "Host", "StuckError", "Throughput",
    "Timing", "completion_times", "simulate", "simulate_all", "simulate_many", "star", "worker_names",
]  # fmt: skip
