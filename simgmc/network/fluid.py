"""The fluid network: flows share links by max-min fairness, event by event.

A link is one direction of a wire. At any instant the rates of the flows under way are
the max-min fair allocation: no rate can rise without lowering a smaller or equal one
(Bertsekas & Gallager, Data Networks, 6.5.2). It is found by progressive filling: the
link with the smallest equal share fixes its flows at that share, what they take is
subtracted elsewhere, and so on.

The engine keeps one heap of future events and knows the next one at any time
(:attr:`FluidNetwork.next_time`), so one timer drives it inside another event loop.
Everything that happens at one instant is handled before rates are computed anew, once:
the order of ties cannot matter. Rates are recomputed only for flows connected with the
change by shared links; a flow whose rate stays the same keeps its predicted end to the
last bit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from simgmc.errors import SimgmcError
from simgmc.network.routing import Links

_INFINITY = float("inf")


class StuckError(SimgmcError):
    """A flow that can never finish; says which, why and since when."""

    def __init__(self, message: str, time: float):
        super().__init__(message)
        self.time = time
        """Simulated seconds at which nothing could move any more."""


class CapacityError(SimgmcError):
    """An internal error: the allocation broke one of its bounds."""


class Transfer:
    """One flow under way. ``run`` and ``index`` say whose and which flow it is."""

    __slots__ = (
        "run", "index", "route", "latency", "cap", "remaining", "rate", "updated", "prediction", "mark",
    )  # fmt: skip

    def __init__(self, run, index: int, route: tuple[int, ...] | None, latency: float, nbytes: float, cap: float):
        self.run = run
        self.index = index
        self.route = route
        self.latency = latency
        self.cap = cap
        self.remaining = nbytes
        self.rate = 0.0
        self.updated = 0.0
        self.prediction = -1
        self.mark = 0


class FluidNetwork:
    """Links, the flows on them and the events to come.

    ``latency_first``: a flow pays its route's latency before it takes bandwidth, instead
    of after its last byte has left (the default).

    A *run* owns transfers and is told what happens to them: ``run.started(index, time)``
    when a flow takes bandwidth, ``run.left(index, time)`` when its last byte has left the sender and ``run.arrived(index, time)`` when it has
    arrived; it names them by ``run.describe(index)``.
    """

    def __init__(self, links: Links, latency_first: bool = False):
        self.links = links
        self.latency_first = latency_first
        self.now = 0.0
        self.capacity = list(links.bandwidth)
        self.delivered = 0
        """Flows that have arrived so far."""
        self._on: list[dict[Transfer, None]] = [{} for _ in self.capacity]
        self._heap: list[tuple[float, int, Callable[[Transfer], None] | None, object]] = []
        self._order = 0
        self._touched: dict[int, None] = {}
        self._level: list[float] = [_INFINITY] * len(self.capacity)
        self._mark = 0
        self.trace: list[tuple[float, Transfer, float]] | None = None
        """Where to note every change of a flow's rate: (time, flow, bytes/s); None: nowhere."""
        self.wake: Callable[[float], None] | None = None
        """Called with the time of the next event whenever that may have become earlier."""

    # events -----------------------------------------------------------------

    @property
    def next_time(self) -> float:
        """Simulated seconds of the next event, infinity when nothing is scheduled."""
        heap = self._heap
        while heap:
            time, order, action, payload = heap[0]
            if action is None and payload.prediction != order:
                heapq.heappop(heap)
                continue
            return time
        return _INFINITY

    def at(self, time: float, action: Callable, payload: object = None) -> None:
        """Call ``action(payload)`` at a simulated time, before rates are computed there."""
        self._order += 1
        heapq.heappush(self._heap, (time, self._order, action, payload))
        if self.wake is not None:
            self.wake(time)

    def set_bandwidth(self, change: tuple[int, float]) -> None:
        """Change a link's bandwidth now: ``(link, bytes/s)``."""
        link, bandwidth = change
        self.capacity[link] = bandwidth
        self._touched[link] = None
        if self.wake is not None:
            self.wake(self.now)

    def remove(self, run: object) -> None:
        """Take a run's flows off the network; bytes already sent are lost."""
        for link, flows in enumerate(self._on):
            for transfer in [transfer for transfer in flows if transfer.run is run]:
                del flows[transfer]
                transfer.prediction = -1
                self._touched[link] = None
        if self.wake is not None:
            self.wake(self.now)

    def start(self, transfer: Transfer) -> None:
        """A flow is ready: it takes bandwidth now (or, latency first, one latency later)."""
        if transfer.route is None:
            raise StuckError(
                f"{transfer.run.describe(transfer.index)} is stuck at t = {self.now:.9g} s: the network has no route between them",
                self.now,
            )
        if self.latency_first and transfer.latency > 0:
            self.at(self.now + transfer.latency, self._begin, transfer)
        else:
            self._begin(transfer)

    def _begin(self, transfer: Transfer) -> None:
        transfer.run.started(transfer.index, self.now)
        if transfer.remaining <= 0 or (not transfer.route and transfer.cap == _INFINITY):
            self._leave(transfer)
            return
        transfer.updated = self.now
        if not transfer.route:
            self._set_rate(transfer, transfer.cap)
            return
        on, touched = self._on, self._touched
        for link in transfer.route:
            on[link][transfer] = None
            touched[link] = None

    def _leave(self, transfer: Transfer) -> None:
        now = self.now
        if self.trace is not None:
            self.trace.append((now, transfer, 0.0))
        transfer.run.left(transfer.index, now)
        if self.latency_first or transfer.latency == 0:
            self._arrive(transfer)
        else:
            self._order += 1
            heapq.heappush(self._heap, (now + transfer.latency, self._order, self._arrive, transfer))

    def _arrive(self, transfer: Transfer) -> None:
        self.delivered += 1
        transfer.run.arrived(transfer.index, self.now)

    def advance(self) -> None:
        """Handle everything that happens at the next event's time, then share anew."""
        heap = self._heap
        time = self.next_time
        if self._touched and time > self.now:
            self._refill()
            time = self.next_time
        if time == _INFINITY:
            return
        self.now = time
        on, touched = self._on, self._touched
        while heap and heap[0][0] == time:
            _, order, action, payload = heapq.heappop(heap)
            if action is not None:
                action(payload)
            elif payload.prediction == order:
                payload.prediction = -1
                for link in payload.route:
                    del on[link][payload]
                    touched[link] = None
                self._leave(payload)
        if touched:
            self._refill()

    def catch_up(self, time: float) -> None:
        """Move the clock to a time before the next event, to make changes from outside there."""
        if time > self.now:
            self.now = time

    def settle(self) -> None:
        """Share anew after changes made from outside, at the present time."""
        if self._touched:
            self._refill()

    def run(self) -> None:
        """Advance until nothing is left to happen."""
        self.settle()
        while self.next_time < _INFINITY:
            self.advance()

    # sharing ----------------------------------------------------------------

    def _set_rate(self, transfer: Transfer, rate: float) -> None:
        now = self.now
        if transfer.rate > 0.0:
            transfer.remaining -= transfer.rate * (now - transfer.updated)
            if transfer.remaining < 0.0:
                transfer.remaining = 0.0
        transfer.updated = now
        transfer.rate = rate
        if self.trace is not None:
            self.trace.append((now, transfer, rate))
        self._order += 1
        transfer.prediction = self._order
        if rate > 0.0:
            heapq.heappush(self._heap, (now + transfer.remaining / rate, self._order, None, transfer))

    def _refill(self) -> None:
        """Max-min rates for every flow connected with the touched links."""
        on, capacity, level = self._on, self.capacity, self._level
        self._mark += 1
        mark = self._mark
        links: list[int] = []
        for link in self._touched:
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
                        self._set_rate(flow, rate)
            elif flows:
                links.append(link)
            else:
                level[link] = _INFINITY
        self._touched.clear()
        if links:
            self._spread(links)

    def _spread(self, links: list[int]) -> None:
        """Max-min rates after a change at some links, followed as far as it has effects.

        Every link has a level: the rate of the flows that it limits (infinite where it limits
        none), such that its flows, each at its level or at what other links leave it, fill it.
        Levels that agree with each other everywhere are the max-min fair allocation: a flow's
        lowest level is at a full link on which nobody is faster. Links are brought into
        agreement from the lowest level upwards, since a level depends on lower ones alone.
        """
        on, capacity, level = self._on, self.capacity, self._level
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
                route = flow.route
                most = flow.cap
                if len(route) == 2:
                    there = level[route[1] if route[0] == link else route[0]]
                    elsewhere.append(there if there < most else most)
                    continue
                for other in route:
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
                self._start_over()
                return
            level[link] = new
            changed[link] = None
            for flow in members:
                route = flow.route
                if len(route) == 2 and flow.cap == _INFINITY:
                    other = route[1] if route[0] == link else route[0]
                    there = level[other]
                    if old < there or new < there:
                        low = old if old < new else new
                        if there < low:
                            low = there
                        if waiting.get(other, _INFINITY) > low:
                            waiting[other] = low
                            push(queue, (low, other))
                    continue
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
        self._apply_levels(changed)

    def _apply_levels(self, links: dict[int, None]) -> None:
        """Give the flows on some links the lowest of their levels; assert that it fits."""
        on, capacity, level = self._on, self.capacity, self._level
        for link in links:
            used = 0.0
            for flow in on[link]:
                rate = flow.cap
                for other in flow.route:
                    there = level[other]
                    if there < rate:
                        rate = there
                used += rate
                if rate != flow.rate:
                    self._set_rate(flow, rate)
            if used > capacity[link] * (1 + 1e-9):
                source, destination = self.links.names[link]
                raise CapacityError(
                    f"internal error at t = {self.now!r} s: link {source} -> {destination} carries "
                    f"{used!r} bytes/s, more than its {capacity[link]!r}"
                )

    def _start_over(self) -> None:
        """All levels anew by progressive filling: the link with the smallest equal share fixes
        its flows at that share, what they take is subtracted elsewhere, and so on."""
        on = self._on
        room, count = list(self.capacity), [len(flows) for flows in on]
        level = self._level
        level[:] = [_INFINITY] * len(level)
        flows = [flow for flow, _ in self.rates()]
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
        self._apply_levels(dict.fromkeys(link for link, members in enumerate(on) if members))

    # accounts ---------------------------------------------------------------

    def rates(self) -> list[tuple[Transfer, float]]:
        """Every flow that holds bandwidth now, with its rate in bytes/s."""
        found: dict[Transfer, float] = {}
        for flows in self._on:
            for flow in flows:
                found[flow] = flow.rate
        return list(found.items())

    def stalled(self, among: set[int] | None = None) -> StuckError | None:
        """Why a flow under way cannot move (background traffic aside), if some cannot; ``among``:
        only flows over one of these links count."""
        for transfer, rate in self.rates():
            if rate == 0.0 and not getattr(transfer.run, "background", False):
                if among is not None and not among.intersection(transfer.route):
                    continue
                dead = [self.links.names[link] for link in transfer.route if self.capacity[link] == 0.0]
                reason = (
                    "link " + " and ".join(f"{a} -> {b}" for a, b in dead) + " has no bandwidth"
                    if dead
                    else "its own rate cap is 0 bytes/s"
                )
                since = transfer.updated
                return StuckError(
                    f"{transfer.run.describe(transfer.index)} is stuck at t = {since:.9g} s with "
                    f"{transfer.remaining:.9g} bytes to go: {reason}",
                    since,
                )
        return None
