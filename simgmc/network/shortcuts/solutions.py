"""Exchanges solved at once, on many networks together, where nothing else can use their links meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.exchanges.accounts import chain, check_bounds, moved
from simgmc.network.exchanges.execution import run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.ring import Ring
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.shortcuts.fast_flows import FlowNetworks, LinkUse
from simgmc.network.shortcuts.fast_ring import RingWays, solve
from simgmc.network.shortcuts.fast_server import ServerLinks, Way, incast
from simgmc.network.shortcuts.ring_chains import ring_parts
from simgmc.network.topology.routing import Links

Back = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(N, K) seconds of transfer, latency and adding, and when the chain of causes begins."""


@dataclass(frozen=True)
class Solution:
    """An exchange on N networks; on each, its times are relative to when the first of K participants was ready."""

    finish: np.ndarray
    """(N, K) seconds."""
    back: Callable[[], Back]
    """Where each participant's time went, from when it was ready to when it finished. Where the chain of what it
    waited for begins later than it was ready, it waited until then."""
    uses: Callable[[], Sequence[LinkUse]]
    """From when to when it uses which links."""
    solved: np.ndarray
    """(N,) bool: on which of the networks; elsewhere the times mean nothing."""
    kind: object = None
    """Exchanges of one kind, one after the other, meet on no link; None: that is not known."""


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

    def over_links(self, each: np.ndarray) -> np.ndarray:
        """(links,) what went over each link where each rank has sent so much."""
        found = np.zeros(len(self.links))
        for amount, route in zip(each.tolist(), self.routes):
            for link in route or ():
                found[link] += amount
        return found


class RingNetworks:
    """The same ring on N networks."""

    def __init__(self, links: Sequence[RingLinks]):
        self.links = links
        names = ("rate", "latency", "extra", "first")
        self.ways = RingWays(*(np.stack([getattr(one, name) for one in links]) for name in names))

    def solve(self, ring: Ring, gates: np.ndarray) -> Solution:
        """``gates``: (N, K) s at which each rank is ready. The routes of no network share a link."""
        times, ways = solve(ring, self.ways, gates), self.ways
        sent, seconds = ring.sent_in_all, times.finish.max(axis=1) - gates.min(axis=1)
        with np.errstate(invalid="ignore"):  # no time over links without a limit
            wrong = (sent > ways.rate * seconds[:, None] * (1 + 1e-9) + 1e-6).any(axis=1)
        for network in np.flatnonzero(wrong | (seconds < ways.latency.min(axis=1) * (1 - 1e-9))).tolist():
            one, latency = self.links[network], ways.latency[network].min()
            over = one.over_links(np.broadcast_to(sent, gates.shape)[network])
            check_bounds(over, one.links.bandwidth, seconds[network], one.links, latency)

        def back() -> Back:
            return ring_parts(ring, ways, gates, times)

        def uses() -> list[LinkUse]:
            return [
                _use(number, one.routes, gates[number], times.finish[number]) for number, one in enumerate(self.links)
            ]

        # A rank ends after its own last byte has left, and nobody else sends on its links.
        return Solution(times.finish, back, uses, np.ones(len(gates), bool), self)


def _use(
    network: int, routes: Sequence[tuple[int, ...] | None], begin: Sequence[float], end: Sequence[float]
) -> LinkUse:
    """What flows along these routes use on one network, each from its beginning to its end (s)."""
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    for route, start, until in zip(routes, begin, end, strict=True):
        for link in route or ():
            first[link], last[link] = min(start, first.get(link, start)), max(until, last.get(link, until))
    links = np.array(list(first), np.int64)
    times = (np.array(list(one.values()), float)[:, None] for one in (first, last))
    return LinkUse(np.array([network]), links, *times)


