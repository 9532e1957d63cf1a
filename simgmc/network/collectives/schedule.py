"""Collectives as dependency graphs of flows, and their execution on a network.

A :class:`Structure` says which flows there are and what each one waits for; it depends
on the number of hosts alone and is built once. A :class:`Schedule` adds the sizes of one
exchange. An :class:`Execution` runs a schedule on a :class:`~simgmc.network.flows.fluid.FluidNetwork`
and keeps when every flow started, left and arrived, and what released it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType

import numpy as np

from simgmc.network.collectives.ring import Ring, stacked
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import FluidNetwork, Transfer
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")


@dataclass(frozen=True, eq=False)
class Structure:
    """Which flows a collective has and what each waits for. Flows are numbered from 0.

    Hosts are numbered: participants 0 .. participants-1 (the workers), then the others
    (servers). A flow from a host to itself takes no time of its own: it stands for work
    at that host (its delay) or for a point where things come together.
    """

    participants: int
    hosts: int
    source: tuple[int, ...]
    destination: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    """Flows that must have arrived before this one starts."""
    behind: tuple[int, ...]
    """The flow queued before this one in the sender's network card (-1: none): this one
    starts no earlier than that one's last byte has left."""
    gates: tuple[tuple[int, ...], ...]
    """Participants that must be ready before this one starts."""
    finishes: tuple[tuple[int, ...], ...]
    """Per participant: the flows whose arrival finishes its part (besides its own readiness)."""

    @property
    def flows(self) -> int:
        return len(self.source)

    @cached_property
    def _release(self):
        """What each arrival, departure and readiness releases, and how much each flow waits for."""
        arrival: list[list[int]] = [[] for _ in self.source]
        departure: list[list[int]] = [[] for _ in self.source]
        gate: list[list[int]] = [[] for _ in range(self.participants)]
        waiting = [0] * self.flows
        for flow, (after, behind, gates) in enumerate(zip(self.after, self.behind, self.gates)):
            for other in after:
                arrival[other].append(flow)
            if behind >= 0:
                departure[behind].append(flow)
            for participant in gates:
                gate[participant].append(flow)
            waiting[flow] = len(after) + (behind >= 0) + len(gates)
        finish: list[list[int]] = [[] for _ in self.source]
        for participant, flows in enumerate(self.finishes):
            for flow in flows:
                finish[flow].append(participant)
        return arrival, departure, gate, waiting, finish

    @cached_property
    def endpoints(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and destination of every flow as int arrays."""
        return np.array(self.source, dtype=np.int64), np.array(self.destination, dtype=np.int64)


class StructureBuilder:
    """Collects flows one after the other; every method returns the new flow's number."""

    def __init__(self, participants: int, servers: int = 0):
        self.participants = participants
        self.hosts = participants + servers
        self._rows: list[tuple[int, int, tuple[int, ...], int, tuple[int, ...]]] = []
        self._finishes: list[tuple[int, ...]] = [()] * participants

    def flow(
        self, source: int, destination: int, after: Sequence[int] = (), behind: int = -1, gates: Sequence[int] = ()
    ) -> int:
        """A transfer from one host to another."""
        self._rows.append((source, destination, tuple(after), behind, tuple(gates)))
        return len(self._rows) - 1

    def local(self, host: int, after: Sequence[int] = (), gates: Sequence[int] = ()) -> int:
        """Work at one host once other flows have arrived; its delay says how long it takes."""
        return self.flow(host, host, after, -1, gates)

    def finish(self, participant: int, flows: Sequence[int]) -> None:
        """The arrivals that finish a participant's part."""
        self._finishes[participant] = tuple(flows)

    def build(self) -> Structure:
        source, destination, after, behind, gates = zip(*self._rows) if self._rows else ((), (), (), (), ())
        return Structure(
            self.participants, self.hosts, source, destination, after, behind, gates, tuple(self._finishes)
        )


class Schedule:
    """One exchange: a structure with the size and the delay of every flow.

    A ring's flows are many and its fast path needs none of them: ``flows`` is then a function
    that lists them, called when they are first asked for.
    """

    def __init__(
        self,
        structure: Structure | None = None,
        nbytes: np.ndarray | None = None,
        delay: np.ndarray | None = None,
        ring: Ring | None = None,
        flows: Callable[[], tuple[Structure, np.ndarray, np.ndarray]] | None = None,
    ):
        self.ring = ring
        """The ring this is, where it is one."""
        self._list = flows
        if flows is None:
            assert structure is not None and nbytes is not None and delay is not None
            self._flows = structure, nbytes, delay

    @cached_property
    def _flows(self) -> tuple[Structure, np.ndarray, np.ndarray]:
        assert self._list is not None
        return self._list()

    @property
    def structure(self) -> Structure:
        """Which flows there are and what each waits for."""
        return self._flows[0]

    @property
    def nbytes(self) -> np.ndarray:
        """(flows,) bytes of each flow; (N, flows) of :class:`Stacked` ones."""
        return self._flows[1]

    @property
    def delay(self) -> np.ndarray:
        """(flows,) seconds between a flow's last release and its start: work at the sender; (N, flows) of
        :class:`Stacked` ones."""
        return self._flows[2]

    def on(self, network: int) -> Schedule:
        """The exchange on one of the networks: the same on all, unless they are stacked."""
        return self

    def among(self, networks: np.ndarray) -> Schedule:
        """The exchanges on some of the networks."""
        return self

    @property
    def forms(self) -> list[tuple[np.ndarray | None, Schedule]]:
        """Networks whose exchanges can be solved together, and these exchanges; None: all."""
        return [(None, self)]

    @property
    def form(self) -> object:
        """What exchanges have in common that differ in sizes alone."""
        return id(self.structure) if self.ring is None else self.ring.form


class Stacked(Schedule):
    """Exchanges on N networks, each with sizes of its own."""

    def __init__(self, schedules: Sequence[Schedule], of: np.ndarray):
        """``of``: (N,) which of the schedules each network has."""
        self._schedules, self._of = schedules, of
        first = schedules[0]
        ring = None if first.ring is None or len(self._alike) > 1 else stacked([_ring(one) for one in schedules], of)
        super().__init__(ring=ring, flows=self._stack)

    def _stack(self) -> tuple[Structure, np.ndarray, np.ndarray]:
        nbytes, delay = (
            np.stack([getattr(one, what) for one in self._schedules])[self._of] for what in ("nbytes", "delay")
        )
        return self._schedules[0].structure, nbytes, delay

    @cached_property
    def _alike(self) -> dict[object, list[int]]:
        """Numbers of schedules by their form."""
        found: dict[object, list[int]] = {}
        for number, one in enumerate(self._schedules):
            found.setdefault(one.form, []).append(number)
        return found

    def on(self, network: int) -> Schedule:
        return self._schedules[self._of[network]]

    def among(self, networks: np.ndarray) -> Schedule:
        return Stacked(self._schedules, self._of[networks])

    @cached_property
    def forms(self) -> list[tuple[np.ndarray | None, Schedule]]:
        if len(self._alike) == 1:
            return [(None, self)]
        found: list[tuple[np.ndarray | None, Schedule]] = []
        for numbers in self._alike.values():
            networks = np.flatnonzero(np.isin(self._of, numbers))
            some = [self._schedules[number] for number in numbers]
            found.append((networks, Stacked(some, np.searchsorted(numbers, self._of[networks]))))
        return found


def _ring(schedule: Schedule) -> Ring:
    assert schedule.ring is not None
    return schedule.ring


Ways = tuple[tuple[int, ...], ...]
"""The routes that carry a message side by side, in equal parts."""


def shares_of(ways: Ways) -> dict[int, float]:
    """The share of a message's bytes that goes over each link."""
    found: dict[int, float] = {}
    for way in ways:
        for link in way:
            found[link] = found.get(link, 0.0) + 1.0 / len(ways)
    return found


def _links_of(ways: Ways) -> tuple[int, ...] | None:
    if not ways:
        return None
    return ways[0] if len(ways) == 1 else tuple(dict.fromkeys(link for way in ways for link in way))


class Placement:
    """A structure's flows laid onto the links of one network."""

    def __init__(self, structure: Structure, hosts: Sequence[str], links: Links, overheads: Overheads = IDEAL):
        if len(hosts) != structure.hosts:
            raise ValueError(f"{structure.hosts} hosts needed, {len(hosts)} given")
        self.structure = structure
        self.hosts = tuple(hosts)
        self.links = links
        self.overheads = overheads
        pairs = [(hosts[a], hosts[b]) for a, b in zip(structure.source, structure.destination)]
        self.local = [a == b for a, b in pairs]
        self.ways = [links.ways(a, b) for a, b in pairs]
        """Per flow: the routes that carry it side by side, in equal parts; mostly one."""
        self.routes = [_links_of(ways) for ways in self.ways]
        """Per flow: every link that it takes; None where it has no route."""
        self.cap = [_INFINITY if local else overheads.most(links, *pair) for local, pair in zip(self.local, pairs)]
        """Bytes/s that each flow never exceeds, whatever its links could carry."""
        self.latency = [links.delay(*pair) for pair in pairs]
        self.extra: list[float] | None = None
        """Seconds each flow's start is held up by the overheads."""
        if overheads.software or overheads.startup:
            self.extra = [
                0.0 if local else overheads.software + (overheads.startup * latency if gates else 0.0)
                for local, latency, gates in zip(self.local, self.latency, structure.gates)
            ]

    @cached_property
    def least_latency(self) -> float:
        """Seconds of latency that the quickest of the transfers has; 0 where there are none."""
        return min((latency for latency, local in zip(self.latency, self.local) if not local), default=0.0)

    def pair(self, flow: int) -> tuple[str, str]:
        """The hosts that a flow leads from and to."""
        return self.hosts[self.structure.source[flow]], self.hosts[self.structure.destination[flow]]

    @property
    def striped(self) -> bool:
        """Whether some flow takes several routes side by side."""
        return any(len(ways) > 1 for ways in self.ways)

    @cached_property
    def _uses(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every use of a link by a flow, and the share of the flow's bytes that goes there."""
        uses = [
            (link, flow, share)
            for flow, ways in enumerate(self.ways)
            if not self.local[flow]
            for link, share in shares_of(ways).items()
        ]
        link, flow, share = zip(*uses) if uses else ((), (), ())
        return np.array(link, dtype=np.int64), np.array(flow, dtype=np.int64), np.array(share)

    def over_links(self, moved: np.ndarray, rerouted: Mapping[int, Ways] = MappingProxyType({})) -> np.ndarray:
        """(links,) what went over each link when each flow has moved so much; ``rerouted``: other routes of some."""
        link, flow, share = self._uses
        over = np.bincount(link, weights=moved[flow] * share, minlength=len(self.links))
        for one, ways in rerouted.items():
            for sign, all_of_it in ((-1.0, self.ways[one]), (1.0, ways)):
                for at, part in shares_of(all_of_it).items():
                    over[at] += sign * part * moved[one]
        return over


class Execution:
    """One schedule under way.

    ``on_finish(participant, time)`` is called when a participant has everything it waits
    for. Times of flows are in :attr:`begun`, :attr:`departed` and :attr:`landed` (seconds;
    negative: not yet). :attr:`cause` says what released a flow last: ``j`` the arrival of
    flow j, ``flows + j`` its departure, ``-1 - p`` the readiness of participant p.
    """

    __slots__ = (
        "network", "schedule", "placement", "begun", "departed", "landed", "cause", "released", "gate",
        "finisher", "_waiting", "_unfinished", "_on_finish", "_delay", "_nbytes", "_rules", "_extra", "open", "aborted",
        "_connections", "queued", "_parts", "rerouted",
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
        self._rules = structure._release
        self._waiting = list(self._rules[3])
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
        self._let_go(self._rules[2][participant], -1 - participant, now)
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
        behind = self._rules[1][flow]
        if behind:
            self._let_go(behind, self.schedule.structure.flows + flow, now)

    def arrived(self, flow: int, now: float) -> None:
        if not (self.aborted or (flow in self._parts and self._rest(flow, 1))):
            self._land(flow, now)

    def _land(self, flow: int, now: float) -> None:
        """All of a flow has arrived."""
        self.landed[flow] = now
        self.open -= 1
        after = self._rules[0][flow]
        if after:
            self._let_go(after, flow, now)
        for participant in self._rules[4][flow]:
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
