"""A network's links in lists, and the shortest paths over them: what never changes about it."""

from __future__ import annotations

import hashlib
import heapq
from typing import NamedTuple

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.network.topology.recent import Recent

MAX_WAYS = 256
"""Routes over which one message is striped at most."""

Steps = list[tuple[str, int]]
"""The nodes from which shortest paths reach a node, each with the link that they take."""


class Path(NamedTuple):
    """Links in a row."""

    links: tuple[int, ...]
    """By number, all of them."""
    latency: float
    """Seconds, one way."""
    most: float
    """Bytes/s that one flow has at most, by links that say so of every flow; mostly infinite."""


class Wiring:
    """A graph's edges as lists, and the shortest paths over them.

    Paths minimise the summed latency, then the number of links. Where several tie, each pair of hosts picks one by
    hashing (equal-cost multi-path as a router does it for one connection), deterministic in a seed.
    """

    def __init__(self, graph: nx.DiGraph):
        self.graph = graph
        self.names: list[tuple[str, str]] = []
        """Per link: the nodes that it leads from and to."""
        self.bandwidth: list[float] = []
        """Per link: bytes/s."""
        self.latency: list[float] = []
        """Per link: seconds, one way."""
        self.per_flow: list[float] = []
        """Bytes/s that each link gives to every flow, of which none takes from another; mostly infinite."""
        self._index: dict[tuple[str, str], int] = {}
        self._out: dict[str, list[tuple[str, int]]] = {node: [] for node in graph}
        for source, destination, data in graph.edges(data=True):
            try:
                bandwidth, latency = float(data["bandwidth"]), float(data["latency"])
            except KeyError as missing:
                raise SimgmcError(
                    f"link {source} -> {destination} has no {missing}; every link needs a bandwidth (bytes/s) and a "
                    "latency (s)"
                ) from None
            if not bandwidth >= 0 or not 0 <= latency < float("inf"):
                raise SimgmcError(
                    f"link {source} -> {destination}: bandwidth {bandwidth} and latency {latency} must be at least 0"
                )
            self._index[source, destination] = len(self.names)
            self._out[source].append((destination, len(self.names)))
            self.names.append((source, destination))
            self.bandwidth.append(bandwidth)
            self.latency.append(latency)
            self.per_flow.append(float(data.get("per_flow", float("inf"))))
        self.capacity_of = list(range(len(self.names)))
        """Per link: the one whose capacity it uses, mostly itself; of a half-duplex wire both use the same."""
        for source, destination, other in graph.edges(data="shares"):
            if other is not None:
                self.capacity_of[self._index[source, destination]] = self.index(*other)
        self.stated: dict[tuple[str, str], list[str]] | None = graph.graph.get("routes")
        """Routes that the network comes with, as nodes; None: they are found."""
        self._ends = {node for node, data in graph.nodes(data=True) if not data.get("relays", True)}
        """Sites that pass nothing on from one link between sites to the next."""
        self._wires = {node for node, data in graph.nodes(data=True) if data.get("wire")}
        """Nodes that stand for one of several wires between two others: a hop no more."""
        self._trees: dict[tuple[str, frozenset[int]], dict[str, Steps]] = {}
        """By the node from which paths are searched, and the links round which they lead."""
        self._paths: dict[tuple[int, str, str], Path | None] = {}
        """By seed, source and destination: those round no links."""

    def index(self, source: str, destination: str) -> int:
        """The number of the link from one node to the next."""
        try:
            return self._index[source, destination]
        except KeyError:
            raise SimgmcError(f"there is no link {source} -> {destination} in the network") from None

    def ends(self, link: int) -> tuple[str, str]:
        """The nodes between which a link leads, as the network was drawn: one of several wires joins the two beyond."""
        source, destination = self.names[link]
        return self.graph.nodes[destination].get("wire") or (source, destination)

    def along(self, nodes: tuple[str, ...]) -> tuple[int, ...]:
        """The links of an explicit route given by its nodes."""
        return tuple(self.index(a, b) for a, b in zip(nodes, nodes[1:]))

    def measured(self, links: tuple[int, ...]) -> Path:
        """The path that takes these links."""
        latency = sum(self.latency[link] for link in links)
        return Path(links, latency, min((self.per_flow[link] for link in links), default=float("inf")))

    def path(self, source: str, destination: str, seed: int) -> Path | None:
        """The path from one host to another; without links to itself, None where there is none."""
        key = (seed, source, destination)
        if key not in self._paths:
            self._paths[key] = self.path_round(source, destination, seed, frozenset())
        return self._paths[key]

    def path_round(self, source: str, destination: str, seed: int, avoided: frozenset[int]) -> Path | None:
        """The path from one host to another over none of the avoided links; None where there is none."""
        for node in (source, destination):
            if node not in self._out:
                raise SimgmcError(f"there is no host {node!r} in the network")
        if source == destination:
            return self.measured(())
        if self.stated is not None:
            nodes = self.stated.get((source, destination))
            return None if nodes is None else self.measured(self.along(tuple(nodes)))
        root, way_out, before = self._tree(source, avoided)
        if not avoided.isdisjoint(self.capacity_of[link] for link in way_out):
            return None
        if destination not in before and destination != root:
            return None
        route: list[int] = []
        node = destination
        while node != root:
            choices = before[node]
            choice = 0
            if len(choices) > 1:
                key = f"{seed}|{source}|{destination}|{len(route)}"
                choice = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % len(choices)
            node, link = choices[choice]
            route.append(link)
        return self.measured((*way_out, *reversed(route)))

    def all_paths(self, source: str, destination: str) -> list[tuple[int, ...]]:
        """The links of every one of the equally short paths between two hosts.

        Raises SimgmcError for more of them than :data:`MAX_WAYS`.
        """
        only = self.path(source, destination, 0)
        if only is None or source == destination or self.stated is not None:
            return [] if only is None else [only.links]
        root, way_out, before = self._tree(source, frozenset())
        routes: list[tuple[int, ...]] = []
        ends: list[tuple[str, tuple[int, ...]]] = [(destination, ())]
        while ends:
            node, links = ends.pop()
            if node == root:
                routes.append((*way_out, *links))
                continue
            ends += [(earlier, (link, *links)) for earlier, link in reversed(before[node])]
            if len(routes) + len(ends) > MAX_WAYS:
                raise SimgmcError(
                    f"there are more than {MAX_WAYS} equally short routes {source} -> {destination}, too many to "
                    "stripe messages over"
                )
        return routes

    def _tree(self, source: str, avoided: frozenset[int]) -> tuple[str, list[int], dict[str, Steps]]:
        """The node from which paths of a host are searched, the links up to there, and all predecessors."""
        # A host with one way out shares the paths of the switch it hangs on.
        root, way_out = source, []
        if len(self._out[source]) == 1 and forwards(self.graph, self._out[source][0][0]):
            root, link = self._out[source][0]
            way_out = [link]
        if (root, avoided) not in self._trees:
            if avoided:  # what is down changes all the time
                self._trees = {key: tree for key, tree in self._trees.items() if key[1] in (avoided, frozenset())}
            self._trees[root, avoided] = self._predecessors(root, avoided)
        return root, way_out, self._trees[root, avoided]

    def _predecessors(self, source: str, avoided: frozenset[int]) -> dict[str, Steps]:
        """Dijkstra by (latency, links), keeping every predecessor on a shortest path.

        Latencies that differ by rounding alone count as equal. Hosts do not forward.
        """
        best: dict[str, tuple[float, int]] = {source: (0.0, 0)}
        before: dict[str, Steps] = {}
        done: set[str] = set()
        queue: list[tuple[float, int, int, str]] = [(0.0, 0, 0, source)]
        pushed = 0
        while queue:
            distance, hops, _, node = heapq.heappop(queue)
            if node in done:
                continue
            done.add(node)
            if node != source and not forwards(self.graph, node):
                continue
            only_hosts = node in self._ends and node != source and before[node][0][0] in self._ends
            for neighbour, link in self._out[node]:
                if (only_hosts and forwards(self.graph, neighbour)) or self.capacity_of[link] in avoided:
                    continue
                length, steps = distance + self.latency[link], hops + (node not in self._wires)
                known = best.get(neighbour)
                if known is not None:
                    close = 1e-12 * max(length, known[0])
                    if length > known[0] + close or (abs(length - known[0]) <= close and steps > known[1]):
                        continue
                    if abs(length - known[0]) <= close and steps == known[1]:
                        if neighbour not in done:
                            before[neighbour].append((node, link))
                        continue
                if neighbour in done:
                    continue
                best[neighbour] = (length, steps)
                before[neighbour] = [(node, link)]
                pushed += 1
                heapq.heappush(queue, (length, steps, pushed, neighbour))
        return before


def wiring(graph: nx.DiGraph) -> Wiring:
    """The wiring of a graph; of one that is frozen (:func:`networkx.freeze`), so that it stays as it is, found once."""
    return _WIRED.get(graph, len(graph), lambda: Wiring(graph)) if nx.is_frozen(graph) else Wiring(graph)


_WIRED: Recent[nx.DiGraph, Wiring] = Recent(40_000)
"""With so many nodes in all."""


def forwards(graph: nx.DiGraph, node: str) -> bool:
    """Whether a node passes on other hosts' traffic: switches do, hosts only where they say so."""
    attributes = graph.nodes[node]
    return bool(attributes.get("forwards", attributes.get("kind") != "host"))
