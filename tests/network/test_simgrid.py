"""SimGrid's platforms: what is read, with SimGrid's routes; what is not is refused with its line.

Routes and times marked as SimGrid's are those that SimGrid 3.32 itself gave for the same platform.
"""

import re

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.traces import BandwidthSteps, BandwidthTrace
from simgmc.network.conditions.wandering import Wandering
from simgmc.network.conditions.work import Duration
from simgmc.network.flows.flows import Flow, completion_times
from simgmc.network.topology.catalogue import build
from simgmc.network.topology.routing import Links
from tests.network.drawn_networks import EXAMPLES, hosts
from tests.network.exchanges import message

EXACT = 1e-12


def test_a_simgrid_platform_has_its_own_routes():
    graph = build("file", hosts(6, False), file=str(EXAMPLES / "two_rooms.xml"), nodes=["*"])
    found = Links(graph)
    # alice to a node: her wire, the air, the line, the backbone, the node's own link.
    assert found.delay("worker0", "worker2") == pytest.approx(1e-4 + 1e-3 + 5e-3 + 1e-5 + 5e-5, rel=EXACT)
    assert found.delay("worker0", "worker1") == pytest.approx(3e-4, rel=EXACT)
    there, back = Flow("worker0", "worker2", 6.25e6), Flow("worker3", "worker1", 6.25e6)
    alone, both = completion_times(graph, [there])[0], completion_times(graph, [there, back])[0]
    # Both directions share the line of 50 Mbit/s; within the room each has its own.
    assert (alone, both) == (pytest.approx(1.00616, rel=EXACT), pytest.approx(2.00616, rel=EXACT))
    within = [Flow("worker0", "worker1", 12.5e6), Flow("worker1", "worker0", 12.5e6)]
    assert completion_times(graph, within) == pytest.approx([1.0003, 1.0003], rel=EXACT)


def torus(tmp_path, dimensions, hosts_there, more=""):
    text = (
        '<platform version="4.1"><cluster id="c" prefix="n" suffix="" speed="1Gf" bw="8Mbps" lat="1ms" '
        f'topology="TORUS" radical="0-{hosts_there - 1}" topo_parameters="{dimensions}" {more}/></platform>'
    )
    (tmp_path / "torus.xml").write_text(text)
    return build("file", hosts(hosts_there, False), file=str(tmp_path / "torus.xml"), nodes=["*"])


def taken(graph, source, destination):
    """The torus links of a route: dimension, the host that it belongs to, and the direction."""
    names = (node for node in graph.graph["routes"][f"worker{source}", f"worker{destination}"] if "begin" in node)
    found = [re.search(r"link (\d+) of (\d+)(?: (up|down))?$", name) for name in names]
    return [(int(one[1]), int(one[2]), one[3]) for one in found if one]


