"""Routes round links that have failed: when they are taken, by what, and for how long."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.changing import ChangingNetwork
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.schedule import Schedule, StructureBuilder
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import FluidNetwork, StuckError
from simgmc.network.topology.catalogue import Host, add_link, add_wire, build, ring, worker_names
from simgmc.network.topology.routing import Links
from tests.network.exchanges import message

EXACT = 1e-9


def two_ways(first=1e6, second=1e6, detour=0.0):
    """worker0 and worker1 joined by two wires of these bandwidths; the second is ``detour`` s longer."""
    graph = nx.DiGraph()
    for host in ("worker0", "worker1"):
        graph.add_node(host, kind="host")
    for name in ("a", "b", "left", "right"):
        graph.add_node(name, kind="switch")
    add_wire(graph, "worker0", "left", 1e9, 0.0)
    add_wire(graph, "worker1", "right", 1e9, 0.0)
    for way, bandwidth, latency in (("a", first, 0.01), ("b", second, 0.01 + detour)):
        add_wire(graph, "left", way, bandwidth, latency)
        add_wire(graph, way, "right", 1e9, 0.0)
    return graph


def arrivals(graph, messages, failures, detection, overheads=Overheads(), connected=False):
    """When messages of worker0 to worker1, (start, bytes), arrive; and the executions."""
    links = Links(graph)
    network = FluidNetwork(links)
    changing = ChangingNetwork(network, worker_names(2), 0)
    changes = NetworkChanges(failures=tuple(failures), detection=detection)
    changes.check(links, 2, 2)
    changes.begin(changing)
    connections = Connections() if connected else None
    executions = []
    for start, nbytes in messages:
        plan = StructureBuilder(2)
        plan.finish(1, [plan.flow(0, 1, gates=(0,))])
        structure = plan.build()
        execution = Execution(
            network,
            Schedule(structure, np.array([float(nbytes)]), np.zeros(1)),
            Placement(structure, worker_names(2), links, overheads),
            connections=connections,
        )
        network.at(start, execution.ready, 0)
        executions.append(execution)
    network.run()
    stuck = network.stalled()
    if stuck is not None:
        raise stuck
    return [execution.landed[0] for execution in executions], executions


def down(graph, up=None, at=1.0):
    """The wire that the hash has chosen fails."""
    taken = next(node for node in _path(graph) if node in ("a", "b"))
    return LinkFailure(at, up, source="left", destination=taken)


def _path(graph):
    links = Links(graph)
    return [links.names[link][1] for link in links.route("worker0", "worker1")]


@given(
    st.integers(3_000_000, 10_000_000),
    st.floats(0.1, 0.9),
    st.floats(0.01, 2.0),
    st.floats(1e5, 1e7),
    st.floats(0.0, 0.5),
)
def test_what_is_under_way_goes_on_over_the_other_wire_once_the_failure_is_found(nbytes, at, detection, other, more):
    graph = two_ways(1e6, other, more)
    links = Links(graph)
    # With equal latencies the hash decides; the failing wire is the one that is used.
    chosen = "a" if "a" in [links.names[link][1] for link in links.route("worker0", "worker1")] else "b"
    first, second = (1e6, other) if chosen == "a" else (other, 1e6)
    latency = 0.01 + (more if chosen == "a" else 0.0)
    if first * at >= nbytes:
        return
    failure = LinkFailure(at, None, source="left", destination=chosen)
    times, (execution,) = arrivals(graph, [(0.0, nbytes)], [failure], detection)
    assert times[0] == pytest.approx(at + detection + (nbytes - first * at) / second + latency, rel=EXACT)
    assert execution.placement.over_links(execution.schedule.nbytes, execution.rerouted)[
        links.index("left", "b" if chosen == "a" else "a")
    ] == pytest.approx(nbytes)


def test_without_detection_it_waits_until_the_wire_is_back():
    graph = two_ways()
    assert arrivals(graph, [(0.0, 2e6)], [down(graph, up=11.0)], None)[0] == pytest.approx([12.01], rel=EXACT)


def test_a_wire_that_is_back_before_it_is_missed_changes_nothing():
    graph = two_ways()
    found, (execution,) = arrivals(graph, [(0.0, 2e6)], [down(graph, up=1.5)], 0.6)
    assert found == pytest.approx([2.51], rel=EXACT) and not execution.rerouted


def test_once_it_is_back_what_begins_uses_it_again_and_what_is_under_way_stays():
    graph = two_ways()
    # Led round at 2 s: 1 MB is left of the first; the second begins after the return, on its own wire.
    found, _ = arrivals(graph, [(0.0, 5e6), (4.0, 1e6)], [down(graph, up=3.0)], 1.0)
    assert found == pytest.approx([6.01, 5.01], rel=EXACT)
    # Of one connection the second waits for the first, and then takes its usual wire.
    found, executions = arrivals(graph, [(0.0, 5e6), (2.5, 1e6)], [down(graph, up=3.0)], 1.0, connected=True)
    assert found == pytest.approx([6.01, 7.01], rel=EXACT)
    assert executions[1].rerouted[0] != executions[0].rerouted[0]


def test_where_no_way_is_left_it_waits_and_for_good_it_is_named():
    graph = nx.DiGraph()
    for host in ("worker0", "worker1"):
        graph.add_node(host, kind="host")
    add_link(graph, "worker0", "worker1", 1e6, 0.0)
    add_link(graph, "worker1", "worker0", 1e6, 0.0)
    failure = {"source": "worker0", "destination": "worker1"}
    assert arrivals(graph, [(0.0, 2e6)], [LinkFailure(1.0, 5.0, **failure)], 0.5)[0] == pytest.approx([6.0], rel=EXACT)
    with pytest.raises(StuckError, match="worker0 -> worker1 has no bandwidth"):
        arrivals(graph, [(0.0, 2e6)], [LinkFailure(1.0, None, **failure)], 0.5)


def test_the_window_is_that_of_the_new_routes_round_trip():
    graph = two_ways(1e9, 1e9, 0.09)
    window = Overheads(window=1e5)
    # 1e5 / 0.02 s = 5 MB/s at first; then there by the long wire, back by the short one: 1e5 / 0.11 s.
    failure = LinkFailure(1.0, None, source="left", destination="a")
    times, _ = arrivals(graph, [(0.0, 6e6)], [failure], 1.0, window)
    assert times == pytest.approx([2.0 + 1e6 / (1e5 / 0.11) + 0.1], rel=EXACT)


def test_a_card_that_dies_leaves_its_part_to_another():
    hosts = [Host(name, 1e9, 1e9, 0.0) for name in worker_names(2)]
    graph = build("gpu-nodes", hosts, devices=1, cards=4, card_bandwidth=1e6)
    failure = LinkFailure(1.0, None, source="node0.card0", destination="rail0")
    found, _ = arrivals(graph, [(0.0, 8e6)], [failure], 0.5)
    # 2 MB over each card; card 0's last 1 MB begins at 1.5 s beside another's last 0.5 MB, sharing it.
    assert found == pytest.approx([3.0], rel=EXACT)
    found, (_, second) = arrivals(graph, [(0.0, 8e6), (10.0, 6e6)], [failure], 0.5)
    assert found[1] == pytest.approx(12.0, rel=EXACT) and len(second.rerouted[0]) == 3


def test_a_ring_goes_the_long_way_round():
    hosts = [Host(name, 1e6, 1e6, 0.0) for name in worker_names(4)]
    settings = ClusterSettings(
        ring(hosts, 1e6, 0.001),
        worker_names(4),
        None,
        "lock-step-ring",
        ComputeTime(1.0),
        Duration(0),
        Duration(0),
        conditions=(
            NetworkChanges(
                failures=(LinkFailure(0.0, None, source="port of worker0", destination="port of worker1"),),
                detection=0.1,
            ),
        ),
    )
    # Worker 0 reaches worker 1 over the other three wires, the other way round, where nobody else sends.
    timing = simulate(settings, [RoundCosts((Compute(1), message([400_000] * 4)))])
    assert timing.stopped is None
    assert timing.total == pytest.approx(1.0 + 6 * (0.003 + 0.1), rel=EXACT)


def test_detection_is_refused_where_it_would_change_nothing():
    with pytest.raises(SimgmcError, match="detection = 0.5: nothing fails"):
        NetworkChanges(detection=0.5)
