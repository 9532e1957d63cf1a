"""Hosts that send and receive over one capacity: closed forms, changes of the link, and no unproved fast path."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import Cluster, ClusterSettings
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.work import Duration
from simgmc.network.flows.flows import BandwidthChange, Flow, completion_times
from simgmc.network.topology.catalogue import star, worker_names
from simgmc.network.topology.routing import Links
from simgmc.scenario.cluster.cluster import Cluster as ClusterTable
from tests.network.exchanges import message, uniform

EXACT = 1e-9


def half(machines, *which):
    """These hosts, those of the given numbers (all unless given) with one capacity for both directions."""
    return [replace(host, half_duplex=not which or n in which) for n, host in enumerate(machines)]


def test_both_directions_share_the_capacity_of_a_half_duplex_host():
    both_ways = [Flow("worker0", "worker1", 1e6), Flow("worker1", "worker0", 1e6)]
    machines = uniform(2, 1e6, 0.0)
    assert completion_times(star(machines), both_ways) == pytest.approx([1.0, 1.0], rel=EXACT)
    assert completion_times(star(half(machines, 0)), both_ways) == pytest.approx([2.0, 2.0], rel=EXACT)
    # One direction alone has all of it, and its latency.
    alone = completion_times(star(half(uniform(2, 1e6, 0.3))), both_ways[:1])
    assert alone == pytest.approx([1.3], rel=EXACT)


def run(collective, workers, fast=True, conditions=(), rounds=3, which=()):
    nbytes, bandwidth, latency = 4000 * workers, 1e6, 0.01
    settings = ClusterSettings(
        star(half(uniform(workers, bandwidth, latency), *which)), worker_names(workers), "server", collective,
        ComputeTime(0.0), Duration(0.0), Duration(0.0), conditions=conditions, fast=fast,
    )  # fmt: skip
    return Cluster(settings).run([RoundCosts((Compute(1), message([nbytes] * workers)))] * rounds, None)


@pytest.mark.parametrize("workers", [2, 3, 6])
def test_a_ring_and_shards_on_half_duplex_hosts_take_their_bytes_twice(workers):
    nbytes, bandwidth, latency = 4000 * workers, 1e6, 0.01
    ring = 2 * (workers - 1) * (latency + 2 * nbytes / workers / bandwidth)
    assert run("lock-step-ring", workers, rounds=1).total == pytest.approx(ring, rel=EXACT)
    shards = 2 * (latency + 2 * (workers - 1) / workers * nbytes / bandwidth)
    assert run("colocated-parameter-server", workers, rounds=1).total == pytest.approx(shards, rel=EXACT)


@pytest.mark.parametrize("collective", ["ring", "lock-step-ring", "parameter-server", "halving-doubling"])
@pytest.mark.parametrize(("workers", "which"), [(4, ()), (4, (1,)), (36, (0, 36))])
def test_fast_paths_know_of_shared_capacity(collective, workers, which):
    if collective == "halving-doubling" and workers == 36:
        return
    fast, slow = (run(collective, workers, choice, which=which) for choice in (True, False))
    assert fast.round_end == pytest.approx(slow.round_end, rel=EXACT)
    assert fast.link_bytes == pytest.approx(slow.link_bytes)


@pytest.mark.parametrize("ends", [{"source": "worker0"}, {"destination": "worker0"}])
def test_a_failure_of_either_direction_stops_both(ends):
    down = NetworkChanges(failures=(LinkFailure(0.0, 5.0, **ends),))
    total = run("lock-step-ring", 2, rounds=1, conditions=(down,), which=(0,)).total
    assert total == pytest.approx(5.0 + run("lock-step-ring", 2, rounds=1, which=(0,)).total, rel=EXACT)


@pytest.mark.parametrize("ends", [("worker0", "switch"), ("switch", "worker0")])
def test_a_change_of_the_capacity_counts_for_both_directions(ends):
    links = Links(star(half(uniform(2, 1e6, 0.0), 0)))
    assert links.route("worker1", "worker0")[-1] == links.index("worker0", "switch")
    change = BandwidthChange(0.0, *ends, 2.5e5)
    found = completion_times(links.graph, [Flow("worker1", "worker0", 1e6)], changes=[change])
    assert found == pytest.approx([4.0], rel=EXACT)


def table(**host):
    return ClusterTable.model_validate(
        {
            "bandwidth": "8 Mbit/s", "latency": "0 s", "collective": "ring", "hosts": {"worker0": host},
            "compute": {"gradient": "1 ms", "compression": "0 s", "aggregation": "0 s"},
        }
    )  # fmt: skip


def test_a_scenario_states_it_per_host():
    both_ways = [Flow("worker0", "worker1", 1e6), Flow("worker1", "worker0", 1e6)]
    for duplex, seconds in (("full", 1.0), ("half", 2.0)):
        found = completion_times(table(duplex=duplex).graph(2), both_ways)
        assert found == pytest.approx([seconds] * 2, rel=EXACT)


@pytest.mark.parametrize("host", [{"duplex": "half", "up": "1 Mbit/s"}, {"duplex": "both"}])
def test_a_scenario_that_contradicts_itself_is_refused(host):
    with pytest.raises((SimgmcError, ValueError), match="duplex|share one capacity"):
        table(**host)