def test_a_torus_of_simgrid_is_routed_dimension_by_dimension_the_shorter_way_round(tmp_path):
    graph, sizes = torus(tmp_path, "4,3,2", 24), (4, 3, 2)
    for a in range(24):
        for b in {*range(24)} - {a}:
            route, apart = taken(graph, a, b), 1
            assert [one[0] for one in route] == sorted(one[0] for one in route)
            for dimension, size in enumerate(sizes):
                gap = abs(a // apart % size - b // apart % size)
                assert sum(one[0] == dimension for one in route) == min(gap, size - gap)
                apart *= size
    # Ties are SimGrid's: onwards from 0 and 3, back from 2; a link belongs to the host that it leads onwards from.
    line = torus(tmp_path, "4", 4)
    assert taken(line, 0, 2) == [(0, 0, "up"), (0, 1, "up")]
    assert taken(line, 2, 0) == [(0, 1, "down"), (0, 0, "down")]
    assert taken(line, 3, 1) == [(0, 3, "up"), (0, 0, "up")]
    assert completion_times(line, [Flow("worker0", "worker2", 1e6), Flow("worker1", "worker2", 1e6)]) == pytest.approx(
        [2.002, 2.001]
    )
    shared = torus(tmp_path, "4", 4, 'sharing_policy="SHARED" limiter_link="4Mbps"')
    assert taken(shared, 3, 1) == [(0, 3, None), (0, 0, None)]
    # Host 0 passes on and sends over its one limiter.
    both = completion_times(shared, [Flow("worker3", "worker1", 1e6), Flow("worker0", "worker3", 1e6)])
    assert both == pytest.approx([4.002, 4.001])
    with pytest.raises(SimgmcError, match=r'"4,2": are 8 hosts, and its radical names 4'):
        torus(tmp_path, "4,2", 4)
    with pytest.raises(SimgmcError, match="neither a backbone nor a router"):
        torus(tmp_path, "4", 4, 'bb_bw="1Gbps" bb_lat="0"')


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            'radical="0-3"',
            'radical="0-3" topology="MESH"',
            'topology "MESH" is not read; FLAT, TORUS, FAT_TREE and DRAG',
        ),
        (
            'radical="0-3"',
            'radical="0-3" topology="TORUS"',
            "bb_bw: a cluster of topology TORUS has neither a backbone",
        ),
        ('radical="0-3"', 'radical="0-3" sharing_policy="FATPIPE"', "FATPIPE, by SimGrid's manual, is SHARED to its"),
        ('bb_bw="250MBps"', "", "bb_lat: a backbone needs bb_bw, too"),
        ('latency="200us"', 'latncy="200us"', 'attribute "latncy" is not read; did you mean "latency"'),
        ('<link id="line"', '<link id="begin"', 'no link "line"'),
        ('routing="Full">\n    <zone', 'routing="Vivaldi">\n    <zone', 'routing "Vivaldi" is not read; Full, Floyd'),
        ('latency="200us"', 'latency="200"', 'latency = "200": must be such as "50us"'),
        ('bandwidth="12.5MBps"', 'bandwidth="12500000"', 'bandwidth = "12500000": must be such as "125MBps"'),
        ('latency="200us"', 'latency="quick"', 'latency = "quick"'),
        ('bandwidth="12.5MBps"', 'bandwidth="nan"', 'bandwidth = "nan"'),
        ('bandwidth="12.5MBps"', 'bandwidth="-1MBps"', 'bandwidth = "-1MBps"'),
        ('<link_ctn id="line"/>', '<link_ctn id="lime"/>', 'no link "lime"; did you mean "line"'),
        ("SPLITDUPLEX", "WIFI", 'sharing_policy "WIFI" is not read'),
        ('direction="UP"', "", "direction must be UP or DOWN"),
        ('<router id="door"/>', '<router id="door"/><peer id="p"/>', "<peer>: is not read here"),
        ('radical="0-3"', 'radical="0-9999999"', "more than 100,000 hosts"),
        ('version="4.1"', 'version="3"', "version 4 is read"),
    ],
)
def test_what_networks_here_do_not_have_of_simgrid_is_refused(drawn, old, new, says):
    text = (EXAMPLES / "two_rooms.xml").read_text()
    assert old in text
    with pytest.raises(SimgmcError, match=says) as refused:
        drawn(text.replace(old, new), "two_rooms.xml", nodes=["alice", "node-1"])
    assert "line" in str(refused.value)


def platform(zone, routing="Floyd", more=""):
    return (
        f'<?xml version="1.0"?><platform version="4.1"><zone id="z" routing="{routing}">{zone}</zone>{more}</platform>'
    )


def links_and_routes(*wires):
    """Wires between points, (a, b, us), each a link of its own that both directions share; and a route over it."""
    links = "".join(f'<link id="{a}{b}" bandwidth="1MBps" latency="{us}us"/>' for a, b, us in wires)
    return links + "".join(f'<route src="{a}" dst="{b}"><link_ctn id="{a}{b}"/></route>' for a, b, _ in wires)


