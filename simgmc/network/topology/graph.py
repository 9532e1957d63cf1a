"""Hosts, switches and the links between them: what networks are wired from.

A network is a :class:`networkx.DiGraph`. Every edge is one direction of a wire and
carries ``bandwidth`` (bytes/s) and ``latency`` (s, one way). An edge that ``shares`` another one
has no capacity of its own but uses that one's. One that gives so much to every flow, ``per_flow`` (bytes/s), is of
unlimited bandwidth for all of them together. Hosts send and receive; switches only forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from simgmc.core.errors import SimgmcError


@dataclass(frozen=True)
class Host:
    """A machine and its access link."""

    name: str
    up: float | None
    """Bytes/s towards the network; None where it is not stated, as for a host that a file draws with its links."""
    down: float | None
    """Bytes/s from the network; None likewise."""
    latency: float | None
    """Seconds, one way, over the access link; two hosts' latencies add. None likewise."""
    half_duplex: bool = False
    """Whether what it sends and what it receives share one capacity, ``up``, as on a radio channel."""


def worker_names(workers: int) -> tuple[str, ...]:
    """The host names of ``workers`` workers: ``worker0`` ... ."""
    return tuple(f"worker{k}" for k in range(workers))


def add_link(graph: nx.DiGraph, source: str, destination: str, bandwidth: float, latency: float) -> None:
    """Add one direction of a wire; refuses negative or undefined values."""
    if not bandwidth >= 0:
        raise SimgmcError(f"link {source} -> {destination}: bandwidth {bandwidth!r} must be at least 0 bytes/s")
    if not 0 <= latency < float("inf"):
        raise SimgmcError(
            f"link {source} -> {destination}: latency {latency!r} must be a finite number of seconds, at least 0"
        )
    graph.add_edge(source, destination, bandwidth=float(bandwidth), latency=float(latency))


def add_wire(graph: nx.DiGraph, a: str, b: str, bandwidth: float, latency: float) -> None:
    """Add a full-duplex wire: two links, each with the whole bandwidth."""
    add_link(graph, a, b, bandwidth, latency)
    add_link(graph, b, a, bandwidth, latency)


class AccessMissing(SimgmcError):
    """A host hangs on a switch, and nobody said by which link: ``key`` (bandwidth or latency) is missing."""

    def __init__(self, key: str, host: str, switch: str):
        super().__init__(f"missing; {host} is joined to {switch} by an access link, which needs it")
        self.key = key


def add_host(graph: nx.DiGraph, host: Host, switch: str, group: object = None) -> None:
    """Join a host to a switch by its access link. ``group``: its rack, pod or site; None where there is none.

    Raises:
        SimgmcError: the host is there already, or its link is not stated (:class:`AccessMissing`).
    """
    if host.name in graph:
        raise SimgmcError(f"host {host.name!r} appears twice; every host needs its own name")
    if host.up is None or host.down is None or host.latency is None:
        raise AccessMissing(
            "latency" if host.latency is None and host.up is not None else "bandwidth", host.name, switch
        )
    graph.add_node(host.name, kind="host", group=group)
    add_link(graph, host.name, switch, host.up, host.latency)
    add_link(graph, switch, host.name, host.down, host.latency)
    if host.half_duplex:
        graph.edges[switch, host.name]["shares"] = (host.name, switch)
