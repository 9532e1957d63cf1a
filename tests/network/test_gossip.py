"""Gossip rounds on the simulated cluster: closed forms, who waits for whom, bytes, crashes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compress, Compute, Mix, RoundCosts, Wait
from simgmc.mixing import gossip_graph, mixing
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.crashes import Crash, Crashes
from simgmc.network.conditions.overlap import Overlap
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.network.topology import catalogue as topology
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import hosts, uniform

EXACT = 1e-9
BANDWIDTH, LATENCY = 1e6, 0.01


def cluster(workers=4, graph=None, compute=ComputeTime(0.1), aggregation=Duration(0.0), **other):
    machines = uniform(workers, BANDWIDTH, LATENCY)
    graph = star(machines) if graph is None else graph
    return ClusterSettings(
        graph, worker_names(workers), "server", "parameter-server", compute, Duration(0.02), aggregation, **other
    )


def mix(name, workers=4, nbytes=1000, round=0, background=False, **options) -> Mix:
    edges = mixing(gossip_graph(name, workers, **options)).edges
    sizes = np.broadcast_to(np.asarray(nbytes, dtype=np.int64), (workers,)).copy()
    return Mix(sizes, edges[round % len(edges)], sizes // 4, background)


@pytest.mark.parametrize(("name", "neighbours"), [("ring", 2), ("complete", 5), ("exponential", 3), ("torus", 3)])
def test_a_round_on_a_star_takes_the_latency_and_all_copies_through_the_uplink(name, neighbours):
    timing = simulate(cluster(6), [RoundCosts((Compute(1), mix(name, 6)))] * 3)
    one = 0.1 + LATENCY + neighbours * 1000 / BANDWIDTH
    assert timing.round_end == pytest.approx(np.outer([1, 2, 3], np.full(6, one)), rel=EXACT)
    assert timing.sent_by_workers.tolist() == timing.received_by_workers.tolist() == [6000.0 * neighbours] * 3
    assert timing.into_server.tolist() == timing.out_of_server.tolist() == [0.0] * 3


def test_a_gradient_has_the_same_straggler_draw_whatever_is_launched_before_it():
    """Rounds compared with each other differ in how they communicate, not in who is slow."""
    slow = cluster(6, conditions=(Stragglers(sigma=0.5),), seed=3)
    before = simulate(slow, [RoundCosts((mix("ring", 6, background=True), Compute(1), Wait(0), Compute(1)))] * 3)
    after = simulate(slow, [RoundCosts((Compute(1), Compress(400), mix("ring", 6), Compute(1)))] * 3)
    drawn = [slow.compute_times(number, 0, 1) + slow.compute_times(number, 1, 1) for number in range(3)]
    for timing in (before, after):
        assert timing.breakdown[:, :, CATEGORIES.index("compute")] == pytest.approx(np.array(drawn), rel=EXACT)


def test_the_centre_of_a_star_graph_sends_to_all_and_hears_from_all():
    """Uplink and downlink of worker 0 carry K - 1 messages each; the others are done when their copy is there."""
    timing = simulate(cluster(5), [RoundCosts((Compute(1), mix("star", 5)))])
    assert timing.round_end[0] == pytest.approx(np.full(5, 0.1 + LATENCY + 4 * 0.001), rel=EXACT)


def test_ring_gossip_on_a_ring_of_wires_uses_each_wire_once_a_direction():
    """Access links of 10 MB/s, wires of 1 MB/s and 10 ms between neighbours: messages do not share a wire."""
    machines = hosts([10 * BANDWIDTH] * 6, [10 * BANDWIDTH] * 6, [0.0] * 6, servers=0)
    graph = topology.ring(machines, BANDWIDTH, LATENCY)
    settings_ = dataclasses.replace(cluster(6), graph=graph, collective="ring-all-reduce", server=None)
    timing = simulate(settings_, [RoundCosts((Compute(1), mix("ring", 6)))])
    assert timing.round_end[0] == pytest.approx(np.full(6, 0.1 + LATENCY + 0.001), rel=EXACT)
    wires = [
        nbytes
        for (a, b), nbytes in zip(timing.links, timing.link_bytes)
        if a.startswith("port") and b.startswith("port")
    ]
    assert wires == [1000.0] * 12


def test_adding_what_arrived_takes_its_stated_time():
    timing = simulate(cluster(aggregation=Duration(0.05)), [RoundCosts((Compute(1), mix("ring")))])
    assert timing.round_end[0] == pytest.approx(np.full(4, 0.1 + LATENCY + 0.002 + 0.05), rel=EXACT)
    assert timing.breakdown[0, :, CATEGORIES.index("aggregate")] == pytest.approx(np.full(4, 0.05), rel=EXACT)
    rate = simulate(cluster(aggregation=Throughput(1e5)), [RoundCosts((Compute(1), mix("ring")))])
    assert rate.round_end[0] == pytest.approx(np.full(4, 0.1 + LATENCY + 0.002 + 0.03), rel=EXACT)


def test_only_neighbours_wait_for_a_slow_worker():
    """On a ring of 8 the news of a slow worker travels one neighbour a round."""
    compute = ComputeTime(0.1, slowdown=(11, *[1] * 7))
    timing = simulate(cluster(8, compute=compute), [RoundCosts((Compute(1), mix("ring", 8)))] * 4)
    usual = 0.1 + LATENCY + 0.002
    for number in range(3):
        far = [k for k in range(8) if min(k, 8 - k) > number + 1]
        assert timing.round_end[number, far] == pytest.approx(np.full(len(far), (number + 1) * usual), rel=0.02)
        assert timing.round_end[number, [number + 1, 7 - number]].min() > 1.0


def test_the_breakdown_adds_up_to_each_workers_time():
    compute = ComputeTime(0.1, slowdown=(1, 2, 3, 4))
    timing = simulate(
        cluster(compute=compute, aggregation=Throughput(1e5)),
        [RoundCosts((Compute(1), Compress(4000), mix("ring", nbytes=[100, 500, 900, 1300])))] * 5,
    )
    durations = np.diff(timing.round_end, axis=0, prepend=0.0)
    assert timing.breakdown.sum(axis=2) == pytest.approx(durations, rel=EXACT)
    assert timing.breakdown[:, :3, CATEGORIES.index("wait")].max() > 0.1


def test_models_travel_while_the_gradient_is_computed():
    """D-PSGD (cta): the longer of the two counts."""
    steps = RoundCosts((mix("ring", background=True), Compute(1), Wait(0)))
    hidden = simulate(cluster(), [steps] * 3)
    assert hidden.round_end[-1] == pytest.approx(np.full(4, 0.3), rel=EXACT)
    assert hidden.exposed == 0.0
    slow = RoundCosts((mix("ring", nbytes=200_000, background=True), Compute(1), Wait(0)))
    assert simulate(cluster(), [slow]).round_end[0] == pytest.approx(np.full(4, LATENCY + 0.4), rel=EXACT)


def test_a_directed_graph_that_varies_sends_one_message_a_round():
    rounds = [RoundCosts((Compute(1), mix("one-peer-exponential", 8, round=t))) for t in range(6)]
    timing = simulate(cluster(8), rounds)
    one = 0.1 + LATENCY + 0.001
    assert timing.round_end == pytest.approx(np.outer(np.arange(1, 7), np.full(8, one)), rel=EXACT)
    assert timing.sent_by_workers.tolist() == [8000.0] * 6


def test_a_single_worker_mixes_with_itself_in_no_time():
    timing = simulate(cluster(1), [RoundCosts((Compute(1), mix("ring", 1)))] * 2)
    assert timing.round_end[:, 0] == pytest.approx([0.1, 0.2], rel=EXACT)
    assert timing.sent_by_workers.sum() == 0


def test_a_recorder_changes_nothing_and_sees_the_messages():
    rounds = [RoundCosts((Compute(1), mix("ring", nbytes=[100, 500, 900, 1300])))] * 3
    recorder = Recorder(0, 2)
    plain = simulate(cluster(), rounds)
    recorded = simulate(cluster(), rounds, recorder=recorder)
    assert plain.round_end == pytest.approx(recorded.round_end, rel=1e-12), "walked without events, and with them"
    timeline = recorder.timeline(worker_names(4), recorded.round_end)
    sent = [span for span in timeline.actions if span.what == "send"]
    assert len(sent) == 3 * 8 and sum(span.nbytes for span in sent) == 3 * 2 * 2800


def test_buckets_do_not_apply_to_gossip():
    rounds = [RoundCosts((Compute(1), mix("ring")))]
    overlapped = simulate(cluster(conditions=(Overlap(4),)), rounds)
    assert np.array_equal(overlapped.round_end, simulate(cluster(), rounds).round_end)


def test_a_crash_is_waited_for_by_the_neighbours_or_stops_the_run():
    rounds = [RoundCosts((Compute(1), mix("ring", 8)))] * 2
    crashes = Crashes((Crash(2, 0.05, 1.05),), "wait")
    timing = simulate(cluster(8, conditions=(crashes,)), rounds)
    usual = 0.1 + LATENCY + 0.002
    assert timing.round_end[0, [2, 1, 3]].min() > 1.0 and timing.round_end[0, [0, 4, 5, 6, 7]].max() == pytest.approx(
        usual, rel=EXACT
    )
    stopped = simulate(cluster(8, conditions=(dataclasses.replace(crashes, policy="stop"),)), rounds)
    assert stopped.stopped == "worker2 crashed at t = 0.05 s"
    with pytest.raises(SimgmcError, match='"wait" or "stop"'):
        simulate(cluster(8, conditions=(dataclasses.replace(crashes, policy="without"),)), rounds)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_message_is_delivered_and_no_bound_is_broken_on_uneven_networks(data):
    """The cluster itself asserts capacity and latency of every exchange; here: bytes, order and the least time."""
    workers = data.draw(st.integers(2, 7))
    speeds = data.draw(st.lists(st.sampled_from([1e5, 3e5, 1e6]), min_size=workers, max_size=workers))
    machines = hosts(speeds, speeds[::-1], [0.001 * (1 + k) for k in range(workers)])
    slow = tuple(data.draw(st.lists(st.sampled_from([1.0, 1.5, 4.0]), min_size=workers, max_size=workers)))
    sizes = data.draw(st.lists(st.integers(0, 50_000), min_size=workers, max_size=workers))
    names = data.draw(
        st.lists(
            st.sampled_from(["ring", "star", "complete", "exponential", "one-peer-exponential"]), min_size=1, max_size=4
        )
    )
    rounds = [RoundCosts((Compute(1), mix(name, workers, sizes, t))) for t, name in enumerate(names)]
    timing = simulate(cluster(workers, star(machines), ComputeTime(0.01, slowdown=slow)), rounds)
    for number, (_, step) in enumerate(rounds):
        assert (
            timing.sent_by_workers[number]
            == timing.received_by_workers[number]
            == sum(sizes[sender] for sender, _ in step.edges)
        )
        before = timing.round_end[number - 1] if number else np.zeros(workers)
        for sender, receiver in step.edges:
            least = before[sender] + 0.01 * slow[sender] + sizes[sender] / min(speeds[sender], speeds[::-1][receiver])
            assert timing.round_end[number, receiver] >= least * (1 - 1e-9)
