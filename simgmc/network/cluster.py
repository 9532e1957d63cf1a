"""Workers on a simulated cluster: from the costs of rounds to simulated time.

Every worker is a SimPy process that walks the steps of each round; the first to need a
round pulls it for all. A worker starts its next round as soon as it has its own update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappush

import networkx as nx
import numpy as np
import simpy

from simgmc.costs import Average, Compress, Compute, RoundCosts
from simgmc.errors import SimgmcError
from simgmc.network import collectives
from simgmc.network.breakdown import CATEGORIES, exchange_breakdown
from simgmc.network.conditions import ComputeTime, Cost
from simgmc.network.fluid import FluidNetwork, StuckError
from simgmc.network.overheads import IDEAL, Overheads
from simgmc.network.routing import Links
from simgmc.network.schedule import Execution, Placement, Schedule, Structure

_COMPUTE, _COMPRESS, _TRANSFER, _LATENCY, _AGGREGATE, _WAIT = range(6)


class Clock(simpy.Environment):
    """A SimPy environment that can also schedule at an absolute time, to the last bit."""

    def call_at(self, time: float, action: Callable[[simpy.Event], None], priority: int = 1) -> None:
        """Call ``action`` at a simulated time; a larger priority comes later among ties."""
        event = simpy.Event(self)
        event._ok, event._value = True, None
        event.callbacks.append(action)
        heappush(self._queue, (max(time, self._now), priority, next(self._eid), event))


class NetworkTimer:
    """Drives a fluid network inside a clock with one timer for its next event."""

    _AFTER_ALL_ELSE = 9

    def __init__(self, clock: Clock, network: FluidNetwork):
        self._clock = clock
        self._network = network
        self._armed = float("inf")
        network.wake = self.wake

    def wake(self, time: float) -> None:
        """The network's next event may be as early as ``time``."""
        if time < self._armed:
            self._armed = time
            self._clock.call_at(time, self._fire, self._AFTER_ALL_ELSE)

    def _fire(self, event: simpy.Event) -> None:
        now, network = self._clock.now, self._network
        if now < self._armed:
            return
        self._armed = float("inf")
        network.settle()
        while network.next_time <= now:
            network.advance()
        upcoming = network.next_time
        if upcoming < self._armed:
            self.wake(upcoming)


@dataclass(frozen=True)
class ClusterSettings:
    """Everything about the cluster that time depends on."""

    graph: nx.DiGraph
    """Links with ``bandwidth`` (bytes/s) and ``latency`` (s)."""
    workers: tuple[str, ...]
    """Host of each worker."""
    server: str | None
    """Host of the server; None where the collective needs none."""
    collective: str
    """Name of the collective, see :mod:`simgmc.network.collectives`."""
    compute: ComputeTime
    """Seconds of a gradient, stragglers included."""
    compression: Cost
    aggregation: Cost
    seed: int = 0
    """Decides between routes of equal cost."""
    options: collectives.Options = collectives.Options()
    """What else the collective lets one choose."""
    servers: tuple[str, ...] = ()
    """Hosts of the servers where there are several; empty: ``server`` alone."""

    overheads: Overheads = IDEAL
    """What the transport costs beyond the wire."""

    @property
    def server_hosts(self) -> tuple[str, ...]:
        """Every host that serves."""
        return self.servers or (() if self.server is None else (self.server,))

    def __post_init__(self):
        if not self.workers:
            raise SimgmcError("a cluster needs at least one worker")
        needed = collectives.find(self.collective).servers_needed(self.options)
        if needed > len(self.server_hosts) and len(self.workers) > 1:
            raise SimgmcError(
                f"collective {self.collective!r} needs {needed} server host{'s' if needed > 1 else ''}; "
                f"{len(self.server_hosts) or 'none'} named"
            )
        for host in (*self.workers, *self.server_hosts):
            if host not in self.graph:
                raise SimgmcError(f"host {host!r} is not in the network")


