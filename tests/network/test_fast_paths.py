"""Fast paths against the event-by-event simulation, on random inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.costs.steps import Compress, Compute, Mix, RoundCosts
from simgmc.network import collectives
from simgmc.network.cluster import many
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.cluster.many import simulate_all, simulate_many
from simgmc.network.collectives.sliced_ring import ring_schedule
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.exchanges.accounts import chain
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.ring import Ring
from simgmc.network.shortcuts import fast_ring
from simgmc.network.shortcuts.fast_ring import RingWays, solve
from simgmc.network.shortcuts.fast_server import ServerLinks
from simgmc.network.shortcuts.ring_chains import ring_parts
from simgmc.network.shortcuts.solutions import RingLinks, RingNetworks, ServerNetworks, solve_events
from simgmc.network.topology.catalogue import Host, build, star, worker_names
from simgmc.network.topology.routing import Links
from tests.network.exchanges import execute, finish_times, hosts, message
from tests.network.random_clusters import clusters, compare, rounds_of

EXACT = 1e-9


@st.composite
def rings(draw):
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    workers, alike = draw(st.integers(2, 9)), draw(st.booleans())
    gather, lock_step = draw(st.booleans()), draw(st.booleans())
    slices = 1 if lock_step else draw(st.integers(1, 5))
    size = rng.choice(rng.integers(0, 10**5, 2), workers) if alike else rng.integers(0, 10**5, workers)
    size = size.astype(float)
    shape = (workers - 1, workers) if draw(st.booleans()) else (workers,)
    adding = rng.uniform(0, 0.3, shape) if draw(st.booleans()) and not gather else None
    final = rng.uniform(0, 1, workers) if gather else None
    ring = Ring(size, (workers - 1) * (1 if gather else 2), slices, adding, final, lock_step)
    up, down = rng.uniform(1e3, 1e6, workers), rng.uniform(1e3, 1e6, workers)
    latency, ready = rng.uniform(0, 0.1, workers), rng.uniform(0, 3, workers)
    if alike:
        up, down, latency, ready = up[0] + 0 * up, up[0] + 0 * up, latency[0] + 0 * latency, np.round(ready / 3)
    return ring, up, down, latency, ready


@given(rings())
@settings(max_examples=150, deadline=None)
def test_ring_recurrence_equals_the_events(case):
    ring, up, down, latency, ready = case
    workers = len(up)
    execution = execute(ring_schedule(ring), hosts(up, down, latency), ready)
    expected = finish_times(execution)
    rate, between = np.minimum(up, np.roll(down, -1)), latency + np.roll(latency, -1)
    ways = RingWays(rate[None], between[None], np.zeros((1, workers)), np.zeros((1, workers)))
    found = solve(ring, ways, ready[None])
    assert found.finish[0] == pytest.approx(expected, rel=EXACT)
    names = worker_names(workers)
    way = RingLinks(names, Links(star(hosts(up, down, latency))))
    cut = RingNetworks([way]).solve(ring, ready[None]).back()
    for worker in range(workers):
        *parts, _, end = chain(execution, execution.finisher[worker], ready[worker], expected[worker])
        parts.append(max(end - ready[worker], 0.0))
        assert [max(part[0, worker], 0.0) for part in cut[:3]] == pytest.approx(parts[:3], rel=1e-6, abs=1e-9)
        assert max(cut[3][0, worker] - ready[worker], 0.0) == pytest.approx(parts[3], rel=1e-6, abs=1e-9)
        origin = found.origin[0, worker]
        if ready[origin] >= ready[worker]:
            on_chain = found.latency[0, worker], found.aggregate[0, worker]
            assert parts[1:3] == pytest.approx(on_chain, rel=1e-6, abs=1e-9)


@given(st.integers(0, 2**32), st.integers(2, 24), st.booleans(), st.booleans(), st.sampled_from([0.0, 1e-3]))
@settings(max_examples=60, deadline=None)
def test_pieces_counted_together_have_the_bits_of_pieces_counted_alone(seed, workers, gather, lock_step, held):
    rng = np.random.default_rng(seed)
    size = np.sort(rng.choice(rng.integers(0, 10**5, 3), workers)).astype(float)
    work, steps = None if gather else size * 10.0 ** -rng.integers(4, 8), (workers - 1) * (1 if gather else 2)
    ring = Ring(size, steps, 1 if lock_step else int(rng.integers(1, 5)), work, size if gather else None, lock_step)
    ways = RingWays(*(np.tile(each, (1, workers)) for each in (
        rng.uniform(1e4, 1e7, (2, 1)), rng.uniform(0, 1e-2, (2, 1)), np.full((2, 1), held), np.full((2, 1), 3 * held),
    )))  # fmt: skip
    ready = rng.choice([0.0, 0.0, rng.uniform(0, 1)], (2, workers))
    found = []
    for few in (0.0, 0.95):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fast_ring, "FEW", few)
            times = solve(ring, ways, ready)
        found.append((times.finish, times.origin, times.sends, *ring_parts(ring, ways, ready, times)))
    for alone, together in zip(*found, strict=True):
        assert (alone == together).all()


def test_a_large_ring_of_equal_ranks_is_a_few_pieces():
    workers = 2000
    size = np.where(np.arange(workers) < 700, 8.0, 4.0)
    alike = (np.full((1, workers), each) for each in (1e8, 1e-3, 0.0, 0.0))
    times = solve(Ring(size, 2 * (workers - 1), 1, size * 1e-9), RingWays(*alike), np.zeros((1, workers)))
    assert times.classes.max() + 1 == len(np.unique(size))


def settings_of(name, fast, seed, sigma, overheads, slowdown):
    rng = np.random.default_rng(seed)
    workers = len(slowdown)
    speeds = rng.uniform(1e5, 1e6, workers)
    machines = hosts(speeds, speeds[::-1], rng.uniform(0, 0.01, workers))
    return ClusterSettings(
        star(machines),
        worker_names(workers),
        "server",
        name,
        ComputeTime(0.02, slowdown),
        Duration(0.003),
        Throughput(1e6),
        seed=seed,
        options=collectives.Options(
            groups=(tuple(range(0, workers, 2)), *[tuple(range(1, workers, 2))][: workers - 1])
        ),
        conditions=(overheads, Stragglers(sigma=sigma)),
        fast=fast,
    )


@given(
    st.sampled_from([name for name, entry in collectives.COLLECTIVES.items() if not entry.servers < 0]),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([Overheads(), Overheads(0.9, 1e-4, 1.5, 4e5), Overheads(window=3e3, streams=2)]),
    st.lists(st.floats(0.5, 3), min_size=1, max_size=5),
)
@settings(max_examples=80, deadline=None)
def test_whole_runs_are_the_same_with_and_without_the_fast_paths(name, seed, sigma, overheads, slowdown):
    rng = np.random.default_rng(seed)
    workers = len(slowdown)
    rounds = []
    for _ in range(4):
        summable = (
            collectives.COLLECTIVES[name].carries == "summable"
            or name == "sparse-reduce-scatter"
            or bool(rng.integers(2))
        )
        up = np.full(workers, 4 * rng.integers(1, 5000)) if summable else rng.integers(1, 20000, workers)
        rounds.append(RoundCosts((Compute(1), Compress(4000), message(up, summable=summable))))
    fast, slow = (
        simulate(settings_of(name, which, seed, sigma, overheads, tuple(slowdown)), rounds) for which in (True, False)
    )
    assert fast.round_end == pytest.approx(slow.round_end, rel=EXACT)
    assert fast.breakdown.sum(axis=2) == pytest.approx(slow.breakdown.sum(axis=2), rel=1e-6, abs=1e-12)
    assert (fast.link_messages == slow.link_messages).all()
    assert (fast.link_bytes == pytest.approx(slow.link_bytes)) and (fast.into_server == slow.into_server).all()
    assert fast.breakdown.min() >= -1e-9


@given(
    st.integers(2, 24),
    st.integers(0, 2**32),
    st.booleans(),
    st.sampled_from([Overheads(), Overheads(0.9, 0.01, 1.5, 2e5), Overheads(window=2e4)]),
)
@settings(max_examples=120, deadline=None)
def test_the_server_in_arrays_equals_the_events(workers, seed, ties, overheads):
    rng = np.random.default_rng(seed)
    up, down = (rng.choice([1e5, 2e5, 1e6], workers) if ties else rng.uniform(1e4, 1e6, workers) for _ in range(2))
    sizes = rng.choice([0, 1000, 4000], workers) if ties else rng.integers(0, 10**5, workers)
    gates = np.round(rng.uniform(0, 0.3, workers), 1 if ties else 9)
    links = Links(overheads.seen(star(hosts(up, down, rng.uniform(0, 0.1, workers)))))
    schedule = collectives.schedule(
        "parameter-server", message(sizes, down=int(rng.integers(0, 10**5)), summable=False), Duration(0.2)
    )
    placement = Placement(schedule.structure, [*worker_names(workers), "server"], links, overheads)
    way = ServerLinks(placement)
    assert way.simple
    fast = ServerNetworks([way], [placement]).solve(schedule, gates[None])
    slow = solve_events(schedule, placement, gates)
    assert fast.finish == pytest.approx(slow.finish, rel=EXACT)
    *parts, begin = fast.back()
    assert sum(parts) + begin - gates == pytest.approx(fast.finish - gates, rel=EXACT)
    if not ties:
        assert np.stack([*parts, begin]) == pytest.approx(np.stack(slow.back()), rel=1e-6, abs=1e-9)


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_any_rounds_on_many_networks_have_the_bits_of_each_alone_and_the_times_of_the_events(number):
    problem, _, _ = compare(number)
    assert not problem


@pytest.mark.parametrize(("shape", "walks"), [("star", 2), ("torus", 4)])
def test_what_is_the_same_to_the_clock_is_walked_once(monkeypatch, shape, walks):
    """Two networks, two seeds, the same rounds twice: seeds decide only where routes tie, as on a torus."""
    rng = np.random.default_rng(3)
    networks = clusters(rng, 2, 6, "ring", shape=shape, sigma=0.0)
    networks = [replace(one, conditions=(), seed=seed) for one in networks for seed in (1, 2)]
    rounds = rounds_of(rng, 6, "ring", 3, mixes=0.0)
    walked = []
    walk_all = many._walk_all
    monkeypatch.setattr(many, "_walk_all", lambda *those: walked.append(len(those[0])) or walk_all(*those))
    found = dict.fromkeys((which, at) for which, at, _ in simulate_all([(networks, rounds), (networks, list(rounds))]))
    assert len(found) == 8 and sum(walked) == walks


def ways_of(name, networks, rounds, **more):
    """Where each of some networks begins to be simulated by events; None: nowhere."""
    return [one.by_events for one in simulate_many([replace(one, **more) for one in networks], rounds)]


@pytest.mark.parametrize("name", ["halving-doubling", "doubling-all-gather", "two-level", "lock-step-ring"])
def test_rounds_whose_flows_meet_on_no_link_are_walked_to_the_end(name):
    equal = [settings_of(name, True, 1, 0.0, Overheads(), (1.0,) * 4)] * 2
    machines = [hosts([1e6] * 4, [1e6] * 4, [latency] * 4) for latency in (0.0, 0.003)]
    networks = [replace(one, graph=star(own)) for one, own in zip(equal, machines)]
    rounds = [RoundCosts((Compute(1), message([size] * 4))) for size in (4000, 8000, 400)]
    assert ways_of(name, networks, rounds) == [None, None]


def test_gossip_that_meets_on_no_link_is_walked_and_other_gossip_left_to_the_events():
    one = settings_of("ring", True, 1, 0.0, Overheads(), (1.0,) * 4)
    pairs = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    both = np.array([[k, (k + step) % 4] for k in range(4) for step in (1, 3)])

    def mixed(edges):
        return [RoundCosts((Compute(1), Mix(np.full(4, size), edges, np.zeros(4)))) for size in range(4000, 4080, 4)]

    assert ways_of("ring", [one], mixed(pairs)) == [None]
    assert ways_of("ring", [one], mixed(both))[0] is not None, "a worker's two messages share its link"
    wires = build("ring", [Host(name, np.inf, np.inf, 0.0) for name in worker_names(4)], bandwidth=1e6)
    assert ways_of("ring", [replace(one, graph=wires, server=None)], mixed(both)) == [None]


@pytest.mark.parametrize("name", ["ring", "parameter-server"])
def test_gossip_after_averages_goes_on_with_events_and_is_the_same(name):
    workers, told = 4, []
    average = RoundCosts((Compute(1), message([4000] * workers)))
    mix = RoundCosts(
        (Compute(1), Mix(np.full(workers, 4000), np.array([[0, 1], [1, 0], [2, 3], [3, 2]]), np.zeros(workers)))
    )
    rounds = [average] * 3 + [mix] * 2 + [average]
    chosen = [settings_of(name, fast, 3, 0.4, Overheads(), (1.0, 1.1, 0.7, 2.0)) for fast in (True, False)]
    fast, slow = (simulate(one, rounds, lambda number, time: told.append((number, time))) for one in chosen)
    assert fast.round_end == pytest.approx(slow.round_end, rel=EXACT)
    assert fast.breakdown == pytest.approx(slow.breakdown, rel=1e-6, abs=1e-9)
    assert (fast.link_bytes == slow.link_bytes).all() and (fast.link_messages == slow.link_messages).all()
    assert (fast.sent_by_workers == slow.sent_by_workers).all()
    numbers = [number for number, _ in told]
    assert numbers == [*range(6)] * 2, "every round is told of once, in order"


def test_a_large_server_round_takes_the_fast_path_and_is_the_same():
    workers = 40
    rng = np.random.default_rng(1)
    rounds = [RoundCosts((Compute(1), message(rng.integers(1, 20000, workers), summable=False))) for _ in range(3)]
    fast, slow = (
        simulate(settings_of("parameter-server", which, 5, 0.3, Overheads(), (1.0,) * workers), rounds)
        for which in (True, False)
    )
    assert fast.round_end == pytest.approx(slow.round_end, rel=EXACT)
    assert fast.breakdown == pytest.approx(slow.breakdown, rel=1e-6, abs=1e-9)