def test_floyd_makes_routes_of_those_that_are_stated_as_simgrids_manual_shows(drawn):
    zone = "".join(f'<host id="host{n}" speed="1Gf"/>' for n in range(3)) + '<router id="center"/>'
    for number, (rate, us) in enumerate([("125MBps", 100), ("50MBps", 150), ("250MBps", 50)]):
        zone += f'<link id="link{number}" bandwidth="{rate}" latency="{us}us"/>'
        zone += f'<route src="center" dst="host{number}"><link_ctn id="link{number}"/></route>'
    for routing in ("Floyd", "Dijkstra", "DijkstraCache"):
        graph = drawn(platform(zone, routing), "p.xml", nodes=["*"], workers=3)
        time = completion_times(graph, [Flow("worker0", "worker1", 50e6)])
        assert time == pytest.approx([1.00025], rel=EXACT)


@pytest.mark.parametrize("routing", ["Floyd", "Dijkstra"])
@pytest.mark.parametrize("wires, middle", [("ab bc cd da", "b"), ("da cd bc ab", "d")])
def test_of_routes_over_equally_many_links_simgrids_is_taken(drawn, routing, wires, middle):
    points = "".join(f'<host id="{name}" speed="1Gf"/>' for name in "abcd")
    zone = points + links_and_routes(*((*wire, 10) for wire in wires.split()))
    graph = drawn(platform(zone, routing), "p.xml", nodes=["a", "c"])
    # Floyd tries the points in the order of the file, Dijkstra those that routes name first.
    middle = "b" if routing == "Floyd" else middle
    assert any(middle in node for node in graph.graph["routes"]["worker0", "worker1"])


def test_where_simgrids_manual_and_program_differ_the_zone_is_refused(drawn):
    points = "".join(f'<host id="{name}" speed="1Gf"/>' for name in "abc")
    zone = points + links_and_routes(("a", "b", 5), ("b", "c", 5), ("a", "c", 50))
    with pytest.raises(SimgmcError, match=r'line 1: <zone>: Dijkstra between "a" and "c": the fewest links.*5e-05 s'):
        drawn(platform(zone, "Dijkstra"), "p.xml", nodes=["a", "c"])
    graph = drawn(platform(zone, "Floyd"), "p.xml", nodes=["a", "c"])
    assert Links(graph).delay("worker0", "worker1") == pytest.approx(5e-5, rel=EXACT)


def test_floyd_between_zones_goes_through_those_that_lie_between(drawn):
    zones = "".join(
        f'<zone id="{z}" routing="Full"><host id="{z}1" speed="1f"/><host id="{z}2" speed="1f"/>'
        f'<link id="{z}l" bandwidth="1MBps" latency="1ms"/>'
        f'<route src="{z}1" dst="{z}2"><link_ctn id="{z}l"/></route></zone>'
        for z in "pqr"
    )
    between = "".join(
        f'<link id="{a}{b}" bandwidth="2MBps" latency="10ms"/>'
        f'<zoneRoute src="{a}" dst="{b}" gw_src="{a}2" gw_dst="{b}1"><link_ctn id="{a}{b}"/></zoneRoute>'
        for a, b in ("pq", "qr")
    )
    graph = drawn(platform(zones + between), "p.xml", nodes=["p1", "r2"])
    # p1 - p2 - q1 - q2 - r1 - r2
    assert Links(graph).delay("worker0", "worker1") == pytest.approx(0.023, rel=EXACT)


def test_a_clusters_limiter_is_shared_by_both_directions(drawn):
    text = (
        '<?xml version="1.0"?><platform version="4.1"><cluster id="c" prefix="n" suffix="" radical="0-1;5" speed="1Gf" '
        'bw="1MBps" lat="0" limiter_link="1500kBps"/></platform>'
    )
    graph = drawn(text, "c.xml", nodes=["n0", "n5"])
    both = [Flow("worker0", "worker1", 1.5e6), Flow("worker1", "worker0", 1.5e6)]
    assert completion_times(graph, both) == pytest.approx([2.0, 2.0], rel=EXACT)
    assert completion_times(graph, both[:1]) == pytest.approx([1.5], rel=EXACT)


