"""What real processes took on a laboratory's network, beside what the same rounds take when simulated."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from simgmc.costs.steps import Average, Mix, RoundCosts
from simgmc.distributed.measured import Call, Step, read_calls
from simgmc.distributed.twin.protocol import DELAY, Overhead, overhead
from simgmc.network.cluster.cluster import simulate
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timing import Timing
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.work import Duration

EXCHANGES = ("average", "mix")


@dataclass(frozen=True)
class Compared:
    """One round, or one exchange of it, measured and simulated."""

    round: int
    what: str
    """round, average or mix."""
    carried_by: str
    """How the processes did it; empty for a round."""
    nbytes: int
    """Of the largest worker's message."""
    measured: float
    """Seconds: of a round since the last rank finished the one before; of an exchange since all were ready."""
    simulated: float

    @property
    def error(self) -> float:
        """Relative, of what is simulated."""
        return self.simulated / self.measured - 1.0


@dataclass(frozen=True)
class Traffic:
    """Bytes that left one host's interface in all rounds of a training."""

    host: str
    counted: int
    """All of them."""
    simulated: float
    """Payload."""
    overhead: Overhead
    """What the protocols add to it."""

    @property
    def expected(self) -> float:
        """What should have been counted."""
        return self.simulated + self.overhead.total

    @property
    def error(self) -> float:
        """Relative, of what is expected."""
        return self.expected / self.counted - 1.0 if self.counted else 0.0


@dataclass(frozen=True)
class Twin:
    """One training, twice."""

    method: str
    seed: int
    rounds: tuple[Compared, ...]
    exchanges: tuple[Compared, ...]
    compression: float
    aggregation: float
    """Seconds of compressing a message and of decoding and adding, measured, which the simulation was given."""
    traffic: tuple[Traffic, ...]

    def errors(self, exchanges: bool = False) -> np.ndarray:
        """Absolute relative errors of all rounds, or of all exchanges."""
        return np.array([abs(one.error) for one in (self.exchanges if exchanges else self.rounds)])

    @property
    def traffic_error(self) -> float:
        """Relative, of all bytes expected on the interfaces against those counted."""
        counted = sum(one.counted for one in self.traffic)
        return sum(one.expected for one in self.traffic) / counted - 1.0 if counted else 0.0


def on_ranks(
    settings: ClusterSettings, hosts: Sequence[str], round_trip: float, shaped_latency: bool
) -> ClusterSettings:
    """The cluster as the laboratory has it: a server is at worker 0, and links have the latency that is there.

    Args:
        round_trip: s, of a packet between two hosts without shaping.
        shaped_latency: whether links have the latency that the scenario says; otherwise they have none of their own.
    """
    graph: nx.DiGraph = settings.graph.copy()
    graph.remove_nodes_from([host for host in settings.server_hosts if host not in hosts])
    for source, destination, data in graph.edges(data=True):
        access = source in hosts or destination in hosts
        data["latency"] = (data["latency"] if shaped_latency else 0.0) + (round_trip / 4 if access else 0.0)
    server = hosts[0] if settings.server is not None else None
    return dataclasses.replace(settings, graph=graph, server=server, servers=())