class ServerNetworks:
    """The same round of a parameter server on N networks."""

    def __init__(self, ways: Sequence[ServerLinks], placements: Sequence[Placement]):
        self.push, self.pull = Way([way.push for way in ways]), Way([way.pull for way in ways])
        self._placements = placements
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def _pushed(self, begun: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """(N, K) s at which each push has left; that of the last time, where it is the same, as only what is pulled has
        another size from round to round in many methods."""
        if self._last is None or not (np.array_equal(begun, self._last[0]) and np.array_equal(sizes, self._last[1])):
            self._last = begun, sizes, incast(begun, sizes, self.push.own, self.push.shared)
        return self._last[2]

    def solve(self, schedule: Schedule, gates: np.ndarray) -> Solution:
        """``gates``: (N, K) s at which each worker is ready."""
        push, pull, workers = self.push, self.pull, gates.shape[1]
        sizes_up, sizes_down = schedule.nbytes[..., :workers], schedule.nbytes[..., workers + 1 :]
        begun = gates + push.extra
        pushed = self._pushed(begun, sizes_up)
        landed = pushed + push.latency
        last = landed.argmax(axis=1)[:, None]
        arrived = np.take_along_axis(landed, last, axis=1)
        added = arrived + schedule.delay[..., workers, None]
        sent = added + pull.extra
        pulled = incast(sent, sizes_down, pull.own, pull.shared)
        finish = pulled + pull.latency
        seconds = finish.max(axis=1)
        wrong = np.zeros(len(gates), dtype=bool)
        for way, sizes in ((push, sizes_up), (pull, sizes_down)):
            room = seconds * (1 + 1e-9)
            wrong |= (sizes > way.own * room[:, None] + 1e-6).any(axis=1) | (
                sizes.sum(axis=-1) > way.shared * room + 1e-6
            )
            wrong |= seconds < way.latency.min(axis=1) * (1 - 1e-9)
        for network in np.flatnonzero(wrong).tolist():
            _check(schedule.on(network), self._placements[network], float(seconds[network]))

        def back() -> Back:
            # From every worker's end backwards, through the one whose message came last: times and what lies between.
            begin = finish
            spent = {what: np.zeros_like(finish) for what in ("transfer", "latency", "aggregate")}
            for what, time in (
                ("latency", pulled), ("transfer", sent), ("latency", added), ("aggregate", arrived),
                ("latency", np.take_along_axis(pushed, last, axis=1)),
                ("transfer", np.take_along_axis(begun, last, axis=1)),
                ("latency", np.take_along_axis(gates, last, axis=1)),
            ):  # fmt: skip
                until = np.minimum(begin, np.maximum(time, gates))
                spent[what] += begin - until
                begin = until
            return spent["transfer"], spent["latency"], spent["aggregate"], begin

        def uses() -> list[LinkUse]:
            found = []
            for number, placement in enumerate(self._placements):
                starts = [*begun[number], 0.0, *np.broadcast_to(sent[number], workers)]
                ends = [*pushed[number], 0.0, *pulled[number]]
                found.append(_use(number, placement.routes, starts, ends))
            return found

        # Whoever is ready again has pulled, which it did when all had pushed; the pulls wait for all of them to be.
        return Solution(finish, back, uses, np.ones(len(gates), bool), self)


def solve_events(schedule: Schedule, placement: Placement, gates: np.ndarray) -> Solution:
    """An exchange simulated event by event on one network of its own; ``gates``: (K,) s."""
    finish = np.zeros(len(gates))
    execution = run_alone(schedule, placement, gates.tolist(), finish.__setitem__)
    if execution.open:
        stuck = execution.network.stalled()
        if stuck is not None:
            raise stuck
    _check(schedule, placement, max(execution.landed, default=0.0))

    parts = np.zeros((4, 1, len(gates)))
    for participant, (ready, end) in enumerate(zip(gates.tolist(), finish.tolist())):
        *spent, _, begin = chain(execution, execution.finisher[participant], ready, end)
        parts[:, 0, participant] = *spent, begin
    uses = [_use(0, placement.routes, execution.begun, execution.departed)]
    back = parts[0], parts[1], parts[2], parts[3]
    return Solution(finish[None], lambda: back, lambda: uses, np.ones(1, bool))


def unsolved(gates: np.ndarray) -> Solution:
    """Nothing solved on any network; ``gates``: (N, K) s."""
    nothing = np.zeros(gates.shape)
    return Solution(gates, lambda: (nothing, nothing, nothing, gates), lambda: [], np.zeros(len(gates), bool))


def solve_flows(flows: FlowNetworks, schedule: Schedule, gates: np.ndarray) -> Solution:
    """Any exchange on N networks, where no two of its flows are on a link at a time; ``gates``: (N, K) s."""
    times = flows.solve(schedule, gates.T)

    def back() -> Back:
        transfer, latency, aggregate, begin = flows.back(times, gates.T)
        return transfer.T, latency.T, aggregate.T, begin.T

    def uses() -> list[LinkUse]:
        return [use.on(times.apart[use.networks]) for use in times.uses]

    return Solution(times.finish.T, back, uses, times.apart)


def together(numbers: Sequence[np.ndarray], solutions: Sequence[Solution]) -> Solution:
    """Solutions of one exchange, each on the networks of these numbers, as one on all; where several are of one, the
    last counts."""
    networks = 1 + max(int(some.max()) for some in numbers)
    finish = np.zeros((networks, solutions[0].finish.shape[1]))
    solved = np.zeros(networks, bool)
    for some, one in zip(numbers, solutions, strict=True):
        finish[some], solved[some] = one.finish, one.solved

    def back() -> Back:
        parts = np.zeros((4, *finish.shape))
        for some, one in zip(numbers, solutions, strict=True):
            parts[:, some] = one.back()
        return parts[0], parts[1], parts[2], parts[3]

    def uses() -> list[LinkUse]:
        return [
            replace(use, networks=some[use.networks])
            for some, one in zip(numbers, solutions, strict=True)
            for use in one.uses()
        ]

    return Solution(finish, back, uses, solved)


def _check(schedule: Schedule, placement: Placement, seconds: float) -> None:
    links = placement.links
    check_bounds(moved(schedule, placement).links, links.bandwidth, seconds, links, placement.least_latency)