# Clusters with a shape.


def cluster(drawn, count, more, bandwidth="1MBps", nodes=("*",)):
    text = (
        f'<platform version="4.1"><cluster id="c" prefix="n" suffix="" radical="0-{count - 1}" speed="1Gf" '
        f'bw="{bandwidth}" lat="1us" {more}/></platform>'
    )
    return drawn(text, "c.xml", nodes=nodes, workers=count if "*" in nodes else len(nodes))


def route(graph, source, destination):
    """The names of a route's links, in order."""
    nodes = graph.graph["routes"][f"worker{source}", f"worker{destination}"]
    return [node.removeprefix("begin of link ") for node in nodes if node.startswith("begin of link ")]


# SimGrid's: for every pair of hosts the numbers of the links that it takes.
TWO_LEVELS = """
0>1:3,9 0>2:1,12 0>3:4,42,50,22 0>4:2,37,44,25 0>5:5,41,48,33 1>0:6,1 1>2:7,13 1>3:10,42,51,23
1>4:8,37,45,25 1>5:11,41,49,34 2>0:12,2 2>1:15,11 2>3:16,42,50,22 2>4:14,37,44,25 2>5:17,41,48,33
3>0:18,44,37,1 3>1:21,48,41,10 3>2:19,46,39,13 3>4:20,24 3>5:23,33 4>0:24,44,36,1 4>1:27,48,40,9
4>2:25,46,38,12 4>3:28,22 4>5:29,34 5>0:30,44,37,1 5>1:33,48,41,10 5>2:31,46,39,13 5>3:34,23 5>4:32,26
"""
THREE_LEVELS = """
0>1:1,2 0>2:0,9,22,30,16,4 0>3:1,12,26,34,19,7 1>0:2,1 1>2:2,9,22,31,15,5 1>3:3,12,26,35,18,7
2>0:4,14,28,20,9,1 2>1:5,17,32,24,12,3 2>3:5,6 3>0:6,14,28,21,8,1 3>1:7,17,32,25,11,2 3>2:6,5
"""


@pytest.mark.parametrize(
    ("shape", "count", "expected"), [("2;3,2;2,2;3,2", 6, TWO_LEVELS), ("3;2,1,2;1,2,2;2,3,2", 4, THREE_LEVELS)]
)
def test_a_fat_tree_takes_simgrids_cable_of_those_side_by_side(drawn, shape, count, expected):
    graph = cluster(drawn, count, f'topology="FAT_TREE" topo_parameters="{shape}" sharing_policy="SHARED"')
    ours, routes = {}, expected.split()
    assert len(routes) == count * (count - 1)
    for text in routes:
        a, b, links = re.fullmatch(r"(\d+)>(\d+):(.*)", text).groups()
        for mine, theirs in zip(route(graph, a, b), links.split(","), strict=True):
            assert ours.setdefault(mine, theirs) == theirs
    assert len(set(ours.values())) == len(ours)


def test_a_fat_tree_with_as_much_bandwidth_above_as_below_blocks_no_shift(drawn):
    # Zahavi et al. 2010: all send to the host so many places on, and none waits for another.
    shape = 'topology="FAT_TREE" topo_parameters="2 ; 4,4 ; 1,{0} ; 1,{1}"'
    for up, cables, slow in ((4, 1, ()), (2, 2, range(3, 14))):
        graph = cluster(drawn, 16, shape.format(up, cables))
        for shift in range(1, 16):
            flows = [Flow(f"worker{k}", f"worker{(k + shift) % 16}", 1e6) for k in range(16)]
            # Of cables side by side SimGrid takes one by the sender's number on the way down: 2 s there, too.
            longest = max(completion_times(graph, flows, latency="first"))
            assert longest == pytest.approx(2.0 if shift in slow else 1.0, rel=1e-5)


