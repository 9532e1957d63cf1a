"""Overlap SGP: push-sum gossip whose messages travel while gradients are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import Collect, Gradient, Send
from simgmc.algorithms.worker import Algorithm, Program, Worker, momentum, option


@dataclass(frozen=True)
class OverlapSGP(Algorithm):
    """Overlap SGP: stochastic gradient push that does not wait for messages of the last ``staleness`` rounds.

    Every worker has a mass (x, omega), from (w, 1), and the model ``z = x / omega``::

        g = gradient at z;  m = momentum * m + g;  x = x - lr * m  (nesterov: g + momentum * m)
        send (x, omega) / (p + 1) to each of the round's p out-neighbours, keep as much
        add all masses that have arrived; first wait for those of ``staleness`` rounds ago

    What is stale is a message, by the rounds of the receiver since the one that it was sent in: a
    gradient is applied to the model that it was computed at, before anything is added.
    ``staleness = 0`` waits for all messages of the round: SGP, synchronous between neighbours.
    What a faster worker sent in a round that the receiver has not reached is kept until then.
    Masses are never lost: their sum, with those in flight and kept, changes by gradients alone,
    and that of the omegas is K. The local momentum is not exchanged. Evaluated at z.

    State: mass (d + 1), momentum m (d), what came early. Message: d + 1 values to each
    out-neighbour.
    """

    source: ClassVar[str] = "Assran, Loizou, Ballas, Rabbat, ICML 2019, Algorithms 1-2"
    asynchronous: ClassVar[bool] = True
    exchange: ClassVar[str] = "asynchronous gossip"
    stale: ClassVar[str] = "messages"

    momentum: float = momentum()
    nesterov: bool = option("Nesterov's form of the momentum", True)
    staleness: int = option(
        "rounds whose messages are not waited for; 0: synchronous between neighbours", 1, at_least=0
    )

    def start(self, worker: Worker) -> None:
        *rows, d = worker.params.shape
        worker.mass = worker.params.new_ones((*rows, d + 1))
        worker.mass[..., :-1] = worker.params
        worker.momentum_buffer = worker.zeros()
        worker.collected = 0
        worker.awaited = []
        worker.early = []

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
        step = gradient + self.momentum * worker.momentum_buffer if self.nesterov else worker.momentum_buffer
        mass = worker.mass.clone()
        mass[..., :-1] -= worker.lr * step
        worker.mass = mass / (len(worker.neighbours) + 1)
        share = worker.mass
        for neighbour in worker.neighbours:
            yield Send(neighbour, share)
        worker.awaited = [*worker.awaited, *((worker.round, source) for source in worker.sources)]
        yield from self._collect(worker)
        worker.params = worker.mass[..., :-1] / worker.mass[..., -1:]

    def _collect(self, worker: Worker) -> Program:
        """Add what has arrived, and wait for what would become too late."""
        self._add(worker, worker.early)
        late = True
        while late:
            late = any(round <= worker.round - self.staleness for round, _ in worker.awaited)
            arrivals = yield Collect(at_least=worker.collected + 1 if late else 0)
            worker.collected += len(arrivals)
            self._add(worker, [*worker.early, *arrivals])

    @staticmethod
    def _add(worker: Worker, arrivals: list[Any]) -> None:
        """Add the masses (round, sender, mass) of rounds up to the worker's own; keep the others."""
        due = [(round, sender) for round, sender, _ in arrivals if round <= worker.round]
        for round, _, mass in arrivals:
            if round <= worker.round:
                worker.mass = worker.mass + mass
                worker.applied(worker.round - round)
        worker.early = [(round, sender, mass) for round, sender, mass in arrivals if round > worker.round]
        worker.awaited = [message for message in worker.awaited if message not in due]