@dataclass(frozen=True)
class Timing:
    """When everything happened. R rounds, K workers."""

    round_end: np.ndarray
    """(R, K) simulated seconds at which each worker had finished each round."""
    breakdown: np.ndarray
    """(R, K, categories) seconds; the categories add up to each worker's time in the round."""
    sent_by_workers: np.ndarray
    """(R,) bytes that left workers and were delivered."""
    received_by_workers: np.ndarray
    """(R,) bytes delivered to workers."""
    into_server: np.ndarray
    """(R,) bytes delivered to servers."""
    out_of_server: np.ndarray
    """(R,) bytes that left servers and were delivered."""
    categories: tuple[str, ...] = CATEGORIES

    @property
    def total(self) -> float:
        """Simulated seconds until the last worker finished the last round."""
        return float(self.round_end[-1].max()) if len(self.round_end) else 0.0


@dataclass
class _Exchange:
    """One collective of one round while it is under way."""

    execution: Execution
    done: list[simpy.Event]


@dataclass
class _Round:
    """A round that some worker has begun and not all have finished."""

    costs: RoundCosts
    ready: int = 0
    finished: int = 0
    exchanges: dict[int, _Exchange] = field(default_factory=dict)
    compute: dict[int, np.ndarray] = field(default_factory=dict)


class Cluster:
    """A network with workers on it; :func:`simulate` is the usual way in."""

    def __init__(self, settings: ClusterSettings):
        self.settings = settings
        self.clock = Clock()
        self.links = Links(settings.overheads.applied_to(settings.graph), settings.seed)
        self.network = FluidNetwork(self.links)
        self.timer = NetworkTimer(self.clock, self.network)
        self._placements: dict[int, Placement] = {}
        self._schedules: dict[tuple, Schedule] = {}

    def exchange(self, average: Average) -> _Exchange:
        """A fresh execution of the settings' collective for these messages."""
        schedule = self._schedule(average)
        done = [self.clock.event() for _ in self.settings.workers]

        def finish(participant: int, time: float) -> None:
            done[participant].succeed(time)

        execution = Execution(self.network, schedule, self._placement(schedule.structure), finish)
        execution.begin()
        return _Exchange(execution, done)

    def _schedule(self, average: Average) -> Schedule:
        key = (average.up.tobytes(), average.down, average.summable, average.item_bytes)
        found = self._schedules.get(key)
        if found is None:
            if len(self._schedules) >= 64:
                self._schedules.clear()
            found = collectives.schedule(
                self.settings.collective, average, self.settings.aggregation, self.settings.options
            )
            self._schedules[key] = found
        return found

    def _placement(self, structure: Structure) -> Placement:
        found = self._placements.get(id(structure))
        if found is None:
            servers = self.settings.server_hosts[: structure.hosts - structure.participants]
            found = Placement(structure, (*self.settings.workers, *servers), self.links, self.settings.overheads)
            self._placements[id(structure)] = found
        return found

    def run(self, rounds: Iterable[RoundCosts], on_round: Callable[[int, float], None] | None) -> Timing:
        """Walk all rounds with all workers."""
        record = _Record(len(self.settings.workers), on_round)
        source = _Rounds(iter(rounds))
        workers = [
            self.clock.process(self._worker(worker, source, record)) for worker in range(len(self.settings.workers))
        ]
        try:
            self.clock.run(until=simpy.AllOf(self.clock, workers))
        except RuntimeError as dry:
            stuck = self.network.stalled()
            if stuck is None or self.clock.peek() < float("inf"):
                raise
            raise stuck from dry
        return record.timing()

    def _worker(self, worker: int, source: _Rounds, record: _Record) -> Iterator[simpy.Event]:
        clock, settings, network = self.clock, self.settings, self.network
        workers = len(settings.workers)
        number = 0
        while (current := source.get(number)) is not None:
            spent = [0.0] * len(CATEGORIES)
            for step, cost in enumerate(current.costs):
                began = clock.now
                if isinstance(cost, Compute):
                    if step not in current.compute:
                        current.compute[step] = settings.compute.times(number, step, cost.gradients, workers)
                    yield clock.timeout(float(current.compute[step][worker]))
                    spent[_COMPUTE] += clock.now - began
                elif isinstance(cost, Compress):
                    yield clock.timeout(settings.compression.of(cost.nbytes))
                    spent[_COMPRESS] += clock.now - began
                elif isinstance(cost, Average):
                    if len(cost.up) != workers:
                        raise SimgmcError(f"round {number} has messages of {len(cost.up)} workers, the cluster has {workers}")
                    if step not in current.exchanges:
                        network.catch_up(began)
                        current.exchanges[step] = self.exchange(cost)
                    exchange = current.exchanges[step]
                    network.catch_up(began)
                    exchange.execution.ready(worker)
                    self.timer.wake(began)
                    yield exchange.done[worker]
                    parts = exchange_breakdown(exchange.execution, worker, began, clock.now)
                    for category, seconds in enumerate(parts, _TRANSFER):
                        spent[category] += seconds
                else:
                    raise SimgmcError(f"round {number} has a step this cluster does not know: {type(cost).__name__}")
            record.finish(number, worker, clock.now, spent)
            current.finished += 1
            if current.finished == workers:
                record.close(number, current, clock.now)
                source.forget(number)
            number += 1


