"""Who mixes with whom: the table ``[gossip]``, and what a method puts in its place."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from pydantic import model_validator

from simgmc.core.errors import SimgmcError
from simgmc.mixing import (
    GRAPHS,
    WEIGHTS,
    GossipGraph,
    Mixing,
    gossip_graph,
    mixing,
    read_matrix,
    stated_mixing,
)
from simgmc.scenario.components import component, plain
from simgmc.scenario.tables import Table, mistake


class Gossip(Table):
    """The graph and the weights of gossip methods.

    ``weights = "auto"``: metropolis-hastings on undirected graphs, uniform on directed ones;
    for push-sum methods push-sum. Stated weights bring their own graph.
    """

    graph: component(GRAPHS) | None = None
    """Who sends to whom; stated weights bring their own."""
    weights: component(WEIGHTS) = "auto"
    """What a worker multiplies its neighbours' models with."""

    @model_validator(mode="after")
    def _one_graph(self) -> Gossip:
        if (self.graph is None) != (self.weights.name == "stated"):
            known = GRAPHS.names
            raise mistake(
                "stated weights bring their own graph, their non-zeros; leave it out"
                if self.graph
                else f'missing; give one such as graph = "ring"; known: {known}',
                "graph",
                value=plain(self.graph),
            )
        return self

    @property
    def graph_text(self) -> str:
        """The graph in words: ``ring``, ``random-regular (degree 4)``, a file's name."""
        if self.graph is None:
            return Path(self.weights.options["file"]).name if "file" in self.weights.options else "stated matrix"
        name, options, known = self.graph.name, self.graph.options, GRAPHS[self.graph.name].options
        if "file" in options:
            return Path(options["file"]).name
        stated = [f"{key} {value}" for key, value in options.items() if value != known[key].default]
        return f"{name} ({'; '.join(stated)})" if stated else name

    def graph_of(self, workers: int) -> GossipGraph:
        """Whom each worker sends to. Raises SimgmcError where the graph does not fit that many workers."""
        if self.graph is not None:
            return _graph(GRAPHS[self.graph.name].build, json.dumps([self.graph.name, self.graph.options]), workers)
        found = self._stated(workers)
        rounds = tuple(frozenset((a, b) for a, b in edges.tolist()) for edges in found.edges)
        return GossipGraph(found.name, workers, rounds)

    def mixing(self, workers: int, needs: str) -> Mixing:
        """The matrices for a method that needs such (see :attr:`simgmc.algorithms.algorithm.Algorithm.mixing`).

        Raises SimgmcError where the graph or the matrix does not fit the workers or the method.
        """
        if self.graph is None:
            found = self._stated(workers)
        else:
            chosen = json.dumps([self.graph.name, self.graph.options])
            build = GRAPHS[self.graph.name].build
            found = _mixing(build, chosen, workers, self.weights.name, needs == "push-sum")
        if problem := found.problem(needs):
            raise SimgmcError(problem)
        return found

    def _stated(self, workers: int) -> Mixing:
        options = self.weights.options
        name = options.get("file", "the stated matrix")
        found = _read(name) if "file" in options else stated_mixing(options["matrix"])
        if found.workers != workers:
            raise SimgmcError(f"{name}: is of {found.workers} workers, there are {workers}")
        return found


@functools.lru_cache(maxsize=64)
def _graph(build: Callable[..., object], chosen: str, workers: int) -> GossipGraph:
    """``build``: what the graph is built by, as a name of one's own may come to mean another."""
    name, options = json.loads(chosen)
    return gossip_graph(name, workers, **options)


@functools.lru_cache(maxsize=64)
def _mixing(build: Callable[..., object], chosen: str, workers: int, weights: str, push_sum: bool) -> Mixing:
    return mixing(_graph(build, chosen, workers), weights, push_sum)


@functools.lru_cache(maxsize=8)
def _read(file: str) -> Mixing:
    return stated_mixing(read_matrix(file), file)
