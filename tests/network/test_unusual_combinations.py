"""Conditions of networks together: lock-step rings whose times are worked out by hand."""

import pytest

from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.traces import BandwidthSteps, BandwidthTrace
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import build
from simgmc.network.topology.graph import Host, worker_names
from tests.network.exchanges import message

RATE, TRIP = 1e6, 0.2
WINDOWED = Overheads(window=5e3, streams=4)
"""100 kB/s over a round trip of 0.2 s."""


def total(graph, *conditions, workers=2):
    """1 s of work, then 2 (workers - 1) steps; two workers send 200 kB in each, four 100 kB."""
    settings = ClusterSettings(
        graph, worker_names(workers), None, "lock-step-ring", ComputeTime(1.0), Duration(0), Duration(0),
        conditions=conditions,
    )  # fmt: skip
    return simulate(settings, [RoundCosts((Compute(1), message([400_000] * workers)))]).total


def star(workers=2, half_duplex=()):
    latency = TRIP / 4 if workers == 2 else 0.0
    hosts = [Host(name, RATE, RATE, latency, k in half_duplex) for k, name in enumerate(worker_names(workers))]
    return build("star", hosts)


def rails(card_latency):
    hosts = [Host(name, 1e9, 1e9, 0.0) for name in worker_names(2)]
    return build("gpu-nodes", hosts, devices=1, cards=2, card_bandwidth=RATE, card_latency=card_latency)


def slow(factor):
    steps = BandwidthSteps((0.0,), (factor,))
    return NetworkChanges(traces=(BandwidthTrace(file=steps, source="node0.card0", destination="rail0"),))


DOWN = NetworkChanges(failures=(LinkFailure(1.5, 4.0, source="worker0", destination="switch"),))
DEAD = NetworkChanges(failures=(LinkFailure(1.05, None, source="node0.card0", destination="rail0"),), detection=0.5)


@pytest.mark.parametrize(
    ("graph", "conditions", "seconds"),
    [
        (star(), (WINDOWED,), 1 + 2 * (2.0 + 0.1)),
        (star(), (WINDOWED, DOWN), 1 + 2 * (2.0 + 0.1) + 2.5),
        (star(half_duplex=(0, 1)), (WINDOWED,), 1 + 2 * (2.0 + 0.1)),
        (star(half_duplex=(0, 1)), (), 1 + 2 * (0.4 + 0.1)),
        (star(), (Overheads(window=5e3, streams=400, efficiency=0.5),), 1 + 2 * (0.4 + 0.1)),
        (rails(0.0), (), 1 + 2 * 0.1),
        (rails(0.0), (slow(0.5),), 1 + 2 * 0.2),  # the slower half of a message holds it up
        (rails(TRIP / 4), (WINDOWED,), 1 + 2 * (2.0 + 0.1)),  # one window for both rails
        (rails(TRIP / 4), (WINDOWED, slow(0.03)), 1 + 2 * (0.1 / 0.03 + 0.1)),
        # Half of the half over the rail waits from 1.05 to 1.55 s and goes over the other; so does all that follows.
        (rails(0.0), (DEAD,), 1.6 + 0.2),
    ],
)
def test_two_workers_take_the_time_that_is_worked_out_by_hand(graph, conditions, seconds):
    assert total(graph, *conditions) == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize("kind", ["star", "two-tier"])
def test_one_half_duplex_host_of_a_ring_makes_every_step_twice_as_long(kind):
    hosts = [Host(name, RATE, RATE, 0.0, k == 1) for k, name in enumerate(worker_names(4))]
    graph = build(kind, hosts, **({"per_rack": 2, "oversubscription": 1.0} if kind == "two-tier" else {}))
    assert total(graph, workers=4) == pytest.approx(1 + 6 * 2 * 0.1, rel=1e-9)
