"""Gossip graphs by name: whom each worker sends to, in every round of a period."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx

from simgmc.core.declared import Part, require_class
from simgmc.core.errors import SimgmcError
from simgmc.core.outside.graph_files import read_graph
from simgmc.core.own_code.errors import guarded
from simgmc.core.randomness import generator
from simgmc.core.registry import Entry, Option, Registry

MAX_NODES = 2048
"""Workers up to which gossip is accepted: mixing matrices are dense."""
_DRAWS = 1000
"""Random graphs drawn, one after the other, until one is connected."""

Edges = frozenset[tuple[int, int]]
"""Pairs (sender, receiver)."""


@dataclass(frozen=True)
class GossipGraph:
    """Which workers send to which, round by round; after the last round of the period the first comes again."""

    name: str
    workers: int
    rounds: tuple[Edges, ...]
    """The edges of each round of one period; one entry for a graph that stays."""

    @property
    def time_varying(self) -> bool:
        """Whether rounds differ."""
        return len(self.rounds) > 1

    @cached_property
    def directed(self) -> bool:
        """Whether some worker sends to another that does not send back in the same round."""
        return any((b, a) not in edges for edges in self.rounds for a, b in edges)

    @cached_property
    def connected(self) -> bool:
        """Whether what one worker has reaches every other worker after enough rounds."""
        whole = nx.DiGraph()
        whole.add_nodes_from(range(self.workers))
        whole.add_edges_from(edge for edges in self.rounds for edge in edges)
        return nx.is_strongly_connected(whole)

    def neighbours(self, round: int) -> list[tuple[int, ...]]:
        """Per worker: whom it sends to in a round, in rank order."""
        edges = self.rounds[round % len(self.rounds)]
        return [tuple(sorted(b for a, b in edges if a == rank)) for rank in range(self.workers)]

    def degrees(self, round: int) -> list[int]:
        """How many each worker sends to in a round."""
        out = [0] * self.workers
        for a, _ in self.rounds[round % len(self.rounds)]:
            out[a] += 1
        return out


@dataclass(frozen=True)
class GraphEntry(Entry):
    """A registered graph: ``build(workers, **options)`` gives the edges of every round of a period."""

    build: Callable[..., list[Edges]] = field(kw_only=True)


@dataclass(frozen=True)
class Graph(Part):
    """A gossip graph of one's own: a frozen dataclass of its options, and who sends to whom."""

    def edges(self, workers: int) -> Iterable[tuple[int, int]] | Iterable[Iterable[tuple[int, int]]]:
        """Pairs (sender, receiver) of workers, 0 .. workers-1; of a graph that varies a list of such for each round of
        a period. Workers that mix by symmetric weights need both directions.
        """
        raise NotImplementedError


def _adopted(name: str, found: Any) -> GraphEntry:
    """The entry of a graph of one's own. Raises SimgmcError for what is none."""
    require_class(name, found, Graph, "edges")

    def build(workers: int, **options: Any) -> list[Edges]:
        said = guarded(f"graph {name}", "edges failed", lambda: list(found(**options).edges(workers)))
        rounds = said if said and not isinstance(next(iter(said[0]), None), int) else [said]
        pairs = [frozenset(tuple(pair) for pair in one) for one in rounds]
        for a, b in (pair for one in pairs for pair in one):
            if not (0 <= a < workers and 0 <= b < workers and a != b):
                raise SimgmcError(f"graph {name}: the edge ({a}, {b}) must join two of the workers 0 to {workers - 1}")
        return pairs

    return GraphEntry(**found.described(name), build=build)


def _both_ways(edges: Iterable[tuple[int, int]]) -> Edges:
    return frozenset(pair for a, b in edges if a != b for pair in ((a, b), (b, a)))


def _shifts(workers: int, shifts: Iterable[int]) -> Edges:
    """Worker k sends to worker k + shift (mod workers), for every one of the shifts."""
    return frozenset((k, (k + shift) % workers) for shift in shifts for k in range(workers) if shift % workers)


def _ring(workers: int) -> list[Edges]:
    return [_both_ways((k, (k + 1) % workers) for k in range(workers))]


def _torus(workers: int, columns: int) -> list[Edges]:
    if not columns:
        columns = next(c for c in range(math.isqrt(workers), workers + 1) if workers % c == 0 and c * c >= workers)
        if columns == workers and workers > 3:
            raise SimgmcError(
                f"torus: {workers} workers make no rectangle; use another number of workers, or the graph ring"
            )
    if workers % columns:
        raise SimgmcError(
            f"torus: columns = {columns}: {workers} workers do not fill rows of {columns}; it must divide {workers}"
        )
    rows = workers // columns
    right = ((r * columns + c, r * columns + (c + 1) % columns) for r in range(rows) for c in range(columns))
    down = ((r * columns + c, (r + 1) % rows * columns + c) for r in range(rows) for c in range(columns))
    return [_both_ways([*right, *down])]


def _hops(workers: int) -> list[int]:
    """Powers of two below the number of workers."""
    return [2**i for i in range(max(workers - 1, 0).bit_length())]


def _exponential(workers: int) -> list[Edges]:
    return [_shifts(workers, _hops(workers))]


def _one_peer_exponential(workers: int) -> list[Edges]:
    return [_shifts(workers, [hop]) for hop in _hops(workers)] or [frozenset()]