def compare(
    method: str,
    seed: int,
    settings: ClusterSettings,
    costs: Sequence[RoundCosts],
    steps: Sequence[Step],
) -> Twin:
    """Hold the measured steps of a training against the simulation of its rounds.

    Compressing, decoding and adding are measured on this machine and given to the simulation: it is the network that
    is held against reality. Where ranks first told each other the lengths of their messages, which no simulated
    training does, that is simulated too.

    Args:
        settings: of the laboratory, :func:`on_ranks`; rank k is its k-th worker.
    """
    compression = _median([one.end_s - one.begin_s for one in steps if one.kind == "compress"])
    aggregation = _median([one.aggregate_s for one in steps if one.kind in EXCHANGES])
    work = dataclasses.replace(settings, compression=Duration(compression), aggregation=Duration(aggregation))
    timing, telling = simulate(work, costs), _telling(work)
    rounds, exchanges = _rounds(timing, steps, telling), _exchanges(work, costs, steps, telling)
    return Twin(method, seed, rounds, exchanges, compression, aggregation, _traffic(timing, steps, settings.workers))


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _telling(settings: ClusterSettings) -> float:
    """Seconds in which every rank gets a number of 64 bits from every other, round a ring."""
    workers = len(settings.workers)
    own = np.full(workers, 8)
    cost = Average(own, 8 * workers, False, 8, own // 4, 2 * workers)
    bare = dataclasses.replace(
        settings, collective="ring-all-gather", server=None, aggregation=Duration(0.0), options=Options(slices=1)
    )
    return simulate(bare, [RoundCosts([cost])]).total


def _told(step: Step) -> bool:
    """Whether lengths were told before an exchange, and the rank waited for that."""
    return step.kind in EXCHANGES and not step.behind and any(one.what == "lengths" for one in read_calls([step.calls]))


def _rounds(timing: Timing, steps: Sequence[Step], telling: float) -> tuple[Compared, ...]:
    ends: dict[int, float] = defaultdict(float)
    sizes: dict[int, int] = defaultdict(int)
    for one in steps:
        if one.kind == "round":
            ends[one.round] = max(ends[one.round], one.end_s)
        elif one.kind in EXCHANGES:
            sizes[one.round] = max(sizes[one.round], one.nbytes)
    simulated = np.diff(timing.round_end.max(axis=1), prepend=0.0)
    for one in steps:
        if one.rank == 0 and _told(one):
            simulated[one.round] += telling
    found, before = [], 0.0
    for number in sorted(ends):
        found.append(Compared(number, "round", "", sizes[number], ends[number] - before, float(simulated[number])))
        before = ends[number]
    return tuple(found)


def _exchanges(
    settings: ClusterSettings, costs: Sequence[RoundCosts], steps: Sequence[Step], telling: float
) -> tuple[Compared, ...]:
    together: dict[tuple[int, int], list[Step]] = defaultdict(list)
    for one in steps:
        if one.kind in EXCHANGES and one.step >= 0:
            together[one.round, one.step].append(one)
    known: dict[bytes, float] = {}
    found = []
    for (number, step), ranks in sorted(together.items()):
        cost = costs[number][step]
        assert isinstance(cost, Average | Mix)
        key = _sizes(cost)
        if key not in known:
            known[key] = simulate(settings, [RoundCosts([dataclasses.replace(cost, background=False)])]).total
        measured = max(one.end_s for one in ranks) - max(one.begin_s for one in ranks)
        largest = max(one.nbytes for one in ranks)
        simulated = known[key] + (telling if _told(ranks[0]) else 0.0)
        found.append(Compared(number, ranks[0].kind, ranks[0].carried_by, largest, measured, simulated))
    return tuple(found)


def _sizes(cost: Average | Mix) -> bytes:
    """What an exchange's time follows from."""
    if isinstance(cost, Mix):
        return b"mix" + cost.nbytes.tobytes() + cost.edges.tobytes()
    partial = b"" if cost.partial is None else cost.partial.tobytes()
    return cost.up.tobytes() + f"{cost.down} {cost.summable} {cost.item_bytes}".encode() + partial


def _traffic(timing: Timing, steps: Sequence[Step], hosts: Sequence[str]) -> tuple[Traffic, ...]:
    """While the clock went: what an evaluation sends is not of the rounds."""
    found = []
    for rank, host in enumerate(hosts):
        mine = [one for one in steps if one.rank == rank]
        if spans := [one for one in mine if one.kind == "interface"]:
            simulated = float(sum(n for (source, _), n in zip(timing.links, timing.link_bytes) if source == host))
            counted = sum(one.bytes_sent for one in spans)
            added = overhead(read_calls(one.calls for one in mine), _after_pauses(mine))
            found.append(Traffic(host, counted, simulated, added))
    return tuple(found)


def _after_pauses(steps: Sequence[Step]) -> list[Counter[Call]]:
    """What a rank asked of its group in each exchange that began long enough after the one before."""
    exchanges = sorted((one for one in steps if one.kind in EXCHANGES), key=lambda one: one.begin_s)
    ends = [0.0, *(one.end_s for one in exchanges)]
    return [read_calls([one.calls]) for one, end in zip(exchanges, ends) if one.begin_s - end >= DELAY]