class _Rounds:
    """Rounds pulled when first needed, kept until everyone has passed them."""

    def __init__(self, rounds: Iterator[RoundCosts]):
        self._rounds = rounds
        self._held: dict[int, _Round] = {}
        self._pulled = 0
        self._over = False

    def get(self, number: int) -> _Round | None:
        """Round ``number``, None past the last."""
        while self._pulled <= number and not self._over:
            costs = next(self._rounds, None)
            if costs is None:
                self._over = True
            else:
                self._held[self._pulled] = _Round(costs)
                self._pulled += 1
        return self._held.get(number)

    def forget(self, number: int) -> None:
        """Everyone has passed this round."""
        del self._held[number]


class _Record:
    """What a run leaves behind, round by round."""

    def __init__(self, workers: int, on_round: Callable[[int, float], None] | None):
        self._workers = workers
        self._on_round = on_round
        self._ends: list[np.ndarray] = []
        self._breakdown: list[np.ndarray] = []
        self._bytes: list[np.ndarray] = []

    def finish(self, number: int, worker: int, time: float, spent: list[float]) -> None:
        """One worker has finished one round."""
        while len(self._ends) <= number:
            self._ends.append(np.zeros(self._workers))
            self._breakdown.append(np.zeros((self._workers, len(CATEGORIES))))
            self._bytes.append(np.zeros(4))
        self._ends[number][worker] = time
        self._breakdown[number][worker] = spent

    def close(self, number: int, current: _Round, time: float) -> None:
        """The last worker has finished a round."""
        for exchange in current.exchanges.values():
            self._bytes[number] += delivered(exchange.execution)
        if self._on_round is not None:
            self._on_round(number, time)

    def timing(self) -> Timing:
        workers = self._workers
        ends = np.array(self._ends).reshape(-1, workers)
        breakdown = np.array(self._breakdown).reshape(-1, workers, len(CATEGORIES))
        sent, received, into, out = np.array(self._bytes).reshape(-1, 4).T
        return Timing(ends, breakdown, sent, received, into, out)


def delivered(execution: Execution) -> np.ndarray:
    """(4,) bytes of an exchange's delivered flows: sent by workers, received by workers,
    into servers, out of servers."""
    structure = execution.schedule.structure
    source, destination = structure.endpoints
    moved = np.where((np.array(execution.landed) >= 0) & (source != destination), execution.schedule.nbytes, 0.0)
    workers = structure.participants
    return np.array(
        [
            moved[source < workers].sum(),
            moved[destination < workers].sum(),
            moved[destination >= workers].sum(),
            moved[source >= workers].sum(),
        ]
    )


def simulate(
    settings: ClusterSettings,
    rounds: Iterable[RoundCosts],
    on_round: Callable[[int, float], None] | None = None,
) -> Timing:
    """Simulated time of a sequence of rounds on a cluster.

    ``rounds`` is consumed lazily: round t is pulled when the first worker needs it.
    ``on_round(t, time)`` is called when the last worker has finished round t.

    Raises :class:`~simgmc.errors.SimgmcError` for a collective that cannot carry the
    messages, :class:`~simgmc.network.fluid.StuckError` for a flow that can never finish.
    """
    return Cluster(settings).run(rounds, on_round)


__all__ = ["Clock", "Cluster", "ClusterSettings", "NetworkTimer", "StuckError", "Timing", "simulate"]
