"""Networks from files: GraphML, GML (the Internet Topology Zoo), edge lists in CSV, SimGrid platforms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import networkx as nx

from simgmc.core.errors import SimgmcError, nearest, show_value, suggestion
from simgmc.core.files import read_text, shown
from simgmc.core.outside.graph_files import DrawnGraph, Edge, graph_of_graphml, read_graph
from simgmc.core.outside.link_measures import BANDWIDTH_OF_LINK, OF_LINK, latency_of
from simgmc.core.outside.xml_tree import read_xml
from simgmc.core.registry import Option
from simgmc.network.topology.entry import LINKS, TopologyEntry
from simgmc.network.topology.formats import FILE_FORMATS
from simgmc.network.topology.graph import Host, add_host, add_link

SPEED_OF_LIGHT_IN_FIBRE = 2e8
"""m/s, with which coordinates become latencies."""
_EARTH = 6_371_008.8
"""Mean radius in m."""
_NOT_READ = ("LinkSpeed", "LinkSpeedUnits")
"""The Topology Zoo's rounded text beside ``LinkSpeedRaw``."""
_SAY_BANDWIDTH = {"bandwidth", "bw", "capacity", "cap", "speed", "throughput", "rate", "mbps", "gbps"}
_SAY_LATENCY = {"latency", "lat", "delay", "rtt", "ping", "distance", "length"}
"""Words in names by which other programs say what a link can."""
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
EVERY_NODE = "*"


def from_file(
    hosts: Sequence[Host],
    file: str,
    bandwidth: float | None = None,
    latency: float | None = None,
    parallel: str = "bundle",
    nodes: Sequence[str] = (),
    attach: Sequence[str] = (),
) -> nx.DiGraph:
    """A network as a file draws it.

    Args:
        bandwidth, latency: of links for which the file gives none (bytes/s, s one way).
        parallel: ``bundle``: wires between the same two nodes are one of their summed bandwidth; ``hash``: each is
            its own, and of equally short ones every pair of hosts takes one by the routing's hash.
        nodes: the file's nodes that are the hosts, in order; those that bear the hosts' names unless given.
        attach: nodes onto which hosts that the file does not draw are hung in turn, each by its own access link;
            ``*``: all of them, in the file's order.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    name = shown(file)
    if Path(file).suffix.lower() == ".xml":
        root = read_xml(read_text(file, "network file"), name)
        if root.tag == "platform":
            # Loaded here: only SimGrid's files need it.
            from simgmc.network.topology.simgrid.network import from_platform

            return from_platform(root, name, hosts, nodes, attach)
        drawn = graph_of_graphml(root, name)
    else:
        drawn = read_graph(file)
    if not drawn.edges:
        raise SimgmcError(f"{name} holds no links")
    placed = _placed(drawn, name, hosts, nodes)
    graph = nx.DiGraph(topology=str(file))
    for node, data in drawn.nodes.items():
        own = placed.get(node, node)
        graph.add_node(own, kind="host" if node in placed else "switch")
        if node in placed:
            graph.nodes[own].update(
                drawn=f"{name} draws this host with its links; change them there", group=data.get("site")
            )
    wires: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for edge in drawn.edges:
        rate, seconds = _values(edge, drawn, bandwidth, latency)
        if edge.source == edge.destination:
            continue  # nothing between two hosts ever travels along it
        ends = placed.get(edge.source, edge.source), placed.get(edge.destination, edge.destination)
        for way in [ends] if edge.directed else [ends, ends[::-1]]:
            wires.setdefault(way, []).append((rate, seconds, edge.place))
    for (source, destination), found in wires.items():
        _add_wires(graph, source, destination, found, parallel)
    waiting = [host for host in hosts if host.name not in graph]
    _hang(graph, drawn, name, waiting, attach, placed)
    graph.graph["attached"] = len(waiting)
    return graph


def _placed(drawn: DrawnGraph, name: str, hosts: Sequence[Host], nodes: Sequence[str]) -> dict[str, str]:
    """The host that each of the file's nodes is, where it is one."""
    if nodes:
        chosen = list(drawn.nodes) if list(nodes) == [EVERY_NODE] else [_node(one, drawn, name) for one in nodes]
        if len(set(chosen)) < len(chosen):
            raise SimgmcError(f"nodes = {show_value(list(nodes))}: each may be named once")
        if len(chosen) < len(hosts):
            raise SimgmcError(
                f"nodes: names {len(chosen)} of {name}, too few for {len(hosts)} hosts ({hosts[-1].name} is the last)"
            )
        placed = {node: host.name for node, host in zip(chosen, hosts)}
        for host in hosts:
            if host.name in drawn.nodes and host.name not in placed:
                raise SimgmcError(
                    f"nodes = {show_value(list(nodes))}: {name} has a node called {host.name}, which is not among them "
                    "and so is no host; give it another name in the file"
                )
        return placed
    names = {host.name for host in hosts}
    found = {node: node for node in drawn.nodes if node in names}
    for node, data in drawn.nodes.items():
        label = data.get("label", "")
        if label in names and node not in found:
            if label in found.values():
                raise SimgmcError(f"{name}: two nodes are called {show_value(label)}")
            found[node] = label
    return found


