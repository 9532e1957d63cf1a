"""Max-min fair sharing of links, kept up to date change by change.

No rate can rise without lowering a smaller or equal one (Bertsekas & Gallager, Data
Networks, 6.5.2).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from simgmc.core.errors import SimgmcError
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")


class CapacityError(SimgmcError):
    """An internal error: the allocation broke one of its bounds."""


class Transfer:
    """One flow under way. ``run`` and ``index`` say whose and which flow it is."""

    __slots__ = (
        "run", "index", "route", "routed", "both", "latency", "cap", "remaining", "rate", "updated", "end", "noted",
        "prediction", "mark",
    )  # fmt: skip

    def __init__(self, run, index: int, route: tuple[int, ...] | None, latency: float, nbytes: float, cap: float):
        self.run = run
        self.index = index
        self.route = route or ()
        """The links it takes, none where it has no route or stays on its host."""
        self.routed = route is not None
        self.both = sum(route) if route and len(route) == 2 and cap == _INFINITY else -1
        """For the usual flow, over two links and without a cap: the sum of their numbers."""
        self.latency = latency
        self.cap = cap
        self.remaining = nbytes
        self.rate = 0.0
        self.updated = 0.0
        self.end = _INFINITY
        """When its last byte leaves at the present rate."""
        self.noted = _INFINITY
        """The time under which it is in the engine's heap: no later than its end."""
        self.prediction = -1
        """The number of that entry; -1: none."""
        self.mark = 0


