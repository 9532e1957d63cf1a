"""The shapes of networks: every function takes the hosts in order and returns the graph.

Hosts come with their access links; the links between switches are the shape's own
``bandwidth`` (bytes/s, each direction) and ``latency`` (s, one way). A bandwidth of
infinity means a link that never limits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import REQUIRED, Option
from simgmc.network.topology.entry import LINKS, TopologyEntry, links
from simgmc.network.topology.graph import Host, add_host, add_wire

UNLIMITED = float("inf")
_MAX_TREE = 16
"""k of a fat-tree that is accepted for any number of hosts: 1,024 hosts, 320 switches."""


def star(hosts: Sequence[Host]) -> nx.DiGraph:
    """Every host on one switch that is never a bottleneck itself."""
    graph = _graph("star")
    graph.add_node("switch", kind="switch")
    for host in hosts:
        add_host(graph, host, "switch")
    return graph


def ring(hosts: Sequence[Host], bandwidth: float = UNLIMITED, latency: float = 0.0) -> nx.DiGraph:
    """Every host on its own switch, the switches joined in a circle."""
    graph = _graph("ring")
    ports = _ports(graph, hosts)
    for here, there in zip(ports, ports[1:] + ports[:1]):
        if here != there and not graph.has_edge(here, there):
            add_wire(graph, here, there, bandwidth, latency)
    return graph


def full_mesh(hosts: Sequence[Host], bandwidth: float = UNLIMITED, latency: float = 0.0) -> nx.DiGraph:
    """A wire of its own between any two hosts, behind each host's access link."""
    graph = _graph("full-mesh")
    for here, there in combinations(_ports(graph, hosts), 2):
        add_wire(graph, here, there, bandwidth, latency)
    return graph