def _node(wanted: str, drawn: DrawnGraph, name: str) -> str:
    """A node by its name, or by the label that it alone has."""
    if wanted in drawn.nodes:
        return wanted
    labelled = [node for node, data in drawn.nodes.items() if data.get("label") == wanted]
    if len(labelled) == 1:
        return labelled[0]
    if labelled:
        raise SimgmcError(
            f"{name}: {len(labelled)} nodes have the label {show_value(wanted)}; name one by its id: "
            f"{', '.join(labelled)}"
        )
    raise SimgmcError(f"{name} has no node {show_value(wanted)}; {suggestion(wanted, drawn.nodes)}")


def _values(edge: Edge, drawn: DrawnGraph, bandwidth: float | None, latency: float | None) -> tuple[float, float]:
    """Bytes/s and seconds of an edge: what it says, else by its ends' coordinates (latency), else what the topology
    states.
    """
    known = [name for measure in OF_LINK for name in measure.names]
    for key in edge.attributes:
        near = nearest(key, known, 0.85)  # a drawn graph may have any attributes beside
        if key not in known and key not in _NOT_READ and near:
            raise SimgmcError(f'{edge.place}: attribute {show_value(key)} is not read; did you mean "{near}"?')
    rate = BANDWIDTH_OF_LINK.among(edge.attributes, edge.place)
    if rate is None:
        _refuse_other_names(edge, _SAY_BANDWIDTH, "bandwidth", BANDWIDTH_OF_LINK.words)
    rate = bandwidth if rate is None else rate
    if rate is None:
        raise SimgmcError(
            f"{edge.place}: has no bandwidth; give it {BANDWIDTH_OF_LINK.words}, or state one for such links: "
            "topology.bandwidth"
        )
    seconds = latency_of(edge.attributes, edge.place)
    if seconds is None:
        _refuse_other_names(edge, _SAY_LATENCY, "latency", 'latency ("5 ms"), latency_ms or round_trip_ms')
        seconds = _by_distance(drawn.nodes[edge.source], drawn.nodes[edge.destination], edge.place)
    seconds = latency if seconds is None else seconds
    if seconds is None:
        raise SimgmcError(
            f'{edge.place}: has no latency; give it latency ("5 ms") or latency_ms, or its nodes Latitude and '
            "Longitude, "
            "or state one for such links: topology.latency"
        )
    return rate, seconds


def _refuse_other_names(edge: Edge, words: set[str], what: str, right: str) -> None:
    """A link that seems to say under another name what it lacks must not get the topology's without a word."""
    for key, value in edge.attributes.items():
        if value and key not in _NOT_READ and words & {word.lower() for word in _WORD.findall(key)}:
            raise SimgmcError(
                f"{edge.place}: {key} = {show_value(value)} is not read, and the link has no {what}; call it {right}, "
                "or take it out"
            )


