"""A parameter server without a barrier: every gradient is applied when it arrives."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.algorithm import Algorithm, Program
from simgmc.algorithms.effects import SERVER, Gradient, Request
from simgmc.algorithms.worker import Worker
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option
from simgmc.core.errors import SimgmcError

if typing.TYPE_CHECKING:
    from simgmc.algorithms.effects import Content
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class AsyncSGD(Algorithm):
    """Asynchronous SGD: the server applies each worker's gradient as it comes and returns the model.

    ``m = server_momentum * m + g;  w = w - lr * m``, one worker's g at a time: K gradients move
    the model as far as K steps of synchronous SGD, so its learning rate divided by K is the
    comparable one. Staleness: updates by others between a worker's reading of the model and its
    gradient's arrival. ``compressor``: gradients are compressed with error feedback,
    ``v = e + g; send C(v); e = v - C(v)``; dense by default. Asynchrony alone acts like a
    momentum, hence no momentum by default.

    State: residual e (d) with a compressor; on the server model w, momentum m (d each).
    Messages: g, dense or C(v), and the dense model back.
    """

    source = "Agarwal, Duchi, NIPS 2011; Dean et al., NIPS 2012"
    own_update = "the server's steps along stale gradients are analysed for SGD"
    asynchronous = True
    centralised = True

    server_momentum: float = option("factor of the server's momentum", 0.0, at_least=0, below=1)
    compressor: Compressor | None = option("C, of the gradients, with error feedback; dense unless given", None)

    def start(self, worker: Worker) -> None:
        if self.compressor is not None:
            worker.residual = worker.zeros()

    def start_server(self, server: Worker) -> None:
        server.momentum_buffer = server.zeros()
        server.updates = 0
        server.read = [0] * server.workers

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        worker.params = yield Request(SERVER, self.message(worker, gradient))

    def message(self, worker: Worker, gradient: Vector) -> Content:
        """What is sent of a gradient (..., d)."""
        if self.compressor is None:
            return gradient
        wanted = worker.residual + gradient
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        return message

    def serve(self, asked: Worker, asker: int, message: Vector) -> list[tuple[int, Content]]:
        staleness = asked.updates - asked.read[asker]
        asked.applied(staleness)
        asked.momentum_buffer = self.server_momentum * asked.momentum_buffer + self.weight(staleness) * message
        asked.params = asked.params - asked.lr * asked.momentum_buffer
        asked.updates += 1
        return [(reader, self._read(asked, reader)) for reader in self.readers(asked, asker)]

    def weight(self, staleness: int) -> float:
        """Factor of a gradient."""
        return 1.0

    def readers(self, server: Worker, asker: int) -> list[int]:
        """Who gets the model, now that the gradient of ``asker`` is applied."""
        return [asker]

    def _read(self, server: Worker, reader: int) -> Vector:
        server.read[reader] = server.updates
        return server.params


@dataclass(frozen=True)
class StalenessAwareSGD(AsyncSGD):
    """Asynchronous SGD whose learning rate is divided by each gradient's staleness (if above 1).

    Parameters, state and messages as asynchronous SGD.
    """

    source = "Zhang, Gupta, Lian, Liu, IJCAI 2016"

    def weight(self, staleness: int) -> float:
        return 1.0 / max(staleness, 1)


@dataclass(frozen=True)
class StaleSynchronousSGD(AsyncSGD):
    """Stale-synchronous parallel: asynchronous SGD in which nobody gets more than ``bound`` steps ahead.

    A worker's clock counts its gradients at the server. The server keeps its reply until the
    slowest worker's clock is at most ``bound`` behind; 0 is a barrier after every step.
    Otherwise as asynchronous SGD. State on the server: also the clocks.
    """

    source = "Ho et al., NIPS 2013"

    bound: int = option("steps that a worker may be ahead of the slowest", 3, at_least=0)

    def start_server(self, server: Worker) -> None:
        super().start_server(server)
        server.clocks = [0] * server.workers
        server.held = []

    def readers(self, server: Worker, asker: int) -> list[int]:
        server.clocks[asker] += 1
        waiting, slowest = [*server.held, asker], min(server.clocks)
        ready = [rank for rank in waiting if server.clocks[rank] - slowest <= self.bound]
        server.held = [rank for rank in waiting if rank not in ready]
        return ready


@dataclass(frozen=True)
class ADSAGA(Algorithm):
    """ADSAGA: asynchronous SAGA; each worker keeps the last gradient of each of its components.

    ::

        worker j: draws a component i;  h = gradient of f_i at w - a_i;  a_i = a_i + h;  sends h
        server:   w = w - lr * (h + a);  a = a + h / n;  returns w

    The a_i start at 0; a is their mean over the n components of all workers. A component is a
    fixed minibatch of a worker's own samples, all workers having equally many, which only
    problems that are finite sums have. As the h vanish at the optimum, a constant learning rate
    converges to it, linearly where the objective is strongly convex; it has to fall with the
    number of workers, whose gradients are that stale.

    State: table of the a_i (n/K, d); on the server model w, mean a (d each).
    Messages: h and w, d dense values each.
    """

    source = "Glasgow, Wootters, AISTATS 2022"
    own_update = "its steps along variance-reduced gradients are its method"
    asynchronous = True
    centralised = True
    finite_sum = True

    def start(self, worker: Worker) -> None:
        if not worker.components:
            raise SimgmcError("adsaga needs a loss that is a finite sum: the problem logistic-regression or quadratic")
        worker.table = worker.params.new_zeros((worker.components, worker.params.shape[-1]))

    def start_server(self, server: Worker) -> None:
        server.mean = server.zeros()
        server.updates = 0
        server.read = [0] * server.workers

    def round(self, worker: Worker) -> Program:
        index = int(worker.draws("component").integers(worker.components))
        gradient = yield Gradient(at=worker.params, component=index)
        change = gradient - worker.table[index]
        # A copy: the table of the round's start may still be needed.
        worker.table = worker.table.clone()
        worker.table[index] = gradient
        worker.params = yield Request(SERVER, change)

    def serve(self, asked: Worker, asker: int, message: Vector) -> list[tuple[int, Content]]:
        asked.applied(asked.updates - asked.read[asker])
        asked.params = asked.params - asked.lr * (message + asked.mean)
        asked.mean = asked.mean + message / asked.components
        asked.updates += 1
        asked.read[asker] = asked.updates
        return [(asker, asked.params)]
