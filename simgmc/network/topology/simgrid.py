"""SimGrid platforms (simgrid.org, version 4 of the format): the subset that networks here have.

Zones of Full, Floyd and Dijkstra routing and clusters (flat or on a torus), nested, with routes and zoneRoutes; links
SHARED (one capacity for both directions), SPLITDUPLEX (each direction its own) and FATPIPE where it never limits.
Routes are those that SimGrid takes, ties included, not the shortest by latency.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx
import numpy as np

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.outside.tables import check_name
from simgmc.core.outside.xml_tree import Element
from simgmc.network.topology.graph import Host, add_link

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_BANDWIDTH = re.compile(_NUMBER + r"\s*([kKMGTPE]i?)?([bB])ps")
_TIME = re.compile(_NUMBER + r"\s*(ps|ns|us|ms|s|m|h|d|w)")
_NOTHING = re.compile(r"0+(\.0*)?")
"""The only number that needs no unit."""
_PREFIXES = {
    None: 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "ki": 2**10, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_SECONDS = {
    "ps": 1e-12, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0,
}  # fmt: skip
_POLICIES = ("SHARED", "SPLITDUPLEX", "FATPIPE")
_IGNORED = ("prop", "disk", "storage", "config", "random", "actor", "process")
"""What says nothing of the network."""
_MAX_MEMBERS = 100_000
_MAX_SEARCHED = 1_000
"""Hosts, routers or zones of a zone whose routes are found."""
_ROUTINGS = {"full": "Full", "none": "Full", "floyd": "Floyd", "dijkstra": "Dijkstra", "dijkstracache": "Dijkstra"}

Step = tuple[str, str]
"""A link and the direction in which it is used: UP or DOWN (SPLITDUPLEX), else empty."""


@dataclass
class _Link:
    bandwidth: float
    latency: float
    policy: str
    place: str


@dataclass
class _Zone:
    """What a zone holds: its hosts and routers, zones within it, and the ways between them."""

    name: str
    parent: _Zone | None
    routing: str = "Full"
    """Full: routes are stated; Floyd, Dijkstra: they are made of those that are stated."""
    place: str = ""
    points: list[str] = field(default_factory=list)
    zones: list[_Zone] = field(default_factory=list)
    routes: dict[tuple[str, str], list[Step]] = field(default_factory=dict)
    """Between points of this zone."""
    ways_out: dict[str, list[Step]] | None = None
    """Of a cluster: every member's own links, up to the backbone."""
    backbone: list[Step] = field(default_factory=list)
    torus: _Torus | None = None
    """Of a cluster whose hosts are on a torus."""
    between: dict[tuple[str, str], tuple[str, str, list[Step]]] = field(default_factory=dict)
    """Between zones within this one: the gateways of either, and the links between these."""


