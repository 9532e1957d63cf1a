"""A parameter server without a barrier: every gradient is applied when it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import SERVER, Gradient, Request
from simgmc.algorithms.worker import Algorithm, Compressor, Program, Worker, option


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

    source: ClassVar[str] = "Agarwal, Duchi, NIPS 2011; Dean et al., NIPS 2012"
    asynchronous: ClassVar[bool] = True
    centralised: ClassVar[bool] = True

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

    def message(self, worker: Worker, gradient: Any) -> Any:
        """What is sent of a gradient (..., d)."""
        if self.compressor is None:
            return gradient
        wanted = worker.residual + gradient
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        return message

    def serve(self, asked: Worker, asker: int, message: Any) -> list[tuple[int, Any]]:
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

    def _read(self, server: Worker, reader: int) -> Any:
        server.read[reader] = server.updates
        return server.params


@dataclass(frozen=True)
class StalenessAwareSGD(AsyncSGD):
    """Asynchronous SGD whose learning rate is divided by each gradient's staleness (if above 1).

    Parameters, state and messages as asynchronous SGD.
    """

    source: ClassVar[str] = "Zhang, Gupta, Lian, Liu, IJCAI 2016"

    def weight(self, staleness: int) -> float:
        return 1.0 / max(staleness, 1)


@dataclass(frozen=True)
class StaleSynchronousSGD(AsyncSGD):
    """Stale-synchronous parallel: asynchronous SGD in which nobody gets more than ``bound`` steps ahead.

    A worker's clock counts its gradients at the server. The server keeps its reply until the
    slowest worker's clock is at most ``bound`` behind; 0 is a barrier after every step.
    Otherwise as asynchronous SGD. State on the server: also the clocks.
    """

    source: ClassVar[str] = "Ho et al., NIPS 2013"

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
