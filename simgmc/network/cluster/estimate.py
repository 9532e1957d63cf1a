"""How long work takes at least, and how much happens on the network meanwhile, without simulating any of it."""

from __future__ import annotations

import numpy as np

from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.topology.routing import Links


def events_per_second(settings: ClusterSettings) -> tuple[float, str]:
    """How often something happens per simulated second whether or not anybody sends, and what does so most often."""
    links = Links(settings.payload_graph, settings.seed)
    hosts = len(settings.workers) + len(settings.server_hosts)
    found = [one for condition in settings.conditions for one in condition.events(links, hosts)]
    return sum(often for often, _ in found), max(found, default=(0.0, ""))[1]


def least_seconds(settings: ClusterSettings, gradients: float, nbytes: float) -> np.ndarray:
    """(workers,) s that each worker needs at least to compute so many gradients and send so many bytes."""
    links = Links(settings.payload_graph, settings.seed)
    bandwidth = list(links.bandwidth)
    for condition in settings.conditions:
        condition.widen(links, bandwidth)
    room = dict.fromkeys(settings.workers, 0.0)
    for (source, _), link in zip(links.names, links.capacity_of):
        if source in room:
            room[source] += bandwidth[link]
    if settings.overheads.rate_cap is not None:
        # Each pair of hosts has connections of its own.
        others = len(settings.workers) + len(settings.server_hosts) - 1
        together = others * settings.overheads.streams * float(settings.overheads.rate_cap)
        room = {host: min(most, together) for host, most in room.items()}
    sending = [nbytes / most if most > 0 else 0.0 for most in room.values()]  # without bandwidth the run ends at once
    return settings.compute.times(1, len(settings.workers)) * gradients + np.array(sending)
