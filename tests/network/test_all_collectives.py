"""Every collective against the closed form its paper gives, for odd and even numbers of workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Compute, RoundCosts
from simgmc.network import collectives
from simgmc.network.cluster.cluster import Cluster, ClusterSettings, simulate
from simgmc.network.collectives.gossip import gossip
from simgmc.network.collectives.pieces import cut_by
from simgmc.network.collectives.trees import double_binary_tree
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import Execution, run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.topology.catalogue import access
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.routing import Links
from simgmc.network.topology.shapes import star, two_tier
from simgmc.network.validation import rooted
from tests.network.exchanges import execute, finish_times, hosts, message, uniform

EXACT = 1e-9
bandwidths = st.floats(1e5, 1e10)
latencies = st.floats(0, 0.2)
FREE = Duration(0.0)


def makespan(name, average, bandwidth, latency, options=collectives.Options(), aggregation=FREE, ready=None):
    schedule = collectives.schedule(name, average, aggregation, options)
    workers = len(average.up)
    names = [*worker_names(workers), *(f"server{s}" for s in range(schedule.structure.hosts - workers))]
    links = Links(star([Host(host, bandwidth, bandwidth, latency / 2) for host in names]))
    execution = run_alone(schedule, Placement(schedule.structure, names, links), ready)
    assert execution.open == 0
    return max(finish_times(execution))


def lower_bound(workers, n, bandwidth, latency):
    """No all-reduce of n bytes is faster (Patarasuk & Yuan 2009); log2(K) latencies are needed
    only where a host sends to one other at a time, one latency always."""
    return max(2 * (workers - 1) / workers * n / bandwidth, latency)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(2, 6), st.integers(1, 200), latencies)
@settings(max_examples=40, deadline=None)
def test_shards_in_proportion_use_the_bandwidth_of_all_servers(speeds, workers, items, latency):
    unit = 1e4
    n = 4 * items * sum(speeds)
    names = [*worker_names(workers), *(f"server{s}" for s in range(len(speeds)))]
    rates = [100 * unit] * workers + [unit * speed for speed in speeds]
    graph = star([Host(name, 2 * rate, rate, latency / 2) for name, rate in zip(names, rates)])
    # The servers' links into the network are twice as fast as those from it, the smaller of both.
    assert access(graph, names[workers:]) == tuple(rates[workers:])

    def seconds(shards):
        found = ClusterSettings(
            graph, worker_names(workers), names[workers], "sharded-parameter-server", ComputeTime(0.0), FREE, FREE,
            options=collectives.Options(servers=len(speeds), shards=shards), servers=tuple(names[workers:]),
        )  # fmt: skip
        return Cluster(found).run([RoundCosts((message([n] * workers),))], None).total

    pushed, pulled = workers * n / (unit * sum(speeds)), workers * n / (2 * unit * sum(speeds))
    assert seconds("bandwidth") == pytest.approx(2 * latency + pushed + pulled, rel=EXACT)
    assert seconds("bandwidth") <= seconds("equal") * (1 + EXACT) and seconds("equal") == seconds(None)


@given(st.integers(0, 10**6), st.sampled_from([0, 1, 4, 8]), st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=9))
def test_a_message_cut_in_proportion_keeps_its_bytes_and_its_items_whole(nbytes, item, shares):
    chunks = cut_by(nbytes, item, shares)
    item = item or 1  # of no size: bytes
    assert chunks.sum() == nbytes and (chunks >= 0).all() and (chunks[1:] % item == 0).all()
    exact = nbytes * np.array(shares) / sum(shares)
    assert np.abs(chunks - exact).max() <= 2 * item


def test_nothing_is_in_proportion_to_a_link_without_limit():
    with pytest.raises(SimgmcError, match="links of server1 have no limit"):
        access(star([Host("server0", 1.0, 1.0, 0.0), Host("server1", float("inf"), float("inf"), 0.0)]), ["server1"])


def test_a_stated_time_of_adding_is_shared_out_as_the_shards_are():
    options = collectives.Options(servers=2, shards="bandwidth", shares=(1.0, 3.0))
    schedule = collectives.schedule("sharded-parameter-server", message([400] * 3), Duration(0.8), options)
    assert sorted(schedule.delay[schedule.delay > 0]) == pytest.approx([0.2, 0.6])


@given(st.integers(2, 10), st.integers(1, 5), st.integers(1, 10**5), bandwidths, latencies)
@settings(max_examples=40, deadline=None)
def test_sharded_server_divides_the_queue_by_the_number_of_servers(workers, servers, items, bandwidth, latency):
    n = 4 * items * servers
    expected = 2 * (latency + n / bandwidth * max(workers / servers, 1))
    options = collectives.Options(servers=servers)
    assert makespan("sharded-parameter-server", message([n] * workers), bandwidth, latency, options) == pytest.approx(
        expected, rel=EXACT
    )


@given(st.integers(2, 12), st.integers(1, 10**5), bandwidths, latencies)
@settings(max_examples=40, deadline=None)
def test_servers_on_the_workers_are_bandwidth_optimal(workers, items, bandwidth, latency):
    n = 4 * items * workers
    expected = 2 * (latency + (workers - 1) / workers * n / bandwidth)
    assert makespan("colocated-parameter-server", message([n] * workers), bandwidth, latency) == pytest.approx(
        expected, rel=EXACT
    )


def test_a_sliced_server_overlaps_push_and_pull():
    n, workers, bandwidth, slices = 80000, 4, 1e6, 16
    found = makespan("parameter-server", message([n] * workers), bandwidth, 0.0, collectives.Options(slices=slices))
    assert found == pytest.approx(workers * n / bandwidth * (1 + 1 / slices), rel=EXACT)


@pytest.mark.parametrize("workers", [2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 32, 33, 64])
@given(items=st.integers(1, 10**5), bandwidth=bandwidths, latency=latencies)
@settings(max_examples=4, deadline=None)
def test_halving_doubling_takes_two_logs_of_latency_and_optimal_bandwidth(workers, items, bandwidth, latency):
    power = 1 << (workers.bit_length() - 1)
    n = 4 * items * power
    steps = power.bit_length() - 1
    expected = 2 * steps * latency + 2 * (power - 1) / power * n / bandwidth
    found = makespan("halving-doubling", message([n] * workers), bandwidth, latency)
    if workers == power:
        assert found == pytest.approx(expected, rel=EXACT)
    else:
        # A rank that takes in another's message may at the same time get halves, quarters ... from
        # partners that need not wait: sharing its link delays the former by up to all of those.
        expected += 2 * (latency + n / bandwidth)
        assert expected * (1 - EXACT) <= found <= (expected + n / bandwidth) * (1 + EXACT)


def test_a_fixed_adding_time_is_spent_once_in_halving_doubling():
    with_adding = makespan("halving-doubling", message([6400] * 8), 1e6, 0.01, aggregation=Duration(0.7))
    assert with_adding - makespan("halving-doubling", message([6400] * 8), 1e6, 0.01) == pytest.approx(0.7, rel=EXACT)


@pytest.mark.parametrize("workers", [2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64])
@given(n=st.integers(1, 10**6), bandwidth=bandwidths, latency=latencies)
@settings(max_examples=4, deadline=None)
def test_doubling_all_gather_takes_a_log_of_latencies_and_every_message_once(workers, n, bandwidth, latency):
    expected = (workers - 1).bit_length() * latency + (workers - 1) * n / bandwidth
    average = message([n] * workers, summable=False)
    assert makespan("doubling-all-gather", average, bandwidth, latency) == pytest.approx(expected, rel=EXACT)


def test_doubling_all_gather_delivers_every_message_to_everybody():
    for workers in range(2, 20):
        up = [2**k for k in range(workers)]
        schedule = collectives.schedule("doubling-all-gather", message(up, summable=False), FREE)
        received = np.zeros(workers)
        for destination, nbytes in zip(schedule.structure.destination, schedule.nbytes):
            received[destination] += nbytes
        # With sizes that are powers of two a wrong or doubled message cannot go unnoticed.
        assert received.tolist() == [sum(up) - own for own in up]


@pytest.mark.parametrize("workers", range(2, 65))
def test_both_binary_trees_span_all_ranks_and_share_no_inner_node(workers):
    inner = []
    for parent in double_binary_tree(workers):
        assert parent.count(-1) == 1
        for rank in range(workers):
            seen = {rank}
            while parent[rank] >= 0:
                rank = parent[rank]
                assert rank not in seen, "a circle"
                seen.add(rank)
        inner.append({rank for rank in range(workers) if parent.count(rank) == 2})
    assert not inner[0] & inner[1]
    assert all(
        sum(above == rank for above in parent) <= 2 for parent in double_binary_tree(workers) for rank in range(workers)
    )


@pytest.mark.parametrize("workers", [2, 3, 5, 8, 16, 33, 64])
def test_double_binary_tree_exposes_twice_its_depth_in_latencies(workers):
    depth = 0
    for parent in double_binary_tree(workers):
        for rank in range(workers):
            hops = 0
            while parent[rank] >= 0:
                rank, hops = parent[rank], hops + 1
            depth = max(depth, hops)
    found = makespan("double-binary-tree", message([800] * workers), float("inf"), 0.01)
    assert found == pytest.approx(2 * depth * 0.01, rel=EXACT)
    assert depth <= int(np.ceil(np.log2(workers))) + 1


@pytest.mark.parametrize("workers", [8, 9, 17, 33, 64, 256])
def test_double_binary_tree_takes_close_to_two_messages_by_default(workers):
    n, bandwidth = 800_000, 1e6
    found = makespan("double-binary-tree", message([n] * workers), bandwidth, 1e-6)
    assert found <= 1.1 * 2 * n / bandwidth


def in_two_groups(workers):
    """Options with the groups that two-level needs."""
    return collectives.Options(groups=(tuple(range(workers // 2)), tuple(range(workers // 2, workers))))


def test_double_binary_tree_of_two_ranks_is_pipelined_by_halves():
    n, bandwidth, slices = 64000, 1e6, 8
    found = makespan("double-binary-tree", message([n] * 2), bandwidth, 0.0, collectives.Options(slices=slices))
    # Each card carries half the message up one tree and half down the other.
    assert found == pytest.approx(n / bandwidth, rel=0.2) and found >= n / bandwidth


@given(
    st.sampled_from(
        ["ring", "lock-step-ring", "halving-doubling", "double-binary-tree", "two-level", "colocated-parameter-server"]
    ),
    st.integers(2, 17),
    st.integers(1, 10**5),
    bandwidths,
    latencies,
)
@settings(max_examples=80, deadline=None)
def test_no_all_reduce_beats_its_lower_bound(name, workers, items, bandwidth, latency):
    n = 4 * items * workers
    found = makespan(name, message([n] * workers), bandwidth, latency, in_two_groups(workers))
    assert found >= lower_bound(workers, n, bandwidth, latency) * (1 - EXACT)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 10**4),
    st.floats(1e5, 1e8),
    st.floats(1e5, 1e8),
    latencies,
    latencies,
)
@settings(max_examples=50, deadline=None)
def test_two_level_is_rings_inside_and_rings_between(inside, sites, items, bandwidth, uplink, near, far):
    workers = inside * sites
    if workers == 1:
        return
    n = 4 * items * workers
    names = worker_names(workers)
    # Sites' uplinks are shared by their hosts; within a site only the hosts' own links count.
    graph = two_tier(
        [Host(name, bandwidth, bandwidth, near / 2) for name in names], inside, uplink=uplink, latency=far / 2
    )
    links = Links(graph)
    network = FluidNetwork(links)
    groups = tuple(tuple(range(site * inside, (site + 1) * inside)) for site in range(sites))
    schedule = collectives.schedule("two-level", message([n] * workers), FREE, collectives.Options(groups=groups))
    execution = Execution(network, schedule, Placement(schedule.structure, names, links))
    for worker in range(workers):
        execution.ready(worker)
    network.run()
    rate = min(bandwidth, uplink / inside)
    expected = 2 * (inside - 1) * (near + n / (inside * bandwidth)) + 2 * (sites - 1) * (
        near + far + n / (inside * sites) / rate
    )
    assert max(execution.landed) == pytest.approx(expected, rel=EXACT)


def test_two_level_with_unequal_sites_goes_through_leaders():
    options = collectives.Options(groups=((0, 1, 2), (3, 4)))
    found = makespan("two-level", message([8000] * 5), 1e6, 0.01, options)
    send = lambda n: 0.01 + n / 1e6  # noqa: E731
    assert found == pytest.approx(send(2 * 8000) + 2 * send(4000) + send(2 * 8000), rel=EXACT)


def test_two_level_refuses_groups_that_do_not_partition_the_workers():
    with pytest.raises(SimgmcError, match="exactly one group"):
        makespan("two-level", message([8] * 4), 1e6, 0.0, collectives.Options(groups=((0, 1), (2,))))


def sparse(partial):
    partial = np.asarray(partial)
    workers = len(partial)
    up = np.full(workers, partial[0].sum())
    return Average(up, int(partial[-1].sum()), False, 8, up, 0, partial)


def test_sparse_reduce_scatter_pays_for_growing_unions():
    partial = np.outer([100, 180, 250, 300], np.ones(4, dtype=int))
    found = makespan("sparse-reduce-scatter", sparse(partial), 1000.0, 0.0, collectives.Options(slices=1))
    assert found == pytest.approx((100 + 180 + 250 + 3 * 300) / 1000, rel=EXACT)


def test_sparse_reduce_scatter_of_equal_supports_is_a_ring_all_reduce():
    partial = np.full((5, 5), 800)
    assert makespan("sparse-reduce-scatter", sparse(partial), 1e5, 0.01) == pytest.approx(
        makespan("ring", message([4000] * 5), 1e5, 0.01), rel=EXACT
    )


def test_sparse_reduce_scatter_without_recorded_unions_is_refused():
    with pytest.raises(SimgmcError, match="how unions of supports grow"):
        makespan("sparse-reduce-scatter", message([100] * 4, summable=False), 1e6, 0.0)


@given(
    st.integers(2, 12),
    st.integers(1, 10**6),
    bandwidths,
    latencies,
    st.integers(1, 8),
    st.sampled_from(["broadcast", "reduce"]),
)
@settings(max_examples=50, deadline=None)
def test_broadcast_and_reduce_are_pipelined_chains(workers, n, bandwidth, latency, slices, which):
    schedule = getattr(rooted, which)(workers, 1 % workers, n, slices)
    expected = (slices + workers - 2) * n / (slices * bandwidth) + (workers - 1) * latency
    assert max(finish_times(execute(schedule, uniform(workers, bandwidth, latency)))) == pytest.approx(
        expected, rel=EXACT
    )


def test_gather_queues_everybody_else_at_the_root():
    execution = execute(rooted.gather(2, [1000, 2000, 9000, 3000]), uniform(4, 1e6, 0.01))
    assert finish_times(execution)[2] == pytest.approx(0.01 + 0.006, rel=EXACT)


def test_gossip_shares_a_senders_uplink_among_its_neighbours():
    ring = [[1, 3], [0, 2], [1, 3], [0, 2]]
    execution = execute(gossip(ring, [1000] * 4, FREE), uniform(4, 1e6, 0.01), [0, 0, 0, 1])
    assert finish_times(execution)[1] == pytest.approx(0.012, rel=EXACT)
    assert finish_times(execution)[0] == pytest.approx(1.012, rel=EXACT)


@pytest.mark.parametrize("name", collectives.COLLECTIVES)
@pytest.mark.parametrize("workers", [2, 3, 5, 8])
def test_every_collective_runs_on_uneven_networks_and_delivers_everything(name, workers):
    speeds = [1e5 * (1 + k) for k in range(workers)]
    average = Average(np.full(workers, 4004), 4004, True, 4, np.zeros(workers, dtype=int), 0)
    schedule = collectives.schedule(name, average, Duration(0.01), in_two_groups(workers))
    execution = execute(schedule, hosts(speeds, speeds[::-1], [0.001] * workers), [0.1 * k for k in range(workers)])
    assert execution.open == 0 and min(execution.landed) > 0
    assert all(worker <= end for worker, end in zip(execution.gate, finish_times(execution)))


@pytest.mark.parametrize("name", [name for name in collectives.COLLECTIVES if name != collectives.FIRST_K])
def test_bounds_hold_as_well_after_months_of_simulated_time(name):
    """An exchange of microseconds, by a clock that is read to nanoseconds then."""
    names, average = worker_names(4), message([40_000_000] * 4)
    machines = star([Host(host, 1e12, 1e12, 0.0) for host in (*names, "server")])
    given = ClusterSettings(
        machines, names, "server", name, ComputeTime(1e7), FREE, FREE, options=in_two_groups(4), fast=False
    )
    rounds = [RoundCosts((Compute(1), average))] * 3
    assert simulate(given, rounds).total == pytest.approx(3e7, rel=1e-9)
