"""What real transports cost beyond the wire: headers, software, start-up, what a connection can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import networkx as nx

from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option
from simgmc.core.units import BANDWIDTH, DURATION, SIZE, QuantityOption
from simgmc.network.conditions.condition import Condition
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")


def sawtooth(depth: float) -> float:
    """The share of a link that TCP uses before a queue of ``depth`` times what is under way without it.

    The window grows by a packet a round trip until the queue, of Q bytes beside the P under way, overflows at P + Q,
    and is halved. It carries (P + Q)^2 - (P + Q)^2/4 halves of bytes in the time that it takes to grow: a round trip
    P/B for each packet up to P, where the link stands partly idle, and the time of the bytes themselves from there on.
    With q = Q/P that is 3/4 (1 + q)^2 / (1 + q + q^2) of the bandwidth: 3/4 without a queue, all of it from q = 1 on,
    the rule of a queue of one bandwidth-delay product.
    """
    return 1.0 if depth >= 1.0 else 0.75 * (1.0 + depth) ** 2 / (1.0 + depth + depth**2)


def _if_given(what: str, units: Mapping[str, float], example: str) -> Any:
    """A field for a quantity above 0, which is not there unless it is given."""
    return declared(QuantityOption(what, default=None, units=units, example=example, positive=True))


@dataclass(frozen=True)
class Overheads(Condition):
    """What the transport adds to every message; by default nothing."""

    key = "transport"
    static = True
    whole = True
    random = False

    efficiency: float = declared(
        Option(
            "share of a link's bandwidth left for payload; TCP over Ethernet: 1448/1502 = 0.964",
            float, 1.0, at_least=1e-6, at_most=1,
        )
    )  # fmt: skip
    software: float = declared(
        QuantityOption(
            "software at the sender, for every message handed to the network",
            default="0 us", units=DURATION, example="20 us",
        )
    )  # fmt: skip
    startup: float = declared(
        Option(
            "latencies of its route that the first message of a collective loses while an idle connection speeds up "
            "again (slow start, rendezvous)",
            float, 0.0, at_least=0, at_most=1e6,
        )
    )  # fmt: skip
    rate_cap: float | None = _if_given(
        "what one connection never exceeds (a limit of its host or its application)",
        units=BANDWIDTH,
        example="100 Mbit/s",
    )
    window: float | None = _if_given(
        "bytes of one connection that may be under way unacknowledged: it carries at most window / round-trip time "
        "of its route",
        units=SIZE,
        example="4 MiB",
    )
    queue: float | None = _if_given(
        "how long the queue before every link takes to drain when it is full and drops packets (of tc tbf its "
        "latency): where it holds less than is under way, loss leaves a share of the link unused",
        units=DURATION,
        example="50 ms",
    )
    burst: float | None = _if_given(
        "with queue: bytes that a sender hands over at once, whatever the round-trip time (a library's buffer)",
        units=SIZE,
        example="4 MiB",
    )
    streams: int = declared(
        Option(
            "connections that carry each message side by side: that many times rate_cap and window", int, 1,
            at_most=10_000,
        )
    )  # fmt: skip

    def check_fields(self) -> None:
        """More streams than one are for connections that are limited, a burst is for a queue."""
        if self.burst is not None and self.queue is None:
            raise SimgmcError(f"burst = {self.burst} changes nothing without a queue; state queue, or leave it out")
        if self.streams > 1 and self.rate_cap is None and self.window is None:
            raise SimgmcError(
                f"streams = {self.streams} changes nothing where a connection has no limit: state window or rate_cap, "
                "or leave it out"
            )

    @property
    def limits(self) -> bool:
        """Whether a message has a limit of its own."""
        return self.rate_cap is not None or self.window is not None

    def limit(self, links: Links, cap: float) -> str:
        """Which limit it is that lets a message have at most ``cap`` bytes/s, in words."""
        if ends := links.each_has(cap / self.streams):
            return f"link {ends[0]} -> {ends[1]}, which gives {cap / self.streams:.4g} B/s to every flow"
        by_rate = self.window is None or (
            self.rate_cap is not None and cap >= self.streams * self.rate_cap * (1 - 1e-9)
        )
        key, value = ("rate_cap", self.rate_cap) if by_rate else ("window", self.window)
        several = f" x {self.streams} streams" if self.streams > 1 else ""
        return f"transport.{key} = {value}{several}{'' if by_rate else ' per round trip'}"

    def most(self, links: Links, source: str, destination: str) -> float:
        """Bytes/s that a message from one host to another never exceeds, whatever its links could carry.

        A window counts as a steady limit, also for messages that would fit into it.
        """
        most = min(links.most(source, destination), _INFINITY if self.rate_cap is None else float(self.rate_cap))
        if self.window is not None:
            there = links.delay(source, destination)
            # Where no route leads back, acknowledgements take as long as the bytes.
            back = there if links.route(destination, source) is None else links.delay(destination, source)
            if there + back > 0:
                most = min(most, self.window / (there + back))
        return self.streams * most

    def seen(self, graph: nx.DiGraph) -> nx.DiGraph:
        """Every bandwidth times the efficiency, and times what loss in its queue leaves of it."""
        if self.efficiency == 1.0 and self.queue is None:
            return graph
        return _kept(self, graph) if nx.is_frozen(graph) else _seen(self, graph)


def _seen(transport: Overheads, graph: nx.DiGraph) -> nx.DiGraph:
    payload = graph.copy()
    round_trips = {} if transport.queue is None else _round_trips(graph)
    for source, destination, data in payload.edges(data=True):
        for key in data.keys() & {"bandwidth", "per_flow"}:
            bandwidth = data[key]
            data[key] = bandwidth * transport.efficiency
            if transport.queue is not None and 0 < bandwidth < _INFINITY:
                under_way = max(bandwidth * round_trips[source, destination], transport.burst or 0.0)
                data[key] *= sawtooth(bandwidth * transport.queue / under_way) if under_way else 1.0
    return payload


@lru_cache(maxsize=4)
def _kept(transport: Overheads, graph: nx.DiGraph) -> nx.DiGraph:
    """What a transport sees of a graph that stays as it is, once; that stays as it is, too."""
    return nx.freeze(_seen(transport, graph))


def _round_trips(graph: nx.DiGraph) -> dict[tuple[str, str], float]:
    """Seconds there and back between the nearest two hosts on either side of every link, by the latencies there."""
    hosts = {node for node, data in graph.nodes(data=True) if data.get("kind") == "host"} or set(graph)
    to = nx.multi_source_dijkstra_path_length(graph, hosts, weight="latency")
    back = nx.multi_source_dijkstra_path_length(graph.reverse(copy=False), hosts, weight="latency")
    return {(a, b): 2 * (to.get(a, 0.0) + latency + back.get(b, 0.0)) for a, b, latency in graph.edges(data="latency")}


IDEAL = Overheads()
"""A transport that costs nothing."""
