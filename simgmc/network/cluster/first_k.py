"""A server that waits for the first k of n messages: which it takes, and what the network carries.

The server takes messages in the order of their arrival, ties by rank; with the k-th the round
is closed, whoever takes part is known, and the answer goes to everybody. What becomes of late
workers:

- dropped (backup workers, Chen et al., arXiv 1604.00981; K-sync SGD): a worker gives its
  gradient up when the answer reaches it, and goes on with the new model. A message on its way
  is cut off then; one that has left its sender is thrown away by the server.
- carried (K-async SGD, Dutta et al., AISTATS 2018): a late worker finishes its gradient and
  sends it; it counts as the worker's message in the round that it arrives in. The answers that
  arrive meanwhile reach the worker, but it begins its next gradient only with that round's.

What workers do meanwhile is in :mod:`simgmc.network.cluster.first_k_worker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simgmc.costs.steps import Average, Membership
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.exchanges.accounts import Moved, moved
from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.live import Finish, LiveFlows
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.flows.fluid import FluidNetwork, Transfer

Resolve = Callable[[Membership], Average]
"""Told who takes part in an average; says what it costs."""


class FirstKServer:
    """The server, over all rounds of one run."""

    def __init__(self, settings: ClusterSettings, network: FluidNetwork):
        self.network = network
        self.aggregation = settings.aggregation
        self.carries = settings.options.late == "carried"
        """Whether late messages count in the round that they arrive in."""
        self._first = settings.options.first(len(settings.workers))
        self._open: FirstKExecution | None = None
        """The round whose k-th message is awaited."""
        self._arrived: list[tuple[float, int, FirstKExecution]] = []
        """Messages that no average has taken yet: when they arrived, of which worker, sent in which round."""
        self._deciding = False

    def open(self, execution: FirstKExecution) -> None:
        """A round begins; the one before is closed."""
        self._open = execution
        self._consider()

    def arrived(self, execution: FirstKExecution, worker: int) -> None:
        """A message is here."""
        if self.carries or not execution.closed:
            self._arrived.append((self.network.now, worker, execution))
            self._consider()

    def _consider(self) -> None:
        """Close the round when everything of this instant has arrived."""
        if self._open is not None and len(self._arrived) >= self._first and not self._deciding:
            self._deciding = True
            self.network.at(self.network.now, self._close)

    def _close(self, _: object) -> None:
        self._deciding = False
        execution, self._open = self._open, None
        assert execution is not None
        queue = sorted(self._arrived, key=lambda one: one[:2])
        first, late = queue[: self._first], queue[self._first :]
        self._arrived = late if self.carries else []
        _, last, sent_in = first[-1]
        execution.close(frozenset(worker for _, worker, _ in first), last if sent_in is execution else -1 - last)


class FirstKExecution(Execution):
    """The flows of one round: everybody's message, the adding, the answers.

    The adding waits for the server's decision. A worker has finished when it has the answer,
    whether it was ready or not.
    """

    __slots__ = ("taken", "lost", "closed", "_server", "_resolve", "_pushes", "_workers")

    def __init__(
        self, server: FirstKServer, schedule: Schedule, placement: Placement, on_finish: Finish, resolve: Resolve
    ):
        super().__init__(server.network, schedule, placement, on_finish)
        self.closed = False
        """Whether it is known who takes part."""
        self.taken: frozenset[int] = frozenset()
        """Whose messages the average is of."""
        self.lost: frozenset[int] = frozenset()
        """Who had sent a message that is thrown away."""
        self._server = server
        self._resolve = resolve
        self._workers = schedule.structure.participants
        self._pushes: dict[int, list[Transfer]] = {}
        self._unfinished = [1] * self._workers

    def ready(self, participant: int) -> None:
        """A worker has its message; one that would be dropped is not sent any more."""
        self.gate[participant] = self.network.now
        if self._server.carries or not self.closed:
            self._let_go([participant], -1 - participant, self.network.now)

    def close(self, taken: frozenset[int], cause: int) -> None:
        """The server has the messages of these workers: it adds them, and answers. ``cause``: of its adding."""
        workers, adding = self._workers, self._workers
        if not self._server.carries:
            self.lost = frozenset(worker for worker in range(workers) if self.gate[worker] >= 0.0) - taken
        self.taken, self.closed = taken, True
        average = self._resolve(Membership(taken, workers, self.lost))
        nbytes, delay = self.schedule.nbytes.copy(), self.schedule.delay.copy()
        nbytes[adding + 1 :] = average.down
        delay[adding] = self._server.aggregation.part(float(average.up[sorted(taken)].sum()), 1)
        self.resize(Schedule(self.schedule.structure, nbytes, delay))
        self.cause[adding] = cause
        self.released[adding] = self.network.now
        self._release(adding)

    def _start(self, flow: int) -> None:
        pushed = flow < self._workers and not self.placement.local[flow]
        if pushed and not self._server.carries and self.landed[self._workers + 1 + flow] >= 0.0:
            return  # it was held up by overheads until the answer was there
        super()._start(flow)

    def _transfers(self, flow: int) -> list[Transfer]:
        transfers = super()._transfers(flow)
        if flow < self._workers:
            self._pushes[flow] = transfers
        return transfers

    def reroute(self, transfer: Transfer) -> Transfer | None:
        other = super().reroute(transfer)
        if other is not None and transfer.index < self._workers:
            pushes = self._pushes[transfer.index]
            pushes[pushes.index(transfer)] = other
        return other

    def _land(self, flow: int, now: float) -> None:
        if flow < self._workers:
            self.landed[flow] = now
            self.open -= 1
            self._server.arrived(self, flow)
            return
        super()._land(flow, now)

    def cut_off(self, worker: int, now: float) -> None:
        """The worker sends no more of its message."""
        self.network.catch_up(now)
        if worker in self._pushes and self.departed[worker] < 0.0:
            for transfer in self._pushes[worker]:
                self.network.withdraw(transfer)

    def moved(self) -> Moved:
        """Bytes of the answers, of the messages taken, and of those thrown away: a carried one
        counts in the round that takes it, one that was cut off nowhere."""
        delivered = np.array(self.landed) >= 0
        for worker in range(self._workers):
            thrown_away = self.departed[worker] >= 0 and not self._server.carries
            delivered[worker] = worker in self.taken or thrown_away
        return moved(self.schedule, self.placement, delivered, self.rerouted)


class FirstKFlows(LiveFlows):
    """The same, as the flows of an exchange."""

    execution: FirstKExecution

    def moved(self) -> Moved:
        """See :meth:`FirstKExecution.moved`."""
        return self.execution.moved()

    def check(self, capacity: Sequence[float]) -> None:
        """Messages may be under way still; capacities are asserted at every change of rates."""
