"""What a topology says of itself: its name, the options of its links, and how its hosts are joined; and what one's own
is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from simgmc.core.declared import Part, require_class
from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.core.registry import Entry, Option
from simgmc.core.units import BANDWIDTH, DURATION, QuantityOption
from simgmc.network.topology.graph import Host


@dataclass(frozen=True)
class TopologyEntry(Entry):
    """One way to join hosts."""

    build: Callable[..., nx.DiGraph] = field(kw_only=True)
    """From the hosts and the options to the network."""
    repeatable: bool = field(default=True, kw_only=True)
    """Whether the same hosts, options and files always give the same network."""


def links(bandwidth: str, latency: str, default: Any = None) -> dict[str, Option]:
    """Options of the links between switches."""
    return {
        "bandwidth": QuantityOption(bandwidth, default=default, units=BANDWIDTH, example="1 Gbit/s", positive=True),
        "latency": QuantityOption(latency, default=default, units=DURATION, example="5 ms"),
    }


LINKS = links(
    "of each link between switches, each direction; no limit unless given",
    "of each link between switches, one way; 0 unless given",
)


@dataclass(frozen=True)
class Topology(Part):
    """A topology of one's own: a frozen dataclass of its options, and how it joins hosts."""

    def build(self, hosts: Sequence[Host]) -> nx.DiGraph:
        """The network: a directed graph whose links have ``bandwidth`` (bytes/s) and ``latency`` (s, one way).

        Every host of ``hosts`` is in it, by :func:`~simgmc.network.topology.graph.add_host` (its link to a switch is as
        the scenario states it); other nodes are switches, joined by :func:`~simgmc.network.topology.graph.add_wire`.
        """
        raise NotImplementedError


def adopted(name: str, found: Any) -> TopologyEntry:
    """The entry of a topology of one's own. Raises SimgmcError for what is none."""
    require_class(name, found, Topology, "build")

    def build(hosts: Sequence[Host], **options: Any) -> nx.DiGraph:
        graph = guarded(f"topology {name}", "build failed", lambda: found(**options).build(hosts))
        if not isinstance(graph, nx.DiGraph):
            raise SimgmcError(f"topology {name}: build gives {type(graph).__name__}, not a networkx.DiGraph")
        if missing := [host.name for host in hosts if host.name not in graph]:
            raise SimgmcError(
                f"topology {name}: {missing[0]} is not in its network; add_host(graph, host, switch) adds it"
            )
        for a, b, link in graph.edges(data=True):
            if not {"bandwidth", "latency"} <= link.keys():
                raise SimgmcError(
                    f"topology {name}: the link {a} -> {b} needs bandwidth and latency; add_wire states them"
                )
        return graph

    return TopologyEntry(**found.described(name), build=build, repeatable=False)
