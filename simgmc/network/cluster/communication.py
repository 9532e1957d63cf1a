"""The exchanges of a cluster, simulated event by event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import simpy

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Membership, Mix
from simgmc.network import collectives
from simgmc.network.cluster.first_k import FirstKExecution, FirstKFlows, FirstKServer, Resolve
from simgmc.network.cluster.schedules import Schedules, places_of
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.collectives.pieces import cut
from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.live import LiveFlows, Parts
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.flows.clock import Clock
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import FluidNetwork


class RoundExchange:
    """One exchange of a round. Each member takes part from when its message is ready.

    Members may crash before they are ready. So ``resolve``, where it is given, is told who takes part
    as soon as all that are left are ready; only then is it known what the average costs.
    """

    def __init__(
        self,
        communication: Communication,
        cost: Average | Mix,
        members: list[int],
        number: int,
        create: Callable[[RoundExchange], LiveFlows],
        resolve: Resolve | None = None,
    ):
        self._create = create
        self._resolve = resolve
        self._communication = communication
        self._cost = cost
        self.number = number
        """The round's number."""
        self._take_members(members)
        self.done: dict[int, simpy.Event] = {worker: communication.clock.event() for worker in members}
        self.finished: dict[int, float] = {}
        """When members finished, of those that have."""
        self._ready: list[int] = []
        self.flows = create(self)

    @property
    def cost(self) -> Average | Mix:
        """What it costs, with the messages of its members alone."""
        cost = self._cost
        if isinstance(cost, Mix) or len(self.members) == len(self._communication.settings.workers):
            return cost
        return replace(cost, up=cost.up[self.members], floats_up=cost.floats_up[self.members], partial=None)

    def ready(self, worker: int, now: float) -> None:
        """A worker has its message."""
        self._ready.append(worker)
        if self._resolved():
            self._communication.resize(self)
        self.flows.ready(self.place[worker], now)

    def _take_members(self, members: list[int]) -> None:
        self.members = members
        self.place = {worker: participant for participant, worker in enumerate(members)}
        """Which participant each member is."""

    def _resolved(self) -> bool:
        """Resolve the average if all members are ready now; returns whether it did."""
        if self._resolve is None or len(self._ready) < len(self.members):
            return False
        self._cost = self._resolve(Membership(frozenset(self.members), len(self.members)))
        self._resolve = None
        return True

    def finish(self, participant: int, time: float) -> None:
        """A participant has everything, at a time that is now or still to come."""
        worker = self.members[participant]
        self.finished[worker] = time
        clock, done = self._communication.clock, self.done[worker]
        if time <= clock.now:
            done.succeed(time)
        else:

            def tell(_: object) -> None:
                done.succeed(time)

            clock.call_at(time, tell)

    def drop(self, worker: int) -> None:
        """A member is gone before it was ready: the others begin anew without it."""
        if worker not in self.place or worker in self._ready:
            return
        self.execution.abort()
        self._take_members([member for member in self.members if member != worker])
        self._resolved()
        self.flows = self._create(self)
        now = self._communication.clock.now
        for member in self._ready:
            self.flows.ready(self.place[member], now)

    @property
    def execution(self) -> Execution:
        """The flows under way."""
        return self.flows.execution

    def back(self, worker: int, ready: float, end: float) -> tuple[Parts, int, float]:
        """As :meth:`simgmc.network.exchanges.live.LiveFlows.back`, with workers in place of participants."""
        parts, origin, time = self.flows.back(self.place[worker], ready, end)
        return parts, self.members[origin], time


