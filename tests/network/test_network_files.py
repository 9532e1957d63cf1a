"""Networks from files: what the file draws is what is simulated; what cannot be is refused with its line."""

import math
import re

import networkx as nx
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.traces import BandwidthSteps
from simgmc.network.flows.flows import Flow, completion_times
from simgmc.network.topology.catalogue import build, groups
from simgmc.network.topology.graph import worker_names
from simgmc.network.topology.routing import Links
from tests.network.drawn_networks import EXAMPLES, hosts

EXACT = 1e-12


def graphml(body, keys="", attributes='edgedefault="undirected"'):
    return f"""<?xml version="1.0"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="b" for="edge" attr.name="bandwidth_mbit_s" attr.type="double"/>
<key id="l" for="edge" attr.name="latency_ms" attr.type="double"/>{keys}
<graph {attributes}><node id="worker0"/><node id="worker1"/>{body}</graph></graphml>"""


def wire(a="worker0", b="worker1", bandwidth=8, latency=1, more=""):
    return (
        f'<edge source="{a}" target="{b}" {more}><data key="b">{bandwidth}</data><data key="l">{latency}</data></edge>'
    )


def links(graph, source="worker0", destination="worker1"):
    return graph[source][destination]["bandwidth"], graph[source][destination]["latency"]


# Nothing lost.


def test_parallel_wires_are_one_of_their_summed_bandwidth_in_every_format(drawn):
    csv = "source,destination,bandwidth_mbit_s,latency_ms\n" + "worker0,worker1,{},1\nworker1,worker0,{},1\n" * 2
    gml = 'graph [ node [ id 0 label "worker0" ] node [ id 1 label "worker1" ] {} ]'
    edge = "edge [ source 0 target 1 bandwidth_mbit_s {} latency_ms 1 ]"
    for name, text in {
        "a.graphml": graphml(wire(bandwidth=6) + wire(bandwidth=2)),
        "b.graphml": graphml(wire(bandwidth=2) + wire("worker1", "worker0", bandwidth=6)),
        "c.csv": csv.format(6, 6, 2, 2),
        "d.gml": gml.format(edge.format(6) + edge.format(2)),
    }.items():
        graph = drawn(text, name)
        assert links(graph) == links(graph, "worker1", "worker0") == (1e6, 1e-3), name


def test_parallel_wires_by_hash_carry_each_its_flows_and_every_one_is_used(tmp_path):
    switches = '<node id="a"/><node id="b"/>' + "".join(f'<node id="worker{k}"/>' for k in range(2, 20))
    joined = "".join(wire(f"worker{k}", "a" if k < 10 else "b", 1000, 0) for k in range(20))
    text = graphml(switches + joined + 3 * wire("a", "b", 8, 1))
    (tmp_path / "net.graphml").write_text(text)
    graph = build("file", hosts(20, False), file=str(tmp_path / "net.graphml"), parallel="hash")
    found = Links(graph)
    wires = {f"a -> b, wire {number}" for number in (1, 2, 3)}
    used = {found.names[link][1] for k in range(10) for link in found.route(f"worker{k}", f"worker{10 + k}")} & wires
    assert used == wires
    # One flow has one wire; the bundle would have given it all three.
    assert completion_times(graph, [Flow("worker0", "worker10", 1e6)]) == pytest.approx([1.001], rel=1e-2)


def test_what_befalls_two_nodes_befalls_every_wire_between_them(tmp_path):
    (tmp_path / "net.graphml").write_text(graphml(3 * wire()))
    found = Links(build("file", hosts(2, False), file=str(tmp_path / "net.graphml"), parallel="hash"))
    chosen = LinkFailure(source="worker0", destination="worker1", down=0.0).chosen(found)
    assert {found.names[link] for link in chosen} == {
        ("worker0", f"worker0 -> worker1, wire {number}") for number in (1, 2, 3)
    }


def test_parallel_wires_of_other_latencies_are_no_bundle(drawn):
    with pytest.raises(SimgmcError, match=r"net.graphml, line 5 .*another latency.*parallel = .hash"):
        drawn(graphml(wire(latency=1) + wire(latency=2)))


