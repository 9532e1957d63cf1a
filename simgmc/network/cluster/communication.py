"""The exchanges of a cluster: which schedule carries a message, and how it is simulated."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import simpy

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Membership, Mix
from simgmc.network import collectives
from simgmc.network.cluster.exchange import (
    LiveFlows,
    Parts,
    RingLinks,
    Solution,
    SolvedFlows,
    moved,
    solve_events,
    solve_ring,
    solve_server,
)
from simgmc.network.cluster.first_k import FirstKExecution, FirstKFlows, FirstKServer, Resolve
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.collectives.gossip import gossip
from simgmc.network.collectives.pieces import cut
from simgmc.network.collectives.schedule import Execution, Placement, Schedule, Structure
from simgmc.network.flows.clock import Clock
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.shortcuts.fast_server import MIN_MESSAGES, ServerLinks
from simgmc.network.shortcuts.isolation import MAX_STEPS, Ancestry, cannot_meet, needs_everybody
from simgmc.network.topology.catalogue import groups

_KEPT = 256
"""Schedules and solutions kept for messages that come again."""
_KEPT_SIZE = 1_000_000
"""Slices of all solutions kept, about: each may take some tens of bytes."""


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
        apart: bool,
        create: Callable[[RoundExchange], LiveFlows | SolvedFlows],
        resolve: Resolve | None = None,
    ):
        self._create = create
        self._resolve = resolve
        self._communication = communication
        self._cost = cost
        self.number = number
        """The round's number."""
        self.apart = apart
        """Whether no other exchange of its round is under way at the same time."""
        self.members = members
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
        self.flows.ready(self.members.index(worker), now)

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
        if worker not in self.members or worker in self._ready:
            return
        self.execution.abort()
        self.members = [member for member in self.members if member != worker]
        self._resolved()
        self.flows = self._create(self)
        now = self._communication.clock.now
        for member in self._ready:
            self.flows.ready(self.members.index(member), now)

    @property
    def execution(self) -> Execution:
        """The flows, where they are simulated as they go."""
        assert isinstance(self.flows, LiveFlows)
        return self.flows.execution

    def back(self, worker: int, ready: float, end: float) -> tuple[Parts, int, float]:
        """As :meth:`simgmc.network.cluster.exchange.LiveFlows.back`, with workers in place of participants."""
        parts, origin, time = self.flows.back(self.members.index(worker), ready, end)
        return parts, self.members[origin], time


