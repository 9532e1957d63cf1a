"""Topologies by name. A network is a directed graph, see :mod:`simgmc.network.topology.graph`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import networkx as nx

from simgmc.core.registry import REQUIRED, Entry, Option, Registry
from simgmc.core.units import BANDWIDTH, DURATION, QuantityOption
from simgmc.network.topology.drawn import from_file
from simgmc.network.topology.formats import FILE_FORMATS, GEO_TABLES, HOME_TABLES
from simgmc.network.topology.graph import Host, add_link, add_wire, worker_names
from simgmc.network.topology.places import geo, home_broadband
from simgmc.network.topology.shapes import dumbbell, fat_tree, full_mesh, ring, star, torus, two_tier


@dataclass(frozen=True)
class Topology(Entry):
    """One way to join hosts."""

    build: Callable[..., nx.DiGraph] = star


def _links(bandwidth: str, latency: str, default: Any = None) -> dict[str, Option]:
    """Options of the links between switches."""
    return {
        "bandwidth": QuantityOption(bandwidth, default=default, units=BANDWIDTH, example="1 Gbit/s", positive=True),
        "latency": QuantityOption(latency, default=default, units=DURATION, example="5 ms"),
    }


_LINKS = _links(
    "of each link between switches, each direction; no limit unless given",
    "of each link between switches, one way; 0 unless given",
)
_TABLE = Option("a CSV file in place of the table that comes with simgmc", Path, None)

TOPOLOGIES: Registry[Topology] = Registry(
    "topology",
    (
        Topology("star", "every host on one switch", "one switch, or the hose model", build=star),
        Topology("ring", "every host joined to its two neighbours", "textbook", _LINKS, ring),
        Topology("full-mesh", "a wire of its own between any two hosts", "textbook", _LINKS, full_mesh),
        Topology(
            "two-tier",
            "racks under one over-subscribed core",
            "leaf-spine data centres",
            {
                "per_rack": Option("hosts in a rack", int),
                "oversubscription": Option(
                    "bandwidth of a rack's hosts together over that of its uplink; 1 unless given",
                    float,
                    None,
                    at_least=1e-6,
                ),
                "uplink": replace(
                    _LINKS["bandwidth"], summary="of a rack's link to the core, in place of oversubscription"
                ),
                "latency": replace(_LINKS["latency"], summary="of a rack's link to the core, one way; 0 unless given"),
            },
            two_tier,
        ),
        Topology(
            "fat-tree",
            "k pods, (k/2)^2 cores, many equal routes",
            "Al-Fares et al., SIGCOMM 2008",
            {"k": Option("ports of each switch, an even number; k^3/4 hosts fit", int), **_LINKS},
            fat_tree,
        ),
        Topology(
            "torus",
            "a two-dimensional torus",
            "textbook",
            {"columns": Option("hosts in a row; the last row may be shorter", int), **_LINKS},
            torus,
        ),
        Topology(
            "dumbbell",
            "two sites over one wide-area link",
            "textbook",
            {
                "left": Option("hosts at the first site; the rest are at the other", int),
                **_links(
                    "of the link between the sites, each direction", "of the link between the sites, one way", REQUIRED
                ),
            },
            dumbbell,
        ),
        Topology(
            "geo",
            "sites joined by links of measured bandwidth and round-trip time (ten cloud regions, or a table)",
            "github.com/BinhangYuan/tc_cluster_setting, results/p2p.md",
            {
                "sites": Option("which sites of the table, in order; all unless given", list[str], None),
                "table": _TABLE,
                "bandwidth": replace(_LINKS["bandwidth"], summary="of pairs for which the table gives none"),
                "symmetric": Option("a pair that is stated one way holds both ways", bool, False),
                "relay": Option("traffic takes the quickest way, over third sites too", bool, False),
            },
            geo,
            details=GEO_TABLES,
        ),
        Topology(
            "home-broadband",
            "workers behind asymmetric home lines (UK, or a table), the server in the internet",
            "Ofcom, UK Home Broadband Performance, 2016 and 2023",
            {"table": _TABLE},
            home_broadband,
            details=HOME_TABLES,
        ),
        Topology(
            "file",
            "a network from a GraphML or GML file, an edge list, a SimGrid platform",
            "GraphML; Himsolt 1997 (GML); Knight et al., IEEE JSAC 2011 (Topology Zoo); simgrid.org",
            {
                "file": Option("the file", Path),
                "bandwidth": replace(_LINKS["bandwidth"], summary="of links for which the file gives none"),
                "latency": replace(_LINKS["latency"], summary="of links for which the file gives none, one way"),
                "parallel": Option(
                    "wires between the same two nodes: one of their summed bandwidth, or each its own, chosen by hash",
                    str,
                    "bundle",
                    ("bundle", "hash"),
                ),
                "nodes": Option(
                    'the file\'s nodes that are the workers, then the servers; ["*"]: all; those of their names '
                    "unless given",
                    list[str],
                    None,
                ),
                "attach": Option(
                    'nodes onto which hosts that the file lacks are hung in turn, each by its access link; ["*"]: all',
                    list[str],
                    None,
                ),
            },
            from_file,
            details=FILE_FORMATS,
        ),
    ),
)


def build(name: str, hosts: Sequence[Host], **options: Any) -> nx.DiGraph:
    """A network of that topology. Bandwidths in bytes/s, latencies in s.

    Raises:
        SimgmcError: unknown name or option, one that is missing, or a network that cannot be.
    """
    entry = TOPOLOGIES[name]
    return entry.build(hosts, **{key: value for key, value in entry.named(options).items() if value is not None})


def groups(graph: nx.DiGraph, hosts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The hosts' places in the sequence, by rack, pod or site; empty where the network has none."""
    found: dict[object, list[int]] = {}
    for number, host in enumerate(hosts):
        found.setdefault(graph.nodes[host].get("group"), []).append(number)
    return () if None in found else tuple(tuple(members) for members in found.values())


__all__ = [
    "Host", "TOPOLOGIES", "Topology", "add_link", "add_wire", "build", "dumbbell", "fat_tree", "from_file",
    "full_mesh", "geo", "groups", "home_broadband", "ring", "star", "torus", "two_tier", "worker_names",
]  # fmt: skip