def test_hosts_of_a_second_fat_tree_are_numbered_on_as_in_simgrids_program(drawn):
    tree = (
        '<cluster id="{0}" prefix="{0}" suffix="" radical="0-{1}" speed="1f" bw="1MBps" lat="1us" topology="FAT_TREE" '
        'topo_parameters="1;{2};1;2"/>'
    )
    text = tree.format("a", 2, 3) + tree.format("b", 1, 2)
    graph = drawn(platform(text, "Full"), "p.xml", nodes=["a0", "a1", "b0", "b1"], workers=4)
    # SimGrid's: b0 is number 3, so that what is sent to it goes up by the second of two cables.
    assert route(graph, 0, 1) == ["a0 cable 2 to its switch 1 up", "a1 cable 1 to its switch 1 down"]
    assert route(graph, 3, 2) == ["b1 cable 2 to its switch 1 up", "b0 cable 1 to its switch 1 down"]


@pytest.mark.parametrize(
    ("pair", "links"),
    # SimGrid's, of "3,4;4,3;5,1;2" without the limiters: MB/s of each link.
    [
        ((0, 1), "local local"),
        ((0, 3), "local green local"),
        ((12, 33), "local black local"),
        ((31, 14), "local green black local"),
        ((33, 0), "local green local"),
        ((5, 119), "local blue green black local"),
        ((57, 2), "local green black blue local"),
    ],
)
def test_a_dragonfly_is_routed_as_simgrid_does(drawn, pair, links):
    shape = 'topology="DRAGONFLY" topo_parameters="3,4;4,3;5,1;2"'
    ends = [f"n{host}" for host in pair]
    graph = cluster(drawn, 120, shape, "125MBps", ends)
    found = route(graph, 0, 1)
    rates = {"local": 125e6, "green": 125e6, "black": 375e6, "blue": 500e6}
    assert [(re.search("green|black|blue", name) or ["local"])[0] for name in found] == links.split()
    nodes = graph.graph["routes"]["worker0", "worker1"]
    taken = [graph.edges[a, b]["bandwidth"] for a, b in zip(nodes[1::2], nodes[2::2])]
    assert taken == [rates[kind] for kind in links.split()]
    limited = route(cluster(drawn, 120, shape + ' limiter_link="150MBps"', nodes=ends), 0, 1)
    # One of either host, and one of every router.
    assert sum("limiter" in name for name in limited) == len(found) + 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('topology="FAT_TREE" topo_parameters="2;2,2;1,2"', "must be such as .2;4,4;1,2;1,2.: levels;down;up;cables"),
        ('topology="FAT_TREE" topo_parameters="2;2,2;1;1,2"', "must be such as"),
        ('topology="FAT_TREE" topo_parameters="2;2,3;1,2;1,2"', "are 6 hosts, and its radical names 4"),
        ('topology="FAT_TREE" topo_parameters="2;2,2;0,2;1,2"', "every number must be at least 1"),
        ('topology="FAT_TREE"', "has no topo_parameters"),
        ('topology="DRAGONFLY" topo_parameters="2,1;1,1;1,1;2"', "2 groups: are joined by one router .* there are 1"),
        ('topology="DRAGONFLY" topo_parameters="2;1;1;2"', "must be such as .*groups,cables;chassis"),
        ('topology="DRAGONFLY" topo_parameters="4,1;1,1;4,1;1"', "are 16 hosts"),
        ('topology="TORUS" topo_parameters="2;2"', 'must be such as "4,4,2"'),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_what_would(drawn, more, says):
    with pytest.raises(SimgmcError, match=rf"c.xml, line 1: <cluster>: .*{says}"):
        cluster(drawn, 4, more)


