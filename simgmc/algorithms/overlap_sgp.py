"""Overlap SGP: push-sum gossip whose messages travel while gradients are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import Collect, Gradient, Send
from simgmc.algorithms.worker import Algorithm, Program, Worker
from simgmc.errors import SimgmcError


@dataclass(frozen=True)
class OverlapSGP(Algorithm):
    """Overlap SGP: stochastic gradient push that does not wait for messages of the last ``staleness`` rounds.

    Every worker has a mass (x, omega), from (w, 1), and the model ``z = x / omega``::

        g = gradient at z;  m = momentum * m + g;  x = x - lr * m  (nesterov: g + momentum * m)
        send (x, omega) / (p + 1) to each of the round's p out-neighbours, keep as much
        add all masses that have arrived; first wait for those of ``staleness`` rounds ago

    ``staleness = 0`` waits for all messages of the round: SGP, synchronous between neighbours.
    Masses are never lost: their sum, with those in flight, changes by gradients alone, and
    that of the omegas is K. The local momentum is not exchanged. Evaluated at z.

    State: mass (d + 1), momentum m (d). Message: d + 1 values to each out-neighbour.
    """

    source: ClassVar[str] = "Assran, Loizou, Ballas, Rabbat, ICML 2019, Algorithms 1-2"
    clocked: ClassVar[bool] = True

    momentum: float = 0.9
    nesterov: bool = True
    staleness: int = 1

    def __post_init__(self) -> None:
        if self.staleness < 0:
            raise SimgmcError(f"staleness = {self.staleness}: must be at least 0 rounds")

    def start(self, worker: Worker) -> None:
        *rows, d = worker.params.shape
        worker.mass = worker.params.new_ones((*rows, d + 1))
        worker.mass[..., :-1] = worker.params
        worker.momentum_buffer = worker.zeros()
        worker.collected = 0
        worker.unmatched = []

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        worker.applied(0)
        worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
        step = gradient + self.momentum * worker.momentum_buffer if self.nesterov else worker.momentum_buffer
        mass = worker.mass.clone()
        mass[..., :-1] -= worker.lr * step
        worker.mass = mass / (len(worker.neighbours) + 1)
        share = worker.mass
        for neighbour in worker.neighbours:
            yield Send(neighbour, share)
        self._match(worker, [(worker.round, source) for source in worker.sources])
        yield from self._collect(worker)
        worker.params = worker.mass[..., :-1] / worker.mass[..., -1:]

    def _collect(self, worker: Worker) -> Program:
        """Add what has arrived, and wait for what would become too late."""
        while True:
            late = [round for round, _ in worker.unmatched if round <= worker.round - self.staleness]
            arrivals = yield Collect(at_least=worker.collected + 1 if late else 0)
            for _, _, mass in arrivals:
                worker.mass = worker.mass + mass
            worker.collected += len(arrivals)
            self._match(worker, [(round, sender) for round, sender, _ in arrivals])
            if not late:
                return

    @staticmethod
    def _match(worker: Worker, messages: list[tuple[Any, Any]]) -> None:
        """Note messages (round, sender), when they are due and when they arrive, in either order.

        ``unmatched`` holds those of which only one of the two has happened; one that came early
        is of a round still ahead, so what is there of past rounds is overdue.
        """
        worker.unmatched = sorted(set(worker.unmatched) ^ set(messages))