def test_defaults_of_keys_hold_where_an_edge_says_nothing(drawn):
    text = graphml('<edge source="worker0" target="worker1"/>').replace(
        'attr.type="double"/>', 'attr.type="double"><default>16</default></key>'
    )
    assert links(drawn(text)) == (2e6, 16e-3)


def test_edges_of_nested_graphs_ports_and_loops_are_read_as_the_format_says(drawn):
    inner = (
        '<node id="g"><graph edgedefault="directed"><node id="x"><port name="p"/></node>'
        + wire("worker0", "x")
        + wire("x", "worker1", more='sourceport="p"')
        + wire("x", "x", 1, 9)
        + "</graph></node>"
    )
    graph = drawn(graphml(inner))
    assert set(graph.edges) == {("worker0", "x"), ("x", "worker1")} and "g" not in graph


def test_an_edge_may_say_its_own_direction(drawn):
    graph = drawn(graphml(wire(more='directed="true"')))
    assert set(graph.edges) == {("worker0", "worker1")}


def test_coordinates_become_the_latency_of_light_in_fibre(drawn):
    place = 'node [ id {} label "worker{}" Latitude {} Longitude {} ]'
    text = (
        "graph ["
        + place.format(0, 0, 0, 0)
        + place.format(1, 1, 0, 90)
        + "edge [ source 0 target 1 LinkSpeedRaw 8e6 ] ]"
    )
    bandwidth, latency = links(drawn(text, "net.gml"))
    # A quarter of the equator.
    assert bandwidth == 1e6 and latency == pytest.approx(math.pi / 2 * 6_371_008.8 / 2e8, rel=EXACT)


def test_what_a_link_does_not_say_is_what_the_topology_states(drawn):
    text = 'graph [ node [ id 0 label "worker0" ] node [ id 1 label "worker1" ] edge [ source 0 target 1 ] ]'
    assert links(drawn(text, "net.gml", bandwidth=5.0, latency=0.25)) == (5.0, 0.25)
    with pytest.raises(SimgmcError, match=r"net.gml, line 1 .*has no bandwidth.*topology.bandwidth"):
        drawn(text, "net.gml", latency=0.25)
    with pytest.raises(SimgmcError, match="has no latency.*topology.latency"):
        drawn(text, "net.gml", bandwidth=5.0)


@pytest.mark.parametrize(
    "said", ["bandwidth=5", "capacity=5", "LinkSpeed_mbps=9", "latency=5", "rtt=30 ms", "transitDelay=4", "length=1000"]
)
def test_what_a_link_says_under_another_name_is_not_replaced_without_a_word(drawn, said):
    key, value = said.split("=")
    text = (
        'graph [ node [ id 0 label "worker0" ] node [ id 1 label "worker1" ]\nedge [ source 0 target 1 '
        f'{key} "{value}" {{}} ] ]'
    )
    rest = {"bandwidth": 5.0, "latency": 0.25}
    with pytest.raises(SimgmcError, match=rf'net.gml, line 2 .*{key} = "{value}"'):
        drawn(text.format(""), "net.gml", **rest)
    # A link that says all that it must may say more.
    if key not in rest:
        assert links(drawn(text.format('bandwidth "8 B/s" latency_ms 1'), "net.gml", **rest)) == (8.0, 1e-3)


def test_in_gml_a_comment_is_a_line_of_its_own_and_a_colour_a_value(drawn):
    ends = 'node [ id 0 label "worker0" ] node [ id 1 label "worker1" color #00ff00 ]'
    edge = "edge [ source 0 target 1 fill #ff0000 LinkSpeedRaw 8 rtt_s 2 ]"
    text = f"# made by hand ]\ngraph [ {ends}\n  # edge [\n{edge} ]"
    assert links(drawn(text, "net.gml")) == (1.0, 1.0)


