"""Random clusters that differ in numbers alone, random rounds on them, and whether all ways give the same times."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Compress, Compute, Mix, RoundCosts, SomeCompute, Step
from simgmc.network import (
    ClusterSettings,
    ComputeTime,
    Duration,
    Host,
    Timing,
    collectives,
    simulate,
    simulate_all,
    simulate_many,
    worker_names,
)
from simgmc.network.conditions.jitter import Jitter
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.pauses import Pauses
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.work import Throughput
from simgmc.network.topology.catalogue import build
from tests.network.exchanges import message

EXACT = 1e-9
"""Relative difference of times that may be."""
_ROUNDINGS = 100
"""So many times what the last bits of the bandwidths change may be rounding."""
NAMES = [name for name, entry in collectives.COLLECTIVES.items() if not entry.changes_average]


def clusters(
    rng: np.random.Generator, count: int, workers: int, name: str, shape: str = "", sigma: float | None = None
) -> list[ClusterSettings]:
    """So many of one kind: a topology, and what each of them is, drawn; equal numbers, too, so that times tie.

    ``shape``: the topology, ``sigma``: how much workers straggle; drawn unless given.
    """
    hosts_in_all = workers + 2
    shape = shape or str(rng.choice(["star", "star", "ring", "full-mesh", "torus", "two-tier", "dumbbell"]))
    options = {
        "two-tier": {"per_rack": int(rng.integers(1, 4)), "uplink": 3e5, "latency": 1e-3},
        "dumbbell": {"left": int(rng.integers(1, hosts_in_all)), "bandwidth": 5e5, "latency": 4e-3},
        "torus": {"columns": next(n for n in (3, 2, 1) if hosts_in_all % n == 0), "bandwidth": 4e5},
        "ring": {"bandwidth": 5e5, "latency": 1e-4},
        "full-mesh": {"bandwidth": 5e5},
    }.get(shape, {})
    ties = bool(rng.integers(2))
    sigma = float(rng.choice([0.0, 0.4])) if sigma is None else sigma
    overheads = (Overheads(), Overheads(0.9, 1e-4, 1.5, 4e5), Overheads(window=3e3, streams=2))[rng.integers(3)]
    pauses, jitter, half = rng.random() < 0.15, rng.random() < 0.1, rng.random() < 0.1
    cut = int(rng.integers(1, workers + 1))
    groups = tuple(group for group in (tuple(range(cut)), tuple(range(cut, workers))) if group)
    slices = None if rng.random() < 0.5 else int(rng.integers(1, 5))
    found = []
    for number in range(count):
        speeds = np.full(hosts_in_all, 10 ** rng.uniform(5, 7)) if ties else 10 ** rng.uniform(5, 7, hosts_in_all)
        latency = float(rng.choice([0.0, 1e-3, rng.uniform(0, 0.02)]))
        names = [*worker_names(workers), "server", "server1"]
        duplex = "half" if half else "full"
        hosts = [Host(one, up, down, latency) for one, up, down in zip(names, speeds, speeds[::-1], strict=True)]
        graph = build(shape, hosts, **options)
        if duplex == "half":
            for source, destination in list(graph.edges):
                if source < destination and (destination, source) in graph.edges:
                    graph.edges[source, destination]["shares"] = (destination, source)
        conditions = [overheads, Stragglers(sigma=sigma)]
        conditions += [Pauses(0.05, 0.01)] if pauses else []
        conditions += [Jitter(0.002, 0.05)] if jitter else []
        slowdown = (1.0,) * workers if ties else tuple(rng.uniform(0.5, 3, workers))
        found.append(
            ClusterSettings(
                graph,
                tuple(names[:workers]),
                "server",
                name,
                ComputeTime(float(rng.choice([0.0, 0.02, 0.2])), slowdown),
                Duration(0.003),
                Throughput(1e7),
                seed=number % 2,
                options=collectives.Options(groups=groups, servers=2, slices=slices),
                servers=("server", "server1"),
                conditions=tuple(conditions),
            )
        )
    return found


def rounds_of(
    rng: np.random.Generator, workers: int, name: str, count: int, mixes: float | None = None
) -> list[RoundCosts]:
    """Averages, messages to neighbours (``mixes``: how much of them; drawn unless given), or both."""
    entry, found = collectives.COLLECTIVES[name], []
    drawn, same = rng.random(), bool(rng.integers(2))
    mixes = drawn if mixes is None else 1.0 - mixes
    size = 4 * int(rng.integers(1, 20000))
    fixed = _edges(rng, workers)
    for _ in range(count):
        if not same:
            size = int(rng.choice([0, 4, 4 * int(rng.integers(1, 20000))]))
        work = Compute(int(rng.integers(1, 3)))
        if rng.random() < 0.1:
            work = SomeCompute(1, rng.random(workers) < 0.7)
        if mixes < 0.35 or (mixes < 0.5 and rng.random() < 0.5):
            edges = fixed if same else _edges(rng, workers)
            sizes = np.full(workers, size)
            found.append(RoundCosts((work, Compress(4000), Mix(sizes, edges, np.zeros(workers)))))
            continue
        summable = entry.carries == "summable" or entry.needs_unions or bool(rng.integers(2))
        up = np.full(workers, size) if summable else rng.integers(0, 20000, workers)
        averages = [message(up, summable=summable)] * (1 if rng.random() < 0.8 else 2)
        found.append(RoundCosts((work, Compress(4000), *averages)))
    return found


def _edges(rng: np.random.Generator, workers: int) -> np.ndarray:
    """Pairs, each to the next one or two, or any."""
    kind = rng.integers(3)
    if workers == 1:
        return np.zeros((0, 2), np.int64)
    if kind == 0:
        order = rng.permutation(workers)
        pairs = list(zip(order[::2], order[1::2], strict=False))
        return np.array([*pairs, *((b, a) for a, b in pairs)], np.int64)
    if kind == 1:
        step = int(rng.integers(1, workers))
        return np.array([(one, (one + step) % workers) for one in range(workers)], np.int64)
    picked = rng.random((workers, workers)) < 0.4
    np.fill_diagonal(picked, False)
    return np.argwhere(picked).astype(np.int64)


def compare(number: int) -> tuple[str, float, Counter[str]]:
    """What is wrong with a case (nothing: empty), the largest relative difference, how its networks were solved."""
    rng = np.random.default_rng(number)
    workers, name = int(rng.integers(1, 9)), str(rng.choice(NAMES))
    networks = clusters(rng, int(rng.integers(1, 6)), workers, name)
    rounds = rounds_of(rng, workers, name, int(rng.integers(1, 12)))
    ways: Counter[str] = Counter()
    try:
        together = list(simulate_many(networks, rounds))
    except SimgmcError as error:
        for one in networks:
            try:
                simulate(replace(one, fast=False), rounds)
            except SimgmcError:
                return "", 0.0, Counter({"refused": 1})
        return f"refused together alone: {error}", 0.0, ways
    worst = 0.0
    resized = [_resized(np.random.default_rng((number, more)), rounds) for more in (1, 2)]
    seeded = [replace(one, seed=one.seed + 1) for one in networks]  # where that decides nothing they are the same
    replays = [(networks, rounds), *((networks, some) for some in resized), (seeded, list(rounds)), (seeded, rounds)]
    beside: list[list[Timing | None]] = [[None] * len(networks) for _ in replays]
    for which, at, timing in simulate_all(replays):
        beside[which][at] = timing
    for (own, some), found in zip(replays[1:], beside[1:], strict=True):
        for one, mine in zip(own, found, strict=True):
            if differing := _differing(mine, simulate(one, some)):
                return f"beside other rounds and alone differ in {differing}", 0.0, ways
    for mine, other, one in zip(together, beside[0], networks, strict=True):
        alone, events = simulate(one, rounds), simulate(replace(one, fast=False), rounds)
        if differing := _differing(mine, alone) or _differing(other, alone):
            return f"together and alone differ in {differing}", 0.0, ways
        if mine.stopped != events.stopped or mine.round_end.shape != events.round_end.shape:
            return f"stopped {mine.stopped!r}, by events {events.stopped!r}", 0.0, ways
        ways["walked" if mine.by_events is None else "by events"] += 1
        differences = apart(mine.round_end, events.round_end)
        if (differences > EXACT).any():
            by_itself = apart(_moved(one, rounds), events.round_end)
            explained = (differences <= _ROUNDINGS * by_itself) & (_ROUNDINGS * by_itself > EXACT)
            ways["sensitive"] += bool(explained.any())
            differences = differences[~explained]
        difference = float(differences.max(initial=0.0))
        worst = max(worst, difference)
        spent = np.abs(mine.breakdown.sum(axis=2) - events.breakdown.sum(axis=2)).max(initial=0.0)
        if difference > EXACT or spent > 1e-8 + 1e-6 * events.total:
            return f"times differ by {difference:.1e}, what they are spent on by {spent:.1e} s", worst, ways
        if mine.breakdown.min(initial=0.0) < -1e-9:
            return "less than no time spent", worst, ways
        for column in ("link_bytes", "link_messages", "sent_by_workers", "into_server", "out_of_server"):
            if not np.allclose(getattr(mine, column), getattr(events, column), rtol=1e-9, atol=1e-3):
                return f"{column} differs", worst, ways
    return "", worst, ways


def _differing(mine: Timing | None, other: Timing) -> str:
    """The first column in which bits differ."""
    for column in fields(Timing):
        a, b = getattr(mine, column.name), getattr(other, column.name)
        if not (isinstance(a, np.ndarray) and a.tobytes() == b.tobytes() if isinstance(b, np.ndarray) else a == b):
            return column.name
    return ""


def _resized(rng: np.random.Generator, rounds: list[RoundCosts]) -> list[RoundCosts]:
    """The same rounds with messages of other sizes, in some of them the same."""

    def resized(step: Step) -> Step:
        times = int(rng.choice([1, 1, 2, 5]))
        if isinstance(step, Average):
            up = step.up if step.summable or not times - 1 else rng.permutation(step.up)
            return replace(step, up=up * times, down=step.down * times)
        return replace(step, nbytes=step.nbytes * times) if isinstance(step, Mix) else step

    return [RoundCosts(map(resized, costs)) for costs in rounds]


def apart(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(R,) the largest relative difference of the ends of each round."""
    return (np.abs(mine - other) / np.maximum(other, 1e-9)).max(axis=1, initial=0.0)


def _moved(one: ClusterSettings, rounds: list[RoundCosts]) -> np.ndarray:
    """The ends of rounds by events where every bandwidth is another in its last bits: how far rounding gets by itself.

    Where flows share links, being late by a little may make one later by several times that in every round. Case 197 is
    such a one (a sparse reduce-scatter between racks): from 4e-14 to 4e-11 of the bandwidths its last round moves in
    proportion, by 7e5 times as much, so no tie is decided by rounding, and the recurrence, which ends there after four
    rounds with a difference of 9e-16, is as right as the events.
    """
    graph = one.graph.copy()
    for _, _, link in graph.edges(data=True):
        link["bandwidth"] *= 1 + 4e-16
    return simulate(replace(one, graph=graph, fast=False), rounds).round_end