def test_hosts_of_a_zone_of_links_meet_at_its_backbone(drawn):
    zone = (
        '<cabinet id="k" prefix="c" suffix="" radical="0-1,4" speed="1f" bw="1MBps" lat="1ms"/>'
        '<host id="h" speed="1f"/><host id="g" speed="1f"/><router id="r"/>'
        '<link id="both" bandwidth="1MBps" latency="2ms" sharing_policy="SPLITDUPLEX"/>'
        '<link id="one" bandwidth="1MBps" latency="3ms"/>'
        '<host_link id="h" up="both_UP" down="both_DOWN"/><host_link id="g" up="one" down="one"/>'
        '<backbone id="b" bandwidth="8MBps" latency="5ms"/>'
    )
    graph = drawn(platform(zone, "Cluster"), "p.xml", nodes=["c0", "c4", "h", "g"], workers=4)
    found = Links(graph)
    # A way up, the backbone once, a way down.
    assert found.delay("worker0", "worker1") == pytest.approx(7e-3, rel=EXACT)
    assert found.delay("worker2", "worker0") == pytest.approx(8e-3, rel=EXACT)
    assert found.delay("worker3", "worker2") == pytest.approx(10e-3, rel=EXACT)
    there = [Flow("worker3", "worker0", 1e6), Flow("worker1", "worker3", 1e6)]
    assert completion_times(graph, there) == pytest.approx([2.009, 2.009], rel=EXACT)  # "one" is one both ways
    for change, says in {
        '<host_link id="g" up="one" down="one"/>': 'host "g" has no <host_link>',
        'up="both_UP"': 'up="both"',
        'down="one"': 'down="won"',
    }.items():
        said = {'up="both"': "link both is SPLITDUPLEX: must be both_UP or both_DOWN", 'down="won"': 'no link "won"'}
        text = zone.replace(change, "" if change.startswith("<") else says)
        with pytest.raises(SimgmcError, match=said.get(says, says)):
            drawn(platform(text, "Cluster"), "p.xml", nodes=["h"], workers=1)


def test_a_stated_bypass_comes_before_all_other_ways(drawn):
    points = "".join(f'<host id="{name}" speed="1f"/>' for name in "abc")
    zone = points + links_and_routes(("a", "b", 10), ("b", "c", 10), ("a", "c", 10))
    zone += '<bypassRoute src="a" dst="c"><link_ctn id="ab"/><link_ctn id="bc"/></bypassRoute>'
    found = Links(drawn(platform(zone), "p.xml", nodes=["a", "c"]))
    assert found.delay("worker0", "worker1") == pytest.approx(2e-5, rel=EXACT)
    assert found.delay("worker1", "worker0") == pytest.approx(1e-5, rel=EXACT)  # one way alone


def test_a_bypass_between_zones_leads_through_their_gateways(drawn):
    inner = "".join(
        f'<cluster id="{z}" prefix="{z}" suffix="" radical="0-1" speed="1f" bw="1MBps" lat="1ms"/>' for z in "pq"
    )
    wires = '<link id="slow" bandwidth="1MBps" latency="9ms"/><link id="quick" bandwidth="1MBps" latency="2ms"/>'
    way = '<{0} src="p" dst="q" gw_src="{1}" gw_dst="qq_router"><link_ctn id="{2}"/></{0}>'
    text = inner + wires + way.format("zoneRoute", "pp_router", "slow")
    through = text + way.format("bypassZoneRoute", "pp_router", "quick")
    found = Links(drawn(platform(through, "Full"), "p.xml", nodes=["p0", "q1"]))
    assert found.delay("worker0", "worker1") == pytest.approx(4e-3, rel=EXACT)
    assert found.delay("worker1", "worker0") == pytest.approx(11e-3, rel=EXACT)
    # SimGrid adds a host's loopback where the gateway of a bypass is the host itself.
    by_host = text + way.format("bypassZoneRoute", "p0", "quick")
    with pytest.raises(SimgmcError, match=r'<cluster>: host "p0" is a gateway of a bypass'):
        drawn(platform(by_host, "Full"), "p.xml", nodes=["p0", "q1"])


# FATPIPE: its whole bandwidth for every flow.