class MaxMin:
    """Which flows are on which link, and what is fair."""

    def __init__(self, links: Links):
        self.links = links
        self.capacity = list(links.bandwidth)
        """Bytes/s of each link now."""
        self.on: list[dict[Transfer, None]] = [{} for _ in self.capacity]
        """Per link: the flows that hold bandwidth on it, in the order of their arrival."""
        self.level: list[float] = [_INFINITY] * len(self.capacity)
        """Per link: the rate of the flows that it limits; infinite where it limits none."""
        self._mark = 0

    def update(self, touched: Iterable[int]) -> list[tuple[Transfer, float]]:
        """The flows whose rates are no longer fair after changes at some links, with their new
        rates in bytes/s."""
        on, capacity, level = self.on, self.capacity, self.level
        self._mark += 1
        mark = self._mark
        changes: list[tuple[Transfer, float]] = []
        links: list[int] = []
        for link in touched:
            flows = on[link]
            if len(flows) == 1:
                # A flow alone on its whole route: no filling to do.
                (flow,) = flows
                if flow.mark == mark:
                    continue
                rate, narrow = flow.cap, -1
                for other in flow.route:
                    if len(on[other]) != 1:
                        links.append(link)
                        break
                    if capacity[other] < rate:
                        rate, narrow = capacity[other], other
                else:
                    flow.mark = mark
                    for other in flow.route:
                        level[other] = rate if other == narrow else _INFINITY
                    if rate != flow.rate:
                        changes.append((flow, rate))
            elif flows:
                links.append(link)
            else:
                level[link] = _INFINITY
        if links:
            self._fair(self._spread(links), changes)
        return changes

    def _spread(self, links: list[int]) -> dict[int, None]:
        """Levels after a change at some links, followed as far as it has effects; returns the
        links whose flows may have new rates.

        Every link has a level: the rate of the flows that it limits (infinite where it limits
        none), such that its flows, each at its level or at what other links leave it, fill it.
        Levels that agree with each other everywhere are the max-min fair allocation: a flow's
        lowest level is at a full link on which nobody is faster. Links are brought into
        agreement from the lowest level upwards, since a level depends on lower ones alone.
        """
        on, capacity, level = self.on, self.capacity, self.level
        push, pop = heapq.heappush, heapq.heappop
        queue: list[tuple[float, int]] = []
        waiting: dict[int, float] = {}
        for link in links:
            # What was limited here, or is new, may change; so may whoever is next to them.
            waiting[link] = 0.0
            push(queue, (0.0, link))
        changed: dict[int, None] = dict.fromkeys(links)
        patience = 100 + 20 * len(level)
        while queue:
            key, link = pop(queue)
            if waiting.get(link) != key:
                continue
            del waiting[link]
            members = on[link]
            old = level[link]
            # What the flows here could have elsewhere.
            elsewhere: list[float] = []
            for flow in members:
                if flow.both >= 0:
                    elsewhere.append(level[flow.both - link])
                    continue
                most = flow.cap
                for other in flow.route:
                    if other != link:
                        there = level[other]
                        if there < most:
                            most = there
                elsewhere.append(most)
            room = capacity[link]
            new = _INFINITY
            if elsewhere and sum(elsewhere) > room:
                elsewhere.sort()
                many = len(elsewhere)
                for most in elsewhere:
                    share = room / many
                    if most >= share:
                        new = share
                        break
                    room -= most
                    many -= 1
            if new == old:
                continue
            patience -= 1
            if patience < 0:
                return self._start_over()
            level[link] = new
            changed[link] = None
            for flow in members:
                if flow.both >= 0:
                    other = flow.both - link
                    there = level[other]
                    if old < there or new < there:
                        low = old if old < new else new
                        if there < low:
                            low = there
                        if waiting.get(other, _INFINITY) > low:
                            waiting[other] = low
                            push(queue, (low, other))
                    continue
                route = flow.route
                for other in route:
                    if other == link:
                        continue
                    # What this flow could have elsewhere, as seen from the other link.
                    before, after = old, new
                    if flow.cap < before:
                        before = flow.cap
                    if flow.cap < after:
                        after = flow.cap
                    if len(route) > 2:
                        for third in route:
                            if third != link and third != other:
                                there = level[third]
                                if there < before:
                                    before = there
                                if there < after:
                                    after = there
                    if before == after:
                        continue
                    there = level[other]
                    if before >= there and after >= there:
                        continue
                    low = before if before < after else after
                    if there < low:
                        low = there
                    if waiting.get(other, _INFINITY) > low:
                        waiting[other] = low
                        push(queue, (low, other))
        return changed

    def _fair(self, links: dict[int, None], changes: list[tuple[Transfer, float]]) -> None:
        """Give the flows on some links the lowest of their levels; assert that it fits."""
        self._mark += 1
        mark = self._mark
        on, capacity, level = self.on, self.capacity, self.level
        for link in links:
            used, own = 0.0, level[link]
            for flow in on[link]:
                if flow.both >= 0:
                    there = level[flow.both - link]
                    rate = there if there < own else own
                else:
                    rate = flow.cap
                    for other in flow.route:
                        there = level[other]
                        if there < rate:
                            rate = there
                used += rate
                if rate != flow.rate and flow.mark != mark:
                    flow.mark = mark
                    changes.append((flow, rate))
            if used > capacity[link] * (1 + 1e-9):
                source, destination = self.links.names[link]
                raise CapacityError(
                    f"link {source} -> {destination} carries {used!r} bytes/s, more than its {capacity[link]!r}"
                )

    def _start_over(self) -> dict[int, None]:
        """All levels anew by progressive filling: the link with the smallest equal share fixes
        its flows at that share, what they take is subtracted elsewhere, and so on."""
        on = self.on
        room, count = list(self.capacity), [len(flows) for flows in on]
        level = self.level
        level[:] = [_INFINITY] * len(level)
        flows = list({flow: None for members in on for flow in members})
        queue: list[tuple[float, int]] = [(room[link] / many, link) for link, many in enumerate(count) if many]
        queue += [(flow.cap, -1 - number) for number, flow in enumerate(flows) if flow.cap < _INFINITY]
        heapq.heapify(queue)
        fixed: set[Transfer] = set()
        lowest = 0.0
        while len(fixed) < len(flows):
            share, link = heapq.heappop(queue)
            if link >= 0:
                if not count[link]:
                    continue
                current = room[link] / count[link]
                if current > share:
                    heapq.heappush(queue, (current, link))
                    continue
            # Shares only grow while filling; rounding must not turn that around.
            lowest = max(lowest, share)
            if link >= 0:
                level[link] = lowest
            for flow in on[link] if link >= 0 else (flows[-1 - link],):
                if flow not in fixed:
                    fixed.add(flow)
                    for other in flow.route:
                        room[other] -= lowest
                        count[other] -= 1
        return dict.fromkeys(link for link, members in enumerate(on) if members)