def _complete(workers: int) -> list[Edges]:
    return [_shifts(workers, range(1, workers))]


def _star(workers: int) -> list[Edges]:
    return [_both_ways((0, k) for k in range(1, workers))]


def _connected(edges: Edges, workers: int) -> bool:
    graph = nx.Graph()
    graph.add_nodes_from(range(workers))
    graph.add_edges_from(edges)
    return nx.is_connected(graph)


def _random_regular(workers: int, degree: int, seed: int) -> list[Edges]:
    if degree >= workers or degree * workers % 2:
        raise SimgmcError(
            f"random-regular: degree = {degree}: must be below the number of workers, {workers}, "
            "and degree x workers must be even"
        )
    for attempt in range(_DRAWS):
        draw = int(generator(seed, "regular gossip graph", attempt).integers(2**31))
        edges = _both_ways(nx.random_regular_graph(degree, workers, seed=draw).edges)
        if _connected(edges, workers):
            return [edges]
    raise SimgmcError(
        f"random-regular: degree = {degree}: none of {_DRAWS} graphs on {workers} workers is connected; "
        "use a larger degree"
    )


def _erdos_renyi(workers: int, p: float, seed: int) -> list[Edges]:
    pairs = [(a, b) for a in range(workers) for b in range(a)]
    for attempt in range(_DRAWS):
        drawn = generator(seed, "random gossip graph", attempt).random(len(pairs)) < p
        edges = _both_ways(pair for pair, there in zip(pairs, drawn) if there)
        if _connected(edges, workers):
            return [edges]
        if len(pairs) > 10_000 and attempt == 20:
            break
    likely = math.log(max(workers, 2)) / workers
    raise SimgmcError(
        f"erdos-renyi: p = {p:g}: none of the graphs drawn on {workers} workers is connected; "
        f"above about {likely:.2g} (ln K / K) most are"
    )


def _file(workers: int, file: str) -> list[Edges]:
    drawn = read_graph(file)
    numbers = {}
    for node in drawn.nodes:
        named = re.fullmatch(r"(?:worker)?(\d{1,6})", node)
        if named is None or int(named[1]) >= workers:
            raise SimgmcError(
                f"{file}: node {node!r}: must be a worker, worker0 to worker{workers - 1} (or its number)"
            )
        numbers[node] = int(named[1])
    if len(set(numbers.values())) < len(numbers):
        raise SimgmcError(f"{file}: names a worker both as a number and in full; use one of the two")
    return [frozenset((numbers[a], numbers[b]) for a, b in drawn.ways() if a != b)]


_SEED = Option("draws the graph; the same seed, the same graph", int, 0, at_least=0, at_most=2**63 - 1)

GRAPHS: Registry[GraphEntry] = Registry(
    "graph",
    (
        GraphEntry("ring", "every worker and its two neighbours", "textbook", build=_ring),
        GraphEntry(
            "torus",
            "a two-dimensional torus, row by row: four neighbours",
            "textbook",
            {"columns": Option("workers in a row; 0: as square as possible", int, 0, at_least=0)},
            build=_torus,
        ),
        GraphEntry(
            "exponential",
            "worker k sends to k + 1, k + 2, k + 4 ... (directed)",
            "Assran et al., ICML 2019; Ying et al., NeurIPS 2021",
            build=_exponential,
        ),
        GraphEntry(
            "one-peer-exponential",
            "worker k sends to k + 2^(t mod log2 K) in round t (directed, time-varying)",
            "Assran et al., ICML 2019; Ying et al., NeurIPS 2021",
            build=_one_peer_exponential,
        ),
        GraphEntry(
            "complete",
            "every worker and every other; uniform weights make it the exact average",
            "textbook",
            build=_complete,
        ),
        GraphEntry("star", "worker 0 and every other", "textbook", build=_star),
        GraphEntry(
            "random-regular",
            "a random graph in which all workers have equally many neighbours, redrawn until it is connected",
            "Steger & Wormald 1999, by networkx",
            {"degree": Option("neighbours of each worker", int), "seed": _SEED},
            build=_random_regular,
        ),
        GraphEntry(
            "erdos-renyi",
            "every pair with probability p, redrawn until it is connected",
            "Erdős & Rényi 1959",
            {"p": Option("probability of each pair", float, above=0, at_most=1), "seed": _SEED},
            build=_erdos_renyi,
        ),
        GraphEntry(
            "file",
            "a GraphML file or an edge list (columns source, destination) whose nodes are workers",
            "GraphML",
            {"file": Option("the file", Path)},
            build=_file,
        ),
    ),
    _adopted,
    "simgmc.graphs",
    listed="graphs",
)
"""Graphs by the name used in scenario files."""


def gossip_graph(name: str, workers: int, **options: Any) -> GossipGraph:
    """A graph of the registry.

    Raises:
        SimgmcError: unknown name or option, a number of workers that it cannot join, or a graph
            in which some worker never hears of another.
    """
    entry = GRAPHS[name]
    resolved = entry.resolve(options)
    if workers > MAX_NODES:
        raise SimgmcError(f"{workers} workers: gossip takes at most {MAX_NODES:,}")
    graph = GossipGraph(name, workers, tuple(entry.build(workers, **resolved)))
    if not graph.connected:
        raise SimgmcError(f"{name}: what some workers have never reaches others; a gossip graph must be connected")
    return graph
