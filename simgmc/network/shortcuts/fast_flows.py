"""An exchange's flows in arrays over networks, as if each had its links to itself; and on which networks that is so.

A flow that shares no link with another while it is under way goes at the rate of its slowest link. If all do, then

    a flow begins when the last of what it waits for is there, and after its own delay;
    its last byte leaves bytes / rate later, and arrives a latency later

is all there is, level by level of what waits for what. Whether it was so can be read from the times that follow:
where no two flows were on one link at a time, these are the times of the network, as sharing never came into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.schedule import Schedule, Structure

MAX_FLOWS = 20_000
"""Flows of an exchange up to which it is tried."""
_TOUCHING = 1e-12
"""Share of a time by which one flow may begin before another has left: rounding of times that are the same."""
_AT_ONCE = 2**21
"""Flows on all networks that are solved at once: 40 bytes each, about."""


class Levels:
    """A structure's flows in the order in which they can be solved: those of a level wait for levels before it.

    What releases flows are rows of one table of times: the arrivals of all flows, their departures, the readiness of
    all participants, zero, and a time before all others that fills up.
    """

    def __init__(self, structure: Structure):
        flows, participants = structure.flows, structure.participants
        self.ready = 2 * flows
        """The row of the first participant's readiness."""
        self.zero = self.ready + participants
        never = self.zero + 1
        level = [0] * flows
        rows: list[list[int]] = []
        for flow, (after, behind, gates) in enumerate(zip(structure.after, structure.behind, structure.gates)):
            before = (*after, behind) if behind >= 0 else after
            level[flow] = 1 + max((level[other] for other in before), default=-1)
            left = [flows + behind] if behind >= 0 else []
            rows.append([*after, *left, *(self.ready + one for one in gates)] or [self.zero])
        self.levels: list[tuple[np.ndarray, np.ndarray]] = []
        """Per level: (n,) its flows, and (n, most) rows of what each waits for."""
        by_level: list[list[int]] = [[] for _ in range(1 + max(level, default=-1))]
        for flow, one in enumerate(level):
            by_level[one].append(flow)
        for some in by_level:
            self.levels.append((np.array(some), _filled([rows[flow] for flow in some], never)))
        ends = [[self.ready + one, *finishes] for one, finishes in enumerate(structure.finishes)]
        self.finishes = _filled(ends, never)
        """(K, most) rows of what finishes each participant."""


def _filled(rows: list[list[int]], never: int) -> np.ndarray:
    most = max(map(len, rows))
    return np.array([row + [never] * (most - len(row)) for row in rows])


levels_of = lru_cache(maxsize=64)(Levels)


@dataclass(frozen=True)
class LinkUse:
    """From when to when an exchange uses links, on some of the networks."""

    networks: np.ndarray
    """(n,) their numbers."""
    links: np.ndarray
    """(L,) the links' numbers there."""
    begin: np.ndarray
    """(L, n) s at which the first byte is on each."""
    end: np.ndarray
    """(L, n) s at which the last byte has left it."""

    def on(self, some: np.ndarray) -> LinkUse:
        """On some of these networks, (n,) bool."""
        return self if some.all() else LinkUse(self.networks[some], self.links, self.begin[:, some], self.end[:, some])


@dataclass(frozen=True)
class FlowTimes:
    """When everything happened to F flows of K participants, on N networks."""

    finish: np.ndarray
    """(K, N) s."""
    apart: np.ndarray
    """(N,) bool: whether no two flows were on one link at a time. Elsewhere the times mean nothing."""
    uses: tuple[LinkUse, ...]
    finisher: np.ndarray
    """(K, N) the row (see :class:`Levels`) of what finished each participant."""
    cause: np.ndarray
    """(F, N) the row of what released each flow last."""
    released: np.ndarray
    begun: np.ndarray
    departed: np.ndarray
    """(F, N) s each."""


class _Group:
    """Networks on which flows take the same links."""

    def __init__(self, networks: list[int], placement: Placement):
        self.networks = np.array(networks)
        users: dict[int, list[int]] = {}
        for flow, route in enumerate(placement.routes):
            for link in route or ():  # a flow from a host to itself uses none
                users.setdefault(link, []).append(flow)
        counts = sorted({len(flows) for flows in users.values()})
        self.links = [
            np.array([link for link, flows in users.items() if len(flows) == count], np.int64) for count in counts
        ]
        self.users = [
            np.array([flows for flows in users.values() if len(flows) == count], np.int64) for count in counts
        ]
        """By how many flows use a link: (L,) links, and (L, count) the flows on each."""

    def use(self, begun: np.ndarray, departed: np.ndarray, some: np.ndarray | None) -> LinkUse:
        """``begun``, ``departed``: (F, n); ``some``: (F, n) whether a flow has bytes, None: all."""
        first = begun if some is None else np.where(some, begun, np.inf)
        links = np.concatenate(self.links) if self.links else np.zeros(0, np.int64)
        shape = 0, len(self.networks)
        begin = [first[users].min(axis=1) for users in self.users] or [np.zeros(shape)]
        end = [departed[users].max(axis=1) for users in self.users] or [np.zeros(shape)]
        return LinkUse(self.networks, links, np.concatenate(begin), np.concatenate(end))

    def apart(self, begun: np.ndarray, departed: np.ndarray) -> np.ndarray:
        """(n,) whether no two of the flows on any link are there at a time; those without bytes begin and leave
        before all others."""
        found = np.ones(len(self.networks), bool)
        for users in self.users:
            if users.shape[1] == 1:
                continue
            begin, end = begun[users], departed[users]
            in_order = _one_by_one(begin, end)
            if not in_order.all():
                order = np.argsort(begin, axis=1, kind="stable")
                begin, end = (np.take_along_axis(one, order, axis=1) for one in (begin, end))
                in_order = _one_by_one(begin, end)
            found &= in_order
        return found


