"""Extra latency at random: what is drawn, when messages then arrive, and that they stay in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.costs.steps import RoundCosts
from simgmc.network.cluster.cluster import Cluster, ClusterSettings
from simgmc.network.cluster.peers import Peers
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.jitter import Jitter
from simgmc.network.conditions.traffic import Traffic
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import message, uniform

EXACT = 1e-9
WORKERS, BANDWIDTH, LATENCY, NBYTES, SEED = 3, 1e6, 0.01, 3000, 7
SERVER = WORKERS
"""The server's place among the hosts."""


def cluster(*conditions: Condition, collective="parameter-server", seed=SEED):
    return ClusterSettings(
        star(uniform(WORKERS, BANDWIDTH, LATENCY)), worker_names(WORKERS), "server", collective, ComputeTime(0.0),
        Duration(0.0), Duration(0.0), seed=seed, conditions=conditions,
    )  # fmt: skip


def total(*conditions, **more):
    return Cluster(cluster(*conditions, **more)).run([RoundCosts((message([NBYTES] * WORKERS),))], None).total


def test_a_round_of_a_server_takes_the_largest_draws_of_its_pushes_and_pulls():
    jitter = Jitter(0.05, 1e6)
    push = max(jitter.extra(SEED, worker, SERVER, 0.0) for worker in range(WORKERS))
    pull = max(jitter.extra(SEED, SERVER, worker, 0.0) for worker in range(WORKERS))
    expected = 2 * (LATENCY + WORKERS * NBYTES / BANDWIDTH) + push + pull
    assert total(jitter) == pytest.approx(expected, rel=EXACT)


def test_every_step_of_a_lock_step_ring_has_the_draw_of_its_moment():
    """Two steps of an all-gather of three; each rank goes on when its send and its receipt of the step are done."""
    jitter = Jitter(0.05, 1e-3)
    at = np.zeros(WORKERS)
    for _ in range(2 * (WORKERS - 1)):
        left = at + NBYTES / WORKERS / BANDWIDTH
        landed = [left[k] + LATENCY + jitter.extra(SEED, k, (k + 1) % WORKERS, float(left[k])) for k in range(WORKERS)]
        at = np.array([max(landed[k], landed[k - 1]) for k in range(WORKERS)])
    assert total(jitter, collective="lock-step-ring") == pytest.approx(at.max(), rel=1e-6)


def test_draws_depend_on_seed_pair_and_interval_only_and_have_the_stated_mean():
    jitter = Jitter(0.02, 0.1)
    assert jitter.extra(1, 0, 1, 0.11) == jitter.extra(1, 0, 1, 0.19)
    others = [(1, 0, 1, 0.21), (1, 1, 0, 0.11), (2, 0, 1, 0.11)]
    assert all(jitter.extra(1, 0, 1, 0.11) != jitter.extra(*other) for other in others)
    draws = [jitter.extra(3, 0, 1, 0.1 * n) for n in range(4000)]
    assert np.mean(draws) == pytest.approx(0.02, rel=0.05) and np.std(draws) == pytest.approx(0.02, rel=0.1)
    assert total(jitter) == total(jitter) != total(jitter, seed=SEED + 1)


@given(st.integers(0, 1000), st.floats(1e-4, 1.0), st.floats(1e-5, 0.5))
@settings(max_examples=30, deadline=None)
def test_messages_between_two_hosts_arrive_in_the_order_in_which_they_left(seed, mean, interval):
    peers = Peers(cluster(Jitter(mean, interval), seed=seed))
    flights = []
    peers.at_once(0, lambda: [peers.send(0, 1, NBYTES, flights.append) for _ in range(20)])
    peers.clock.call_at(1e3, lambda _: peers.stop())
    peers.run()
    assert len(flights) == 20
    for before, after in zip(flights, flights[1:]):
        assert before.departed < after.departed and before.landed <= after.landed
    assert all(flight.landed >= flight.departed + LATENCY for flight in flights)


def test_other_peoples_traffic_goes_on_beside_it():
    beside = NetworkChanges(traffic=(Traffic(2, 1e3, 0.02),))
    assert total(Jitter(1e-9, 1e-3), beside) == pytest.approx(total(beside), rel=1e-5)
