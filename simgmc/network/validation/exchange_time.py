"""The time of one exchange, without a scenario: for tests of collectives and topologies of one's own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from simgmc.core.own_code.code import Code, hand_over, looking_in
from simgmc.costs.steps import Average, RoundCosts
from simgmc.network.cluster.cluster import simulate
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.collectives.catalogue import COLLECTIVES
from simgmc.network.collectives.collective import Collective
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import build
from simgmc.network.topology.entry import Topology
from simgmc.network.topology.graph import Host, worker_names


def exchange_time(
    collective: str | Collective,
    *,
    workers: int,
    nbytes: float,
    topology: str | Topology = "star",
    bandwidth: float = 125e6,
    latency: float = 0.001,
    summable: bool = True,
) -> float:
    """Seconds until the last of the workers, all ready at once, has the average of their messages; adding takes none.

    Args:
        collective, topology: names, or objects of one's own.
        nbytes: of each worker's message, and of the average.
        bandwidth: bytes/s of every host's link, each direction.
        latency: s of every host's link, one way.
        summable: whether all messages cover the same coordinates.

    Raises:
        SimgmcError: anything about the two that is not right.
    """
    handed: dict[str, Any] = {}

    def named(part: str | Collective | Topology) -> tuple[str, dict[str, Any]]:
        if isinstance(part, str):
            return part, {}
        path = hand_over(type(part))
        handed[path] = type(part)
        return path, {field.name: getattr(part, field.name) for field in fields(part)}

    carrier, own = named(collective)
    network, options = named(topology)
    with looking_in(Code(handed=handed)):
        given = Options(own=tuple(own.items()))
        names = worker_names(workers)
        servers = tuple(f"server{number}" for number in range(COLLECTIVES[carrier].servers_needed(given)))
        hosts = [Host(name, bandwidth, bandwidth, latency) for name in (*names, *servers)]
        settings = ClusterSettings(
            graph=build(network, hosts, **options),
            workers=names,
            server=servers[0] if servers else None,
            collective=carrier,
            compute=ComputeTime(1.0),
            compression=Duration(0.0),
            aggregation=Duration(0.0),
            options=given,
            servers=servers,
        )
        sizes = np.full(workers, round(nbytes))
        average = Average(sizes, round(nbytes), summable, 4, sizes // 4, round(nbytes) // 4)
        return simulate(settings, [RoundCosts([average])]).total