def _one_by_one(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(n,) whether each of (L, count, n) flows begins when those before it on its link have left."""
    before = np.maximum.accumulate(end, axis=1)[:, :-1]
    return np.all(begin[:, 1:] >= before - _TOUCHING * np.abs(before), axis=(0, 1))


def _rates(placement: Placement) -> list[float]:
    """Bytes/s of each flow where nothing else is on its links."""
    bandwidth = placement.links.bandwidth
    return [
        min([cap, *(bandwidth[link] for link in route or ())]) for cap, route in zip(placement.cap, placement.routes)
    ]


class FlowNetworks:
    """The same structure's flows on N networks."""

    def __init__(self, placements: Sequence[Placement]):
        structure = self.structure = placements[0].structure
        self.levels = levels_of(structure)
        self.local = np.array(placements[0].local, bool)
        self.rate = np.array([_rates(one) for one in placements]).T.reshape(structure.flows, len(placements))
        self.latency = np.array([one.latency for one in placements]).T.reshape(self.rate.shape)
        self.extra = np.array([one.extra or np.zeros(structure.flows) for one in placements]).T.reshape(self.rate.shape)
        """Each (F, N): bytes/s, s, s."""
        self.routed = np.array([None not in one.routes and not one.striped for one in placements])
        """(N,) whether every flow has one route."""
        groups: dict[tuple, list[int]] = {}
        for number, one in enumerate(placements):
            if self.routed[number]:
                groups.setdefault(tuple(one.routes), []).append(number)
        self.groups = [_Group(numbers, placements[numbers[0]]) for numbers in groups.values()]

    def solve(self, schedule: Schedule, gates: np.ndarray) -> FlowTimes:
        """``gates``: (K, N) s at which each participant is ready."""
        flows, networks = self.rate.shape
        each = max(1, _AT_ONCE // max(flows, 1))
        parts = [self._times(schedule, gates, slice(at, at + each)) for at in range(0, networks, each)]
        finish, finisher, cause, released, begun, departed = (
            parts[0] if len(parts) == 1 else [np.concatenate(one, axis=1) for one in zip(*parts)]
        )
        some = None
        tested = begun, departed
        if (empty := _of_flows(schedule.nbytes == 0) & ~self.local[:, None]).any():
            some = np.broadcast_to(~empty, begun.shape)
            tested = np.where(some, begun, -np.inf), np.where(some, departed, -np.inf)
        apart, uses = self.routed.copy(), []
        for group in self.groups:
            begin, end = (one if len(group.networks) == networks else one[:, group.networks] for one in tested)
            apart[group.networks] &= group.apart(begin, end)
            whose = None if some is None else some[:, group.networks]
            uses.append(group.use(begin, end, whose))
        return FlowTimes(finish, apart, tuple(uses), finisher, cause, released, begun, departed)

    def _times(self, schedule: Schedule, gates: np.ndarray, some: slice) -> tuple[np.ndarray, ...]:
        """On some of the networks."""
        levels, ready = self.levels, gates[:, some]
        flows, networks = len(self.rate), ready.shape[1]
        nbytes, delay = (
            one if one.shape[1] == 1 else one[:, some] for one in map(_of_flows, (schedule.nbytes, schedule.delay))
        )
        seconds = np.where(self.local[:, None], 0.0, nbytes / self.rate[:, some])
        hold = delay + self.extra[:, some]
        times = np.empty((levels.zero + 2, networks))
        times[levels.ready : levels.zero] = ready
        times[levels.zero], times[levels.zero + 1] = 0.0, -np.inf
        cause = np.empty((flows, networks), np.int64)
        released, begun = np.empty((2, flows, networks))
        for own, rows in levels.levels:
            cause[own], released[own] = _last(times, rows)
            begun[own] = begin = released[own] + hold[own]
            times[flows + own] = left = begin + seconds[own]
            times[own] = left + self.latency[own, some]
        finisher, finish = _last(times, levels.finishes)
        return finish, finisher, cause, released, begun, times[flows : 2 * flows]

    def back(self, times: FlowTimes, gates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(K, N) seconds of transfer, latency and adding before each participant's end, and when the chain of what it
        waited for begins: as :func:`~simgmc.network.exchanges.accounts.chain`, of all at once."""
        flows, network = len(self.rate), np.arange(gates.shape[1])
        end, row = times.finish.copy(), times.finisher
        transfer, latency, adding = np.zeros((3, *end.shape))
        while (going := (row < 2 * flows) & (end > gates)).any():
            arrived = row < flows
            flow = np.where(going, np.where(arrived, row, row - flows), 0)
            for amount, until in (
                (latency, np.where(arrived, times.departed[flow, network], end)),
                (transfer, times.begun[flow, network]),
                (latency, times.begun[flow, network] - self.extra[flow, network]),
                (adding, times.released[flow, network]),
            ):
                start = np.where(going, np.minimum(np.maximum(until, gates), end), end)
                amount += end - start
                end = start
            row = np.where(going, times.cause[flow, network], row)
        return transfer, latency, adding, end


def _of_flows(values: np.ndarray) -> np.ndarray:
    """(flows, 1) or (flows, N), of (flows,) or (N, flows)."""
    return values[:, None] if values.ndim == 1 else values.T


def _last(times: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, N) which of the rows (n, most) of a table is the last, and its time."""
    if rows.shape[1] == 1:
        return np.broadcast_to(rows, (len(rows), times.shape[1])), times[rows[:, 0]]
    came = times[rows]
    which = came.argmax(axis=1)
    return np.take_along_axis(rows, which, axis=1), np.take_along_axis(came, which[:, None], axis=1)[:, 0]
