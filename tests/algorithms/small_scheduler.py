"""A small scheduler for asynchronous methods: a heap of simulated times, nothing else.

It shares no code with the product's engine, so the two can be held against each other.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgmc.algorithms import Algorithm, effects
from simgmc.algorithms.effects import SERVER
from simgmc.algorithms.worker import Worker
from simgmc.core.randomness import generator
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload

Graph = Sequence[tuple[int, ...]]


def complete(workers: int) -> Graph:
    return [tuple(other for other in range(workers) if other != rank) for rank in range(workers)]


def ring(workers: int) -> Graph:
    return [tuple(sorted({(rank - 1) % workers, (rank + 1) % workers} - {rank})) for rank in range(workers)]


def quadratic(workers: int, d: int = 6, noise: float = 0.0, seed: int = 0) -> QuadraticWorkload:
    """Quadratics of different curvatures (0.5 to about 4) around different points."""
    draws = generator(seed, "curvature").standard_normal((workers, d, d)) / np.sqrt(d)
    matrices = draws @ draws.transpose(0, 2, 1) + 0.5 * np.eye(d)
    centres = generator(seed, "centres").standard_normal((workers, d))
    return QuadraticWorkload(Quadratics(matrices, centres, np.full(d, 2.0), noise), seed)


def times(seed: int, *key: int) -> float:
    """A random positive time, a function of its key."""
    return float(generator(seed, "times", *key).exponential()) + 1e-3


@dataclass
class Program:
    """One worker's program and what became of it."""

    worker: Worker
    program: Any = None
    rounds: int = 0
    """Rounds finished."""
    gradients: list[Tensor] = field(default_factory=list)
    """All of them, in order."""
    finished: int = 0
    """How many of these belong to finished rounds."""
    started: dict[int, Any] = field(default_factory=dict)
    """Answers of effects that the round has started, None before they are there."""
    awaited: int | None = None
    """Which of them the program waits for."""
    requested: tuple[int, Any] | None = None
    """(its handle or -1 where the program waits at once, content) of a request under way."""
    half: tuple[Tensor, Tensor] | None = None
    """(sent, reply): a reply that the asked one has given and the program has not seen."""
    inbox: list[effects.Arrival] = field(default_factory=list)
    received: int = 0
    needed: int | None = None
    """How many messages it waits to have received."""