def test_the_labels_that_yed_draws_are_the_nodes_names(drawn):
    nodes = "".join(
        f'<node id="n{k}"><data key="d"><y:Shape><y:NodeLabel>worker{k}</y:NodeLabel></y:Shape></data></node>'
        for k in range(2)
    )
    text = graphml(nodes + wire("n0", "n1"), '<key id="d" for="node" yfiles.type="nodegraphics"/>')
    text = text.replace('<node id="worker0"/><node id="worker1"/>', "").replace("<graphml ", '<graphml xmlns:y="y" ')
    assert links(drawn(text)) == (1e6, 1e-3)


# Hosts.


def test_hosts_that_the_file_lacks_are_refused_or_hung_onto_it_when_asked(drawn):
    text = (
        "source,destination,bandwidth,latency\n"
        + "worker0,a,1 MB/s,1 ms\na,worker0,1 MB/s,1 ms\na,b,1 MB/s,0 s\nb,a,1 MB/s,0 s\n"
    )
    with pytest.raises(SimgmcError, match=r'net.csv has no node for host "worker1".*attach'):
        drawn(text, "net.csv", access=5.0)
    graph = drawn(text, "net.csv", workers=3, attach=["b", "a"], access=5.0)
    assert links(graph, "worker1", "b")[0] == links(graph, "worker2", "a")[0] == 5.0
    with pytest.raises(SimgmcError, match='no node "c"'):
        drawn(text, "net.csv", attach=["c"], access=5.0)


def test_a_files_own_nodes_may_be_the_hosts(drawn):
    text = "source,destination,bandwidth,latency\nparis,rome,1 MB/s,1 ms\nrome,paris,2 MB/s,1 ms\n"
    assert links(drawn(text, "net.csv", nodes=["rome", "paris"])) == (2e6, 1e-3)
    with pytest.raises(SimgmcError, match="too few"):
        drawn(text, "net.csv", workers=3, nodes=["*"])


def test_a_node_that_has_a_hosts_name_and_is_not_that_host_is_refused(drawn):
    text = graphml('<node id="far"/>' + wire())
    with pytest.raises(SimgmcError, match="a node called worker1, which is not among them and so is no host"):
        drawn(text, nodes=["worker0", "far"])


def test_nodes_sites_are_the_groups_of_two_level():
    graph = build("file", hosts(4), file=str(EXAMPLES / "office.graphml"))
    assert groups(graph, worker_names(4)) == ((0, 1), (2, 3))
    assert groups(build("star", hosts(4, access=1.0)), worker_names(4)) == ()


# Refusals.

