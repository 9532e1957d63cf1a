"""AD-PSGD: averaging with one neighbour at a time, while the gradient is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import Gradient, Request, Start, Wait
from simgmc.algorithms.swarm import random_neighbour
from simgmc.algorithms.worker import Algorithm, Program, Worker, momentum


@dataclass(frozen=True)
class ADPSGD(Algorithm):
    """AD-PSGD: asynchronous D-PSGD; a gradient is applied to a model that was averaged meanwhile.

    ::

        g = gradient at x_i;  meanwhile  x_i, x_j = (x_i + x_j) / 2  with a random neighbour j
        m = momentum * m + g;  x_i = x_i - lr * m

    An averaging is atomic at j, and i adds its own half, ``(x_j - x_i) / 2``, when the answer
    is there: the two halves cancel, so the sum of all models changes by gradients alone. As in
    the paper the graph is cut in two sides, so that nobody who waits is asked: the active
    workers start averagings, each with its passive neighbours (see :func:`active_side`). The
    local momentum is not averaged.

    State: momentum m (d). Messages: d dense values there and back, one averaging per gradient
    of an active worker.
    """

    source: ClassVar[str] = "Lian, Zhang, Zhang, Liu, ICML 2018, Algorithm 1"
    asynchronous: ClassVar[bool] = True

    momentum: float = momentum()

    def partners(self, graph: Sequence[tuple[int, ...]]) -> Sequence[tuple[int, ...]]:
        active = active_side(graph)
        return [
            tuple(sorted(other for other in others if active[rank] and not active[other]))
            for rank, others in enumerate(_both_ways(graph))
        ]

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()
        worker.averagings = 0

    def round(self, worker: Worker) -> Program:
        snapshot, seen = worker.params, worker.averagings
        partner = random_neighbour(worker)
        if partner is not None:
            averaging = yield Start(Request(partner, snapshot))
        gradient = yield Gradient(at=snapshot)
        if partner is not None:
            other = yield Wait(averaging)
            worker.params = worker.params + (other - snapshot) / 2
            worker.averagings += 1
        worker.applied(worker.averagings - seen)
        worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
        worker.params = worker.params - worker.lr * worker.momentum_buffer

    def serve(self, asked: Worker, asker: int, message: Any) -> list[tuple[int, Any]]:
        before = asked.params
        asked.params = before + (message - before) / 2
        asked.averagings += 1
        return [(asker, before)]


def active_side(graph: Sequence[tuple[int, ...]]) -> list[bool]:
    """Which workers start averagings, given everybody's neighbours.

    A graph of two sides (a ring of even length, a torus, a star) is cut into them, and every
    edge is used; worker 0 is active. Any other loses the edges within a side: even ranks are
    active if what is left joins everybody who was joined before, otherwise those at an even
    distance from worker 0.
    """
    both = _both_ways(graph)
    distance: dict[int, int] = {}
    parts = 0
    for first in range(len(graph)):
        parts += first not in distance
        _walk(first, both, distance)
    by_distance = [distance[rank] % 2 == 0 for rank in range(len(graph))]
    if all(by_distance[rank] != by_distance[other] for rank, others in enumerate(both) for other in others):
        return by_distance
    by_rank = [rank % 2 == 0 for rank in range(len(graph))]
    across = [{other for other in others if by_rank[other] != by_rank[rank]} for rank, others in enumerate(both)]
    reached: dict[int, int] = {}
    left = 0
    for first in range(len(graph)):
        left += first not in reached
        _walk(first, across, reached)
    return by_rank if left == parts else by_distance


def _both_ways(graph: Sequence[tuple[int, ...]]) -> list[set[int]]:
    """Everybody's neighbours, whichever of the two has the other for one."""
    both = [set(others) for others in graph]
    for rank, others in enumerate(graph):
        for other in others:
            both[other].add(rank)
    return both


def _walk(first: int, graph: Sequence[set[int]], distance: dict[int, int]) -> None:
    """Note the distances from ``first`` of everybody who can be reached, unless it was reached itself."""
    if first in distance:
        return
    distance[first] = 0
    reached = [first]
    for rank in reached:
        for other in sorted(graph[rank]):
            if other not in distance:
                distance[other] = distance[rank] + 1
                reached.append(other)
