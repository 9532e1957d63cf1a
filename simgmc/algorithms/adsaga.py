"""ADSAGA: variance-reduced asynchronous SGD for finite sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import SERVER, Gradient, Request
from simgmc.algorithms.worker import Algorithm, Program, Worker
from simgmc.core.errors import SimgmcError


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

    source: ClassVar[str] = "Glasgow, Wootters, AISTATS 2022"
    asynchronous: ClassVar[bool] = True
    centralised: ClassVar[bool] = True
    finite_sum: ClassVar[bool] = True

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

    def serve(self, asked: Worker, asker: int, message: Any) -> list[tuple[int, Any]]:
        asked.applied(asked.updates - asked.read[asker])
        asked.params = asked.params - asked.lr * (message + asked.mean)
        asked.mean = asked.mean + message / asked.components
        asked.updates += 1
        asked.read[asker] = asked.updates
        return [(asker, asked.params)]