class Communication:
    """Opens exchanges: each becomes flows that share the network with whatever else is there."""

    def __init__(self, settings: ClusterSettings, clock: Clock, network: FluidNetwork, recorder: Recorder | None):
        self.settings = settings
        self.clock = clock
        self.network = network
        self.recorder = recorder
        self.chosen: dict[str, int] = {}
        """How often each collective was picked, where they are picked for each message."""
        self._places = places_of(settings, network.links)
        self._schedules = Schedules(settings, self._places)
        self._connections = Connections()
        """Of gossip: what a worker sends to a neighbour in one round goes before what it sends in the next."""
        self._server_of_first_k = FirstKServer(settings, network) if settings.waits_for_first else None

    def open(
        self,
        cost: Average | Mix,
        gone: set[int],
        number: int,
        resolve: Resolve,
    ) -> RoundExchange:
        """Open an exchange of these messages in round ``number``, among the workers that are there.

        Not there are those that are ``gone`` from this round, and those that have crashed just now.
        ``resolve`` is told who takes part, where that is not known from the start.

        Raises :class:`~simgmc.core.errors.SimgmcError` for gossip among those that are left.
        """
        workers = range(len(self.settings.workers))
        if isinstance(cost, Mix) and self.settings.crashes.policy == "without":
            raise SimgmcError(
                'crash policy "without": gossip has no weights for the workers that are left; use "wait" or "stop"'
            )
        if self._server_of_first_k is not None:
            return RoundExchange(self, cost, list(workers), number, lambda one: self._first_k(one, resolve))
        if self.settings.crashes.policy != "without":
            return RoundExchange(self, cost, list(workers), number, self.create)
        gone = gone | self.settings.crashes.absent(self.clock.now, workers)
        there = [worker for worker in workers if worker not in gone]
        return RoundExchange(self, cost, there, number, self.create, resolve)

    def create(self, exchange: RoundExchange) -> LiveFlows:
        """The flows of an exchange."""
        if isinstance(exchange.cost, Mix):
            return self._live(exchange, self._schedules.of_gossip(exchange.cost), self._connections)
        name, schedule = self._schedules.of_average(exchange.cost, exchange.members)
        if self.settings.collective == "auto":
            self.chosen[name] = self.chosen.get(name, 0) + 1
        return self._live(exchange, schedule)

    def _first_k(self, exchange: RoundExchange, resolve: Resolve) -> FirstKFlows:
        """The flows where a server waits for the first k messages."""
        assert self._server_of_first_k is not None and isinstance(exchange.cost, Average)
        _, schedule = self._schedules.of_average(exchange.cost, exchange.members)
        placement = self._places.placement(schedule.structure, exchange.members)
        self.network.catch_up(self.clock.now)
        execution = FirstKExecution(self._server_of_first_k, schedule, placement, exchange.finish, resolve)
        self._record(exchange, execution)
        self._server_of_first_k.open(execution)
        return FirstKFlows(execution)

    def resize(self, exchange: RoundExchange) -> None:
        """Take the size of the average, which is known now, for what a server sends back."""
        if self.settings.collective == "auto" or collectives.COLLECTIVES[self.settings.collective].sends_average:
            assert isinstance(exchange.cost, Average)
            exchange.execution.resize(self._schedules.of_average(exchange.cost, exchange.members)[1])

    def _live(self, exchange: RoundExchange, schedule: Schedule, connections: Connections | None = None) -> LiveFlows:
        placement = self._places.placement(schedule.structure, exchange.members)
        execution = Execution(self.network, schedule, placement, exchange.finish, connections)
        self._record(exchange, execution)
        return LiveFlows(execution)

    def _record(self, exchange: RoundExchange, execution: Execution) -> None:
        if self.recorder is not None:
            self.recorder.exchange(exchange.number, execution)

    def check(self, exchange: RoundExchange) -> None:
        """Assert the bounds of a finished exchange where the network does not change."""
        if self.settings.static:
            exchange.flows.check(self.network.capacity)


def split(average: Average, pieces: int) -> list[Average]:
    """A message cut into pieces of whole items, as equal as possible."""
    if pieces == 1:
        return [average]
    up = np.stack([cut(n, average.item_bytes, pieces) for n in average.up], axis=1)
    down = cut(average.down, average.item_bytes, pieces)
    return [replace(average, up=up[piece], down=int(down[piece]), partial=None) for piece in range(pieces)]
