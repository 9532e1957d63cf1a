"""Averaging in pairs: SwarmSGD, PopSGD and AD-PSGD. Nobody waits for everybody."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass

from simgmc.algorithms.algorithm import Algorithm, Program, momentum
from simgmc.algorithms.effects import Exchange, Gradient, Request, Start, Wait
from simgmc.algorithms.local import LocalSGD
from simgmc.algorithms.worker import Worker
from simgmc.compression.compressor import Compressor, DecodedNearby
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.algorithms.effects import Content
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class SwarmSGD(LocalSGD):
    """SwarmSGD, blocking: after its local steps a worker and a random neighbour take the mean of their models.

    ``x_i = x_j = (Q(x_i) + Q(x_j)) / 2``, when both have finished their local steps.
    ``period`` local steps between exchanges, or, ``geometric``, a random number of that mean.
    ``compressor`` is Q (default: none); the paper's is ``lattice``, which the receiver decodes
    near its own model: a message that decodes to anything but what was sent is counted in
    ``failed_decodings``, its coordinates in ``wrapped_coordinates``. The local momentum is not
    exchanged.

    State: momentum m (d). Message: Q(x) each way of an exchange: d dense values, or d log2 q bits.
    """

    source = "Nadiradze et al., NeurIPS 2021, Algorithm 1"
    own_update = "averaging in pairs is analysed for SGD"
    asynchronous = True

    period: int = option("local steps between exchanges, or their mean", 2)
    geometric: bool = option("a random number of local steps, geometric", False)
    compressor: Compressor | None = option("Q, of the models; dense unless given", None)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        if isinstance(self.compressor, DecodedNearby):
            worker.failed_decodings = worker.wrapped_coordinates = 0

    def steps(self, worker: Worker) -> int:
        return int(worker.draws("local steps").geometric(1 / self.period)) if self.geometric else self.period

    def round(self, worker: Worker) -> Program:
        yield from self.local_steps(worker)
        for _ in range(self.steps(worker)):
            worker.applied(0)
        partner = random_neighbour(worker)
        if partner is not None:
            message, own = self.message(worker, worker.params)
            other = self.read(worker, (yield Exchange(partner, message)), worker.params)
            worker.params = (own + other) / 2

    def message(self, worker: Worker, model: Vector) -> tuple[Content, Vector]:
        """The message of a model, and its content (..., d)."""
        if self.compressor is None:
            return model, model
        message = self.compressor(model, worker.randomness())
        return message, message.dense()

    def read(self, worker: Worker, content: Vector, reference: Vector) -> Vector:
        """What the worker makes of another's message, given its own model (both (..., d))."""
        if not isinstance(self.compressor, DecodedNearby):
            return content
        found = self.compressor.received(content, reference)
        wrapped = int((found != content).sum())
        worker.failed_decodings += wrapped > 0
        worker.wrapped_coordinates += wrapped
        return found

    def metrics(self, worker: Worker) -> dict[str, float]:
        counts = ("failed_decodings", "wrapped_coordinates")
        return {name: getattr(worker, name) for name in counts if hasattr(worker, name)}


@dataclass(frozen=True)
class NonBlockingSwarmSGD(SwarmSGD):
    """SwarmSGD, non-blocking: the partner of an averaging goes on with its local steps.

    A worker has a shared model x, which others average with, and live parameters, which its
    local steps move away from the x of their start by ``-lr h``. When they are finished::

        partner j, at once:   x_j = x_j + (Q(x_i) - Q(x_j)) / 2
        initiator i:          x_i = x_i + (Q(x_j) - Q(x_i)) / 2 - lr h_i;   live_i = x_i

    The partner's live parameters and their steps stay as they are, to be added when it
    initiates. As differences the two halves cancel, whoever else averages with i or j while
    the messages travel: the sum of the x changes by the ``-lr h`` alone, with any Q that is
    decoded rightly. Evaluated at x. Other parameters as blocking SwarmSGD.

    State: shared model x, momentum m (d each). Messages: Q(x) to the partner and back.
    """

    source = "Nadiradze et al., NeurIPS 2021, Algorithm 2"

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.shared = worker.params
        worker.averagings = 0

    def round(self, worker: Worker) -> Program:
        start, seen = worker.params, worker.averagings
        yield from self.local_steps(worker)
        moved = worker.params - start
        partner = random_neighbour(worker)
        if partner is not None:
            message, own = self.message(worker, worker.shared)
            answer = yield Request(partner, message)
            worker.shared = worker.shared + (self.read(worker, answer, worker.shared) - own) / 2
        for _ in range(self.steps(worker)):
            worker.applied(worker.averagings - seen)
        worker.shared = worker.shared + moved
        worker.params = worker.shared

    def serve(self, asked: Worker, asker: int, message: Vector) -> list[tuple[int, Content]]:
        reply, own = self.message(asked, asked.shared)
        asked.shared = asked.shared + (self.read(asked, message, asked.shared) - own) / 2
        asked.averagings += 1
        return [(asker, reply)]

    def model(self, worker: Worker) -> Vector:
        return worker.shared


@dataclass(frozen=True)
class PopSGD(SwarmSGD):
    """PopSGD: after its local steps a worker reads a random neighbour's model and averages only itself.

    ``x_i = (x_i + Q(x_j)) / 2``; the neighbour is not changed, so the mean is not preserved.
    Parameters as SwarmSGD. State: momentum m (d). Messages: a request of one value, and Q(x_j).
    """

    source = "Nadiradze et al. 2019 (PopSGD), as its authors' code"

    period: int = option("local steps between readings, or their mean", 1)

    def round(self, worker: Worker) -> Program:
        yield from self.local_steps(worker)
        for _ in range(self.steps(worker)):
            worker.applied(0)
        partner = random_neighbour(worker)
        if partner is not None:
            answer = yield Request(partner, worker.zeros()[..., :1])
            worker.params = (worker.params + self.read(worker, answer, worker.params)) / 2

    def serve(self, asked: Worker, asker: int, message: Vector) -> list[tuple[int, Content]]:
        return [(asker, self.message(asked, asked.params)[0])]


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

    source = "Lian, Zhang, Zhang, Liu, ICML 2018, Algorithm 1"
    own_update = "averaging in pairs is analysed for SGD"
    asynchronous = True

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
        before = worker.momentum_buffer
        worker.momentum_buffer = worker.stepped(before, self.momentum * before + gradient)
        worker.params = worker.stepped(worker.params, worker.params - worker.lr * worker.momentum_buffer)

    def serve(self, asked: Worker, asker: int, message: Vector) -> list[tuple[int, Content]]:
        before = asked.params
        asked.params = before + (message - before) / 2
        asked.averagings += 1
        return [(asker, before)]


def random_neighbour(worker: Worker) -> int | None:
    """Whom the worker averages with in this round, each neighbour with the same probability; None without any."""
    others = worker.neighbours
    return others[int(worker.draws("partner").integers(len(others)))] if others else None


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
