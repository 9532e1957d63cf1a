"""Zones: which points each holds, and the links between two of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import networkx as nx
import numpy as np

from simgmc.core.errors import SimgmcError, show_value

_MAX_SEARCHED = 1_000
"""Hosts, routers or zones of a zone whose routes are found."""
_OTHER = {"UP": "DOWN", "DOWN": "UP", "": ""}


@dataclass(frozen=True)
class Link:
    """A link, or both directions of a SPLITDUPLEX one."""

    name: str
    bandwidth: float
    """Bytes/s."""
    latency: float
    """Seconds."""
    policy: str
    place: str
    """Where the file states it."""


class Step(NamedTuple):
    """A link on a route, and the direction in which it is used: UP or DOWN (SPLITDUPLEX), else empty."""

    link: Link
    way: str = ""


Steps = list[Step]


def step(link: Link, way: str) -> Step:
    """A link used in a direction, where it has two."""
    return Step(link, way if link.policy == "SPLITDUPLEX" else "")


def back(steps: Sequence[Step]) -> Steps:
    """The same way back."""
    return [Step(link, _OTHER[way]) for link, way in reversed(steps)]


class Between(NamedTuple):
    """A way between two zones: the points at which it leaves the one and enters the other, and the links between."""

    leave: str
    enter: str
    steps: Steps


@dataclass(eq=False)
class Zone:
    """A zone within which there are no ways: a frame for all others."""

    name: str
    parent: Zone | None
    place: str
    points: list[str] = field(default_factory=list)
    """Its hosts and routers."""
    bypasses: dict[tuple[str, str], Between] = field(default_factory=dict)
    """Between points of this zone (without gateways), or zones anywhere within it: what comes before all other ways."""

    def local(self, source: str, destination: str) -> Steps | None:
        """The way between two of its points; None: there is none."""
        return None

    def across(self, source: str, destination: str) -> list[Between] | None:
        """The ways that lead, one after the other, from one of the zones within it to another; None: none do."""
        return None


@dataclass(eq=False)
class StarZone(Zone):
    """A cluster: every point has its links to the middle, and from there."""

    up: dict[str, Steps] = field(default_factory=dict)
    down: dict[str, Steps] = field(default_factory=dict)

    def local(self, source: str, destination: str) -> Steps | None:
        """A link that is on both ways, as a backbone, is used once."""
        if source not in self.up or destination not in self.down:
            return None
        return list(dict.fromkeys(self.up[source] + self.down[destination]))


@dataclass(eq=False)
class RoutedZone(Zone):
    """A zone whose ways are stated (Full), or made of those that are (Floyd, Dijkstra)."""

    routing: str = "Full"
    zones: list[Zone] = field(default_factory=list)
    """Those directly within it."""
    routes: dict[tuple[str, str], Steps] = field(default_factory=dict)
    """Between its points."""
    between: dict[tuple[str, str], Between] = field(default_factory=dict)
    """Between zones directly within it."""
    _before: dict[bool, list[dict[str, str]]] = field(default_factory=dict)

    def local(self, source: str, destination: str) -> Steps | None:
        """Along one stated route, or several."""
        edges = self._edges(self.points, self.routes, source, destination)
        return None if edges is None else [step for edge in edges for step in self.routes[edge]]

    def across(self, source: str, destination: str) -> list[Between] | None:
        """Likewise between zones."""
        stated = {pair: way.steps for pair, way in self.between.items()}
        edges = self._edges([zone.name for zone in self.zones], stated, source, destination)
        return None if edges is None else [self.between[edge] for edge in edges]

    def _edges(
        self, points: Sequence[str], stated: Mapping[tuple[str, str], Steps], source: str, destination: str
    ) -> list[tuple[str, str]] | None:
        """The stated routes that together lead from one of its points (or zones) to another."""
        if self.routing == "Full":
            return [(source, destination)] if (source, destination) in stated else None
        if len(points) > _MAX_SEARCHED:
            raise SimgmcError(f"{self.place}: routing {self.routing} among more than {_MAX_SEARCHED:,} is not read")
        if self.routing == "Floyd":
            own = points is self.points
            if own not in self._before:
                self._before[own] = _floyd(points, stated)
            before = self._before[own][points.index(source)]
        else:
            order = list(dict.fromkeys(end for pair in stated for end in pair))
            if source not in order or destination not in order:
                return None
            before = _dijkstra(order, stated, source)
        edges: list[tuple[str, str]] = []
        at = destination
        while at != source:
            if at not in before:
                return None
            edges.append((before[at], at))
            at = before[at]
        edges.reverse()
        if self.routing == "Dijkstra":
            self._check_both_readings(stated, edges)
        return edges

    def _check_both_readings(self, stated: Mapping[tuple[str, str], Steps], edges: Sequence[tuple[str, str]]) -> None:
        """SimGrid's manual says that Dijkstra goes by latency, its program goes by the number of links."""

        def seconds(edge: tuple[str, str]) -> float:
            return sum(link.latency for link, _ in stated[edge])

        source, destination = edges[0][0], edges[-1][1]
        graph = nx.DiGraph()
        graph.add_weighted_edges_from((*edge, seconds(edge)) for edge in stated)
        least = nx.dijkstra_path_length(graph, source, destination)
        taken = sum(map(seconds, edges))
        if taken > least * (1 + 1e-9):
            raise SimgmcError(
                f"{self.place}: Dijkstra between {show_value(source)} and {show_value(destination)}: the fewest links, "
                f"which SimGrid's program takes, have a latency of {taken:g} s, the least, which its manual says, is "
                f"{least:g} s; state that route with routing Full, or use Floyd (fewest links)"
            )


def _floyd(points: Sequence[str], stated: Mapping[tuple[str, str], Sequence[Step]]) -> list[dict[str, str]]:
    """For every point the one before each other on the way there over the fewest links; ties as in SimGrid's program.

    That tries intermediate points in the order of the file and keeps what it has unless the new way is shorter.
    """
    number = {point: place for place, point in enumerate(points)}
    cost = np.full((len(points), len(points)), np.inf)
    before = np.full((len(points), len(points)), -1)
    np.fill_diagonal(cost, 1.0)  # SimGrid's loopback
    np.fill_diagonal(before, np.arange(len(points)))
    for (source, destination), steps in stated.items():
        cost[number[source], number[destination]] = len(steps)
        before[number[source], number[destination]] = number[source]
    for middle in range(len(points)):
        way = cost[:, middle, None] + cost[None, middle]
        shorter = way < cost
        cost, before = np.where(shorter, way, cost), np.where(shorter, before[middle], before)
    return [
        {points[end]: points[previous] for end, previous in enumerate(row) if previous >= 0 and end != start}
        for start, row in enumerate(before.tolist())
    ]


def _dijkstra(order: Sequence[str], stated: Mapping[tuple[str, str], Sequence[Step]], source: str) -> dict[str, str]:
    """The point before each other on the way from one over the fewest links; ties as in SimGrid's program.

    That takes points that are equally near in the order in which routes first name them.
    """
    number = {point: place for place, point in enumerate(order)}
    out: dict[str, list[tuple[str, int]]] = {}
    for (here, there), steps in stated.items():
        out.setdefault(here, []).append((there, len(steps)))
    cost, before = {source: 0}, dict[str, str]()
    queue = [(0, number[source], source)]
    while queue:
        _, _, here = heapq.heappop(queue)
        for there, links in out.get(here, ()):
            if cost[here] + links < cost.get(there, math.inf):
                cost[there], before[there] = cost[here] + links, here
                heapq.heappush(queue, (cost[there], number[there], there))
    return before