def two_tier(
    hosts: Sequence[Host],
    per_rack: int,
    oversubscription: float = 1.0,
    uplink: float | None = None,
    latency: float = 0.0,
) -> nx.DiGraph:
    """Racks of ``per_rack`` hosts under one core switch.

    A rack's wire to the core has the bandwidth of its hosts' access links together
    divided by ``oversubscription``, or ``uplink`` bytes/s where that is given.
    """
    _at_least("per_rack", per_rack, 1)
    if not oversubscription > 0:
        raise SimgmcError(
            f"oversubscription = {oversubscription!r}: must be above 0; 4 means a quarter of the hosts' bandwidth"
        )
    graph = _graph("two-tier")
    graph.add_node("core", kind="switch")
    for rack in range(0, len(hosts), per_rack):
        members = hosts[rack : rack + per_rack]
        switch = f"rack{rack // per_rack}"
        graph.add_node(switch, kind="switch")
        for host in members:
            add_host(graph, host, switch, group=rack // per_rack)
        total = sum(max(host.up or 0.0, host.down or 0.0) for host in members) / oversubscription
        add_wire(graph, switch, "core", total if uplink is None else uplink, latency)
    return graph


def fat_tree(hosts: Sequence[Host], k: int, bandwidth: float = UNLIMITED, latency: float = 0.0) -> nx.DiGraph:
    """A k-ary fat-tree (Al-Fares, Loukissas & Vahdat, SIGCOMM 2008): k pods of k/2 edge and
    k/2 aggregation switches, (k/2)^2 core switches, up to k^3/4 hosts, many equal routes."""
    if k < 2 or k % 2:
        raise SimgmcError(f"fat-tree k = {k}: must be even and at least 2")
    half = k // 2
    if len(hosts) > k * half * half:
        raise SimgmcError(f"fat-tree k = {k} has room for {k * half * half} hosts, not {len(hosts)}; use a larger k")
    # Links grow as k^3: far more of them than the hosts can use would only cost time.
    most = max(_MAX_TREE, 4 * math.ceil((4 * len(hosts)) ** (1 / 3) / 2))
    if k > most:
        raise SimgmcError(f"fat-tree k = {k}: must be at most {most} for {len(hosts)} hosts")
    graph = _graph("fat-tree")
    for pod in range(k):
        for up in range(half):
            graph.add_node(f"aggregation{pod}.{up}", kind="switch")
            for core in range(half):
                graph.add_node(f"core{up}.{core}", kind="switch")
                add_wire(graph, f"aggregation{pod}.{up}", f"core{up}.{core}", bandwidth, latency)
        for edge in range(half):
            graph.add_node(f"edge{pod}.{edge}", kind="switch")
            for up in range(half):
                add_wire(graph, f"edge{pod}.{edge}", f"aggregation{pod}.{up}", bandwidth, latency)
    for number, host in enumerate(hosts):
        pod, rest = divmod(number, half * half)
        add_host(graph, host, f"edge{pod}.{rest // half}", group=pod)
    return graph


def torus(hosts: Sequence[Host], columns: int, bandwidth: float = UNLIMITED, latency: float = 0.0) -> nx.DiGraph:
    """A two-dimensional torus, row by row; the last row may be shorter than ``columns``
    (its ends then join the switch next to them in their column)."""
    _at_least("columns", columns, 1)
    if columns > len(hosts):
        raise SimgmcError(f"columns = {columns}: must be at most the number of hosts, {len(hosts)}")
    graph = _graph("torus")
    ports = _ports(graph, hosts)
    rows = [ports[start : start + columns] for start in range(0, len(ports), columns)]
    lines = rows + [[row[column] for row in rows if column < len(row)] for column in range(columns)]
    for line in lines:
        for here, there in zip(line, line[1:] + line[:1]):
            if here != there and not graph.has_edge(here, there):
                add_wire(graph, here, there, bandwidth, latency)
    return graph


def dumbbell(hosts: Sequence[Host], left: int, bandwidth: float, latency: float) -> nx.DiGraph:
    """Two sites, the first ``left`` hosts at one and the rest at the other, over one link."""
    if not 0 <= left <= len(hosts):
        raise SimgmcError(f"left = {left}: must be between 0 and the number of hosts, {len(hosts)}")
    graph = _graph("dumbbell")
    for site in ("left", "right"):
        graph.add_node(site, kind="switch")
    add_wire(graph, "left", "right", bandwidth, latency)
    for number, host in enumerate(hosts):
        add_host(graph, host, "left" if number < left else "right", group=int(number >= left))
    return graph


def _graph(name: str) -> nx.DiGraph:
    return nx.DiGraph(topology=name)


def _ports(graph: nx.DiGraph, hosts: Sequence[Host]) -> list[str]:
    """A switch of its own for every host."""
    for host in hosts:
        graph.add_node(f"port of {host.name}", kind="switch")
        add_host(graph, host, f"port of {host.name}")
    return [f"port of {host.name}" for host in hosts]


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise SimgmcError(f"{name} = {value}: must be at least {least}")


TOPOLOGIES = (
    TopologyEntry("star", "every host on one switch", "one switch, or the hose model", build=star),
    TopologyEntry("ring", "every host joined to its two neighbours", "textbook", LINKS, build=ring),
    TopologyEntry("full-mesh", "a wire of its own between any two hosts", "textbook", LINKS, build=full_mesh),
    TopologyEntry(
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
            "uplink": replace(LINKS["bandwidth"], summary="of a rack's link to the core, in place of oversubscription"),
            "latency": replace(LINKS["latency"], summary="of a rack's link to the core, one way; 0 unless given"),
        },
        build=two_tier,
    ),
    TopologyEntry(
        "fat-tree",
        "k pods, (k/2)^2 cores, many equal routes",
        "Al-Fares et al., SIGCOMM 2008",
        {"k": Option("ports of each switch, an even number; k^3/4 hosts fit", int), **LINKS},
        build=fat_tree,
    ),
    TopologyEntry(
        "torus",
        "a two-dimensional torus",
        "textbook",
        {"columns": Option("hosts in a row; the last row may be shorter", int), **LINKS},
        build=torus,
    ),
    TopologyEntry(
        "dumbbell",
        "two sites over one wide-area link",
        "textbook",
        {
            "left": Option("hosts at the first site; the rest are at the other", int),
            **links(
                "of the link between the sites, each direction", "of the link between the sites, one way", REQUIRED
            ),
        },
        build=dumbbell,
    ),
)
