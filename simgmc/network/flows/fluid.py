"""The fluid network: flows share links by max-min fairness, event by event.

A link is one direction of a wire. At any instant the rates of the flows under way are
the max-min fair allocation, see :mod:`simgmc.network.flows.sharing`.

The engine keeps one :class:`~simgmc.network.flows.agenda.Agenda` of future events and knows the next one at any
time (:attr:`FluidNetwork.next_time`), so one timer drives it inside another event loop.
Everything that happens at one instant is handled before rates are computed anew, once:
the order of ties cannot matter. Rates are recomputed only for flows connected with the
change by shared links; a flow whose rate stays the same keeps its predicted end to the
last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from simgmc.core.errors import SimgmcError
from simgmc.core.heartbeat import BEAT, beat
from simgmc.network.flows.agenda import Action, Agenda
from simgmc.network.flows.sharing import CapacityError, MaxMin, Transfer
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")


class StuckError(SimgmcError):
    """A flow that can never finish; says which, why and since when."""

    def __init__(self, message: str, time: float):
        # Both are arguments: SimPy rebuilds an exception from them when it fails a process.
        super().__init__(message, time)
        self.time = time
        """Simulated seconds at which nothing could move any more."""

    def __str__(self) -> str:
        return self.args[0]


@dataclass
class HoldUps:
    """For how long what held messages up, in seconds."""

    full: list[float]
    """Per link: with messages on it that take all that it has."""
    dead: list[float]
    """Of these, without any bandwidth."""
    seconds: float = 0.0
    """Noted so far, in all."""
    limits: dict[str, float] = field(default_factory=dict)
    """Per limit of the transport, by name: with a message at it that no full link holds up."""


class FluidNetwork:
    """Links, the flows on them and the events to come.

    ``latency_first``: a flow pays its route's latency before it takes bandwidth, instead
    of after its last byte has left (the default).

    A *run* owns transfers and is told what happens to them: ``run.started(index, time)`` when a flow
    takes bandwidth, ``run.left(index, time)`` when its last byte has left the sender and
    ``run.arrived(index, time)`` when it has arrived; it names them by ``run.describe(index)``. Where links fail and
    that is found out, ``run.reroute(transfer)`` takes a transfer round them, by :meth:`replace`.
    """

    def __init__(self, links: Links, latency_first: bool = False):
        self.links = links
        self.latency_first = latency_first
        self.now = 0.0
        self._sharing = MaxMin(links)
        self.capacity = self._sharing.capacity
        """Bytes/s of each link now."""
        self.held: HoldUps | None = None
        """What held messages up so far; None: not noted."""
        self._limit_of: Callable[[float], str] = str
        self._without_links: dict[Transfer, None] = {}
        """Under way over links that never limit, at their own rate cap."""
        self.delivered = 0
        """Flows that have arrived so far."""
        self._on = self._sharing.on
        self._agenda = Agenda()
        self._instants = 0
        """Instants handled so far."""
        self.trace: list[tuple[float, Transfer, float]] | None = None
        """Where to note every change of a flow's rate: (time, flow, bytes/s); None: nowhere."""
        self.arrival: Callable[[Transfer, float], float] | None = None
        """When a flow arrives whose last byte leaves now (s), the flow first; None: after its route's latency."""
        self.wake: Callable[[float], None] = lambda time: None
        """Called with the time of the next event whenever that may have become earlier."""

    # events -----------------------------------------------------------------

    @property
    def next_time(self) -> float:
        """Simulated seconds of the next event, infinity when nothing is scheduled."""
        return self._agenda.next_time

    def at(self, time: float, action: Action, payload: object = None) -> None:
        """Call ``action(payload)`` at a simulated time (s), before rates are computed there."""
        self._agenda.at(time, action, payload)
        self.wake(time)

    def set_bandwidth(self, change: tuple[int, float]) -> None:
        """Change a link's bandwidth now: ``(link, bytes/s)``."""
        self._sharing.set_capacity(*change)
        self.wake(self.now)

    def remove(self, run: object) -> None:
        """Take a run's flows off the network; bytes already sent are lost."""
        for transfer in {transfer: None for flows in self._on for transfer in flows if transfer.run is run}:
            self._sharing.remove(transfer)
            transfer.prediction = -1
        for transfer in [transfer for transfer in self._without_links if transfer.run is run]:
            del self._without_links[transfer]
            transfer.prediction = -1
        self.wake(self.now)

    def withdraw(self, transfer: Transfer) -> None:
        """Take one flow that has not left off the network; bytes already sent are lost."""
        self._without_links.pop(transfer, None)
        if transfer.route and transfer in self._on[transfer.route[0]]:
            self._sharing.remove(transfer)
        transfer.prediction = -1
        if self.trace is not None:
            self.trace.append((self.now, transfer, 0.0))
        self.wake(self.now)

    def start(self, transfer: Transfer) -> None:
        """A flow is ready: it takes bandwidth now (or, latency first, one latency later)."""
        if not transfer.routed:
            raise StuckError(
                f"{transfer.run.describe(transfer.index)} is stuck at t = {self.now:.9g} s: "
                "the network has no route between them",
                self.now,
            )
        if self.latency_first and transfer.latency > 0:
            self.at(self.now + transfer.latency, self._begin, transfer)
        else:
            self._begin(transfer)

    def replace(self, transfer: Transfer, other: Transfer) -> None:
        """The rest of a flow that has not left goes on as another one, over other links."""
        other.remaining = max(transfer.remaining - transfer.rate * (self.now - transfer.updated), 0.0)
        self.withdraw(transfer)
        self._join(other)

    def _begin(self, transfer: Transfer) -> None:
        transfer.run.started(transfer.index, self.now)
        self._join(transfer)

    def _join(self, transfer: Transfer) -> None:
        if transfer.remaining <= 0 or (not transfer.route and transfer.cap == _INFINITY):
            self._leave(transfer)
            return
        transfer.updated = self.now
        if not transfer.route:
            self._without_links[transfer] = None
            self._set_rates([transfer])
            return
        self._sharing.add(transfer)

    def _leave(self, transfer: Transfer) -> None:
        now = self.now
        self._without_links.pop(transfer, None)
        if self.trace is not None:
            self.trace.append((now, transfer, 0.0))
        transfer.run.left(transfer.index, now)
        arrival = now + transfer.latency if self.arrival is None else self.arrival(transfer, now)
        if self.latency_first or (transfer.latency == 0 and arrival == now):
            self._arrive(transfer)
        else:
            self._agenda.at(arrival, self._arrive, transfer)

    def _arrive(self, transfer: Transfer) -> None:
        self.delivered += 1
        transfer.run.arrived(transfer.index, self.now)

    def advance(self) -> None:
        """Handle everything that happens at the next event's time, then share anew."""
        agenda, sharing = self._agenda, self._sharing
        time = agenda.next_time
        if sharing.outdated and time > self.now:
            self._refill()
            time = agenda.next_time
        if time == _INFINITY:
            return
        self._pass(time)
        self._instants += 1
        if self._instants % BEAT == 0:
            beat(time)
        for action, payload in agenda.due(time):
            if action is not None:
                action(payload)
                continue
            if payload.route:
                sharing.remove(payload)
            self._leave(payload)
        if sharing.outdated:
            self._refill()

    def _pass(self, time: float) -> None:
        """Time goes on; where it is asked for, links that held flows up are noted."""
        if self.held is not None and time > self.now:
            self._note(self.held, time - self.now)
        self.now = time

    def _note(self, held: HoldUps, seconds: float) -> None:
        held.seconds += seconds
        full: set[int] = set()
        capped = dict(self._without_links)
        for link, flows in enumerate(self._on):
            if not flows or all(getattr(flow.run, "background", False) for flow in flows):
                continue
            room = self.capacity[link]
            if room < _INFINITY and sum(flow.rate for flow in flows) >= room * (1 - 1e-9):
                full.add(link)
                held.full[link] += seconds
                if room == 0.0:
                    held.dead[link] += seconds
            capped.update((flow, None) for flow in flows if flow.rate >= flow.cap * (1 - 1e-9))
        for limit in {self._limit_of(flow.cap) for flow in capped if full.isdisjoint(flow.route)}:
            held.limits[limit] = held.limits.get(limit, 0.0) + seconds

    def note_hold_ups(self, limit_of: Callable[[float], str]) -> None:
        """Note from now on what holds messages up; ``limit_of``: the name of a limit of so many bytes/s a message."""
        self.held = HoldUps([0.0] * len(self._on), [0.0] * len(self._on))
        self._limit_of = limit_of

    def catch_up(self, time: float) -> None:
        """Move the clock to a time before the next event, to make changes from outside there."""
        if time > self.now:
            self._pass(time)

    def update_rates(self) -> None:
        """Share links anew after changes made from outside, at the present time."""
        if self._sharing.outdated:
            self._refill()

    def run(self) -> None:
        """Advance until nothing is left to happen."""
        self.update_rates()
        while self.next_time < _INFINITY:
            self.advance()

    # sharing ----------------------------------------------------------------

    def _set_rates(self, transfers: list[Transfer]) -> None:
        """Flows go on from now at the rates that are fair."""
        now, sooner = self.now, []
        for transfer in transfers:
            before, left, rate, updated = transfer.rate, transfer.remaining, transfer.low, transfer.updated
            if now > updated:
                if before > 0.0:
                    left -= before * (now - updated)
                    transfer.remaining = left = left if left > 0.0 else 0.0
                transfer.updated = now
            transfer.rate = rate
            transfer.end = end = now + left / rate if rate > 0.0 else _INFINITY
            # A slower flow's entry stays where it is, before its end, until it comes to the top.
            if end < transfer.noted or (transfer.prediction < 0 and end < _INFINITY):
                sooner.append(transfer)
        if self.trace is not None:
            self.trace.extend((now, transfer, transfer.rate) for transfer in transfers)
        if sooner:
            self._agenda.ends(sooner)

    def _refill(self) -> None:
        """New rates after whatever has changed on some links."""
        try:
            changes = self._sharing.update()
        except CapacityError as error:
            raise CapacityError(f"internal error at t = {self.now!r} s: {error}") from error
        self._set_rates(changes)

    # accounts ---------------------------------------------------------------

    def rates(self) -> list[tuple[Transfer, float]]:
        """Every flow that has begun and not left, with its rate in bytes/s."""
        under_way = dict.fromkeys(flow for flows in self._on for flow in flows) | self._without_links
        return [(flow, flow.rate) for flow in under_way]

    def over(self, link: int) -> list[Transfer]:
        """The flows that hold bandwidth on a link now."""
        return list(self._on[link])

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
