"""A platform as it is read, and the routes between its hosts."""

from __future__ import annotations

import math
from collections.abc import Iterable

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.outside.xml_tree import Element
from simgmc.network.topology.simgrid.clusters import Dragonfly, FatTree, ShapedCluster, Torus
from simgmc.network.topology.simgrid.reader import Reader
from simgmc.network.topology.simgrid.zones import Between, Link, RoutedZone, StarZone, Step, Steps, Zone, back, step

_ROUTINGS = {"full": "Full", "none": "Full", "floyd": "Floyd", "dijkstra": "Dijkstra", "dijkstracache": "Dijkstra"}
_ZONES = ("zone", "AS", "cluster")
_INSIDE = (
    "zone", "cluster", "host", "router", "link", "route", "zoneRoute", "bypassRoute", "bypassZoneRoute",
)  # fmt: skip
_INSIDE_STAR = ("host", "router", "link", "host_link", "backbone", "cabinet")


class Platform:
    """What a file holds. Raises SimgmcError, with the line, for what is not read."""

    def __init__(self, root: Element, name: str):
        self.read = Reader(name)
        version = root.attributes.get("version", "")
        if not version.startswith("4"):
            raise SimgmcError(
                f"{name}, line {root.line}: version {show_value(version)} of the format; version 4 is read"
            )
        self.links: dict[str, Link] = {}
        """Those with a name of their own; clusters have more."""
        self.hosts: dict[str, None] = {}
        """In the order of the file."""
        self.home: dict[str, Zone] = {}
        """The zone of every host and router."""
        self._zones: set[str] = set()
        self._in_fat_trees = 0
        tops = list(root.all(*_ZONES))
        if len(tops) != 1:
            raise SimgmcError(f"{name}: holds {len(tops)} zones side by side; a platform has one")
        self.read.check(root, ("zone", "cluster"))
        self._zone(tops[0], None)

    # zones ----------------------------------------------------------------------

    def _zone(self, element: Element, parent: Zone | None) -> Zone:
        read = self.read
        name = read.text(element, "id")
        if name in self._zones:
            raise read.refusal(element, f"zone {show_value(name)} is there twice")
        self._zones.add(name)
        place = f"{read.place(element)}: <{element.tag}>"
        if element.tag == "cluster":
            return self._cluster(element, name, parent, place)
        routing = element.attributes.get("routing", "Full")
        if routing.lower() == "cluster":
            return self._star(element, StarZone(name, parent, place))
        if routing.lower() not in _ROUTINGS:
            raise read.refusal(
                element,
                f"routing {show_value(routing)} is not read; Full, Floyd, Dijkstra and Cluster are, and <cluster>",
            )
        zone = RoutedZone(name, parent, place, routing=_ROUTINGS[routing.lower()])
        read.check(element, _INSIDE)
        self._contents(element, zone)
        zone.zones = [self._zone(child, zone) for child in element.all(*_ZONES)]
        for child in element.all("route"):
            pair = self._points_of(child, zone)
            self._both(child, zone.routes, pair, self._steps(child))
        names = {inner.name for inner in zone.zones}
        for child in element.all("zoneRoute", "ASroute"):
            pair, way = self._between(child)
            for end in pair:
                if end not in names:
                    raise read.refusal(child, f"{show_value(end)} is no zone within {show_value(zone.name)}")
            self._once(child, zone.between, pair)
            zone.between[pair] = way
            if read.symmetric(child):
                zone.between[pair[::-1]] = Between(way.enter, way.leave, back(way.steps))
        self._bypasses(element, zone)
        return zone

    def _bypasses(self, element: Element, zone: RoutedZone) -> None:
        """Routes that come before all others, each one way."""
        for child in element.all("bypassRoute", "bypassZoneRoute", "bypassASroute"):
            if child.tag == "bypassRoute":
                pair = self._points_of(child, zone)
                way = Between(*pair, self._steps(child))
            else:
                pair, way = self._between(child)
                for end in pair:
                    if end not in self._zones:
                        raise self.read.refusal(child, f"there is no zone {show_value(end)}")
            self._once(child, zone.bypasses, pair)
            zone.bypasses[pair] = way

    def _contents(self, element: Element, zone: Zone) -> None:
        """Its links, hosts and routers."""
        read = self.read
        for child in element.all("link"):
            read.check(child)
            for key in ("bandwidth_file", "latency_file", "state_file"):
                if child.attributes.get(key):
                    raise read.refusal(child, f"{key} is not read; a trace of one's own is cluster.changes.traces")
            self._new_link(child, read.policy(child, "sharing_policy", "SHARED"), read.time(child, "latency", "0"))
        for child in element.all("host", "router"):
            read.check(child, ("mount",))
            self._point(child, zone, read.text(child, "id"), child.tag == "host")

    def _star(self, element: Element, zone: StarZone) -> StarZone:
        """A zone of which every host has a link up to a backbone, if there is one, and a link down from it."""
        read = self.read
        read.check(element, _INSIDE_STAR)
        self._contents(element, zone)
        bones = list(element.all("backbone"))
        if len(bones) > 1:
            raise read.refusal(bones[1], "a zone has one backbone")
        bone: Steps = []
        for child in bones:
            read.check(child)
            bone = [Step(self._new_link(child, "SHARED", read.time(child, "latency")))]
        for point in zone.points:
            if point not in self.hosts:
                zone.up[point] = zone.down[point] = []
        for child in element.all("host_link"):
            read.check(child)
            host = read.text(child, "id")
            if self.home.get(host) is not zone or host not in self.hosts:
                raise read.refusal(child, f"{show_value(host)} is no host of zone {show_value(zone.name)}")
            self._once(child, zone.up, host)
            zone.up[host] = [self._named(child, "up"), *bone]
            zone.down[host] = [*bone, self._named(child, "down")]
        for point in zone.points:
            if point not in zone.up:
                raise SimgmcError(f"{zone.place}: host {show_value(point)} has no <host_link>")
        for child in element.all("cabinet"):
            read.check(child)
            wire = Link("", read.rate(child, "bw"), read.time(child, "lat"), "SPLITDUPLEX", read.place(child))
            self._hang(child, zone, wire, None, bone)
        return zone

    def _cluster(self, element: Element, name: str, parent: Zone | None, place: str) -> Zone:
        """Hosts with links of one kind."""
        read = self.read
        read.check(element)
        shape = read.choice(element, "topology", ("FLAT", "TORUS", "FAT_TREE", "DRAGONFLY"), "FLAT")
        policy = read.policy(element, "sharing_policy", "SPLITDUPLEX")
        if policy == "FATPIPE":
            raise read.refusal(
                element,
                "sharing_policy FATPIPE, by SimGrid's manual, is SHARED to its program; say SHARED or SPLITDUPLEX",
            )
        wire = Link("", read.rate(element, "bw"), read.time(element, "lat"), policy, read.place(element))
        limit = read.rate(element, "limiter_link") if element.attributes.get("limiter_link") else None
        if shape == "FLAT":
            return self._flat(element, StarZone(name, parent, place), wire, limit)
        for key in ("bb_bw", "bb_lat", "router_id"):
            if key in element.attributes:
                raise read.refusal(element, f"{key}: a cluster of topology {shape} has neither a backbone nor a router")
        zone = self._shaped(element, shape, (name, parent, place), wire, limit)
        for member in read.members(element):
            self._point(element, zone, member, True)
        return zone

    def _shaped(
        self, element: Element, shape: str, frame: tuple[str, Zone | None, str], wire: Link, limit: float | None
    ) -> ShapedCluster:
        """A cluster of one of the shapes that ``topo_parameters`` describes."""
        read = self.read
        if shape == "TORUS":
            (sizes,) = read.parameters(element, lambda sizes: len(sizes) == 1, '"4,4,2"')
            read.count(element, math.prod(sizes))
            return Torus(*frame, wire=wire, limit=limit, dimensions=sizes)
        if shape == "FAT_TREE":
            _, down, up, cables = read.parameters(
                element, lambda sizes: sizes[1:] == 3 * sizes[:1], '"2;4,4;1,2;1,2": levels;down;up;cables', levels=True
            )
            read.count(element, math.prod(down))
            first = self._in_fat_trees
            self._in_fat_trees += math.prod(down)
            return FatTree(*frame, wire=wire, limit=limit, down=down, up=up, cables=cables, first=first)
        (groups, blue), (chassis, black), (routers, green), (nodes,) = read.parameters(
            element, lambda sizes: sizes == [2, 2, 2, 1],
            '"3,4;4,3;5,1;2": groups,cables;chassis,cables;routers,cables;hosts of a router',
        )  # fmt: skip
        read.count(element, groups * chassis * routers * nodes)
        if groups > routers:
            raise read.refusal(
                element,
                f"{groups} groups: are joined by one router of the first chassis each, of which there are {routers}",
            )
        return Dragonfly(
            *frame, wire=wire, limit=limit,
            groups=groups, chassis=chassis, routers=routers, nodes=nodes, blue=blue, black=black, green=green,
        )  # fmt: skip

    def _flat(self, element: Element, zone: StarZone, wire: Link, limit: float | None) -> StarZone:
        """A cluster of hosts with a link each, over a backbone if there is one."""
        read = self.read
        bone: Steps = []
        if element.attributes.get("bb_bw"):
            shared = read.policy(element, "bb_sharing_policy", "SHARED", ("SHARED", "FATPIPE"))
            seconds = read.time(element, "bb_lat", "0")
            bone = [Step(Link(f"{zone.name} backbone", read.rate(element, "bb_bw"), seconds, shared, wire.place))]
        elif "bb_lat" in element.attributes and read.time(element, "bb_lat"):
            raise read.refusal(element, "bb_lat: a backbone needs bb_bw, too")
        self._hang(element, zone, wire, limit, bone)
        prefix, suffix = element.attributes.get("prefix", ""), element.attributes.get("suffix", "")
        router = element.attributes.get("router_id") or f"{prefix}{zone.name}_router{suffix}"
        self._point(element, zone, router, False)
        zone.up[router] = zone.down[router] = []
        return zone

    def _hang(self, element: Element, zone: StarZone, wire: Link, limit: float | None, bone: Steps) -> None:
        """A cabinet's hosts, or a cluster's."""
        for member in self.read.members(element):
            self._point(element, zone, member, True)
            own = [step(Link(f"{member} link", wire.bandwidth, wire.latency, wire.policy, wire.place), "UP")]
            if limit is not None:
                own.insert(0, Step(Link(f"{member} limiter", limit, 0.0, "SHARED", wire.place)))
            zone.up[member], zone.down[member] = own + bone, bone + back(own)

    # what zones hold ------------------------------------------------------------

    def _new_link(self, element: Element, policy: str, latency: float) -> Link:
        name = self.read.text(element, "id")
        if name in self.links:
            raise self.read.refusal(element, f"link {show_value(name)} is there twice")
        self.links[name] = Link(name, self.read.rate(element, "bandwidth"), latency, policy, self.read.place(element))
        return self.links[name]

    def _point(self, element: Element, zone: Zone, name: str, host: bool) -> None:
        if name in self.home:
            raise self.read.refusal(element, f"host or router {show_value(name)} is there twice")
        self.home[name] = zone
        zone.points.append(name)
        if host:
            self.hosts[name] = None

    def _no_link(self, element: Element, name: str) -> SimgmcError:
        return self.read.refusal(element, f"there is no link {show_value(name)}; {suggestion(name, self.links)}")

    def _named(self, element: Element, key: str) -> Step:
        """A link by its name, or one direction of a SPLITDUPLEX one by the name with _UP or _DOWN after it."""
        name = self.read.text(element, key)
        whole, _, way = name.rpartition("_")
        if name in self.links:
            if self.links[name].policy == "SPLITDUPLEX":
                raise self.read.refusal(element, f"link {name} is SPLITDUPLEX: must be {name}_UP or {name}_DOWN")
            return Step(self.links[name])
        if way not in ("UP", "DOWN") or whole not in self.links or self.links[whole].policy != "SPLITDUPLEX":
            raise self._no_link(element, name)
        return Step(self.links[whole], way)

    def _steps(self, element: Element) -> Steps:
        read = self.read
        read.check(element, ("link_ctn",))
        steps = []
        for one in element.all("link_ctn"):
            read.check(one)
            name, way = read.text(one, "id"), read.choice(one, "direction", ("NONE", "UP", "DOWN"), "NONE")
            if name not in self.links:
                raise self._no_link(one, name)
            link = self.links[name]
            if link.policy == "SPLITDUPLEX" and way == "NONE":
                raise read.refusal(one, f"link {name} is SPLITDUPLEX: direction must be UP or DOWN")
            steps.append(step(link, way))
        return steps

    def _points_of(self, element: Element, zone: Zone) -> tuple[str, str]:
        pair = self.read.text(element, "src"), self.read.text(element, "dst")
        for end in pair:
            if self.home.get(end) is not zone:
                raise self.read.refusal(
                    element, f"{show_value(end)} is no host or router of zone {show_value(zone.name)}"
                )
        return pair

    def _between(self, element: Element) -> tuple[tuple[str, str], Between]:
        read = self.read
        pair = read.text(element, "src"), read.text(element, "dst")
        gates = read.text(element, "gw_src"), read.text(element, "gw_dst")
        for gate in gates:
            if gate not in self.home:
                raise read.refusal(element, f"there is no host or router {show_value(gate)}")
        return pair, Between(*gates, self._steps(element))

    def _once(self, element: Element, known: Iterable[object], what: str | tuple[str, str]) -> None:
        if what in known:
            words = show_value(what) if isinstance(what, str) else f"the route {what[0]} -> {what[1]}"
            raise self.read.refusal(element, f"{words} is there twice")

    def _both(self, element: Element, routes: dict[tuple[str, str], Steps], pair: tuple[str, str], way: Steps) -> None:
        self._once(element, routes, pair)
        routes[pair] = way
        if self.read.symmetric(element) and pair[0] != pair[1]:
            self._once(element, routes, pair[::-1])
            routes[pair[::-1]] = back(way)

    # routes ---------------------------------------------------------------------

    def route(self, source: str, destination: str) -> Steps | None:
        """The links from one point to another; None where the file gives no way."""
        if source == destination:
            return []
        here, there = (self._around(point) for point in (source, destination))
        common = next(zone for zone in here if zone in there)
        bypass = self._bypass(common, source, destination, here, there) if common.bypasses else None
        if bypass is not None:
            if common is not here[0]:
                self._check_bypass(bypass, source, destination)
            return self._along([bypass], source, destination)
        if common is here[0] and common is there[0]:
            return common.local(source, destination)
        if common is here[0] or common is there[0]:
            return None
        mine, yours = here[here.index(common) - 1], there[there.index(common) - 1]
        ways = common.across(mine.name, yours.name)
        return None if ways is None else self._along(ways, source, destination)

    def _along(self, ways: Iterable[Between], source: str, destination: str) -> Steps | None:
        """From gateway to gateway, through the zones that lie between."""
        at, whole = source, Steps()
        for way in ways:
            inside = self.route(at, way.leave)
            if inside is None:
                return None
            whole += inside + way.steps
            at = way.enter
        last = self.route(at, destination)
        return None if last is None else whole + last

    def _bypass(
        self, common: Zone, source: str, destination: str, here: list[Zone], there: list[Zone]
    ) -> Between | None:
        """The first bypass that is stated, searched from the innermost zones outwards in SimGrid's order."""
        if common is here[0] and common is there[0]:
            return common.bypasses.get((source, destination))
        mine, yours = ([zone.name for zone in ends[: ends.index(common)]] for ends in (here, there))
        for far in range(max(len(mine), len(yours))):
            for a, b in (*(pair for near in range(far) for pair in ((near, far), (far, near))), (far, far)):
                if a < len(mine) and b < len(yours) and (mine[a], yours[b]) in common.bypasses:
                    return common.bypasses[mine[a], yours[b]]
        return None

    def _check_bypass(self, way: Between, source: str, destination: str) -> None:
        """SimGrid's program sends what begins or ends at the gateway itself over that host's loopback, too."""
        for end, gate in ((source, way.leave), (destination, way.enter)):
            if end == gate and end in self.hosts:
                raise SimgmcError(
                    f"{self.home[end].place}: host {show_value(end)} is a gateway of a bypass, over which its own "
                    "messages take SimGrid's loopback; make a router the gateway"
                )

    def _around(self, point: str) -> list[Zone]:
        """The zone of a point and those around it, outwards."""
        zone: Zone | None = self.home[point]
        found = []
        while zone is not None:
            found.append(zone)
            zone = zone.parent
        return found