class Schedule:
    """Programs by simulated time; what is due at the same time in the order of ``tie()``, then of its making.

    ``compute(worker, number)`` and ``latency(sender, receiver, number)`` give times, where
    ``number`` counts the worker's gradients and all messages. ``after(self)`` is called after every event.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        workload: Any,
        *,
        lr: float = 0.05,
        graph: Graph | Callable[[int], Graph] | None = None,
        compute: Callable[[int, int], float] = lambda worker, number: 1.0,
        latency: Callable[[int, int, int], float] = lambda sender, receiver, number: 0.0,
        tie: Callable[[], float] = lambda: 0.0,
        after: Callable[[Schedule], None] = lambda schedule: None,
        weight_decay: float = 0.0,
        seed: int = 0,
    ):
        self.algorithm, self.workload, self.lr, self.weight_decay, self.seed = (
            algorithm,
            workload,
            lr,
            weight_decay,
            seed,
        )
        self.compute, self.latency, self.tie, self.after = compute, latency, tie, after
        count = workload.workers
        given = complete(count) if graph is None else graph
        self.graph = given if callable(given) else lambda round: given
        self.time = 0.0
        self.staleness: list[int] = []
        self.flying: dict[int, tuple[int, int, Tensor]] = {}
        """One-way messages under way: (sender, receiver, content)."""
        self.messages = 0
        self.crossing = 0
        """Messages of exchanges under way."""
        self._events: list[tuple[float, float, int, Callable[[], None]]] = []
        self._made = 0
        self._exchanging: dict[int, tuple[int, Tensor, float]] = {}
        start = workload.initial_parameters()
        self.all = [Program(self._worker(start, rank)) for rank in range(count)]
        self.server = self._worker(start, count)
        for one in self.all:
            algorithm.start(one.worker)
        algorithm.start_server(self.server)

    def _worker(self, start: Tensor, rank: int) -> Worker:
        worker = Worker(start.clone(), self.workload.layout, self.seed, [rank], self.workload.workers)
        own = getattr(self.workload, "components", 0)
        worker.components = own if rank < self.workload.workers else own * self.workload.workers
        worker.begin(0, 0.0, self.lr, self.lr, self.weight_decay)
        return worker

    @property
    def workers(self) -> list[Worker]:
        return [one.worker for one in self.all]

    @property
    def models(self) -> Tensor:
        """(K, d)."""
        return torch.stack([self.algorithm.model(worker) for worker in self.workers])

    def total(self, of: Callable[[Worker], Tensor]) -> Tensor:
        """(d,): the sum over workers, and the asker's half of every averaging whose other half is done."""
        total = sum(of(worker) for worker in self.workers)
        return total + sum((reply - sent) / 2 for sent, reply in (one.half for one in self.all if one.half))

    def run(self, rounds: int, gradients: int | None = None) -> Schedule:
        """Every worker does so many rounds, as far as the others let it, or until they have so many gradients
        together.
        """
        for rank in range(len(self.all)):
            self._at(0.0, lambda rank=rank: self._begin(rank, rounds))
        while self._events:
            self.time, _, _, action = heapq.heappop(self._events)
            action()
            self.after(self)
            if gradients is not None and sum(len(one.gradients) for one in self.all) >= gradients:
                break
        return self

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        self._made += 1
        heapq.heappush(self._events, (self.time + delay, self.tie(), self._made, action))

    def _begin(self, rank: int, rounds: int) -> None:
        one = self.all[rank]
        self._limit = rounds
        graph = self.algorithm.partners(self.graph(one.rounds))
        one.worker.begin(one.rounds, 0.0, self.lr, self.lr, self.weight_decay)
        one.worker.neighbours = tuple(graph[rank])
        one.worker.sources = tuple(other for other, others in enumerate(graph) if rank in others)
        one.program = self.algorithm.round(one.worker)
        self._go(rank, None)

    def _go(self, rank: int, answer: Any) -> None:
        one = self.all[rank]
        waits = False
        while not waits:
            try:
                effect = one.program.send(answer)
            except StopIteration:
                self._noted(one.worker)
                one.rounds, one.finished = one.rounds + 1, len(one.gradients)
                if one.rounds < self._limit:
                    self._begin(rank, self._limit)
                return
            self._noted(one.worker)
            waits, answer = self._perform(rank, one, effect)

    def _noted(self, worker: Worker) -> None:
        self.staleness += worker.take_staleness()

    def _perform(self, rank: int, one: Program, effect: Any) -> tuple[bool, Any]:
        """(whether the program waits, else the answer)."""
        match effect:
            case effects.Gradient(at=at, component=component):
                number = len(one.gradients)
                if component is None:
                    gradient = self.workload.gradient(rank, at, number)[0]
                else:
                    gradient = self.workload.component_gradient(rank, at, component)[0]
                gradient = gradient + self.weight_decay * at

                def computed() -> None:
                    one.gradients.append(gradient)
                    self._go(rank, gradient)

                self._at(self.compute(rank, number), computed)
            case effects.Exchange(to=to, message=message):
                self._exchange(rank, to, content(message))
            case effects.Request():
                self._request(rank, one, effect, -1)
            case effects.Start(effect=asked):
                handle = len(one.started)
                one.started[handle] = None
                self._request(rank, one, asked, handle)
                return False, handle
            case effects.Wait(handle=handle):
                if one.started[handle] is not None:
                    one.half = None
                    return False, one.started[handle]
                one.awaited = handle
            case effects.Send(to=to, message=message):
                self._send(rank, to, one.rounds, content(message))
                return False, None
            case effects.Collect(at_least=needed):
                if one.received >= needed:
                    return False, self._take(one)
                one.needed = needed
            case _:
                raise TypeError(effect)
        return True, None

    def _delay(self, sender: int, receiver: int) -> float:
        self.messages += 1
        return self.latency(sender, receiver, self.messages)

    def _exchange(self, rank: int, to: int, message: Tensor) -> None:
        wanted = [(since, other) for other, (whom, _, since) in self._exchanging.items() if whom == rank]
        partner = min(wanted)[1] if wanted else to
        if partner not in self._exchanging:
            self._exchanging[rank] = (to, message, self.time)
            return
        _, theirs, _ = self._exchanging.pop(partner)
        for sender, receiver, crossing in ((partner, rank, theirs), (rank, partner, message)):

            def landed(receiver: int = receiver, crossing: Tensor = crossing) -> None:
                self.crossing -= 1
                self._go(receiver, crossing)

            self.crossing += 1
            self._at(self._delay(sender, receiver), landed)

    def _request(self, rank: int, one: Program, effect: effects.Request, handle: int) -> None:
        message = content(effect.message)
        one.requested = (handle, message)

        def arrived() -> None:
            asked = self.server if effect.to == SERVER else self.all[effect.to].worker
            for to, reply in self.algorithm.serve(asked, rank, message):
                self._reply(effect.to, to, content(reply))
            self._noted(asked)
            if effect.to == SERVER:
                asked.round += 1

        self._at(self._delay(rank, effect.to), arrived)

    def _reply(self, asked: int, rank: int, reply: Tensor) -> None:
        one = self.all[rank]
        handle, sent = one.requested
        one.half = (sent, reply)

        def landed() -> None:
            if handle >= 0:
                one.started[handle] = reply
                if one.awaited != handle:
                    return
            one.half = one.awaited = None
            self._go(rank, reply)

        self._at(self._delay(asked, rank), landed)

    def _send(self, rank: int, to: int, round: int, message: Tensor) -> None:
        number = self.messages
        self.flying[number] = (rank, to, message)

        def landed() -> None:
            del self.flying[number]
            one = self.all[to]
            one.inbox.append(effects.Arrival(round, rank, message))
            one.received += 1
            if one.needed is not None and one.received >= one.needed:
                one.needed = None
                self._go(to, self._take(one))

        self._at(self._delay(rank, to), landed)

    @staticmethod
    def _take(one: Program) -> list[effects.Arrival]:
        taken, one.inbox = sorted(one.inbox, key=lambda arrival: arrival[:2]), []
        return taken


def content(message: Any) -> Tensor:
    return message if isinstance(message, Tensor) else message.dense()