def _by_distance(source: Mapping[str, str], destination: Mapping[str, str], place: str) -> float | None:
    """Seconds of light in fibre along the great circle; None where an end has no coordinates."""
    here, there = (_coordinates(end, place) for end in (source, destination))
    if here is None or there is None:
        return None
    (south, west), (north, east) = (map(math.radians, end) for end in (here, there))
    haversine = (
        math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin((east - west) / 2) ** 2
    )
    return 2 * _EARTH * math.asin(min(1.0, math.sqrt(haversine))) / SPEED_OF_LIGHT_IN_FIBRE


def _coordinates(node: Mapping[str, str], place: str) -> tuple[float, float] | None:
    found = []
    for key, most in (("Latitude", 90.0), ("Longitude", 180.0)):
        text = node.get(key) or node.get(key.lower())
        if not text:
            return None
        try:
            degrees = float(text)
        except ValueError:
            degrees = math.nan
        if not abs(degrees) <= most:
            raise SimgmcError(
                f"{place}: {key} = {show_value(text)} of one end: must be degrees from -{most:g} to {most:g}"
            )
        found.append(degrees)
    return found[0], found[1]


def _add_wires(
    graph: nx.DiGraph, source: str, destination: str, wires: Sequence[tuple[float, float, str]], parallel: str
) -> None:
    """One way of all wires between two nodes."""
    if len(wires) > 1 and parallel == "hash":
        for number, (rate, seconds, _) in enumerate(wires, 1):
            between = f"{source} -> {destination}, wire {number}"
            graph.add_node(between, kind="switch", wire=(source, destination))
            add_link(graph, source, between, rate, seconds)
            add_link(graph, between, destination, math.inf, 0.0)
        return
    latencies = {seconds for _, seconds, _ in wires}
    if len(latencies) > 1:
        raise SimgmcError(
            f"{wires[1][2]}: a link parallel to it ({wires[0][2]}) has another latency, so that they are no bundle of "
            "links; "
            'topology.parallel = "hash" keeps each for itself'
        )
    add_link(graph, source, destination, sum(rate for rate, _, _ in wires), latencies.pop())


def _hang(
    graph: nx.DiGraph,
    drawn: DrawnGraph,
    name: str,
    waiting: Sequence[Host],
    attach: Sequence[str],
    placed: Mapping[str, str],
) -> None:
    """Hosts that the file does not draw, onto nodes of it, in turn."""
    if waiting and not attach:
        raise SimgmcError(
            f"{name} has no node for host {show_value(waiting[0].name)}; draw it, say which of its nodes are the hosts "
            'with topology.nodes = [...], or hang hosts onto nodes with topology.attach = [...] (["*"]: onto all in '
            "turn)"
        )
    chosen = list(drawn.nodes) if list(attach) == [EVERY_NODE] else [_node(one, drawn, name) for one in attach]
    places = [node for node in chosen if node not in placed]
    if waiting and not places:
        raise SimgmcError(
            f"attach = {show_value(list(attach))}: {name} has only hosts there, and hosts hang on switches"
        )
    for number, host in enumerate(waiting):
        add_host(graph, host, places[number % len(places)], group=places[number % len(places)])


TOPOLOGIES = (
    TopologyEntry(
        "file",
        "a network from a GraphML or GML file, an edge list, a SimGrid platform",
        "GraphML; Himsolt 1997 (GML); Knight et al., IEEE JSAC 2011 (Topology Zoo); simgrid.org",
        {
            "file": Option("the file", Path),
            "bandwidth": replace(LINKS["bandwidth"], summary="of links for which the file gives none"),
            "latency": replace(LINKS["latency"], summary="of links for which the file gives none, one way"),
            "parallel": Option(
                "wires between the same two nodes: one of their summed bandwidth, or each its own, chosen by hash",
                str,
                "bundle",
                ("bundle", "hash"),
            ),
            "nodes": Option(
                'the file\'s nodes that are the workers, then the servers; ["*"]: all; those of their names '
                "unless given",
                list[str],
                None,
            ),
            "attach": Option(
                'nodes onto which hosts that the file lacks are hung in turn, each by its access link; ["*"]: all',
                list[str],
                None,
            ),
        },
        build=from_file,
        details=FILE_FORMATS,
    ),
)