def pipes(drawn, *links):
    """Two hosts, joined by links (MB/s, policy)."""
    text = '<host id="a" speed="1f"/><host id="b" speed="1f"/>'
    for number, (rate, policy) in enumerate(links):
        text += f'<link id="l{number}" bandwidth="{rate}MBps" latency="0" sharing_policy="{policy}"/>'
    text += '<route src="a" dst="b">' + "".join(f'<link_ctn id="l{n}"/>' for n in range(len(links))) + "</route>"
    return drawn(platform(text, "Full"), "p.xml", nodes=["a", "b"])


def test_a_fat_pipe_caps_every_flow_by_itself(drawn):
    both = [Flow("worker0", "worker1", 6e6), Flow("worker1", "worker0", 6e6), Flow("worker0", "worker1", 6e6)]
    # SimGrid's times, of one, two and three flows at once.
    for links, times in {
        ((2, "FATPIPE"),): (3.0, 3.0, 3.0),
        ((2, "FATPIPE"), (3, "SHARED")): (3.0, 4.0, 6.0),
        ((2, "FATPIPE"), (1, "SHARED"), (4, "FATPIPE")): (6.0, 12.0, 18.0),
    }.items():
        graph = pipes(drawn, *links)
        for many, seconds in enumerate(times, 1):
            assert completion_times(graph, both[:many]) == pytest.approx([seconds] * many, rel=EXACT)


def test_a_transport_sees_a_fat_pipe_as_a_limit_of_each_of_its_streams(drawn):
    graph = pipes(drawn, (2, "FATPIPE"))
    links = Links(graph)
    assert Overheads().most(links, "worker0", "worker1") == 2e6
    assert Overheads(rate_cap=1e6).most(links, "worker0", "worker1") == 1e6
    assert Overheads(rate_cap=1e9, streams=3).most(links, "worker0", "worker1") == 6e6
    half = Links(Overheads(efficiency=0.5).seen(graph))
    assert Overheads(efficiency=0.5).most(half, "worker0", "worker1") == 1e6
    assert "link begin of link l0 -> end of link l0, which gives 2e+06 B/s" in Overheads().limit(links, 2e6)


def test_a_fat_pipe_may_fail_but_not_change(drawn):
    graph = pipes(drawn, (2, "FATPIPE"))
    ends = {"source": "begin of link l0", "destination": "end of link l0"}
    for change in (
        Wandering(interval=1.0, sigma=0.1),
        BandwidthTrace(file=BandwidthSteps((0.0, 1.0), (1.0, 0.5)), **ends),
        BandwidthTrace(file=BandwidthSteps((0.0, 1.0), (1e6, 2e6), absolute=True), **ends),
    ):
        with pytest.raises(SimgmcError, match="link begin of link l0 -> end of link l0 gives every flow a bandwidth"):
            change.check(Links(graph), 2)
    # 1 s of work, then a ring of two steps of 1 s.
    for failures, seconds in {(): 3.0, (LinkFailure(1.5, 2.5, **ends),): 4.0}.items():
        assert exchanged(graph, NetworkChanges(failures=failures)).total == pytest.approx(seconds, rel=EXACT)
    stopped = exchanged(graph, NetworkChanges(failures=(LinkFailure(1.5, **ends),))).stopped
    assert "link begin of link l0 -> end of link l0 has no bandwidth" in stopped


def exchanged(graph, *conditions):
    """A ring of two workers with 4 MB, after 1 s of work."""
    settings = ClusterSettings(
        graph, ("worker0", "worker1"), None, "ring", ComputeTime(1.0), Duration(0), Duration(0), conditions=conditions,
        explained=True,
    )  # fmt: skip
    return simulate(settings, [RoundCosts((Compute(1), message([4_000_000] * 2)))])


def test_what_bound_a_run_over_a_fat_pipe_is_named(drawn):
    told = exchanged(pipes(drawn, (2, "FATPIPE"), (9, "SHARED"))).bottleneck()
    assert told == "link begin of link l0 -> end of link l0, which gives 2e+06 B/s to every flow (67% of the time)"
