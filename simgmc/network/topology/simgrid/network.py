"""A platform's network among some of its hosts, as a graph with stated routes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import networkx as nx

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.outside.xml_tree import Element
from simgmc.network.topology.graph import Host, add_link
from simgmc.network.topology.simgrid.platform import Platform
from simgmc.network.topology.simgrid.zones import Link, Steps


def from_platform(
    root: Element, name: str, hosts: Sequence[Host], nodes: Sequence[str], attach: Sequence[str]
) -> nx.DiGraph:
    """A platform's network among some of its hosts.

    Args:
        nodes: which of the platform's hosts the hosts are, in order (``*``: as the file lists them); those of the same
            names unless given.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    if attach:
        raise SimgmcError(
            f"attach: {name} has routes between its own hosts alone; say which are yours with nodes = [...]"
        )
    platform = Platform(root, name)
    wanted = list(nodes) or [host.name for host in hosts]
    chosen = list(platform.hosts) if list(nodes) == ["*"] else wanted
    if len(chosen) < len(hosts):
        raise SimgmcError(f"nodes: {len(chosen)} hosts of {name} are too few for {len(hosts)}")
    for one in chosen:
        if one not in platform.hosts:
            raise SimgmcError(
                f"{name} has no host {show_value(one)}; name those that are yours with nodes = [...]; "
                f"{suggestion(one, platform.hosts)}"
            )
    if len(set(chosen)) < len(chosen):
        raise SimgmcError(f"nodes = {show_value(list(nodes))}: each may be named once")
    place = {host.name: node for host, node in zip(hosts, chosen)}
    graph = nx.DiGraph(topology=name, routes={})
    for host, node in place.items():
        group = platform.home[node].name if platform.home[node].parent is not None else None
        graph.add_node(host, kind="host", group=group, drawn=f"{name} gives this host its links; change them there")
    laid: dict[str, Link] = {}
    for source in place:
        for destination in place:
            if source == destination:
                continue
            steps = platform.route(place[source], place[destination])
            if steps is not None:
                graph.graph["routes"][source, destination] = _lay(graph, laid, source, destination, steps)
    return graph


def _lay(graph: nx.DiGraph, laid: dict[str, Link], source: str, destination: str, steps: Steps) -> list[str]:
    """A route's links in the graph; its nodes."""
    nodes = [source]
    for link, way in steps:
        begin, end = (f"{end} of link {link.name}{' ' * bool(way)}{way.lower()}" for end in ("begin", "end"))
        if begin in nodes:
            raise SimgmcError(f"{link.place}: the route {source} -> {destination} takes link {link.name} twice")
        if laid.setdefault(link.name, link) != link:
            raise SimgmcError(f"{link.place}: a link of {laid[link.name].place} is called {link.name}, too")
        if not graph.has_edge(begin, end):
            for node in (begin, end):
                graph.add_node(node, kind="switch")
            if link.policy == "FATPIPE":
                add_link(graph, begin, end, math.inf, link.latency)
                graph.edges[begin, end]["per_flow"] = link.bandwidth
            else:
                add_link(graph, begin, end, link.bandwidth, link.latency)
        nodes += [begin, end]
    nodes.append(destination)
    for here, there in zip(nodes[::2], nodes[1::2]):
        if not graph.has_edge(here, there):
            add_link(graph, here, there, math.inf, 0.0)
    return nodes
