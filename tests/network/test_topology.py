"""Topologies: who reaches whom, how fast, and over how many equal routes."""

from __future__ import annotations

import networkx as nx
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.files import reading_copies
from simgmc.network.flows.flows import Flow, completion_times
from simgmc.network.topology import catalogue as topology
from simgmc.network.topology.catalogue import Host, worker_names
from simgmc.network.topology.routing import Links

EXACT = 1e-9


def machines(count, bandwidth=1e6, latency=0.001):
    return [
        *(Host(name, bandwidth, bandwidth, latency) for name in worker_names(count)),
        Host("server", bandwidth, bandwidth, latency),
    ]


PARAMETERS = {
    "two-tier": {"per_rack": 3},
    "fat-tree": {"k": 4},
    "torus": {"columns": 3},
    "gpu-nodes": {"devices": 4, "cards": 2, "card_bandwidth": 1e5},
    "dumbbell": {"left": 4, "bandwidth": 1e5, "latency": 0.05},
}


@pytest.mark.parametrize("name", [name for name in topology.TOPOLOGIES if name != "file"])
def test_every_host_reaches_every_other_over_real_links(name):
    hosts = machines(8)
    graph = topology.build(name, hosts, **PARAMETERS.get(name, {}))
    links = Links(graph)
    for a in hosts:
        for b in hosts:
            route = links.route(a.name, b.name)
            assert route is not None and (route == () if a == b else len(route) >= 2)
            assert all(graph.nodes[node].get("kind") != "host" for link in route[1:] for node in links.names[link][:1])


def test_a_fat_tree_has_all_equal_routes_and_hashing_uses_many_of_them():
    graph = topology.build("fat-tree", machines(15), k=4, bandwidth=1e6, latency=1e-4)
    routes = {
        Links(graph, seed).route("worker0", "worker15" if "worker15" in graph else "server") for seed in range(40)
    }
    assert len(routes) == 4
    assert Links(graph, 5).route("worker0", "server") == Links(graph, 5).route("worker0", "server")
    with pytest.raises(SimgmcError, match="room for 16 hosts, not 17"):
        topology.build("fat-tree", machines(16), k=4)


def test_an_oversubscribed_core_limits_racks_together():
    graph = topology.build("two-tier", machines(8), per_rack=4, oversubscription=4.0)
    across = [Flow(f"worker{i}", f"worker{i + 4}", 1e6) for i in range(4)]
    assert completion_times(graph, across) == pytest.approx([4.0 + 0.002] * 4, rel=EXACT)
    assert completion_times(graph, [Flow("worker0", "worker1", 1e6)]) == pytest.approx([1.002], rel=EXACT)


def test_ring_and_torus_take_the_short_way_round():
    ring = topology.build("ring", machines(7), latency=0.01)
    assert Links(ring).delay("worker0", "worker6") == pytest.approx(0.002 + 0.02)
    torus = topology.build("torus", machines(8), columns=3, latency=0.01)
    assert Links(torus).delay("worker0", "worker2") == pytest.approx(0.002 + 0.01)


def test_a_dumbbell_has_one_shared_wide_area_link():
    graph = topology.build("dumbbell", machines(4), left=2, bandwidth=1e5, latency=0.05)
    flows = [Flow("worker0", "worker2", 1e5), Flow("worker1", "worker3", 1e5)]
    assert completion_times(graph, flows) == pytest.approx([2.0 + 0.052] * 2, rel=EXACT)
    assert topology.groups(graph, worker_names(4)) == ((0, 1), (2, 3))


def test_the_ten_regions_have_their_measured_speeds():
    graph = topology.build("geo", machines(3, 1e9, 0.0), sites=["Tokyo", "Oregon"])
    assert graph["Tokyo"]["Oregon"] == {"bandwidth": 523e6 / 8, "latency": 0.048}
    assert len(topology.build("geo", machines(9)).nodes) == 20
    with pytest.raises(SimgmcError, match='site "Atlantis".*Frankfurt'):
        topology.build("geo", machines(2), sites=["Atlantis"])


def test_homes_have_asymmetric_lines_and_the_server_its_own():
    graph = topology.build("home-broadband", machines(20, 1e9))
    lines = [graph.nodes[name]["line"] for name in worker_names(20)]
    assert len(set(lines)) == 5 and lines.count("FTTC 38") == 5
    assert graph["server"]["internet"]["bandwidth"] == 1e9
    assert all(graph[name]["internet"]["bandwidth"] < graph["internet"][name]["bandwidth"] for name in worker_names(20))