class Communication:
    """Opens exchanges; remembers schedules, placements, proofs and solutions."""

    def __init__(self, settings: ClusterSettings, clock: Clock, network: FluidNetwork, recorder: Recorder | None):
        self.settings = settings
        self.clock = clock
        self.network = network
        self.recorder = recorder
        self.chosen: dict[str, int] = {}
        self._placements: dict[tuple, Placement] = {}
        self._schedules: OrderedDict[tuple, tuple[str, Schedule]] = OrderedDict()
        self._solutions: OrderedDict[tuple, tuple[Schedule, Solution]] = OrderedDict()
        self._gossips: OrderedDict[tuple, Schedule] = OrderedDict()
        self._connections = Connections(network)
        """Of gossip: what a worker sends to a neighbour in one round goes before what it sends in the next."""
        self._solved = False
        """Whether some exchange was solved at once."""
        self._ways: dict[tuple[int, ...], RingLinks] = {}
        self._servers: dict[int, ServerLinks | None] = {}
        self._apart: dict[int, bool] = {}
        """Per placement (by id): can its exchanges not meet?"""
        self._structures: list[Structure] = []
        self._server_of_first_k = FirstKServer(settings, network) if settings.waits_for_first else None
        self._alone = (
            settings.fast
            and recorder is None
            and settings.static
            and settings.whole
            and settings.collective != "auto"
            and all(bandwidth > 0 for bandwidth in network.links.bandwidth)
        )
        options = settings.options
        if not options.groups:
            options = replace(options, groups=groups(settings.graph, settings.workers))
        self._options = options

    def open(
        self,
        cost: Average | Mix,
        apart: bool,
        gone: set[int],
        number: int,
        resolve: Resolve,
    ) -> RoundExchange:
        """Open an exchange of these messages in round ``number``, among the workers that are there.

        Not there are those that are ``gone`` from this round, and those that have crashed just now.
        ``apart``: no other exchange of its round is under way meanwhile. ``resolve`` is told who takes
        part, where that is not known from the start.

        Raises :class:`~simgmc.core.errors.SimgmcError` for gossip among those that are left, and for
        gossip after an exchange that was solved on the ground that it had the network to itself.
        """
        workers = range(len(self.settings.workers))
        if isinstance(cost, Mix):
            if self.settings.crashes.policy == "without":
                raise SimgmcError(
                    'crash policy "without": gossip has no weights for the workers that are left; use "wait" or "stop"'
                )
            if self._solved:
                raise SimgmcError(
                    f"round {number} mixes with neighbours after rounds that averaged: simulate it with fast = False"
                )
            self._alone = False
        if self._server_of_first_k is not None:
            return RoundExchange(self, cost, list(workers), number, apart, lambda one: self._first_k(one, resolve))
        if self.settings.crashes.policy != "without":
            return RoundExchange(self, cost, list(workers), number, apart, self.create)
        gone = gone | self.settings.crashes.absent(self.clock.now, workers)
        there = [worker for worker in workers if worker not in gone]
        return RoundExchange(self, cost, there, number, apart, self.create, resolve)

    def create(self, exchange: RoundExchange) -> LiveFlows | SolvedFlows:
        """The flows of an exchange: solved at once where that is exact, otherwise simulated as they go."""
        if isinstance(exchange.cost, Mix):
            return self._live(exchange, self._gossip(exchange.cost), self._connections)
        name, schedule = self._schedule(exchange.cost, exchange.members)
        if self.settings.collective == "auto":
            self.chosen[name] = self.chosen.get(name, 0) + 1
        solvable = self._alone and exchange.apart
        if solvable and schedule.ring is not None and self._way(exchange.members).apart:
            self._solved = True
            total = self._way(exchange.members).moved(schedule.ring)
            return SolvedFlows(
                len(exchange.members),
                lambda gates: self._solve(schedule, exchange.members, gates),
                total,
                exchange.finish,
            )
        placement = self._placement(schedule.structure, exchange.members)
        if solvable and schedule.ring is None and self._provably_alone(placement):
            self._solved = True
            total = moved(schedule, placement)
            return SolvedFlows(
                len(exchange.members),
                lambda gates: self._solve(schedule, exchange.members, gates),
                total,
                exchange.finish,
            )
        return self._live(exchange, schedule)

    def _first_k(self, exchange: RoundExchange, resolve: Resolve) -> FirstKFlows:
        """The flows where a server waits for the first k messages."""
        assert self._server_of_first_k is not None and isinstance(exchange.cost, Average)
        _, schedule = self._schedule(exchange.cost, exchange.members)
        placement = self._placement(schedule.structure, exchange.members)
        self.network.catch_up(self.clock.now)
        execution = FirstKExecution(self._server_of_first_k, schedule, placement, exchange.finish, resolve)
        self._record(exchange, execution)
        self._server_of_first_k.open(execution)
        return FirstKFlows(execution)

    def resize(self, exchange: RoundExchange) -> None:
        """Take the size of the average, which is known now, for what a server sends back."""
        if self.settings.collective == "auto" or collectives.COLLECTIVES[self.settings.collective].sends_average:
            assert isinstance(exchange.cost, Average)
            exchange.execution.resize(self._schedule(exchange.cost, exchange.members)[1])

    def _live(self, exchange: RoundExchange, schedule: Schedule, connections: Connections | None = None) -> LiveFlows:
        placement = self._placement(schedule.structure, exchange.members)
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

    # schedules ------------------------------------------------------------------

    def _gossip(self, mix: Mix) -> Schedule:
        key = (mix.nbytes.tobytes(), mix.edges.tobytes())
        found = self._gossips.get(key)
        if found is None:
            links: list[list[int]] = [[] for _ in self.settings.workers]
            for sender, receiver in mix.edges.tolist():
                links[sender].append(receiver)
            found = self._gossips[key] = gossip(links, mix.nbytes, self.settings.aggregation)
            if len(self._gossips) > _KEPT:
                self._gossips.popitem(last=False)
        return found

    def _schedule(self, average: Average, members: list[int]) -> tuple[str, Schedule]:
        partial = None if average.partial is None else average.partial.tobytes()
        key = (average.up.tobytes(), average.down, average.summable, average.item_bytes, partial, tuple(members))
        found = self._schedules.get(key)
        if found is None:
            name = self.settings.collective
            found = self._cheapest(average, members) if name == "auto" else (name, self._build(name, average, members))
            self._schedules[key] = found
            if len(self._schedules) > _KEPT:
                self._schedules.popitem(last=False)
        return found

    def _build(self, name: str, average: Average, members: list[int]) -> Schedule:
        if len(members) > 1:
            self.settings.require_servers(name)
        options = self._options
        if len(members) < len(self.settings.workers) and options.groups:
            place = {worker: rank for rank, worker in enumerate(members)}
            kept = [tuple(place[w] for w in group if w in place) for group in options.groups]
            options = replace(options, groups=tuple(group for group in kept if group))
        return collectives.schedule(name, average, self.settings.aggregation, options)

    def _cheapest(self, average: Average, members: list[int]) -> tuple[str, Schedule]:
        """The collective that is fastest when simulated alone, all workers ready at once."""
        best: tuple[float, str, Schedule] | None = None
        for name, entry in collectives.COLLECTIVES.items():
            if entry.carries == "summable" and not average.summable:
                continue
            if entry.servers_needed(self._options) > len(self.settings.server_hosts) or entry.changes_average:
                continue
            if "groups" in entry.options and not self._options.groups:
                continue
            if entry.needs_unions and average.partial is None and not average.summable:
                continue
            schedule = self._build(name, average, members)
            seconds = float(self._solve(schedule, members, np.zeros(len(members))).finish.max())
            if best is None or seconds < best[0] * (1 - 1e-12):
                best = (seconds, name, schedule)
        assert best is not None  # a ring carries anything
        return best[1], best[2]

    def _placement(self, structure: Structure, members: list[int]) -> Placement:
        key = (id(structure), tuple(members))
        found = self._placements.get(key)
        if found is None:
            hosts = [self.settings.workers[worker] for worker in members]
            servers = self.settings.server_hosts[: structure.hosts - structure.participants]
            found = Placement(structure, (*hosts, *servers), self.network.links, self.settings.overheads)
            self._placements[key] = found
            self._structures.append(structure)
        return found

    # solving at once --------------------------------------------------------------

    def _provably_alone(self, placement: Placement) -> bool:
        """Whether this exchange cannot meet the ones before and after it on any link.

        One run uses one collective. If that is a ring whose routes share no link, a rank ends
        after its own last byte has left, and nobody else sends on its links: nothing is to be
        proved. Otherwise its graph must prove it, and be the same for every message; solving at
        once then pays only where solutions come again.
        """
        if not collectives.COLLECTIVES[self.settings.collective].one_structure:
            return False
        if self.settings.random and self._server(placement) is None:
            return False
        if placement.structure.flows > MAX_STEPS or None in placement.routes:
            return False
        if id(placement) not in self._apart:
            ancestry = Ancestry(placement)
            self._apart[id(placement)] = needs_everybody(ancestry) and cannot_meet(ancestry, ancestry)
        return self._apart[id(placement)]

    def _server(self, placement: Placement) -> ServerLinks | None:
        """What the fast path of a parameter server needs; None where it does not apply."""
        workers = placement.structure.participants
        plain = self.settings.collective == "parameter-server" and placement.structure.flows == 2 * workers + 1
        if not plain or workers < MIN_MESSAGES:
            return None
        if id(placement) not in self._servers:
            found = ServerLinks(placement)
            self._servers[id(placement)] = found if found.simple else None
        return self._servers[id(placement)]

    def _way(self, members: list[int]) -> RingLinks:
        key = tuple(members)
        if key not in self._ways:
            hosts = [self.settings.workers[worker] for worker in members]
            self._ways[key] = RingLinks(hosts, self.network.links, self.settings.overheads)
        return self._ways[key]

    def _solve(self, schedule: Schedule, members: list[int], gates: np.ndarray) -> Solution:
        key = (id(schedule), gates.tobytes())
        kept = self._solutions.get(key)
        if kept is not None:
            return kept[1]
        ring = schedule.ring
        if ring is not None and (way := self._way(members)).apart:
            solution = solve_ring(ring, way, gates)
        else:
            placement = self._placement(schedule.structure, members)
            server = self._server(placement)
            if server is not None:
                solution = solve_server(schedule, placement, server, gates)
            else:
                solution = solve_events(schedule, placement, gates)
        # The schedule is kept with its solution, so that its id cannot come to mean another.
        self._solutions[key] = (schedule, solution)
        size = len(gates) if schedule.ring is None else schedule.ring.chunk.size * schedule.ring.slices
        if len(self._solutions) > min(_KEPT, 2 + _KEPT_SIZE // size):
            self._solutions.popitem(last=False)
        return solution


def split(average: Average, pieces: int) -> list[Average]:
    """A message cut into pieces of whole items, as equal as possible."""
    if pieces == 1:
        return [average]
    up = np.stack([cut(n, average.item_bytes, pieces) for n in average.up], axis=1)
    down = cut(average.down, average.item_bytes, pieces)
    return [replace(average, up=up[piece], down=int(down[piece]), partial=None) for piece in range(pieces)]
