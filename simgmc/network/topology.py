"""Topologies by name. A network is a directed graph, see :mod:`simgmc.network.wiring`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import networkx as nx

from simgmc.errors import SimgmcError
from simgmc.network.places import from_file, geo, home_broadband
from simgmc.network.shapes import dumbbell, fat_tree, full_mesh, ring, star, torus, two_tier
from simgmc.network.wiring import Host, add_link, add_wire, worker_names


@dataclass(frozen=True)
class Topology:
    """One way to join hosts."""

    name: str
    summary: str
    source: str
    build: Callable[..., nx.DiGraph]
    parameters: dict[str, str]
    """Each parameter besides the hosts: its kind ("bandwidth", "latency", "integer",
    "number", "names", "file"), followed by "required" or "optional"."""


_LINKS = {"bandwidth": "bandwidth optional", "latency": "latency optional"}

TOPOLOGIES: dict[str, Topology] = {
    entry.name: entry
    for entry in (
        Topology("star", "every host on one switch", "one switch, or the hose model", star, {}),
        Topology("ring", "every host joined to its two neighbours", "textbook", ring, _LINKS),
        Topology("full-mesh", "a wire of its own between any two hosts", "textbook", full_mesh, _LINKS),
        Topology(
            "two-tier",
            "racks under one over-subscribed core",
            "leaf-spine data centres",
            two_tier,
            {
                "per_rack": "integer required",
                "oversubscription": "number optional",
                "uplink": "bandwidth optional",
                "latency": "latency optional",
            },
        ),
        Topology(
            "fat-tree",
            "k pods, (k/2)^2 cores, many equal routes",
            "Al-Fares et al., SIGCOMM 2008",
            fat_tree,
            {"k": "integer required", **_LINKS},
        ),
        Topology("torus", "a two-dimensional torus", "textbook", torus, {"columns": "integer required", **_LINKS}),
        Topology(
            "dumbbell",
            "two sites over one wide-area link",
            "textbook",
            dumbbell,
            {"left": "integer required", "bandwidth": "bandwidth required", "latency": "latency required"},
        ),
        Topology(
            "geo",
            "sites joined by links of measured bandwidth and round-trip time (ten cloud regions, or a table)",
            "github.com/BinhangYuan/tc_cluster_setting, results/p2p.md",
            geo,
            {"sites": "names optional", "table": "file optional"},
        ),
        Topology(
            "home-broadband",
            "workers behind asymmetric home lines (UK, or a table), the server in the internet",
            "Ofcom, UK Home Broadband Performance, 2016 and 2023",
            home_broadband,
            {"table": "file optional"},
        ),
        Topology("file", "a GraphML file or an edge list", "GraphML", from_file, {"file": "file required"}),
    )
}


def build(name: str, hosts: Sequence[Host], **parameters) -> nx.DiGraph:
    """A network of that topology. Bandwidths in bytes/s, latencies in s."""
    if name not in TOPOLOGIES:
        near = difflib.get_close_matches(name, TOPOLOGIES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SimgmcError(f"unknown topology {name!r}: must be one of {', '.join(TOPOLOGIES)}{hint}")
    entry = TOPOLOGIES[name]
    for parameter in parameters:
        if parameter not in entry.parameters:
            known = ", ".join(entry.parameters) or "none"
            raise SimgmcError(f"topology {name!r} has no parameter {parameter!r}; it has {known}")
    for parameter, kind in entry.parameters.items():
        if kind.endswith("required") and parameters.get(parameter) is None:
            raise SimgmcError(f"topology {name!r} needs {parameter!r} ({kind.split()[0]})")
    return entry.build(hosts, **{key: value for key, value in parameters.items() if value is not None})


def groups(graph: nx.DiGraph, hosts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The hosts' places in the sequence, by rack, pod or site; one group where there are none."""
    found: dict[object, list[int]] = {}
    for number, host in enumerate(hosts):
        found.setdefault(graph.nodes[host].get("group", 0), []).append(number)
    return tuple(tuple(members) for members in found.values())


__all__ = [
    "Host", "TOPOLOGIES", "Topology", "add_link", "add_wire", "build", "dumbbell", "fat_tree", "from_file",
    "full_mesh", "geo", "groups", "home_broadband", "ring", "star", "torus", "two_tier", "worker_names",
]  # fmt: skip