ENTITIES = "".join(f'<!ENTITY {chr(98 + k)} "{10 * ("&" + chr(97 + k) + ";")}">' for k in range(9))
BOMB = f'<!DOCTYPE graphml [<!ENTITY a "aaaaaaaaaa">{ENTITIES}]>'
OUTSIDE = '<!DOCTYPE graphml [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.graphml", graphml(wire()).replace("<graphml", BOMB + "<graphml", 1), "declares entities"),
        ("a.graphml", graphml(wire()).replace("<graphml", OUTSIDE + "<graphml", 1), "declares entities"),
        ("a.xml", OUTSIDE.replace("graphml", "platform", 1) + "<platform>&a;</platform>", "declares entities"),
        ("a.graphml", "<a>" * 1_000_000, "line 1: is nested deeper than 64"),
        ("a.gml", "graph [ " * 1_000_000, "nested deeper than 32"),
        ("a.graphml", graphml(wire(bandwidth="nan")), r'line 5 \(worker0 - worker1\): bandwidth_mbit_s = "nan"'),
        ("a.graphml", graphml(wire(bandwidth=-1)), 'bandwidth_mbit_s = "-1"'),
        ("a.graphml", graphml(wire(latency="inf")), 'latency_ms = "inf"'),
        ("a.graphml", graphml(wire(b="nobody")), 'no node "nobody" in the file'),
        ("a.graphml", graphml('<node id="worker0"/>'), 'node "worker0" is there twice'),
        ("a.graphml", graphml('<hyperedge/>'), "hyperedge"),
        ("a.graphml", graphml(wire()).replace("</graph>", "</graph><graph/>"), "2 graphs side by side"),
        ("a.graphml", graphml(wire()).replace("bandwidth_mbit_s", "bandwith_mbit_s"),
        'did you mean "bandwidth_mbit_s"'),
        ("a.graphml", graphml(wire()).replace("bandwidth_mbit_s", "bandwidth"), 'bandwidth = "8": has no unit'),
        ("a.graphml", graphml(wire())[:-20], "is not XML"),
        ("a.graphml", "", "is not XML"),
        ("a.gml", "graph [ node [ id 0 ] ] ]", "closes where none is open"),
        ("a.gml", 'graph [ label "open ]', "closing quote"),
        ("a.gml", "graph [ node [ id 0 ] edge [ source 0 target 1 ] ]", 'target = "1" is no node'),
        ("a.gml", "graph [ node [ id 0 ]", "ends within"),
        ("a.graphml", graphml(wire(), '<key id="b" for="edge" attr.name="x"/>'), 'line 4: key "b" is there twice'),
        ("a.graphml", graphml(wire().replace("</edge>", '<data key="c">9</data></edge>'),
        '<key id="c" for="edge" attr.name="latency_ms"/>'), 'line 5: gives "latency_ms" twice'),
        ("a.gml", "graph [ node [ id 0 ] node [ id 1 ] edge [ source 0 target 1\nrtt_ms 1 rtt_ms 2 ] ]",
        'line 2: gives "rtt_ms" twice'),
        ("a.csv", 'source,destination,bandwidth,latency\n"a\nb",c,1 GB/s,0 s\n', "holds a line end"),
        ("a.gml", 'graph [ node [ id 0 label "a\nb" ] ]', "label: .*holds a line end"),
        ("a.graphml", graphml('<node id="a&#10;b"/>'), "id: .*holds a line end"),
        ("a.csv", "source,destination,bandwidth_mbit_s,latency_ms\na,b,1_5,0\n", '"1_5": must be a number'),
        ("a.csv", "source,destination,bandwidth_mbit_s,latency_ms\na,b,1e-30,0\n", "a rate is at least 0.001 B/s"),
        ("a.csv", "source,destination,bandwidth,latency\na,b,1 Gb/s,0 s\n", 'line 2 .*did you mean "Gbit/s"'),
        ("a.csv", "source,destination,bandwidth,latency,cost\na,b,1 GB/s,0 s,1\n", 'column "cost" is not read'),
        ("a.csv", "source,destination,bandwidth,latency,rtt_ms\na,b,1 GB/s,0 s,1\n", "both a latency and a round trip"),
        ("a.csv", "Source,destination,bandwidth,latency\na,b,1 GB/s,0 s\n", "no column 'source' .*\"Source\""),
        ("a.csv", "source\tdestination\tbandwidth\tlatency\n", r'has "\\t" between its cells'),
        ("a.graphml", graphml(wire() + '<egde source="worker0" target="worker1"/>'), '<egde> .* did you mean "edge"'),
        ("a.graphml", graphml(wire() + '<node id="x"><locator href="y"/></node>'), "<locator> is not read"),
        ("a.gml", 'graph [ node [ id 0 ]\nEdge [ source 0 target 0 ] ]', r'line 2: Edge \[ ... \] is not read; did'),
        ("a.gml", "graph [ directed true node [ id 0 ] ]", 'directed = "true": must be 0 or 1'),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_in_one_line_with_its_place(drawn, name, text, says):
    with pytest.raises(SimgmcError, match=says) as refused:
        drawn(text, name, attach=["*"], access=1.0)
    assert "\n" not in str(refused.value) and name in str(refused.value) and len(str(refused.value)) < 1000


# Sites and homes.


def geo(tmp_path, text, workers=2, **options):
    (tmp_path / "sites.csv").write_text(text)
    return build("geo", hosts(workers, False, 1e12), table=str(tmp_path / "sites.csv"), **options)


HEAD = "sender,receiver,round_trip_ms,bandwidth_mbit_s\n"
TRIANGLE = HEAD + "".join(
    f"{a},{b},{trip},8\n" for pair, trip in (("AB", 10), ("BC", 10), ("AC", 100)) for a, b in (pair, pair[::-1])
)


