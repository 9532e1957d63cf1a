"""Max-min fair sharing of links, kept up to date change by change.

No rate can rise without lowering a smaller or equal one (Bertsekas & Gallager, Data
Networks, 6.5.2).

Every link has a level: the rate of the flows that it limits (infinite where it limits none), such
that its flows, each at its level or at what other links leave it, fill it. Levels that agree with
each other everywhere are the max-min fair allocation: a flow's lowest level is at a full link on
which nobody is faster. A change is followed from link to link as far as it has effects, and no
further: links that stay half empty whatever their flows come to are not looked at.
"""

from __future__ import annotations

import heapq

from simgmc.core.errors import SimgmcError
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")
_ROUNDING = 1e-6
"""Share of a link's capacity below which room to spare counts as none: the link is then looked at."""


class CapacityError(SimgmcError):
    """An internal error: the allocation broke one of its bounds."""


class Transfer:
    """One flow under way. ``run`` and ``index`` say whose and which flow it is."""

    __slots__ = (
        "run", "index", "route", "routed", "latency", "cap", "remaining", "rate", "updated", "end", "noted",
        "prediction", "low", "narrow", "next",
    )  # fmt: skip

    def __init__(self, run, index: int, route: tuple[int, ...] | None, latency: float, nbytes: float, cap: float):
        self.run = run
        self.index = index
        self.route = route or ()
        """The links it takes, none where it has no route or stays on its host."""
        self.routed = route is not None
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
        self.low = cap
        """The lowest of its links' levels and its cap: its fair rate."""
        self.narrow = -1
        """The link that has this level; -1: its cap."""
        self.next = _INFINITY
        """The lowest of the others: what it could have if that link had room."""


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
        self._spare = list(self.capacity)
        """Per link that limits none: at most what its flows leave of it (bytes/s)."""
        self._touched: dict[int, None] = {}
        """Links that may limit other flows, or at another rate, than when their level was found."""
        self._fresh: dict[Transfer, None] = {}
        """Flows that have no rate yet."""

    @property
    def outdated(self) -> bool:
        """Whether something has changed since the last :meth:`update`."""
        return bool(self._touched or self._fresh)

    def add(self, flow: Transfer) -> None:
        """A flow takes bandwidth from now on."""
        on, level, spare, capacity = self.on, self.level, self._spare, self.capacity
        self._look_around(flow)
        self._fresh[flow] = None
        # What it comes to at most, as long as no level rises; _spread tells its links if one does.
        most = flow.low
        if most == _INFINITY:
            most = min([capacity[link] for link in flow.route])
        for link in flow.route:
            members, room = on[link], capacity[link]
            if level[link] == _INFINITY and (
                spare[link] - most > _ROUNDING * room or (not members and flow.low <= room)
            ):
                spare[link] -= most
            else:
                self._touched[link] = None
            members[flow] = None

    def remove(self, flow: Transfer) -> None:
        """A flow takes no bandwidth any more."""
        on, level, spare = self.on, self.level, self._spare
        used = 0.0 if flow in self._fresh else flow.low
        self._fresh.pop(flow, None)
        for link in flow.route:
            members = on[link]
            del members[flow]
            if level[link] < _INFINITY:
                self._touched[link] = None
            else:
                spare[link] = spare[link] + used if members else self.capacity[link]

    def set_capacity(self, link: int, bandwidth: float) -> None:
        """A link has another bandwidth (bytes/s) from now on."""
        self.capacity[link] = bandwidth
        self._touched[link] = None
        for flow in self._fresh:
            # Other links on its way may have counted on less of it.
            if link in flow.route:
                self._touched.update(dict.fromkeys(flow.route))

    def _look_around(self, flow: Transfer) -> None:
        """Find the lowest of the levels on a flow's way, and the next."""
        level = self.level
        low, narrow, after = flow.cap, -1, _INFINITY
        for link in flow.route:
            there = level[link]
            if there < low:
                low, narrow, after = there, link, low
            elif there < after:
                after = there
        flow.low, flow.narrow, flow.next = low, narrow, after

    def update(self) -> list[Transfer]:
        """The flows whose rates are no longer fair after what has changed; their lowest level is."""
        moved = self._spread()
        self._assert_room(self._touched)
        self._touched = {}
        moved |= self._fresh
        self._fresh = {}
        return [flow for flow in moved if flow.low != flow.rate]

    def _spread(self) -> dict[Transfer, None]:
        """Levels after changes at the touched links, to which all are added whose levels change; the flows whose
        lowest level may have changed.

        Links are brought into agreement from the lowest level upwards, since a level depends on
        lower ones alone.
        """
        on, capacity, level, spare = self.on, self.capacity, self.level, self._spare
        push, pop = heapq.heappush, heapq.heappop
        changed = self._touched
        # What was limited there, or is new, may change; so may whoever is next to them.
        queue: list[tuple[float, int]] = [(0.0, link) for link in sorted(changed)]
        waiting: dict[int, float] = dict.fromkeys(changed, 0.0)
        moved: dict[Transfer, None] = {}
        patience = 100 + 20 * len(level)
        while queue:
            key, link = pop(queue)
            if waiting.get(link) != key:
                continue
            del waiting[link]
            members = on[link]
            old, new, room = level[link], _INFINITY, capacity[link]
            # What the flows here could have elsewhere.
            elsewhere = [flow.next if flow.narrow == link else flow.low for flow in members]
            wanted = sum(elsewhere)
            if wanted > room:
                elsewhere.sort()
                many = len(elsewhere)
                for most in elsewhere:
                    share = room / many
                    if most >= share:
                        new = share
                        break
                    room -= most
                    many -= 1
            if new == _INFINITY:
                spare[link] = capacity[link] - wanted
            if new == old:
                continue
            patience -= 1
            if patience < 0:
                return self._start_over()
            level[link] = new
            changed[link] = None
            for flow in members:
                low, narrow, after = flow.low, flow.narrow, flow.next
                if narrow == link:
                    if new <= after:
                        flow.low = new
                    else:
                        self._look_around(flow)
                elif new < low:
                    flow.low, flow.narrow, flow.next = new, link, low
                elif new < after:
                    flow.next = new
                elif old <= after and new > after:
                    self._look_around(flow)
                if flow.low != low:
                    moved[flow] = None
                elif flow.next == after:
                    continue
                # What this flow could have elsewhere, as seen from its other links.
                lower, limit = flow.low, flow.narrow
                for other in flow.route:
                    if other == link:
                        continue
                    was = after if narrow == other else low
                    now = flow.next if limit == other else lower
                    if was == now:
                        continue
                    there = level[other]
                    if there == _INFINITY:
                        if now < was:
                            continue
                        spare[other] -= now - was
                        room = capacity[other]
                        if spare[other] > _ROUNDING * room or (now <= room and len(on[other]) == 1):
                            continue
                    elif was >= there and now >= there:
                        continue
                    lowest = was if was < now else now
                    if there < lowest:
                        lowest = there
                    if waiting.get(other, _INFINITY) > lowest:
                        waiting[other] = lowest
                        push(queue, (lowest, other))
        return moved

    def _assert_room(self, links: dict[int, None]) -> None:
        """Raises CapacityError where flows have more than fits."""
        for link in links:
            used = sum([flow.low for flow in self.on[link]])
            if used > self.capacity[link] * (1 + 1e-9):
                source, destination = self.links.names[link]
                raise CapacityError(
                    f"link {source} -> {destination} carries {used!r} bytes/s, more than its {self.capacity[link]!r}"
                )

    def _start_over(self) -> dict[Transfer, None]:
        """All levels anew by progressive filling: the link with the smallest equal share fixes
        its flows at that share, what they take is subtracted elsewhere, and so on."""
        on = self.on
        room, count = list(self.capacity), [len(flows) for flows in on]
        level = self.level
        level[:] = [_INFINITY] * len(level)
        flows = {flow: None for members in on for flow in members}
        capped = [flow for flow in flows if flow.cap < _INFINITY]
        queue: list[tuple[float, int]] = [(room[link] / many, link) for link, many in enumerate(count) if many]
        queue += [(flow.cap, -1 - number) for number, flow in enumerate(capped)]
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
            for flow in on[link] if link >= 0 else (capped[-1 - link],):
                if flow not in fixed:
                    fixed.add(flow)
                    for other in flow.route:
                        room[other] -= lowest
                        count[other] -= 1
        for flow in flows:
            self._look_around(flow)
        for link, members in enumerate(on):
            self._touched[link] = None
            self._spare[link] = self.capacity[link] - sum([flow.low for flow in members])
        return flows
