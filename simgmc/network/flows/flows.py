"""Completion times of a list of flows on a network under max-min fairness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.network.flows.fluid import FluidNetwork, StuckError, Transfer
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")


@dataclass(frozen=True)
class Flow:
    """Bytes to move from one host to another."""

    source: str
    destination: str
    nbytes: float
    start: float = 0.0
    """Seconds: not before this."""
    after: Sequence[int] = ()
    """Flows (their places in the list) that must have completed."""
    delay: float = 0.0
    """Seconds between the moment all that has happened and the flow's start."""
    rate_cap: float | None = None
    """Bytes/s this flow never exceeds."""
    route: Sequence[str] | Sequence[tuple[str, str]] | None = None
    """The nodes to pass, source and destination included, or the links to use, each as a
    pair of nodes (any links, in any order: a half-duplex medium is one link that both
    directions use); default: the shortest route."""
    name: str | None = None


@dataclass(frozen=True)
class BandwidthChange:
    """At ``time`` (s) the link from one node to the next gets another bandwidth (bytes/s)."""

    time: float
    source: str
    destination: str
    bandwidth: float


def completion_times(
    graph: nx.DiGraph,
    flows: Iterable[Flow],
    latency: str = "last",
    changes: Iterable[BandwidthChange] = (),
    seed: int = 0,
) -> list[float]:
    """When each flow completes, in seconds, in the order given.

    ``latency="last"``: a flow takes bandwidth at once and completes one route latency
    after its last byte has left. ``"first"``: it waits one route latency, then takes
    bandwidth. ``seed`` decides between equal-cost routes.

    Raises :class:`~simgmc.network.flows.fluid.StuckError` for a flow that can never finish.
    """
    if latency not in ("last", "first"):
        raise SimgmcError(f"latency = {latency!r}: must be 'last' or 'first'")
    links = Links(graph, seed)
    network = FluidNetwork(links, latency_first=latency == "first")
    planned = []
    for change in changes:
        if not change.bandwidth >= 0 or not change.time >= 0:
            raise SimgmcError(
                f"bandwidth {change.bandwidth!r} of link {change.source} -> {change.destination} from "
                f"{change.time!r} s on: both must be at least 0"
            )
        link = links.capacity_of[links.index(change.source, change.destination)]
        planned.append((change.time, (link, change.bandwidth)))
    links.watch(link for _, (link, _) in planned)
    run = _FlowList(network, list(flows))
    for time, change_of_link in planned:
        network.at(time, network.set_bandwidth, change_of_link)
    network.run()
    run.check_complete()
    return run.completed


class _FlowList:
    """Flows with start times and dependencies, as one run of the network."""

    def __init__(self, network: FluidNetwork, flows: list[Flow]):
        self.network = network
        self.flows = flows
        self.completed = [-1.0] * len(flows)
        self._waiting = [len(flow.after) + 1 for flow in flows]
        self._next: list[list[int]] = [[] for _ in flows]
        self._routes: list[tuple[int, ...] | None] = []
        self._latency: list[float] = []
        self._most: list[float] = []
        links = network.links
        for index, flow in enumerate(flows):
            if not 0 <= flow.nbytes < _INFINITY:
                raise SimgmcError(f"{self.describe(index)}: a flow needs a finite number of bytes, at least 0")
            if not 0 <= flow.delay < _INFINITY or not 0 <= flow.start < _INFINITY:
                raise SimgmcError(
                    f"{self.describe(index)}: start {flow.start!r} and delay {flow.delay!r} must be at least 0 s"
                )
            if flow.rate_cap is not None and not flow.rate_cap >= 0:
                raise SimgmcError(f"{self.describe(index)}: rate cap {flow.rate_cap!r} must be at least 0 bytes/s")
            for other in flow.after:
                if not 0 <= other < len(flows):
                    raise SimgmcError(
                        f"{self.describe(index)} waits for flow {other}; there are flows 0 to {len(flows) - 1}"
                    )
                self._next[other].append(index)
            if flow.route is None:
                self._routes.append(links.route(flow.source, flow.destination))
                self._latency.append(links.delay(flow.source, flow.destination))
                self._most.append(links.most(flow.source, flow.destination))
            else:
                path = links.wiring.measured(self._explicit(index, flow.route))
                self._routes.append(links.limiting(path.links))
                self._latency.append(path.latency)
                self._most.append(path.most)
            network.at(flow.start, self._let_go, index)

    def _explicit(self, index: int, route: Sequence) -> tuple[int, ...]:
        links, flow = self.network.links, self.flows[index]
        if route and not isinstance(route[0], str):
            return tuple(links.index(a, b) for a, b in route)
        if not route and flow.source == flow.destination:
            return ()
        if not route or route[0] != flow.source or route[-1] != flow.destination:
            raise SimgmcError(f"{self.describe(index)}: its route {list(route)} must lead from source to destination")
        return links.wiring.along(tuple(route))

    def _let_go(self, index: int) -> None:
        self._waiting[index] -= 1
        if self._waiting[index] == 0:
            delay = self.flows[index].delay
            if delay > 0:
                self.network.at(self.network.now + delay, self._start, index)
            else:
                self._start(index)

    def _start(self, index: int) -> None:
        flow = self.flows[index]
        cap = min(self._most[index], _INFINITY if flow.rate_cap is None else flow.rate_cap)
        self.network.start(Transfer(self, index, self._routes[index], self._latency[index], flow.nbytes, cap))

    def started(self, index: int, time: float) -> None:
        """The flow takes bandwidth; only its end is of interest here."""

    def left(self, index: int, time: float) -> None:
        """The last byte has left; only its arrival is of interest here."""

    def arrived(self, index: int, time: float) -> None:
        self.completed[index] = time
        for other in self._next[index]:
            self._let_go(other)

    def describe(self, index: int) -> str:
        flow = self.flows[index]
        name = f"flow {index}" if flow.name is None else f"flow {flow.name!r}"
        return f"{name} ({flow.source} -> {flow.destination}, {flow.nbytes:.9g} bytes)"

    def check_complete(self) -> None:
        """Raise for what can never finish: no bandwidth, or flows that wait in a circle."""
        if min(self.completed, default=0.0) >= 0.0:
            return
        now = self.network.now
        stalled = self.network.stalled()
        if stalled is not None:
            raise stalled
        index = next(i for i, time in enumerate(self.completed) if time < 0 and self._waiting[i] > 0)
        trail: list[int] = []
        while index not in trail:
            trail.append(index)
            index = next(i for i in self.flows[index].after if self.completed[i] < 0)
        circle = trail[trail.index(index) :]
        what = (
            "itself"
            if len(circle) == 1
            else ", which waits for ".join(self.describe(i) for i in [*circle[1:], circle[0]])
        )
        raise StuckError(f"{self.describe(circle[0])} is stuck at t = {now:.9g} s: it waits for {what}", now)
