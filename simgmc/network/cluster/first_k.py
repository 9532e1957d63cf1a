"""Rounds under a server that waits for the first k of n messages.

The server takes messages in the order of their arrival, ties by rank; with the k-th the round
is closed, whoever takes part is known, and the answer goes to everybody. What becomes of late
workers:

- dropped (backup workers, Chen et al., arXiv 1604.00981; K-sync SGD): a worker gives its
  gradient up when the answer reaches it, and goes on with the new model. A message on its way
  is cut off then; one that has left its sender is thrown away by the server.
- carried (K-async SGD, Dutta et al., AISTATS 2018): a late worker finishes its gradient and
  sends it; it counts as the worker's message in the round that it arrives in. The answers that
  arrive meanwhile reach the worker, but it begins its next gradient only with that round's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Compress, Compute, Membership
from simgmc.network import collectives
from simgmc.network.cluster.breakdown import CATEGORIES, chain
from simgmc.network.cluster.exchange import Moved, moved
from simgmc.network.cluster.rounds import OpenRound, OpenRounds
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.cluster.timing import NOTED, Record
from simgmc.network.collectives.schedule import Execution, Placement
from simgmc.network.flows.clock import Clock
from simgmc.network.flows.fluid import FluidNetwork, Transfer

_PARTS = {Compute: "compute", Compress: "compress"}
_TRANSFER, _WAIT = CATEGORIES.index("transfer"), CATEGORIES.index("wait")


class _Exchange(Execution):
    """The flows of one round: everybody's message, the adding, the answers.

    The adding waits for the server's decision. A worker has finished when it has the answer,
    whether it was ready or not.
    """

    __slots__ = ("number", "step", "done", "taken", "_server", "_transfers", "_workers")

    def __init__(self, server: FirstK, current: OpenRound, number: int, step: int):
        average = current.costs.step(step)
        self.number = number
        self.step = step
        """Which step of the round it is."""
        self.taken: frozenset[int] | None = None
        """Whose messages the average is of, once that is known."""
        self._server = server
        self._workers = len(average.up)
        self._transfers: dict[int, Transfer] = {}
        self.done = [server.clock.event() for _ in range(self._workers)]
        schedule = server.schedule(average)
        super().__init__(server.network, schedule, server.placement(schedule.structure), self._answered)
        self._unfinished = [1] * self._workers

    def _answered(self, worker: int, now: float) -> None:
        self.done[worker].succeed(now)

    def ready(self, participant: int) -> None:
        """A worker has its message; with ``late = "dropped"`` it is not sent any more once the round is closed."""
        self.gate[participant] = self.network.now
        if self._server.carries or self.taken is None:
            self._let_go([participant], -1 - participant, self.network.now)

    def decided(self, average: Average, taken: frozenset[int], cause: int) -> None:
        """The round is closed: add, and answer."""
        self.taken = taken
        up = average.up[sorted(taken)]
        schedule = self._server.schedule(average)
        schedule.delay[self._workers] = self._server.settings.aggregation.part(float(up.sum()), 1)
        self.resize(schedule)
        self.cause[self._workers] = cause
        self.released[self._workers] = self.network.now
        self._release(self._workers)

    def _start(self, flow: int) -> None:
        if flow < self._workers and not self.placement.local[flow]:
            if self.landed[self._workers + 1 + flow] >= 0.0 and not self._server.carries:
                return  # it was held up by overheads until the answer was there
            placement = self.placement
            transfer = Transfer(
                self, flow, placement.routes[flow], placement.latency[flow], self._nbytes[flow], placement.cap
            )
            self._transfers[flow] = transfer
            self.network.start(transfer)
            return
        super()._start(flow)

    def arrived(self, flow: int, now: float) -> None:
        if flow < self._workers:
            self.landed[flow] = now
            self.open -= 1
            self._server.arrived(self, flow)
            return
        super().arrived(flow, now)

    def cut_off(self, worker: int) -> None:
        """The worker sends no more of its message."""
        if worker in self._transfers and self.departed[worker] < 0.0:
            self.network.withdraw(self._transfers[worker])

    # what a round's record asks for ---------------------------------------------------

    def moved(self) -> Moved:
        """Bytes of the answers, of the messages taken, and of those thrown away: a carried one
        counts in the round that takes it, one that was cut off nowhere."""
        delivered = np.array(self.landed) >= 0
        for worker in range(self._workers):
            thrown_away = self.departed[worker] >= 0 and not self._server.carries
            delivered[worker] = worker in self.taken or thrown_away
        return moved(self.schedule, self.placement, delivered)

    def check(self, number: int) -> None:
        """Capacities are asserted at every change of rates."""


@dataclass
class _Work:
    """A gradient and its message under way."""

    number: int
    """The round that it was begun in."""
    exchange: _Exchange
    pieces: list[tuple[str, float, float]] = field(default_factory=list)
    """(category, begin, end) of what is done for it, its end possibly still to come."""
    ready: float | None = None
    """When the message was there."""
    over: bool = False
    """Whether it has been taken or given up."""


class FirstK:
    """All rounds of one run. ``passed`` is told when a worker is through with a round."""

    def __init__(
        self,
        settings: ClusterSettings,
        clock: Clock,
        network: FluidNetwork,
        recorder: Recorder | None,
        passed: Callable[[int, OpenRound, OpenRounds, Record], None],
    ):
        self.settings = settings
        self.clock = clock
        self.network = network
        self.carries = settings.options.late == "carried"
        self._recorder = recorder
        self._passed = passed
        self._first = settings.options.first(len(settings.workers))
        self._placement: Placement | None = None
        self._open: tuple[_Exchange, OpenRound] | None = None
        """The round whose k-th message is awaited."""
        self._arrived: list[tuple[float, int, _Exchange]] = []
        """Messages that no average has taken yet."""
        self._deciding = False

    # the server -----------------------------------------------------------------------

    def schedule(self, average: Average) -> Any:
        """The flows of one round, everybody's message among them."""
        return collectives.schedule(self.settings.collective, average, self.settings.aggregation, self.settings.options)

    def placement(self, structure: Any) -> Placement:
        """The flows on the network; they are the same in every round."""
        if self._placement is None:
            hosts = (*self.settings.workers, self.settings.server_hosts[0])
            self._placement = Placement(structure, hosts, self.network.links, self.settings.overheads)
        return self._placement

    def _exchange(self, current: OpenRound, number: int) -> _Exchange:
        """The exchange of a round; the first to begin it opens it."""
        if not current.joints:
            step = 0
            while isinstance(found := current.costs.step(step), Compute | Compress):
                step += 1
            if not isinstance(found, Average) or found.background:
                raise SimgmcError(
                    f"round {number}: a server that waits for the first k messages needs rounds that end with one average"
                )
            if len(found.up) != len(self.settings.workers):
                raise SimgmcError(
                    f"round {number} has messages of {len(found.up)} workers, the cluster has {len(self.settings.workers)}"
                )
            self.network.catch_up(self.clock.now)
            exchange = _Exchange(self, current, number, step)
            if self._recorder is not None:
                self._recorder.exchange(number, exchange)
            current.joints[step] = [exchange]
            self._open = exchange, current
            self._consider()
        ((exchange,),) = current.joints.values()
        return exchange

    def arrived(self, exchange: _Exchange, worker: int) -> None:
        """A message is at the server."""
        if self.carries or exchange.taken is None:
            self._arrived.append((self.network.now, worker, exchange))
            self._consider()

    def _consider(self) -> None:
        """Decide when everything of this instant has arrived."""
        if self._open is not None and len(self._arrived) >= self._first and not self._deciding:
            self._deciding = True
            self.network.at(self.network.now, self._decide)

    def _decide(self, _: Any) -> None:
        self._deciding = False
        (exchange, current), self._open = self._open, None
        queue = sorted(self._arrived, key=lambda one: one[:2])
        first, late = queue[: self._first], queue[self._first :]
        self._arrived = late if self.carries else []
        taken = frozenset(worker for _, worker, _ in first)
        workers = range(len(self.settings.workers))
        lost = frozenset() if self.carries else frozenset(w for w in workers if exchange.gate[w] >= 0.0) - taken
        average = current.costs.resolve(exchange.step, Membership(taken, len(workers), lost))
        if current.costs.step(exchange.step + 1) is not None:
            raise SimgmcError(
                f"round {exchange.number}: a server that waits for the first k messages needs rounds that end with one average"
            )
        _, last, sent_in = first[-1]
        exchange.decided(average, taken, last if sent_in is exchange else -1 - last)
        for worker in sorted(lost):
            self._note("lost", exchange.number, worker)

    # the workers ----------------------------------------------------------------------

    def worker(self, worker: int, source: OpenRounds, record: Record) -> Iterator[simpy.Event]:
        """One worker's rounds, from answer to answer."""
        record.noted = self._noted = record.noted or {what: [] for what in NOTED}
        clock = self.clock
        number, work = 0, None
        while (current := source.get(number)) is not None:
            exchange = self._exchange(current, number)
            began = clock.now
            if work is None:
                work = _Work(number, exchange)
                clock.process(self._prepare(worker, current, work))
            yield exchange.done[worker]
            now = clock.now
            spent, busy = self._spent(worker, work, exchange, began, now)
            if worker not in exchange.taken and not self.carries and (number, worker) not in self._noted["lost"]:
                self._note("absent", number, worker)
            if work.number < number:
                self._note("absent", number, worker)
                if worker in exchange.taken:
                    self._note("carried", number, worker)
            if worker in exchange.taken or not self.carries:
                work.over = True
                self.network.catch_up(now)
                exchange.cut_off(worker)
                work = None
            record.finish(number, worker, now, spent, busy)
            self._passed(number, current, source, record)
            number += 1

    def _note(self, what: str, number: int, worker: int) -> None:
        self._noted[what].append((number, worker))

    def _prepare(self, worker: int, current: OpenRound, work: _Work) -> Iterator[simpy.Event]:
        """Compute, compress, send; unless the answer comes first and the work is over."""
        clock, settings = self.clock, self.settings
        computed = 0
        for step in range(work.exchange.step):
            cost = current.costs.step(step)
            if isinstance(cost, Compress):
                seconds = settings.compression.of(cost.nbytes)
            else:
                if step not in current.compute:
                    current.compute[step] = settings.compute.times(
                        work.number, computed, cost.gradients, len(settings.workers)
                    )
                computed += 1
                seconds = float(current.compute[step][worker])
            began = clock.now
            end = settings.compute.done(worker, began, seconds)
            work.pieces.append((_PARTS[type(cost)], began, end))
            yield clock.until(end)
            if work.over:
                return
        work.ready = clock.now
        self.network.catch_up(clock.now)
        work.exchange.ready(worker)
        self.network.wake(clock.now)

    def _spent(
        self, worker: int, work: _Work, exchange: _Exchange, began: float, now: float
    ) -> tuple[list[float], float]:
        """What the time from one answer to the next went into, and the seconds with a message of the worker's own under way."""
        spent = [0.0] * len(CATEGORIES)
        for what, start, end in work.pieces:
            start, end = max(start, began), min(end, now)
            if end > start:
                spent[CATEGORIES.index(what)] += end - start
                if self._recorder is not None:
                    self._recorder.work(worker, what, start, end)
        if work.ready is None or work.ready >= now:
            return spent, 0.0
        ready = max(work.ready, began)
        transfer, latency, aggregate, _, end = chain(exchange, exchange.finisher[worker], ready, now)
        if self._recorder is not None:
            self._recorder.blocked(worker, exchange.number, exchange, worker, ready, now)
        for category, seconds in enumerate((transfer, latency, aggregate), _TRANSFER):
            spent[category] += seconds
        spent[_WAIT] += max(end - ready, 0.0)
        return spent, now - ready