def test_a_pair_uses_its_own_row_and_a_third_site_only_when_asked(tmp_path):
    direct = Links(geo(tmp_path, TRIANGLE, 3))
    assert direct.delay("worker0", "worker2") == pytest.approx(0.05, rel=EXACT)
    assert Links(geo(tmp_path, TRIANGLE, 3, relay=True)).delay("worker0", "worker2") == pytest.approx(0.01, rel=EXACT)


def test_every_shipped_pair_uses_its_own_row():
    graph = build("geo", hosts(10, False, 1e12))
    found, sites = Links(graph), [graph.nodes[name]["group"] for name in worker_names(10)]
    assert len(set(sites)) == 10
    for a in range(10):
        for b in range(10):
            if a != b:
                own = graph[sites[a]][sites[b]]["latency"]
                assert found.delay(f"worker{a}", f"worker{b}") == pytest.approx(own, rel=EXACT)


def test_rows_within_a_site_hold_between_its_hosts(tmp_path):
    text = HEAD + "A,A,200,0.4\nA,B,10,80\nB,A,10,80\n"
    found = Links(geo(tmp_path, text, 4))
    assert found.delay("worker0", "worker1") == pytest.approx(0.1) and found.delay("worker2", "worker3") == 0.0
    assert found.delay("worker0", "worker2") == pytest.approx(0.005)
    again = Links(geo(tmp_path, text, 4, relay=True))
    assert again.delay("worker0", "worker1") == pytest.approx(0.01)  # over B and back is quicker


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + "A,B,80,0.5\n", r"line 2: there is a row A,B and none B,A.*symmetric = true"),
        (HEAD + "A,B,80,1\nB,A,80,1\nA,B,80,2\n", r"line 4: the pair A,B is there twice .*line 2"),
        (HEAD + "A,B,nan,1\nB,A,80,1\n", 'line 2: round_trip_ms = "nan"'),
        (HEAD + "A,B,-5,1\nB,A,80,1\n", 'line 2: round_trip_ms = "-5"'),
        (HEAD.replace("trip_ms", "trip") + "A,B,80,1\n", 'round_trip = "80": has no unit'),
        ("sender,receiver,round_trip_ms\nA,B,80\n", "gives no bandwidth.*topology.bandwidth"),
        ("rtt,A,B\nA,0,1\nB,1,0\n", r'"rtt".*corner'),
        ("rtt_ms,A,B\nC,0,1\nB,1,0\n", "line 2: must be the row of A"),
        ("rtt_ms,A,B,C\nA,0,1,1\nB,1,0,1\n", "line 3: the matrix has 2 rows, and its first line 3 sites"),
        ("rtt_ms,A,B,\nA,0,1,\nB,1,0,\n", "line 1: every site needs a name of its own"),
        ("rtt_ms;A;B\nA;0;1,5\nB;1,5;0\n", 'line 1: .* has ";" between its cells'),
        ("rtt_ms,A,B\nA,0,x\nB,1,0\n", r'line 2 \(A,B\): rtt_ms = "x"'),
    ],
)
def test_tables_of_sites_that_cannot_be_used_are_refused(tmp_path, text, says):
    with pytest.raises(SimgmcError, match=says) as refused:
        geo(tmp_path, text)
    assert "sites.csv" in str(refused.value)


def test_one_row_holds_both_ways_when_said_so(tmp_path):
    graph = geo(tmp_path, HEAD + "A,B,80,8\n", symmetric=True)
    assert links(graph, "A", "B") == links(graph, "B", "A") == (1e6, 0.04)


def test_a_matrix_of_round_trips_is_a_table_of_sites():
    graph = build("geo", hosts(3, False, 1e9), table=str(EXAMPLES / "round_trips.csv"), bandwidth=25e6)
    assert links(graph, "Oslo", "Lyon") == (25e6, 0.01925) and links(graph, "Lyon", "Oslo") == (25e6, 0.019)
    assert graph.number_of_nodes() == 6


