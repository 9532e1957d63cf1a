"""Networks in which somebody cannot be reached, and errors that survive being raised in a process."""

from __future__ import annotations

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.network.cluster.reachability import check_reachable, pairs
from simgmc.network.collectives import COLLECTIVES, Options, schedule
from simgmc.network.conditions.work import Duration
from simgmc.network.flows.fluid import StuckError
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.routing import Links
from simgmc.network.topology.shapes import star, torus
from tests.network.exchanges import message

WORKERS = worker_names(4)


def links(build=star, **parameters):
    return Links(build([Host(name, 10.0, 10.0, 0.1) for name in (*WORKERS, "server")], **parameters))


@pytest.mark.parametrize("collective", ["ring", "parameter-server", "halving-doubling", "auto"])
def test_hosts_joined_by_switches_reach_each_other(collective):
    check_reachable(links(), WORKERS, ("server",), collective)
    check_reachable(links(torus, columns=2), WORKERS, ("server",), collective)


def test_a_missing_route_is_refused_where_the_collective_needs_it_only():
    graph = links().graph
    graph.remove_edge("server", "switch")
    check_reachable(Links(graph), WORKERS, ("server",), "ring")
    with pytest.raises(SimgmcError, match="no route server -> worker0, which 'parameter-server' needs"):
        check_reachable(Links(graph), WORKERS, ("server",), "parameter-server")


def test_a_route_without_bandwidth_is_refused():
    graph = links().graph
    graph["worker2"]["switch"]["bandwidth"] = 0.0
    with pytest.raises(SimgmcError, match="route worker2 -> worker3.*worker2 -> switch"):
        check_reachable(Links(graph), WORKERS, ("server",), "ring")


def test_hosts_do_not_forward():
    graph = links().graph
    graph.nodes["switch"]["kind"] = "host"
    with pytest.raises(SimgmcError, match="no route worker0 -> worker1"):
        check_reachable(Links(graph), WORKERS, ("server",), "ring")


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_a_collective_sends_to_those_alone_that_it_says(collective):
    """What :func:`check_reachable` asks for covers every flow; of a ring and of a server it is no more than that."""
    entry, options = COLLECTIVES[collective], Options(groups=((0, 1, 2), (3, 4, 5, 6)))
    workers = [f"worker{rank}" for rank in range(7)]
    servers = [f"server{rank}" for rank in range(entry.servers_needed(options))]
    structure = schedule(collective, message([8400] * 7), Duration(0.0), options).structure
    names = [*workers, *servers]
    sent = {(names[a], names[b]) for a, b in zip(structure.source, structure.destination, strict=True) if a != b}
    stated = set(pairs(workers, servers, collective))
    assert sent <= stated
    if entry.round_a_ring or entry.servers:
        assert sent == stated


def test_a_stuck_error_is_rebuilt_from_its_arguments():
    error = StuckError("nothing moves", 1.5)
    again = type(error)(*error.args)
    assert str(again) == "nothing moves" and again.time == 1.5
