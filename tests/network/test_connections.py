"""Messages of one ordered pair of hosts go in order, in closed form: in gossip and between peers."""

from __future__ import annotations

import numpy as np
import pytest

from simgmc.costs.steps import Compute, Mix, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.cluster.peers import Peers
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import uniform

EXACT = 1e-9
BANDWIDTH, LATENCY, GRADIENT, NBYTES = 1e6, 0.01, 0.1, 300_000
TAKES = NBYTES / BANDWIDTH


def cluster(workers, **other):
    graph = star(uniform(workers, BANDWIDTH, LATENCY))
    return ClusterSettings(
        graph,
        worker_names(workers),
        "server",
        "parameter-server",
        ComputeTime(GRADIENT),
        Duration(0.0),
        Duration(0.0),
        **other,
    )


def sends(workers, *edges):
    """One round: a gradient, then the messages."""
    sizes = np.full(workers, NBYTES, dtype=np.int64)
    return RoundCosts((Compute(1), Mix(sizes, np.array(edges, dtype=np.int64), sizes // 4)))


@pytest.mark.parametrize("recorder", [None, Recorder(0, 5)])
def test_rounds_that_a_fast_sender_is_ahead_arrive_one_after_the_other(recorder):
    """Worker 0 hears from nobody and sends a message of 0.3 s every 0.1 s: the n-th has n whole messages before its
    last byte.
    """
    timing = simulate(cluster(2), [sends(2, (0, 1))] * 6, recorder=recorder)
    number = np.arange(1, 7)
    assert timing.round_end[:, 0] == pytest.approx(GRADIENT * number, rel=EXACT)
    assert timing.round_end[:, 1] == pytest.approx(GRADIENT + TAKES * number + LATENCY, rel=EXACT)


def test_waiting_behind_the_message_of_the_round_before_counts_as_transfer():
    timing = simulate(cluster(2), [sends(2, (0, 1))] * 6)
    parts = dict(zip(CATEGORIES, timing.breakdown[:, 1].T, strict=True))
    assert timing.breakdown[:, 1].sum() == pytest.approx(timing.total, rel=EXACT)
    assert parts["aggregate"].sum() == parts["wait"].sum() == 0
    assert parts["transfer"][1:] == pytest.approx(np.full(5, TAKES - GRADIENT - LATENCY), rel=EXACT)
    assert parts["latency"] == pytest.approx(np.full(6, LATENCY), rel=EXACT)


def test_connections_to_different_hosts_share_a_link_whatever_waits_behind_their_messages():
    """Half of the uplink is worker 1's and half worker 2's, although three messages are for 1 and one for 2."""
    peers = Peers(cluster(3))
    landed = []

    def send():
        for receiver in (1, 1, 1, 2):
            peers.send(0, receiver, NBYTES, lambda flight, receiver=receiver: landed.append((receiver, flight.landed)))

    peers.at_once(0, send)
    peers.clock.call_at(10.0, lambda _: peers.stop())
    peers.run()
    expected = [(1, 2 * TAKES), (2, 2 * TAKES), (1, 3 * TAKES), (1, 4 * TAKES)]
    assert [receiver for receiver, _ in landed] == [receiver for receiver, _ in expected]
    assert [time for _, time in landed] == pytest.approx([time + LATENCY for _, time in expected], rel=EXACT)


def test_the_other_way_round_is_another_connection():
    peers = Peers(cluster(2))
    landed = {}

    def send():
        for source, receiver in ((0, 1), (1, 0)):
            peers.send(
                source, receiver, NBYTES, lambda flight, receiver=receiver: landed.update({receiver: flight.landed})
            )

    peers.at_once(0, send)
    peers.clock.call_at(10.0, lambda _: peers.stop())
    peers.run()
    assert landed == pytest.approx({0: TAKES + LATENCY, 1: TAKES + LATENCY}, rel=EXACT)


def test_a_message_that_waited_says_when_it_was_ready_to_go():
    peers = Peers(cluster(2, conditions=(Overheads(software=0.02),)))
    flights = []
    peers.at_once(0, lambda: [peers.send(0, 1, NBYTES, flights.append) for _ in range(2)])
    peers.clock.call_at(10.0, lambda _: peers.stop())
    peers.run()
    first, second = flights
    assert (first.begun, second.begun) == pytest.approx((0.02, 0.02), rel=EXACT)
    assert second.segments() == [
        ("latency", 0.0, pytest.approx(0.02)),
        ("transfer", pytest.approx(0.02), pytest.approx(0.02 + 2 * TAKES)),
        ("latency", pytest.approx(0.02 + 2 * TAKES), pytest.approx(0.02 + 2 * TAKES + LATENCY)),
    ]
