"""Workers on a network that work and send messages on their own, without rounds of all.

What happens at one instant is handled together. Its order does not depend on the order in which
the simulation made the events: first come messages that arrive (by receiver, sender, number), then
requests whose turn it is to be served (by the rank that serves, then by the one that has asked),
then work that is done (by worker).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simgmc.costs.steps import SERVER
from simgmc.network.cluster.fabric import Fabric
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.placement import Placement, Ways, shares_of
from simgmc.network.exchanges.schedule import Schedule, StructureBuilder
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import CapacityError, StuckError

_LANDED, _SERVED, _DONE = range(3)
_AFTER_FLOWS, LAST_OF_INSTANT = 10, 20
"""Priorities at one instant: after the events of the network's flows, and after all that follows from these."""


def _one_flow():
    build = StructureBuilder(2)
    build.finish(1, [build.flow(0, 1, gates=(0,))])
    return build.build()


_MESSAGE = _one_flow()


@dataclass(frozen=True)
class Flight:
    """When a message went its way, in simulated seconds."""

    sent: float
    """It was handed to the network."""
    begun: float
    """It was ready to leave; messages before it on its connection may have had to leave first."""
    departed: float
    """Its last byte left."""
    landed: float
    """Its last byte arrived."""

    def segments(self) -> list[tuple[str, float, float]]:
        """(category, start, end) of its way."""
        parts = [
            ("latency", self.sent, self.begun),
            ("transfer", self.begun, self.departed),
            ("latency", self.departed, self.landed),
        ]
        return [part for part in parts if part[2] > part[1]]


