"""What networks, and sequences of rounds, have in common that are walked together, or once for all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import networkx as nx

from simgmc.costs.steps import Average, Mix, RoundCosts, SomeCompute, Step
from simgmc.network.cluster.schedules import options_of, seen
from simgmc.network.cluster.settings import ClusterSettings


def kind(settings: ClusterSettings) -> str:
    """What networks that are walked together have in common: all that gives an exchange its flows."""
    conditions = [condition.key for condition in settings.conditions]
    return repr(
        (
            settings.workers, settings.server_hosts, settings.collective, settings.aggregation, options_of(settings),
            conditions,
        )
    )  # fmt: skip


class Identities:
    """Of networks of one :func:`kind`: what those have in common that are the same to the clock."""

    def __init__(self) -> None:
        self._tied: dict[int, tuple[nx.DiGraph, bool]] = {}
        """By the graph (its id), which is kept, so that its id cannot come to mean another: whether two ways may tie,
        so that the seed decides; on a forest there is only one."""

    def of(self, settings: ClusterSettings) -> tuple[object, ...]:
        """The same of all such networks."""
        graph = settings.graph
        if id(graph) not in self._tied:
            self._tied[id(graph)] = graph, not nx.is_forest(graph.to_undirected(as_view=True))
        seeded = self._tied[id(graph)][1] or any(condition.seeded for condition in settings.conditions)
        numbers = settings.compute, settings.compression, settings.conditions
        return id(graph), settings.seed if seeded else None, repr(numbers)


def form(rounds: Sequence[RoundCosts]) -> str:
    """What sequences of rounds that are walked together have in common: all but the sizes of messages."""
    parts: dict[str, int] = {}
    return repr([parts.setdefault(_form_of(costs), len(parts)) for costs in rounds]) + "".join(parts)


def _form_of(costs: RoundCosts) -> str:
    return repr([_form_of_step(step) for step in costs])


def _form_of_step(step: Step) -> tuple[object, ...]:
    kind = type(step).__name__
    if isinstance(step, Average):
        return kind, len(step.up), step.summable, step.background, step.partial is None
    if isinstance(step, Mix):
        return kind, len(step.nbytes), step.background, step.edges.tobytes()
    own = (step.workers.tobytes(),) if isinstance(step, SomeCompute) else ()
    return kind, *own, *(value for value in vars(step).values() if isinstance(value, int))


def sizes(rounds: Sequence[RoundCosts], collective: str) -> bytes:
    """Of sequences of one :func:`form`: what those have in common that take the same time over a collective."""
    found = hashlib.blake2b(digest_size=16)
    for costs in rounds:
        for step in costs:
            if isinstance(step, Average):
                found.update(repr(seen(step, collective)).encode())
            elif isinstance(step, Mix):
                found.update(step.nbytes.tobytes())
    return found.digest()
