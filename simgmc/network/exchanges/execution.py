"""An exchange under way: each flow is let go when what it waits for has happened, and its times are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from simgmc.network.exchanges.placement import Placement, Ways
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import FluidNetwork, Transfer


class Execution:
    """One schedule under way.

    ``on_finish(participant, time)`` is called when a participant has everything it waits
    for. Times of flows are in :attr:`begun`, :attr:`departed` and :attr:`landed` (seconds;
    negative: not yet). :attr:`cause` says what released a flow last: ``j`` the arrival of
    flow j, ``flows + j`` its departure, ``-1 - p`` the readiness of participant p.
    """

    __slots__ = (
        "network", "schedule", "placement", "begun", "departed", "landed", "cause", "released", "gate", "finisher",
        "queued", "rerouted", "open", "aborted", "_releases", "_waiting", "_unfinished", "_on_finish", "_delay",
        "_nbytes", "_extra", "_connections", "_parts",
    )  # fmt: skip

    def __init__(
        self,
        network: FluidNetwork,
        schedule: Schedule,
        placement: Placement,
        on_finish: Callable[[int, float], None] | None = None,
        connections: Connections | None = None,
    ):
        """``connections``: those that the flows go over, in order; without, each takes bandwidth at once."""
        structure = schedule.structure
        flows = structure.flows
        self.network = network
        self.schedule = schedule
        self.placement = placement
        self.begun = [-1.0] * flows
        self.departed = [-1.0] * flows
        self.landed = [-1.0] * flows
        self.released = [0.0] * flows
        self.cause = [-1] * flows
        self.gate = [-1.0] * structure.participants
        self.finisher = [-1] * structure.participants
        """Per participant: the flow that finished it; -1: its own readiness."""
        self._releases = structure.releases
        self._waiting = list(self._releases.waiting)
        self._unfinished = [len(arrivals) + 1 for arrivals in structure.finishes]
        self._on_finish = on_finish
        self._delay = schedule.delay.tolist()
        self._nbytes = schedule.nbytes.tolist()
        self._extra = placement.extra
        self.aborted = False
        self._connections = connections
        self.queued: dict[int, float] = {}
        """When flows that go over connections were ready to take bandwidth."""
        self.rerouted: dict[int, Ways] = {}
        """The routes of flows that have begun since routes changed; the others have those of the placement."""
        self._parts: dict[int, list[int]] = {}
        """Of flows under way in several parts: how many of them have not left, and not arrived."""
        self.open = flows
        """Flows that have not arrived yet."""

    def begin(self) -> None:
        """Start the flows that wait for nothing."""
        for flow, waiting in enumerate(self._waiting):
            if waiting == 0:
                self.released[flow] = self.network.now
                self._release(flow)

    def ready(self, participant: int) -> None:
        """A participant has its message and takes part from now on."""
        now = self.network.now
        self.gate[participant] = now
        self._let_go(self._releases.gate[participant], -1 - participant, now)
        self._finish(participant, -1, now)

    def _let_go(self, flows: list[int], cause: int, now: float) -> None:
        waiting = self._waiting
        for flow in flows:
            waiting[flow] -= 1
            if waiting[flow] == 0:
                self.cause[flow] = cause
                self.released[flow] = now
                self._release(flow)

    def _release(self, flow: int) -> None:
        delay = self._delay[flow]
        if self._extra is not None:
            delay += self._extra[flow]
        if delay > 0.0:
            self.network.at(self.network.now + delay, self._start, flow)
        else:
            self._start(flow)

    def resize(self, schedule: Schedule) -> None:
        """Take the sizes and delays of another schedule of the same structure for flows still to start."""
        self.schedule = schedule
        self._delay = schedule.delay.tolist()
        self._nbytes = schedule.nbytes.tolist()

    def abort(self) -> None:
        """Give up: flows under way are taken off the network, nothing more happens."""
        self.aborted = True
        self.network.remove(self)

    def _start(self, flow: int) -> None:
        if self.aborted:
            return
        network, placement = self.network, self.placement
        if placement.local[flow]:
            now = network.now
            self.begun[flow] = now
            self.left(flow, now)
            self.arrived(flow, now)
            return
        if self._connections is None:
            self._go(flow)
        else:
            self.queued[flow] = network.now
            self._connections.start(self.pair(flow), partial(self._go, flow))

    def _go(self, flow: int) -> None:
        """A flow takes bandwidth, over the routes that there are now."""
        transfers = self._transfers(flow)
        if len(transfers) > 1:
            self._parts[flow] = [len(transfers)] * 2
        for transfer in transfers:
            self.network.start(transfer)

    def _transfers(self, flow: int) -> list[Transfer]:
        """A flow's way through the network: one transfer, or one for each route that carries a part of it."""
        placement, links, pair = self.placement, self.placement.links, self.pair(flow)
        found, latency, cap = placement.ways[flow], placement.latency[flow], placement.cap[flow]
        if links.rerouted:
            found = self.rerouted[flow] = links.ways(*pair)
            latency, cap = links.delay(*pair), placement.overheads.most(links, *pair)
        ways: Sequence[tuple[int, ...] | None] = found or (None,)
        nbytes = self._nbytes[flow] / len(ways)
        return [Transfer(self, flow, way, latency, nbytes, cap / len(ways)) for way in ways]

    def reroute(self, transfer: Transfer) -> Transfer | None:
        """Let the rest of what is under way go round the links that are down; None where no way does."""
        placement, links = self.placement, self.placement.links
        flow, pair = transfer.index, self.pair(transfer.index)
        way = links.route(*pair)
        if way is None or not links.avoided.isdisjoint(way):
            return None
        before = self.rerouted.get(flow, placement.ways[flow])
        self.rerouted[flow] = tuple(way if one == transfer.route else one for one in before)
        cap = placement.overheads.most(links, *pair) / len(before)
        other = Transfer(self, flow, way, links.delay(*pair), 0.0, cap)
        self.network.replace(transfer, other)
        return other

    # what the network reports -------------------------------------------------

    def started(self, flow: int, now: float) -> None:
        self.begun[flow] = now

    def left(self, flow: int, now: float) -> None:
        if flow in self._parts and self._rest(flow, 0):
            return
        self.departed[flow] = now
        if flow in self.queued:
            assert self._connections is not None
            self._connections.left(self.pair(flow))
        behind = self._releases.departure[flow]
        if behind:
            self._let_go(behind, self.schedule.structure.flows + flow, now)

    def arrived(self, flow: int, now: float) -> None:
        if not (self.aborted or (flow in self._parts and self._rest(flow, 1))):
            self._land(flow, now)

    def _land(self, flow: int, now: float) -> None:
        """All of a flow has arrived."""
        self.landed[flow] = now
        self.open -= 1
        after = self._releases.arrival[flow]
        if after:
            self._let_go(after, flow, now)
        for participant in self._releases.finish[flow]:
            self._finish(participant, flow, now)

    def _rest(self, flow: int, what: int) -> int:
        """One part of a flow has left (0) or arrived (1); how many parts have not."""
        self._parts[flow][what] -= 1
        return self._parts[flow][what]

    def _finish(self, participant: int, flow: int, now: float) -> None:
        self._unfinished[participant] -= 1
        if self._unfinished[participant] == 0:
            self.finisher[participant] = flow
            if self._on_finish is not None:
                self._on_finish(participant, now)

    def pair(self, flow: int) -> tuple[str, str]:
        """The hosts that a flow leads from and to."""
        return self.placement.pair(flow)

    def describe(self, flow: int) -> str:
        """A flow in words, for messages."""
        source, destination = self.pair(flow)
        return f"flow {flow} ({source} -> {destination}, {self._nbytes[flow]:.9g} bytes)"


def run_alone(
    schedule: Schedule,
    placement: Placement,
    ready: Sequence[float] | None = None,
    on_finish: Callable[[int, float], None] | None = None,
) -> Execution:
    """An exchange that has the network to itself, from beginning to end.

    ``ready``: s at which each participant is, from the beginning; None: all are at once. ``on_finish``: as of
    :class:`Execution`.
    """
    network = FluidNetwork(placement.links)
    execution = Execution(network, schedule, placement, on_finish)
    execution.begin()
    for participant in range(schedule.structure.participants):
        network.at(0.0 if ready is None else ready[participant], execution.ready, participant)
    network.run()
    return execution
