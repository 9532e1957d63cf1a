"""Routes: shortest by latency, equal-cost ties by hashing, found once per pair of hosts."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable

import networkx as nx

from simgmc.core.errors import SimgmcError

MAX_WAYS = 256
"""Routes over which one message is striped at most."""


class Links:
    """A graph's edges as arrays, and the routes over them.

    Routes minimise the summed latency, then the number of links. Where several routes
    tie, each pair of hosts picks one by hashing (equal-cost multi-path as a router does
    it for one connection), deterministic in ``seed``; a network whose graph says ``striped`` uses all of them.
    """

    def __init__(self, graph: nx.DiGraph, seed: int = 0):
        self.graph = graph
        self.seed = seed
        self.names: list[tuple[str, str]] = []
        self.bandwidth: list[float] = []
        self.latency: list[float] = []
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
        self._routes: dict[tuple[str, str], tuple[int, ...] | None] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self._most: dict[tuple[str, str], float] = {}
        self._trees: dict[tuple[str, frozenset[int]], dict[str, list[tuple[str, int]]]] = {}
        """By the node from which routes are searched, and the links round which they lead."""
        self.striped = bool(graph.graph.get("striped"))
        """Whether a message goes over all of its equally short routes side by side, in equal parts."""
        self._ways: dict[tuple[str, str], tuple[tuple[int, ...], ...]] = {}
        self._stated: dict[tuple[str, str], list[str]] | None = graph.graph.get("routes")
        """Routes that the network comes with, as nodes; None: they are found."""
        self._changing: set[int] = set()
        self.avoided: frozenset[int] = frozenset()
        """Links (those that have the capacity) that are known to be down, and round which routes lead."""
        self.rerouted = False
        """Whether that has ever been otherwise than none, so that routes may have changed."""
        self._detours: dict[tuple[str, str], tuple[tuple[int, ...], float, float] | None] = {}
        """Of routes over an avoided link: one round it, its latency and its limit of one flow; None: there is none."""
        self._ends = {node for node, data in graph.nodes(data=True) if not data.get("relays", True)}
        """Sites that pass nothing on from one link between sites to the next."""
        self._wires = {node for node, data in graph.nodes(data=True) if data.get("wire")}
        """Nodes that stand for one of several wires between two others: a hop no more."""

    def __len__(self) -> int:
        return len(self.names)

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

    def watch(self, links: Iterable[int]) -> None:
        """Keep these links in routes although they are unlimited: they change. To be said before routes are
        asked for.
        """
        assert not self._routes
        self._changing.update(links)

    def along(self, nodes: tuple[str, ...]) -> tuple[int, ...]:
        """The links of an explicit route given by its nodes."""
        return tuple(self.index(a, b) for a, b in zip(nodes, nodes[1:]))

    @property
    def fixed(self) -> bool:
        """Whether the network comes with its routes."""
        return self._stated is not None

    def avoid(self, links: Iterable[int]) -> None:
        """From now on routes lead round these links, and round no others, wherever another way is left."""
        self.avoided, self.rerouted = frozenset(links), True
        self._detours.clear()
        self._trees = {key: tree for key, tree in self._trees.items() if not key[1]}

    def route(self, source: str, destination: str) -> tuple[int, ...] | None:
        """Link numbers from one host to another; ``()`` to itself, ``None`` where no route exists.

        Links of unlimited bandwidth are left out: they only add their latency. A route over an avoided link is
        replaced by the shortest one round it; where there is none it stays.
        """
        route = self._usual(source, destination)
        if self._avoids(route):
            return route
        detour = self._detour(source, destination)
        return route if detour is None else detour[0]

    def ways(self, source: str, destination: str) -> tuple[tuple[int, ...], ...]:
        """The routes that carry a message side by side, in equal parts: one, but where messages are striped.

        Empty where no route exists. Raises SimgmcError for more of them than :data:`MAX_WAYS`.
        """
        if not self.striped:
            route = self.route(source, destination)
            return () if route is None else (route,)
        pair = (source, destination)
        if pair not in self._ways:
            self._ways[pair] = tuple(self.limiting(path) for path in self._all(source, destination))
        ways = tuple(way for way in self._ways[pair] if self._avoids(way))
        detour = self._detour(source, destination) if not ways and self._ways[pair] else None
        return ways or (self._ways[pair] if detour is None else (detour[0],))

    def delay(self, source: str, destination: str) -> float:
        """Seconds of latency from one host to another, one way."""
        detour = None if self._avoids(self._usual(source, destination)) else self._detour(source, destination)
        return self._delays[source, destination] if detour is None else detour[1]

    def most(self, source: str, destination: str) -> float:
        """Bytes/s that one flow from one host to another has at most, by links that say so of every flow."""
        detour = None if self._avoids(self._usual(source, destination)) else self._detour(source, destination)
        return self._most[source, destination] if detour is None else detour[2]

    def each_has(self, rate: float) -> tuple[str, str] | None:
        """The ends of a link that gives so many bytes/s to every flow; None: there is none."""
        found = (self.ends(link) for link, most in enumerate(self.per_flow) if most == rate < float("inf"))
        return next(found, None)

    def _usual(self, source: str, destination: str) -> tuple[int, ...] | None:
        """The route where no link is down."""
        pair = (source, destination)
        if pair not in self._routes:
            path = self._find(source, destination)
            self._delays[pair] = self.summed_latency(path or ())
            self._most[pair] = self.least_per_flow(path or ())
            self._routes[pair] = None if path is None else self.limiting(path)
        return self._routes[pair]

    def _avoids(self, route: tuple[int, ...] | None) -> bool:
        return not self.avoided or route is None or self.avoided.isdisjoint(route)

    def _detour(self, source: str, destination: str) -> tuple[tuple[int, ...], float, float] | None:
        pair = (source, destination)
        if pair not in self._detours:
            path = None if self._stated is not None else self._find(source, destination, self.avoided)
            found = None if path is None else (self.limiting(path), self.summed_latency(path))
            self._detours[pair] = None if found is None else (*found, self.least_per_flow(path or ()))
        return self._detours[pair]

    def summed_latency(self, path: tuple[int, ...]) -> float:
        """Seconds of latency along a path of links."""
        return sum(self.latency[link] for link in path)

    def least_per_flow(self, path: tuple[int, ...]) -> float:
        """Bytes/s that one flow has at most along a path of links."""
        return min((self.per_flow[link] for link in path), default=float("inf"))

    def limiting(self, path: tuple[int, ...]) -> tuple[int, ...]:
        """The links of a path that can limit a flow; for one that shares its capacity, the one that has it."""
        changing, used = self._changing, (self.capacity_of[link] for link in path)
        return tuple(link for link in used if self.bandwidth[link] != float("inf") or link in changing)

    def _find(self, source: str, destination: str, avoided: frozenset[int] = frozenset()) -> tuple[int, ...] | None:
        for node in (source, destination):
            if node not in self._out:
                raise SimgmcError(f"there is no host {node!r} in the network")
        if source == destination:
            return ()
        if self._stated is not None:
            nodes = self._stated.get((source, destination))
            return None if nodes is None else self.along(tuple(nodes))
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
                key = f"{self.seed}|{source}|{destination}|{len(route)}"
                choice = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) % len(choices)
            node, link = choices[choice]
            route.append(link)
        return (*way_out, *reversed(route))

    def _tree(
        self, source: str, avoided: frozenset[int] = frozenset()
    ) -> tuple[str, list[int], dict[str, list[tuple[str, int]]]]:
        """The node from which routes of a host are searched, the links up to there, and all predecessors."""
        # A host with one way out shares the routes of the switch it hangs on.
        root, way_out = source, []
        if len(self._out[source]) == 1 and forwards(self.graph, self._out[source][0][0]):
            root, link = self._out[source][0]
            way_out = [link]
        if (root, avoided) not in self._trees:
            self._trees[root, avoided] = self._predecessors(root, avoided)
        return root, way_out, self._trees[root, avoided]

    def _all(self, source: str, destination: str) -> list[tuple[int, ...]]:
        """Every one of the equally short routes between two hosts."""
        if source == destination or self._stated is not None or self._find(source, destination) is None:
            found = self._find(source, destination)
            return [] if found is None else [found]
        root, way_out, before = self._tree(source)
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

    def _predecessors(self, source: str, avoided: frozenset[int]) -> dict[str, list[tuple[str, int]]]:
        """Dijkstra by (latency, links), keeping every predecessor on a shortest route.

        Latencies that differ by rounding alone count as equal. Hosts do not forward.
        """
        best: dict[str, tuple[float, int]] = {source: (0.0, 0)}
        before: dict[str, list[tuple[str, int]]] = {}
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


def forwards(graph: nx.DiGraph, node: str) -> bool:
    """Whether a node passes on other hosts' traffic: switches do, hosts only where they say so."""
    attributes = graph.nodes[node]
    return bool(attributes.get("forwards", attributes.get("kind") != "host"))