class Peers:
    """Workers, and a server where there is one, that work and send on their own."""

    def __init__(
        self,
        settings: ClusterSettings,
        recorder: Recorder | None = None,
        round_at: Callable[[float], int] = lambda time: 0,
    ):
        """``round_at``: the recorder's round to which a message that is sent at this time belongs."""
        self.settings = settings
        self._round_at = round_at
        self.fabric = Fabric(settings)
        self.clock = self.fabric.clock
        self.recorder = recorder
        workers = len(settings.workers)
        self.spent = np.zeros((workers, len(CATEGORIES)))
        """(K, categories) seconds so far, of what is over."""
        self.sent_by_workers = self.received_by_workers = self.into_server = self.out_of_server = 0
        """Bytes delivered so far."""
        self.link_bytes = np.zeros(len(self.fabric.links))
        self.link_messages = np.zeros(len(self.fabric.links), dtype=np.int64)
        self._connections = Connections()
        self._placements: dict[tuple[int, int], Placement] = {}
        self._draws: dict[int, np.ndarray] = {}
        self._due: list[tuple[tuple[int, ...], Callable[[], None]]] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._working: dict[int, tuple[str, float]] = {}
        self.stopped: str | None = None
        """Why the run ended before its end, if it did: a crash, a message that can never arrive."""
        self.over = self.clock.event()
        """Happens when the run is to end."""

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self.clock.now

    def stop(self) -> None:
        """End the run at this instant."""
        if not self.over.triggered:
            self.over.succeed()

    def _stop_at_crash(self, worker: int) -> None:
        self.stopped = f"{self._host(worker)} crashed at t = {self.now:.9g} s"
        self.stop()

    def run(self) -> None:
        """Run until :meth:`stop`, or until nothing more can happen (see :attr:`stopped`)."""
        crashes = self.settings.crashes
        if crashes.policy == "stop" and crashes.workers:
            first = min(crashes.workers, key=lambda crash: (crash.at, crash.worker))
            self.clock.call_at(first.at, lambda _: self._stop_at_crash(first.worker), LAST_OF_INSTANT)
        try:
            self.fabric.run(self.over)
        except StuckError as stuck:
            self.stopped = str(stuck)
        except RuntimeError:
            if self.clock.peek() < float("inf") or self.over.triggered:
                raise
            self.stopped = (
                f"nothing more can happen at t = {self.now:.9g} s: every worker waits for another, or is gone for good"
            )

    # work -------------------------------------------------------------------------

    def compute(self, worker: int, number: int, then: Callable[[], None]) -> None:
        """A worker computes its gradient ``number`` (from 0), whose random time is drawn by that number."""
        times = self._draws.get(number)
        if times is None:
            times = self._draws[number] = self.settings.compute_times(number, 0, 1)
            if len(self._draws) > 4 * len(self.settings.workers):
                del self._draws[min(self._draws)]
        self._work(worker, "compute", float(times[worker]), then)

    def compress(self, worker: int, nbytes: int, then: Callable[[], None]) -> None:
        """A worker runs its compressor over so many bytes."""
        self._work(worker, "compress", self.settings.compression.of(nbytes), then)

    def _work(self, worker: int, category: str, seconds: float, then: Callable[[], None]) -> None:
        asked, crashes = self.now, self.settings.crashes
        begun = asked
        end = self.settings.done(worker, begun, seconds)
        while (crash := crashes.during(worker, begun, end)) is not None:
            if crash.back is None:
                self._working[worker] = ("wait", asked)
                return
            begun = crash.back
            end = self.settings.done(worker, begun, seconds)
        self._working[worker] = (category, begun)

        def done() -> None:
            del self._working[worker]
            self.blocked(worker, asked, [(category, begun, end)])
            then()

        self.clock.call_at(end, lambda _: self._happens((_DONE, worker), done))

    def blocked(self, worker: int, since: float, segments: list[tuple[str, float, float]]) -> None:
        """Add up what a worker's time from ``since`` until now went into.

        Of the segments (category, start, end) only what lies in that time counts; the rest of it is waiting.
        """
        now = self.now
        waited = now - since
        for category, start, end in segments:
            start, end = max(start, since), min(end, now)
            if end > start:
                self.spent[worker, CATEGORIES.index(category)] += end - start
                waited -= end - start
                if self.recorder is not None:
                    self.recorder.work(worker, category, start, end)
        self.spent[worker, CATEGORIES.index("wait")] += max(waited, 0.0)

    def close(self, waiting: dict[int, float]) -> np.ndarray:
        """(K, categories) seconds until now, work and waiting that are not over yet included.

        ``waiting``: since when those workers wait that do.
        """
        spent = self.spent.copy()
        for worker, since in waiting.items():
            spent[worker, CATEGORIES.index("wait")] += self.now - since
        for worker, (category, begun) in self._working.items():
            begun = min(begun, self.now)
            accounted = spent[worker].sum()
            spent[worker, CATEGORIES.index(category)] += self.now - begun
            spent[worker, CATEGORIES.index("wait")] += max(begun - accounted, 0.0)
        return spent

    # messages ---------------------------------------------------------------------

    def send(self, source: int, destination: int, nbytes: int, then: Callable[[Flight], None]) -> None:
        """Send a message from one rank to another; it arrives after those sent before it between the two.

        Between ranks of the same host, such as a worker and a server beside it, at once: nothing goes over the network.
        """
        fabric, sent = self.fabric, self.now
        pair, hosts = (source, destination), [self._host(source), self._host(destination)]
        number = self._numbers[pair] = self._numbers.get(pair, 0) + 1
        if hosts[0] == hosts[1]:
            self._happens((_LANDED, destination, source, number), lambda: then(Flight(sent, sent, sent, sent)))
            return
        if pair not in self._placements:
            self._placements[pair] = Placement(_MESSAGE, hosts, fabric.links, self.settings.overheads)
        placement = self._placements[pair]

        def arrived(participant: int, time: float) -> None:
            if participant == 1:
                back = self._return(destination)
                if back < float("inf"):
                    self.clock.call_at(
                        max(back, time), lambda _: self._happens((_LANDED, destination, source, number), landed)
                    )

        def landed() -> None:
            flight = Flight(sent, execution.queued[0], execution.departed[0], execution.landed[0])
            self._check(flight, execution.begun[0], nbytes, placement)
            self._count(source, destination, nbytes, execution.rerouted.get(0, placement.ways[0]))
            then(flight)

        message = Schedule(_MESSAGE, np.array([float(nbytes)]), np.zeros(1))
        execution = Execution(fabric.network, message, placement, arrived, self._connections)
        fabric.network.catch_up(sent)
        execution.ready(1)
        execution.ready(0)
        fabric.network.wake(sent)
        if self.recorder is not None:
            self.recorder.exchange(self._round_at(sent), execution)

    def _host(self, rank: int) -> str:
        return self.settings.server_hosts[0] if rank == SERVER else self.settings.workers[rank]

    def _return(self, rank: int) -> float:
        """When a crashed rank is back (0: it is not gone; infinity: never)."""
        if rank == SERVER or not self.settings.crashes.workers:
            return 0.0
        now = self.now
        gone = [
            c
            for c in self.settings.crashes.workers
            if c.worker == rank and c.at <= now and (c.back is None or now < c.back)
        ]
        return (float("inf") if gone[0].back is None else gone[0].back) if gone else 0.0

    def _count(self, source: int, destination: int, nbytes: int, ways: Ways) -> None:
        if source == SERVER:
            self.out_of_server += nbytes
        else:
            self.sent_by_workers += nbytes
        if destination == SERVER:
            self.into_server += nbytes
        else:
            self.received_by_workers += nbytes
        for link, share in shares_of(ways).items():
            self.link_bytes[link] += nbytes * share
            self.link_messages[link] += 1

    def _check(self, flight: Flight, begun: float, nbytes: int, placement: Placement) -> None:
        """Assert the bounds: no message faster than its links and its latency allow."""
        if not self.settings.static:
            return
        rounding = 4 * np.spacing(flight.landed)  # of the clock's reading
        seconds = flight.departed - begun + rounding
        bandwidth, shares = self.fabric.links.bandwidth, shares_of(placement.ways[0])
        limit = min((bandwidth[link] / share for link, share in shares.items()), default=float("inf"))
        too_fast = nbytes > limit * seconds * (1 + 1e-9) + 1e-6 if limit < float("inf") else False
        if too_fast or flight.landed - flight.departed + rounding < placement.latency[0] * (1 - 1e-9):
            source, destination = placement.hosts
            raise CapacityError(
                f"internal error: {nbytes} bytes {source} -> {destination} took {seconds:.9g} s "
                f"from t = {begun:.9g} s, less than {limit:.9g} bytes/s allow"
            )

    # instants ---------------------------------------------------------------------

    def at_once(self, worker: int, action: Callable[[], None]) -> None:
        """Do something for a worker at this instant, after what is being handled now."""
        self._happens((_DONE, worker), action)

    def later(self, time: float, host: int, other: int, action: Callable[[], None]) -> None:
        """Do something for a rank at a later instant; of several things for it then, in the order of ``other``."""
        self.clock.call_at(time, lambda _: self._happens((_SERVED, host, other), action))

    def _happens(self, key: tuple[int, ...], action: Callable[[], None]) -> None:
        """Handle something at this instant, after whatever else happens at it with a smaller key."""
        self._due.append((key, action))
        if len(self._due) == 1:
            self.clock.call_at(self.now, lambda _: self._handle_instant(), _AFTER_FLOWS)

    def _handle_instant(self) -> None:
        due, self._due = self._due, []
        for _, action in sorted(due, key=lambda one: one[0]):
            action()