def test_graphs_come_from_graphml_and_edge_lists(tmp_path):
    drawn = nx.Graph()
    drawn.add_edge("a", "b", bandwidth_mbit_s=8.0, latency_ms=10.0)
    nx.write_graphml(drawn, tmp_path / "net.graphml")
    (tmp_path / "net.csv").write_text("source,destination,bandwidth_bytes_s,latency\na,b,1e6,10 ms\nb,a,1e6,10 ms\n")
    for file in ("net.graphml", "net.csv"):
        graph = topology.build("file", machines(2), file=str(tmp_path / file), attach=["*"])
        assert completion_times(graph, [Flow("worker0", "worker1", 1e6)]) == pytest.approx([1.012], rel=EXACT)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "source,destination\na,b\n",
        "source,destination,bandwidth_bytes_s,latency_s\na,b,fast,0\n",
        "x,y\n1,2\n",
        "source,destination,bandwidth_bytes_s,latency_s\na\n",
    ],
)
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    (tmp_path / "net.csv").write_text(content)
    with pytest.raises(SimgmcError):
        topology.build("file", machines(2), file=str(tmp_path / "net.csv"))
    (tmp_path / "net.graphml").write_text(content)
    with pytest.raises(SimgmcError):
        topology.build("file", machines(2), file=str(tmp_path / "net.graphml"))


@pytest.mark.parametrize(
    "name,parameters,hint",
    [
        ("stars", {}, 'did you mean "star"'),
        ("star", {"k": 4}, 'star has no option "k"; it has none'),
        ("fat-tree", {}, 'needs the option "k"'),
        ("fat-tree", {"k": 3}, "even"),
        ("two-tier", {"per_rack": 0}, "at least 1"),
        ("dumbbell", {"left": 99, "bandwidth": 1.0, "latency": 0.0}, "between 0"),
        ("ring", {"latency": -1.0}, "latency"),
    ],
)
def test_impossible_topologies_are_refused_with_what_would_be_right(name, parameters, hint):
    with pytest.raises(SimgmcError, match=hint):
        topology.build(name, machines(4), **parameters)


def test_a_host_does_not_forward_other_hosts_traffic():
    graph = nx.DiGraph()
    for a, b in (("x", "y"), ("y", "z")):
        graph.add_edge(a, b, bandwidth=1.0, latency=0.0)
    graph.nodes["y"]["kind"] = "host"
    assert Links(graph).route("x", "z") is None


def test_the_same_network_is_drawn_once_and_its_paths_are_searched_once(tmp_path):
    hosts, file = tuple(machines(2)), tmp_path / "links.csv"
    row = "worker0,worker1,{},1 ms\nworker1,worker0,{},1 ms\nworker1,server,{},1 ms\n"
    file.write_text("source,destination,bandwidth,latency\n" + row.replace("{}", "1 MB/s"))

    def draw():
        return topology.drawn_once("file", hosts, {"file": str(file), "nodes": ["worker0", "worker1", "server"]})

    first = draw()
    assert draw() is first and Links(first, 1).wiring is Links(first, 2).wiring
    with pytest.raises(nx.NetworkXError, match="[Ff]rozen"):
        first.remove_node("server")
    # A file that has changed, other hosts and a graph that may be changed are looked at anew.
    file.write_text("source,destination,bandwidth,latency\n" + row.replace("{}", "20 MB/s"))
    assert {rate for _, _, rate in draw().edges(data="bandwidth")} == {20e6}
    (tmp_path / "kept.csv").write_text("source,destination,bandwidth,latency\n" + row.replace("{}", "30 MB/s"))
    with reading_copies({str(file): tmp_path / "kept.csv"}):  # as a run's own copy is
        assert {rate for _, _, rate in draw().edges(data="bandwidth")} == {30e6}
    assert topology.drawn_once("star", hosts, {}) is not topology.drawn_once("star", hosts[:2], {})
    own = topology.build("star", hosts)
    Links(own).route("worker0", "worker1")
    own.edges["worker0", "switch"]["bandwidth"] = 5.0
    assert Links(own).bandwidth[Links(own).index("worker0", "switch")] == 5.0
