"""The flows of one exchange: simulated as they go, or solved at once where that is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from simgmc.network.cluster.breakdown import chain
from simgmc.network.collectives.ring import Ring
from simgmc.network.collectives.schedule import Execution, Placement, Schedule, Ways
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.flows.fluid import CapacityError, FluidNetwork
from simgmc.network.shortcuts.fast_ring import RingTimes, solve
from simgmc.network.shortcuts.fast_server import ServerLinks, incast
from simgmc.network.topology.routing import Links

Parts = tuple[float, float, float, float]
"""Seconds of transfer, latency, adding, waiting for others."""
Finish = Callable[[int, float], None]
"""Is told which participant has finished, and when (s)."""


@dataclass(frozen=True)
class Moved:
    """What an exchange moved."""

    sent_by_workers: float
    received_by_workers: float
    into_server: float
    out_of_server: float
    links: np.ndarray
    """(links,) bytes over each link."""
    messages: np.ndarray
    """(links,) transfers over each link."""


def moved(
    schedule: Schedule,
    placement: Placement,
    delivered: np.ndarray | None = None,
    rerouted: Mapping[int, Ways] = MappingProxyType({}),
) -> Moved:
    """Bytes of a schedule's flows (of those delivered, where that is given); ``rerouted``: some flows' other routes."""
    structure = schedule.structure
    source, destination = structure.endpoints
    sent = source != destination
    if delivered is not None:
        sent = sent & delivered
    nbytes = np.where(sent, schedule.nbytes, 0.0)
    workers = structure.participants
    return Moved(
        float(nbytes[source < workers].sum()),
        float(nbytes[destination < workers].sum()),
        float(nbytes[destination >= workers].sum()),
        float(nbytes[source >= workers].sum()),
        placement.over_links(nbytes, rerouted),
        placement.over_links(sent.astype(float), rerouted),
    )


class LiveFlows:
    """Every flow simulated as it happens, sharing links with whatever else is there."""

    def __init__(self, execution: Execution):
        self.execution = execution
        execution.begin()

    def ready(self, participant: int, now: float) -> None:
        """A participant has its message."""
        network = self.execution.network
        network.catch_up(now)
        self.execution.ready(participant)
        network.wake(now)

    def back(self, participant: int, ready: float, end: float) -> tuple[Parts, int, float]:
        """Where a participant's time went from ``ready`` to ``end``, when it finished.

        Waiting is left out of the seconds. Instead, the participant is returned that was waited for,
        and when it was ready.
        """
        finisher = self.execution.finisher[participant]
        transfer, latency, aggregate, origin, time = chain(self.execution, finisher, ready, end)
        return (transfer, latency, aggregate, 0.0), participant if origin < 0 else origin, time

    def moved(self) -> Moved:
        """Bytes of the flows delivered so far."""
        execution = self.execution
        return moved(execution.schedule, execution.placement, np.array(execution.landed) >= 0, execution.rerouted)

    def check(self, capacity: Sequence[float]) -> None:
        """Assert that everything was delivered, and that no link carried more than it can."""
        execution = self.execution
        if execution.open:
            waiting = next(flow for flow, time in enumerate(execution.landed) if time < 0)
            raise CapacityError(f"internal error: {execution.describe(waiting)} was never delivered")
        begun = min((time for time in execution.begun if time >= 0), default=0.0)
        check_bounds(
            self.moved().links,
            capacity,
            max(execution.landed, default=0.0) - begun,
            execution.placement.links,
            execution.placement.least_latency,
        )


def check_bounds(links: np.ndarray, capacity: Sequence[float], seconds: float, names: Links, latency: float) -> None:
    """Raise CapacityError where a link carried more than it can in that time, or bytes arrived sooner than the
    least latency allows."""
    if seconds < latency * (1 - 1e-9):
        raise CapacityError(f"internal error: an exchange took {seconds:.9g} s, less than its latency, {latency:.9g} s")
    with np.errstate(invalid="ignore"):
        limit = np.asarray(capacity) * seconds
    over = links > limit * (1 + 1e-9) + 1e-6
    if over.any():
        link = int(np.argmax(over))
        source, destination = names.names[link]
        raise CapacityError(
            f"internal error: link {source} -> {destination} carried {links[link]:.9g} bytes in {seconds:.9g} s, "
            f"more than its {capacity[link]:.9g} bytes/s allow"
        )


@dataclass(frozen=True)
class Solution:
    """An exchange solved at once; its times are relative to when the first participant was ready."""

    finish: np.ndarray
    """(participants,) seconds."""
    back: Callable[[int, float, float], tuple[Parts, int, float]]
    """As :meth:`LiveFlows.back`, in relative seconds."""


class SolvedFlows:
    """Nothing happens until everybody is ready; then the whole exchange is solved.

    Exact only where nobody can finish before everybody is ready and nothing else can use
    the links meanwhile, see :mod:`simgmc.network.shortcuts.isolation`.
    """

    def __init__(self, participants: int, solver: Callable[[np.ndarray], Solution], total: Moved, finish_at: Finish):
        self.gates = np.full(participants, np.nan)
        self._solver = solver
        self._total = total
        self._finish_at = finish_at
        self._missing = participants
        self._solution: Solution | None = None
        self._origin = 0.0

    def ready(self, participant: int, now: float) -> None:
        """A participant has its message; the last one to be ready sets off the solution."""
        self.gates[participant] = now
        self._missing -= 1
        if self._missing == 0:
            self._origin = float(self.gates.min())
            self._solution = self._solver(self.gates - self._origin)
            for other, time in enumerate(self._solution.finish.tolist()):
                self._finish_at(other, self._origin + time)

    def back(self, participant: int, ready: float, end: float) -> tuple[Parts, int, float]:
        """As :meth:`LiveFlows.back`."""
        assert self._solution is not None
        parts, origin, time = self._solution.back(participant, ready - self._origin, end - self._origin)
        return parts, origin, self._origin + time

    def moved(self) -> Moved:
        """Bytes of all flows: they are all delivered."""
        return self._total

    def check(self, capacity: Sequence[float]) -> None:
        """Bounds are asserted when a solution is found."""


def solve_events(schedule: Schedule, placement: Placement, gates: np.ndarray) -> Solution:
    """An exchange simulated event by event on a network of its own."""
    network = FluidNetwork(placement.links)
    finish = np.zeros(len(gates))

    def note(participant: int, time: float) -> None:
        finish[participant] = time

    execution = Execution(network, schedule, placement, note)
    execution.begin()
    for participant, time in enumerate(gates.tolist()):
        network.at(time, execution.ready, participant)
    network.run()
    if execution.open:
        stuck = network.stalled()
        if stuck is not None:
            raise stuck
    seconds = max(execution.landed, default=0.0)
    check_bounds(moved(schedule, placement).links, network.capacity, seconds, placement.links, placement.least_latency)

    def back(participant: int, ready: float, end: float) -> tuple[Parts, int, float]:
        transfer, latency, aggregate, origin, time = chain(execution, execution.finisher[participant], ready, end)
        return (transfer, latency, aggregate, 0.0), participant if origin < 0 else origin, time

    return Solution(finish, back)


class RingLinks:
    """The routes of a ring: from every host to the next."""

    def __init__(self, hosts: Sequence[str], links: Links, overheads: Overheads = IDEAL):
        self.links = links
        steps = list(zip(hosts, (*hosts[1:], hosts[0])))
        self.routes = [links.route(a, b) for a, b in steps]
        self.latency = np.array([links.delay(a, b) for a, b in steps])
        every = [link for route in self.routes for link in route or ()]
        self.apart = (
            None not in self.routes
            and all(len(links.ways(a, b)) == 1 for a, b in steps)
            and len(set(every)) == len(every)
            and all(links.bandwidth[link] > 0 for link in every)
        )
        """Whether the routes share no link, and all have bandwidth: what the fast path needs."""
        self.rate = np.array(
            [
                min([overheads.most(links, a, b), *(links.bandwidth[link] for link in route or ())])
                for (a, b), route in zip(steps, self.routes)
            ]
        )
        self.extra = np.full(len(hosts), overheads.software)
        self.first = self.extra + overheads.startup * self.latency

    def moved(self, ring: Ring) -> Moved:
        """Bytes that one exchange moves."""
        each = ring.chunk.sum(axis=0)
        used, messages = np.zeros(len(self.links)), np.zeros(len(self.links))
        for nbytes, route in zip(each.tolist(), self.routes):
            for link in route or ():
                used[link] += nbytes
                messages[link] += len(ring.chunk) * ring.slices
        total = float(each.sum())
        return Moved(total, total, 0.0, 0.0, used, messages)


def solve_ring(ring: Ring, way: RingLinks, gates: np.ndarray) -> Solution:
    """A ring whose routes share no link, as an array recurrence."""
    times = solve(ring, way.rate, way.latency, gates, way.extra, way.first, trail=False)
    traced: list[RingTimes] = []
    seconds = float(times.finish.max() - gates.min())
    check_bounds(way.moved(ring).links, way.links.bandwidth, seconds, way.links, float(way.latency.min()))

    def back(participant: int, ready: float, end: float) -> tuple[Parts, int, float]:
        origin = int(times.origin[participant])
        begin = float(gates[origin])
        if begin < ready:
            # The chain starts before this participant's own time: it has to be cut there.
            if not traced:
                traced.append(solve(ring, way.rate, way.latency, gates, way.extra, way.first))
            transfer, lost, adding, origin, begin = traced[0].back(ring, participant, ready, end, way.extra, way.first)
        else:
            lost, adding = float(times.latency[participant]), float(times.aggregate[participant])
            transfer = end - begin - lost - adding
        return (transfer, lost, adding, 0.0), origin, begin

    return Solution(times.finish, back)


def solve_server(schedule: Schedule, placement: Placement, way: ServerLinks, gates: np.ndarray) -> Solution:
    """A parameter-server round whose links are each one worker's or everybody's, in arrays."""
    workers = len(gates)
    push, pull = way.push, way.pull
    begun = gates + push.extra
    pushed = incast(begun, schedule.nbytes[:workers], push.own, push.shared)
    landed = pushed + push.latency
    last = int(np.argmax(landed))
    arrived = float(landed[last])
    added = arrived + float(schedule.delay[workers])
    sent = added + pull.extra
    pulled = incast(sent, schedule.nbytes[workers + 1 :], pull.own, pull.shared)
    finish = pulled + pull.latency
    check_bounds(
        moved(schedule, placement).links,
        placement.links.bandwidth,
        float(finish.max()),
        placement.links,
        placement.least_latency,
    )
    # The chain of every worker, from its end backwards: times and what lies between them.
    before = [("transfer", float(begun[last])), ("latency", float(gates[last]))]
    before = [("aggregate", arrived), ("latency", float(pushed[last])), *before]

    def back(participant: int, ready: float, end: float) -> tuple[Parts, int, float]:
        spent = {"transfer": 0.0, "latency": 0.0, "aggregate": 0.0}
        own = [("latency", float(pulled[participant])), ("transfer", float(sent[participant])), ("latency", added)]
        for what, time in (*own, *before):
            time = max(time, ready)
            if time < end:
                spent[what] += end - time
                end = time
        return (spent["transfer"], spent["latency"], spent["aggregate"], 0.0), last, end

    return Solution(finish, back)