@dataclass
class _Torus:
    """A cluster on a torus. Routes lead along one dimension after the other, in each the shorter way round."""

    name: str
    members: list[str]
    dimensions: list[int]
    split: bool
    """Whether each direction of a link has a capacity of its own."""
    limit: bool
    """Whether every host has a link that limits all that it sends, passes on and receives."""

    def route(self, source: str, destination: str) -> list[Step]:
        """As SimGrid takes it, also where both ways round are equally long."""
        at, target = self.members.index(source), self.members.index(destination)
        steps: list[Step] = []
        apart = 1
        for dimension, size in enumerate(self.dimensions):
            here, there = at // apart % size, target // apart % size
            half = size // 2
            onward = here < there <= here + half or (here > half and (here + half) % size >= there)
            while (place := at // apart % size) != there:
                turned = (place + (1 if onward else -1)) % size
                after = at + (turned - place) * apart
                # A link belongs to the host from which it leads onwards.
                link, way = (at, "UP") if onward else (after, "DOWN")
                steps += [(f"{self.members[at]} limiter", "")] * self.limit
                steps.append((f"{self.name} link {dimension} of {link}", way if self.split else ""))
                at = after
            apart *= size
        return steps + [(f"{destination} limiter", "")] * self.limit


class _Platform:
    """A platform as it is read."""

    def __init__(self, root: Element, name: str):
        self.name = name
        version = root.attributes.get("version", "")
        if not version.startswith("4"):
            raise SimgmcError(
                f"{name}, line {root.line}: version {show_value(version)} of the format; version 4 is read"
            )
        self.links: dict[str, _Link] = {}
        self.hosts: list[str] = []
        self._before: dict[tuple[int, bool], list[dict[str, str]]] = {}
        self._zones: set[str] = set()
        self.home: dict[str, _Zone] = {}
        tops = list(root.all("zone", "AS", "cluster"))
        if len(tops) != 1:
            raise SimgmcError(f"{name}: holds {len(tops)} zones side by side; a platform has one")
        self._refuse_others(root, ("zone", "AS", "cluster"))
        self.top = self._zone(tops[0], None)

    # reading --------------------------------------------------------------------

    def _zone(self, element: Element, parent: _Zone | None) -> _Zone:
        name = self._get(element, "id")
        if name in self._zones:
            raise self._refusal(element, f"zone {show_value(name)} is there twice")
        self._zones.add(name)
        if element.tag == "cluster":
            return self._cluster(element, parent)
        routing = element.attributes.get("routing", "Full")
        if routing.lower() not in _ROUTINGS:
            raise self._refusal(
                element, f"routing {show_value(routing)} is not read; Full, Floyd and Dijkstra are, and <cluster>"
            )
        place = f"{self.name}, line {element.line}: <{element.tag}>"
        zone = _Zone(name, parent, _ROUTINGS[routing.lower()], place)
        self._refuse_others(
            element, ("zone", "AS", "cluster", "host", "router", "link", "route", "zoneRoute", "ASroute")
        )
        for child in element.all("link"):
            self._link(child)
        for child in element.all("host", "router"):
            self._point(child, zone, self._get(child, "id"), child.tag == "host")
        for child in element.all("zone", "AS", "cluster"):
            zone.zones.append(self._zone(child, zone))
        for child in element.all("route"):
            pair = self._get(child, "src"), self._get(child, "dst")
            for end in pair:
                if end not in zone.points:
                    raise self._refusal(
                        child, f"{show_value(end)} is no host or router of zone {show_value(zone.name)}"
                    )
            self._both(child, zone.routes, pair, self._steps(child))
        names = [inner.name for inner in zone.zones]
        for child in element.all("zoneRoute", "ASroute"):
            pair = self._get(child, "src"), self._get(child, "dst")
            gates = self._get(child, "gw_src"), self._get(child, "gw_dst")
            for end, gate in zip(pair, gates):
                if end not in names:
                    raise self._refusal(child, f"{show_value(end)} is no zone within {show_value(zone.name)}")
                if gate not in self.home:
                    raise self._refusal(child, f"there is no host or router {show_value(gate)}")
            steps = self._steps(child)
            self._once(child, zone.between, pair)
            zone.between[pair] = (*gates, steps)
            if self._symmetric(child):
                zone.between[pair[::-1]] = (*gates[::-1], _reversed(steps))
        return zone

    def _cluster(self, element: Element, parent: _Zone | None) -> _Zone:
        """Hosts with a link each, over a backbone if there is one."""
        kind = element.attributes.get("topology", "FLAT").upper()
        if kind not in ("FLAT", "TORUS"):
            raise self._refusal(element, f"topology {show_value(kind)} of a cluster is not read; FLAT and TORUS are")
        zone = _Zone(self._get(element, "id"), parent)
        self._refuse_others(element, ())
        if kind == "TORUS":
            return self._torus(element, zone)
        rate, seconds = self._rate(element, "bw"), self._time(element, "lat")
        policy = self._policy(element, "sharing_policy", "SPLITDUPLEX")
        place = f"{self.name}, line {element.line}"
        bone: list[Step] = []
        if "bb_bw" in element.attributes:
            bone = [(f"{zone.name} backbone", "")]
            shared = self._policy(element, "bb_sharing_policy", "SHARED")
            if shared == "SPLITDUPLEX":
                raise self._refusal(element, "a backbone has no directions; SHARED and FATPIPE are read")
            self.links[bone[0][0]] = _Link(
                self._rate(element, "bb_bw"), self._time(element, "bb_lat", "0"), shared, place
            )
        limit = "limiter_link" in element.attributes
        prefix, suffix = element.attributes.get("prefix", ""), element.attributes.get("suffix", "")
        members = self._members(element)
        for member in members:
            self._point(element, zone, member, True)
            self.links[f"{member} link"] = _Link(rate, seconds, policy, place)
            if limit:
                self.links[f"{member} limiter"] = _Link(self._rate(element, "limiter_link"), 0.0, "SHARED", place)
        router = element.attributes.get("router_id") or f"{prefix}{zone.name}_router{suffix}"
        self._point(element, zone, router, False)
        split = policy == "SPLITDUPLEX"
        zone.backbone = bone
        zone.ways_out = {
            member: [(f"{member} limiter", "")] * limit + [(f"{member} link", "UP" if split else "")]
            for member in members
        }
        zone.ways_out[router] = []
        return zone

    def _torus(self, element: Element, zone: _Zone) -> _Zone:
        """Hosts on a torus, each with a link to the next in every dimension."""
        for key in ("bb_bw", "bb_lat", "router_id"):
            if key in element.attributes:
                raise self._refusal(element, f"{key}: a torus has neither a backbone nor a router")
        text, members = self._get(element, "topo_parameters"), self._members(element)
        if re.fullmatch(r"\s*\d{1,6}\s*(,\s*\d{1,6}\s*)*", text) is None:
            raise self._refusal(element, f'topo_parameters = {show_value(text)}: must be such as "4,4,2"')
        dimensions = [int(one) for one in text.split(",")]
        if math.prod(dimensions) != len(members):
            raise self._refusal(
                element, f"topo_parameters = {show_value(text)}: are {math.prod(dimensions):,} hosts, and its radical "
                f"names {len(members):,}",
            )  # fmt: skip
        rate, seconds = self._rate(element, "bw"), self._time(element, "lat")
        policy = self._policy(element, "sharing_policy", "SPLITDUPLEX")
        place, limit = f"{self.name}, line {element.line}", "limiter_link" in element.attributes
        for number, member in enumerate(members):
            self._point(element, zone, member, True)
            for dimension in range(len(dimensions)):
                self.links[f"{zone.name} link {dimension} of {number}"] = _Link(rate, seconds, policy, place)
            if limit:
                self.links[f"{member} limiter"] = _Link(self._rate(element, "limiter_link"), 0.0, "SHARED", place)
        zone.torus = _Torus(zone.name, members, dimensions, policy == "SPLITDUPLEX", limit)
        return zone

    def _members(self, element: Element) -> list[str]:
        prefix, suffix = element.attributes.get("prefix", ""), element.attributes.get("suffix", "")
        return [f"{prefix}{number}{suffix}" for number in self._radical(element)]

    def _radical(self, element: Element) -> list[int]:
        text = self._get(element, "radical")
        numbers: list[int] = []
        for part in re.split("[,;]", text):
            found = re.fullmatch(r"\s*(\d{1,7})(?:-(\d{1,7}))?\s*", part)
            if found is None or int(found[2] or found[1]) < int(found[1]):
                raise self._refusal(element, f"radical = {show_value(text)}: must be numbers and ranges, such as 0-3,8")
            numbers += range(int(found[1]), int(found[2] or found[1]) + 1)
            if len(numbers) > _MAX_MEMBERS:
                raise self._refusal(element, f"radical = {show_value(text)}: more than {_MAX_MEMBERS:,} hosts")
        return numbers

    def _link(self, element: Element) -> None:
        name = self._get(element, "id")
        if name in self.links:
            raise self._refusal(element, f"link {show_value(name)} is there twice")
        for key in ("bandwidth_file", "latency_file", "state_file"):
            if key in element.attributes:
                raise self._refusal(element, f"{key} is not read; a trace of one's own is cluster.changes.traces")
        policy = self._policy(element, "sharing_policy", "SHARED")
        rate, seconds = self._rate(element, "bandwidth"), self._time(element, "latency", "0")
        self.links[name] = _Link(rate, seconds, policy, f"{self.name}, line {element.line}")

    def _policy(self, element: Element, key: str, default: str) -> str:
        policy = element.attributes.get(key, default)
        policy = {"FULLDUPLEX": "SPLITDUPLEX"}.get(policy, policy)
        if policy not in _POLICIES:
            raise self._refusal(element, f"{key} {show_value(policy)} is not read; {', '.join(_POLICIES)} are")
        return policy

    def _point(self, element: Element, zone: _Zone, name: str, host: bool) -> None:
        if name in self.home:
            raise self._refusal(element, f"host or router {show_value(name)} is there twice")
        self.home[name] = zone
        zone.points.append(name)
        if host:
            self.hosts.append(name)

    def _steps(self, element: Element) -> list[Step]:
        self._refuse_others(element, ("link_ctn",))
        steps = []
        for one in element.all("link_ctn"):
            name, way = self._get(one, "id"), one.attributes.get("direction", "NONE").upper()
            if name not in self.links:
                raise self._refusal(one, f"there is no link {show_value(name)}; {suggestion(name, self.links)}")
            split = self.links[name].policy == "SPLITDUPLEX"
            if way not in (("UP", "DOWN") if split else ("NONE", "UP", "DOWN")):
                raise self._refusal(one, f"link {name} is SPLITDUPLEX: direction must be UP or DOWN")
            steps.append((name, way if split else ""))
        return steps

    def _symmetric(self, element: Element) -> bool:
        return element.attributes.get("symmetrical", "YES").upper() in ("YES", "TRUE", "1")

    def _once(self, element: Element, known: Iterable[tuple[str, str]], pair: tuple[str, str]) -> None:
        if pair in known:
            raise self._refusal(element, f"the route {pair[0]} -> {pair[1]} is there twice")

    def _both(
        self, element: Element, routes: dict[tuple[str, str], list[Step]], pair: tuple[str, str], steps: list[Step]
    ) -> None:
        self._once(element, routes, pair)
        routes[pair] = steps
        if self._symmetric(element) and pair[0] != pair[1]:
            self._once(element, routes, pair[::-1])
            routes[pair[::-1]] = _reversed(steps)

    def _rate(self, element: Element, key: str) -> float:
        text = self._get(element, key)
        found = _BANDWIDTH.fullmatch(text.strip())
        if found is None or not 0 <= float(found[1]) * _PREFIXES[found[2]] <= 1e18:
            raise self._refusal(element, f'{key} = {show_value(text)}: must be such as "125MBps" or "1Gbps"')
        return float(found[1]) * _PREFIXES[found[2]] / (8 if found[3] == "b" else 1)

    def _time(self, element: Element, key: str, default: str | None = None) -> float:
        text = element.attributes.get(key, default) or self._get(element, key)
        if _NOTHING.fullmatch(text.strip()):
            return 0.0
        found = _TIME.fullmatch(text.strip())
        if found is None or not 0 <= float(found[1]) * _SECONDS[found[2]] <= 1e9:
            raise self._refusal(element, f'{key} = {show_value(text)}: must be such as "50us"')
        return float(found[1]) * _SECONDS[found[2]]

    def _get(self, element: Element, key: str) -> str:
        if not element.attributes.get(key):
            raise self._refusal(element, f"has no {key}")
        check_name(element.attributes[key], f"{self.name}, line {element.line}: {key}")
        return element.attributes[key]

    def _refuse_others(self, element: Element, known: Sequence[str]) -> None:
        for child in element.children:
            if child.tag not in known and child.tag not in _IGNORED:
                raise self._refusal(child, "is not read here")

    def _refusal(self, element: Element, problem: str) -> SimgmcError:
        return SimgmcError(f"{self.name}, line {element.line}: <{element.tag}>: {problem}")

    # routes ---------------------------------------------------------------------

    def route(self, source: str, destination: str) -> list[Step] | None:
        """The links from one point to another; None where the file gives no way."""
        if source == destination:
            return []
        here, there = (self._above(point) for point in (source, destination))
        common = next(zone for zone in here if zone in there)
        if common is here[0] and common is there[0]:
            if common.torus is not None:
                return common.torus.route(source, destination)
            if common.ways_out is not None:
                return common.ways_out[source] + common.backbone + _reversed(common.ways_out[destination])
            edges = self._edges(common, common.points, common.routes, source, destination)
            return None if edges is None else [step for edge in edges for step in common.routes[edge]]
        if common is here[0] or common is there[0]:
            return None
        mine, yours = here[here.index(common) - 1], there[there.index(common) - 1]
        stated = {pair: steps for pair, (_, _, steps) in common.between.items()}
        edges = self._edges(common, [zone.name for zone in common.zones], stated, mine.name, yours.name)
        if edges is None:
            return None
        # From gateway to gateway, through the zones that lie between.
        at, whole = source, list[Step]()
        for edge in edges:
            leave, enter, steps = common.between[edge]
            inside = self.route(at, leave)
            if inside is None:
                return None
            whole += inside + steps
            at = enter
        last = self.route(at, destination)
        return None if last is None else whole + last

    def _edges(
        self,
        zone: _Zone,
        points: Sequence[str],
        stated: Mapping[tuple[str, str], Sequence[Step]],
        source: str,
        destination: str,
    ) -> list[tuple[str, str]] | None:
        """The stated routes of a zone that together lead from one of its points (or zones) to another."""
        if zone.routing == "Full":
            return [(source, destination)] if (source, destination) in stated else None
        if len(points) > _MAX_SEARCHED:
            raise SimgmcError(f"{zone.place}: routing {zone.routing} among more than {_MAX_SEARCHED:,} is not read")
        key = (id(zone), points is zone.points)
        if zone.routing == "Floyd":
            if key not in self._before:
                self._before[key] = _floyd(points, stated)
            before = self._before[key][points.index(source)]
        else:
            order = list(dict.fromkeys(end for pair in stated for end in pair))
            if source not in order or destination not in order:
                return None
            before = _dijkstra(order, stated, source)
        edges: list[tuple[str, str]] = []
        at = destination
        while at != source:
            if at not in before:
                return None
            edges.append((before[at], at))
            at = before[at]
        edges.reverse()
        if zone.routing == "Dijkstra":
            self._check_both_readings(zone, stated, edges)
        return edges

    def _check_both_readings(
        self, zone: _Zone, stated: Mapping[tuple[str, str], Sequence[Step]], edges: Sequence[tuple[str, str]]
    ) -> None:
        """SimGrid's manual says that Dijkstra goes by latency, its program goes by the number of links."""

        def seconds(edge: tuple[str, str]) -> float:
            return sum(self.links[name].latency for name, _ in stated[edge])

        source, destination = edges[0][0], edges[-1][1]
        graph = nx.DiGraph()
        graph.add_weighted_edges_from((*edge, seconds(edge)) for edge in stated)
        least = nx.dijkstra_path_length(graph, source, destination)
        taken = sum(map(seconds, edges))
        if taken > least * (1 + 1e-9):
            raise SimgmcError(
                f"{zone.place}: Dijkstra between {show_value(source)} and {show_value(destination)}: the fewest links, "
                f"which SimGrid's program takes, have a latency of {taken:g} s, the least, which its manual says, is "
                f"{least:g} s; state that route with routing Full, or use Floyd (fewest links)"
            )

    def _above(self, point: str) -> list[_Zone]:
        """The zone of a point and those around it, outwards."""
        zone: _Zone | None = self.home[point]
        found = []
        while zone is not None:
            found.append(zone)
            zone = zone.parent
        return found


def _floyd(points: Sequence[str], stated: Mapping[tuple[str, str], Sequence[Step]]) -> list[dict[str, str]]:
    """For every point the one before each other on the way there over the fewest links; ties as in SimGrid's program.

    That tries intermediate points in the order of the file and keeps what it has unless the new way is shorter.
    """
    number = {point: place for place, point in enumerate(points)}
    cost = np.full((len(points), len(points)), np.inf)
    before = np.full((len(points), len(points)), -1)
    np.fill_diagonal(cost, 1.0)  # SimGrid's loopback
    np.fill_diagonal(before, np.arange(len(points)))
    for (source, destination), steps in stated.items():
        cost[number[source], number[destination]] = len(steps)
        before[number[source], number[destination]] = number[source]
    for middle in range(len(points)):
        way = cost[:, middle, None] + cost[None, middle]
        shorter = way < cost
        cost, before = np.where(shorter, way, cost), np.where(shorter, before[middle], before)
    return [
        {points[end]: points[previous] for end, previous in enumerate(row) if previous >= 0 and end != start}
        for start, row in enumerate(before.tolist())
    ]


def _dijkstra(order: Sequence[str], stated: Mapping[tuple[str, str], Sequence[Step]], source: str) -> dict[str, str]:
    """The point before each other on the way from one over the fewest links; ties as in SimGrid's program.

    That takes points that are equally near in the order in which routes first name them.
    """
    number = {point: place for place, point in enumerate(order)}
    out: dict[str, list[tuple[str, int]]] = {}
    for (here, there), steps in stated.items():
        out.setdefault(here, []).append((there, len(steps)))
    cost, before = {source: 0}, dict[str, str]()
    queue = [(0, number[source], source)]
    while queue:
        _, _, here = heapq.heappop(queue)
        for there, links in out.get(here, ()):
            if cost[here] + links < cost.get(there, math.inf):
                cost[there], before[there] = cost[here] + links, here
                heapq.heappush(queue, (cost[there], number[there], there))
    return before


def _reversed(steps: Sequence[Step]) -> list[Step]:
    other = {"UP": "DOWN", "DOWN": "UP", "": ""}
    return [(link, other[way]) for link, way in reversed(steps)]


def from_platform(
    root: Element, name: str, hosts: Sequence[Host], nodes: Sequence[str], attach: Sequence[str]
) -> nx.DiGraph:
    """A platform's network among some of its hosts.

    Args:
        nodes: which of the platform's hosts the hosts are, in order (``*``: as the file lists them); those of the same
            names unless given.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    if attach:
        raise SimgmcError(
            f"attach: {name} has routes between its own hosts alone; say which are yours with nodes = [...]"
        )
    platform = _Platform(root, name)
    wanted = list(nodes) or [host.name for host in hosts]
    chosen = platform.hosts if list(nodes) == ["*"] else wanted
    if len(chosen) < len(hosts):
        raise SimgmcError(f"nodes: {len(chosen)} hosts of {name} are too few for {len(hosts)}")
    known = set(platform.hosts)
    for one in chosen:
        if one not in known:
            raise SimgmcError(
                f"{name} has no host {show_value(one)}; name those that are yours with nodes = [...]; "
                f"{suggestion(one, platform.hosts)}"
            )
    if len(set(chosen)) < len(chosen):
        raise SimgmcError(f"nodes = {show_value(list(nodes))}: each may be named once")
    place = {host.name: node for host, node in zip(hosts, chosen)}
    graph = nx.DiGraph(topology=name, routes={})
    for host, node in place.items():
        group = platform.home[node].name if platform.home[node].parent is not None else None
        graph.add_node(host, kind="host", group=group, drawn=f"{name} gives this host its links; change them there")
    for source in place:
        for destination in place:
            if source == destination:
                continue
            steps = platform.route(place[source], place[destination])
            if steps is not None:
                _check_fat_pipes(platform, steps)
                graph.graph["routes"][source, destination] = _lay(graph, platform, source, destination, steps)
    return graph


def _check_fat_pipes(platform: _Platform, steps: Sequence[Step]) -> None:
    """A FATPIPE gives every flow its whole bandwidth: the same as no limit only where another link is no faster."""
    links = [platform.links[name] for name, _ in steps]
    shared = min((link.bandwidth for link in links if link.policy != "FATPIPE"), default=0.0)
    for link in links:
        if link.policy == "FATPIPE" and link.bandwidth < shared or shared == 0.0 and link.policy == "FATPIPE":
            raise SimgmcError(
                f"{link.place}: a FATPIPE that is the slowest link of a route caps every flow by itself, which "
                "networks here do not; make it SHARED, or put a link beside it that is no faster"
            )


def _lay(graph: nx.DiGraph, platform: _Platform, source: str, destination: str, steps: Sequence[Step]) -> list[str]:
    """A route's links in the graph; its nodes."""
    nodes = [source]
    for name, way in steps:
        link = platform.links[name]
        begin, end = (f"{end} of link {name}{' ' * bool(way)}{way.lower()}" for end in ("begin", "end"))
        if begin in nodes:
            raise SimgmcError(f"{link.place}: the route {source} -> {destination} takes link {name} twice")
        if not graph.has_edge(begin, end):
            for node in (begin, end):
                graph.add_node(node, kind="switch")
            add_link(graph, begin, end, math.inf if link.policy == "FATPIPE" else link.bandwidth, link.latency)
        nodes += [begin, end]
    nodes.append(destination)
    for here, there in zip(nodes[::2], nodes[1::2]):
        if not graph.has_edge(here, there):
            add_link(graph, here, there, math.inf, 0.0)
    return nodes
