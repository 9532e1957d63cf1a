"""Routes over a network's links, for as long as links are as they are: round those that are known to be down."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from simgmc.network.topology.wiring import Path, wiring


class Links:
    """A network's links by number, and the routes over them.

    A route is the shortest path, see :class:`~simgmc.network.topology.wiring.Wiring`, without the links that limit
    nobody. A network whose graph says ``striped`` sends a message over all of its equally short routes.
    """

    def __init__(self, graph: nx.DiGraph, seed: int = 0):
        """``seed`` decides between paths that tie."""
        self.graph = graph
        self.seed = seed
        self.wiring = wiring(graph)
        self.names = self.wiring.names
        """Per link: the nodes that it leads from and to."""
        self.bandwidth = self.wiring.bandwidth
        """Per link: bytes/s that the network is drawn with."""
        self.latency = self.wiring.latency
        """Per link: seconds, one way."""
        self.per_flow = self.wiring.per_flow
        """Per link: bytes/s that it gives to every flow, of which none takes from another; mostly infinite."""
        self.capacity_of = self.wiring.capacity_of
        """Per link: the one whose capacity it uses, mostly itself; of a half-duplex wire both use the same."""
        self.striped = bool(graph.graph.get("striped"))
        """Whether a message goes over all of its equally short routes side by side, in equal parts."""
        self.avoided: frozenset[int] = frozenset()
        """Links (those that have the capacity) that are known to be down, and round which routes lead."""
        self.rerouted = False
        """Whether that has ever been otherwise than none, so that routes may have changed."""
        self._changing: set[int] = set()
        self._routes: dict[tuple[str, str], tuple[int, ...] | None] = {}
        """Where no link is down; None: there is none."""
        self._ways: dict[tuple[str, str], tuple[tuple[int, ...], ...]] = {}
        """Likewise, all that are equally short."""
        self._detours: dict[tuple[str, str], Path | None] = {}
        """Of routes over an avoided link: a path round it; None: there is none."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fixed(self) -> bool:
        """Whether the network comes with its routes."""
        return self.wiring.stated is not None

    def index(self, source: str, destination: str) -> int:
        """The number of the link from one node to the next. Raises SimgmcError where there is none."""
        return self.wiring.index(source, destination)

    def ends(self, link: int) -> tuple[str, str]:
        """The nodes between which a link leads, as the network was drawn: one of several wires joins the two beyond."""
        return self.wiring.ends(link)

    def each_has(self, rate: float) -> tuple[str, str] | None:
        """The ends of a link that gives so many bytes/s to every flow; None: there is none."""
        found = (self.ends(link) for link, most in enumerate(self.per_flow) if most == rate < float("inf"))
        return next(found, None)

    def watch(self, links: Iterable[int]) -> None:
        """Keep these links in routes although they are unlimited: they change. To be said before routes are
        asked for.
        """
        assert not self._routes
        self._changing.update(links)

    def avoid(self, links: Iterable[int]) -> None:
        """From now on routes lead round these links, and round no others, wherever another way is left."""
        self.avoided, self.rerouted = frozenset(links), True
        self._detours.clear()

    def route(self, source: str, destination: str) -> tuple[int, ...] | None:
        """Link numbers from one host to another; ``()`` to itself, ``None`` where no route exists.

        Links of unlimited bandwidth are left out: they only add their latency. A route over an avoided link is
        replaced by the shortest one round it; where there is none it stays.
        """
        route = self._usual(source, destination)
        if self._avoids(route):
            return route
        detour = self._detour(source, destination)
        return route if detour is None else self.limiting(detour.links)

    def ways(self, source: str, destination: str) -> tuple[tuple[int, ...], ...]:
        """The routes that carry a message side by side, in equal parts: one, but where messages are striped.

        Empty where no route exists. Raises SimgmcError for more of them than
        :data:`~simgmc.network.topology.wiring.MAX_WAYS`.
        """
        if not self.striped:
            route = self.route(source, destination)
            return () if route is None else (route,)
        pair = (source, destination)
        if pair not in self._ways:
            self._ways[pair] = tuple(self.limiting(path) for path in self.wiring.all_paths(source, destination))
        ways = tuple(way for way in self._ways[pair] if self._avoids(way))
        detour = self._detour(source, destination) if not ways and self._ways[pair] else None
        return ways or (self._ways[pair] if detour is None else (self.limiting(detour.links),))

    def delay(self, source: str, destination: str) -> float:
        """Seconds of latency from one host to another, one way; 0 where no route exists."""
        path = self._path(source, destination)
        return 0.0 if path is None else path.latency

    def most(self, source: str, destination: str) -> float:
        """Bytes/s that one flow from one host to another has at most, by links that say so of every flow."""
        path = self._path(source, destination)
        return float("inf") if path is None else path.most

    def limiting(self, path: tuple[int, ...]) -> tuple[int, ...]:
        """The links of a path that can limit a flow; for one that shares its capacity, the one that has it."""
        changing, used = self._changing, (self.capacity_of[link] for link in path)
        return tuple(link for link in used if self.bandwidth[link] != float("inf") or link in changing)

    def _path(self, source: str, destination: str) -> Path | None:
        """What is taken now."""
        usual = self.wiring.path(source, destination, self.seed)
        if not self.avoided or self._avoids(self._usual(source, destination)):
            return usual
        return self._detour(source, destination) or usual

    def _usual(self, source: str, destination: str) -> tuple[int, ...] | None:
        """The route where no link is down."""
        pair = (source, destination)
        if pair not in self._routes:
            path = self.wiring.path(source, destination, self.seed)
            self._routes[pair] = None if path is None else self.limiting(path.links)
        return self._routes[pair]

    def _avoids(self, route: tuple[int, ...] | None) -> bool:
        return not self.avoided or route is None or self.avoided.isdisjoint(route)

    def _detour(self, source: str, destination: str) -> Path | None:
        pair = (source, destination)
        if pair not in self._detours:
            found = None if self.fixed else self.wiring.path_round(source, destination, self.seed, self.avoided)
            self._detours[pair] = found
        return self._detours[pair]