@pytest.mark.parametrize(("corner", "nothing"), [("rtt_ms", "0"), ("rtt_ms", "0.00"), ("", "0 ms"), ("", "")])
def test_no_round_trip_from_a_site_to_itself_leaves_its_hosts_unlimited(tmp_path, corner, nothing):
    unit = "" if corner else " ms"
    text = f"{corner},A,B\nA,{nothing},10{unit}\nB,10{unit},{nothing}\n"
    assert set(geo(tmp_path, text, 2, bandwidth=1.0)) == {"A", "B", "worker0", "worker1"}


def test_homes_may_be_shares(tmp_path):
    (tmp_path / "lines.csv").write_text(
        "line,down_mbit_s,up_mbit_s,round_trip_ms,homes\nslow,1,1,1,0.6\nfast,9,9,1,2.4\n"
    )
    graph = build("home-broadband", hosts(50, False), table=str(tmp_path / "lines.csv"))
    lines = [graph.nodes[name]["line"] for name in worker_names(50)]
    assert lines.count("slow") == 10 and "slow" in lines[:5]


# Every shipped example.


EXAMPLE_NETWORKS = {
    "office.graphml": lambda file: build("file", hosts(4), file=file),
    "backbone.gml": lambda file: build("file", hosts(6, True, 1e9), file=file, bandwidth=1e8, attach=["*"]),
    "wires.csv": lambda file: build("file", hosts(2), file=file),
    "two_rooms.xml": lambda file: build("file", hosts(5), file=file, nodes=["*"]),
    "sites.csv": lambda file: build("geo", hosts(4, True, 1e9), table=file),
    "round_trips.csv": lambda file: build("geo", hosts(4, True, 1e9), table=file, bandwidth=1e8),
    "lines.csv": lambda file: build("home-broadband", hosts(4, True, 1e9), table=file),
}
EXAMPLE_TRACES = {"evening.csv": BandwidthSteps.from_file, "cellular.txt": BandwidthSteps.from_file}


@pytest.mark.parametrize("file", EXAMPLE_NETWORKS)
def test_every_example_joins_all_its_hosts(file):
    graph = EXAMPLE_NETWORKS[file](str(EXAMPLES / file))
    found, names = Links(graph), [node for node, data in graph.nodes(data=True) if data.get("kind") == "host"]
    assert "server" in names
    assert all(found.route(a, b) is not None for a in names for b in names)
    assert isinstance(graph, nx.DiGraph)


def test_every_example_is_tried_and_the_traces_among_them_start_again():
    tried = {*EXAMPLE_NETWORKS, *EXAMPLE_TRACES, "README.md"}
    assert {file.name for file in EXAMPLES.iterdir()} == tried
    periods = [read(EXAMPLES / file).period for file, read in EXAMPLE_TRACES.items()]
    assert periods[0] == 180 and periods[1] > 0


@pytest.mark.parametrize(
    ("file", "around"),
    [
        ("office.graphml", "<default>{0.5}</default>"),
        ("backbone.gml", "LinkSpeedRaw {622000000.0}"),
        ("wires.csv", "worker1,switch,{10} Mbit/s"),
        ("two_rooms.xml", 'bandwidth="{12.5}MBps"'),
        ("sites.csv", "Lyon,Oslo,{38}"),
        ("round_trips.csv", "Oslo,{38.5}"),
        ("lines.csv", "fibre,{250}"),
        ("evening.csv", "60,{20}"),
        ("cellular.txt", "\n{8}\n"),
    ],
)
@pytest.mark.parametrize("bad", ["nan", "-1", "inf", ""])
def test_in_every_format_what_is_no_number_negative_or_missing_is_refused_in_one_line(tmp_path, file, around, bad):
    text, (before, number, after) = (EXAMPLES / file).read_text(), re.split("[{}]", around)
    assert before + number + after in text
    (tmp_path / file).write_text(text.replace(before + number + after, before + bad + after, 1))
    read = (EXAMPLE_NETWORKS | EXAMPLE_TRACES)[file]
    if file == "cellular.txt" and not bad:  # a blank line is no packet
        assert read(str(tmp_path / file))
        return
    with pytest.raises(SimgmcError) as refused:
        read(str(tmp_path / file))
    assert file in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 600
