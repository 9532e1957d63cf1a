"""Whether the hosts of a cluster can reach those that they exchange messages with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.network.collectives.catalogue import COLLECTIVES
from simgmc.network.topology.routing import Links
from simgmc.network.topology.wiring import forwards


def check_reachable(links: Links, workers: Sequence[str], servers: Sequence[str], collective: str) -> None:
    """Refuse a network in which a message of the collective has no route, or one without bandwidth."""
    if len(workers) < 2:
        return
    if all(links.bandwidth) and _joined(links.graph, (*workers, *servers)):
        return
    _check_pairs(links, pairs(workers, servers, collective), collective)


def check_edges(links: Links, workers: Sequence[str], edges: Iterable[tuple[int, int]], graph: str) -> None:
    """Refuse a network in which a message along an edge (sender, receiver) of a gossip graph has no route."""
    if all(links.bandwidth) and _joined(links.graph, workers):
        return
    _check_pairs(links, ((workers[a], workers[b]) for a, b in edges), graph)


def _check_pairs(links: Links, wanted: Iterable[tuple[str, str]], what: str) -> None:
    for source, destination in wanted:
        route = links.route(source, destination)
        if route is None:
            raise SimgmcError(
                f"there is no route {source} -> {destination}, which {what!r} needs (hosts do not forward, switches do)"
            )
        for link in route:
            if links.bandwidth[link] == 0.0:
                raise SimgmcError(
                    f"the route {source} -> {destination}, which {what!r} needs, has a link without bandwidth, "
                    + " -> ".join(links.names[link])
                )


def _joined(graph: nx.DiGraph, hosts: Sequence[str]) -> bool:
    """Whether all hosts hang on switches that all reach each other: quick, and nearly always so."""
    if "routes" in graph.graph:
        return False
    if any(not data.get("relays", True) for _, data in graph.nodes(data=True)):
        above = {node for host in hosts for node in graph.successors(host)}
        below = {node for host in hosts for node in graph.predecessors(host)}
        return all(here == there or graph.has_edge(here, there) for here in above for there in below)
    switches = graph.subgraph([node for node in graph if forwards(graph, node)])
    inner: set[str] = next(nx.strongly_connected_components(switches), set())
    if len(inner) != len(switches):
        return False
    return all(
        any(node in inner for node in graph.successors(host))
        and any(node in inner for node in graph.predecessors(host))
        for host in hosts
    )


def pairs(workers: Sequence[str], servers: Sequence[str], collective: str) -> Iterator[tuple[str, str]]:
    """Who sends to whom; where that depends on sizes and sites, every worker to every other."""
    entry = COLLECTIVES.get(collective)
    if entry is not None and entry.servers:
        for server in servers:
            for worker in workers:
                yield worker, server
                yield server, worker
    elif entry is not None and entry.round_a_ring:
        yield from zip(workers, (*workers[1:], workers[0]), strict=True)
    else:
        yield from permutations(workers, 2)
