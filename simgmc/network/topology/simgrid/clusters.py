"""Clusters with a shape: a torus, a fat tree, a dragonfly. Each finds its routes as SimGrid's program does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from simgmc.network.topology.simgrid.zones import Link, Steps, Zone, step


@dataclass(eq=False)
class ShapedCluster(Zone):
    """Hosts whose number says where they are."""

    wire: Link = field(kw_only=True)
    """What all its links are like."""
    limit: float | None = field(kw_only=True, default=None)
    """Bytes/s of all that a host or a switch sends, passes on and receives; None: unlimited."""

    @cached_property
    def _number(self) -> dict[str, int]:
        return {point: number for number, point in enumerate(self.points)}

    def local(self, source: str, destination: str) -> Steps | None:
        """The links between two hosts, by their numbers."""
        return self._between(self._number[source], self._number[destination])

    def _between(self, source: int, destination: int) -> Steps:
        raise NotImplementedError

    def _over(self, name: str, way: str, cables: int = 1) -> Steps:
        """One link, of so many cables side by side."""
        return [
            step(Link(name, cables * self.wire.bandwidth, self.wire.latency, self.wire.policy, self.wire.place), way)
        ]

    def _limiter(self, owner: str) -> Steps:
        """The link that limits a host or a switch, if there are such."""
        if self.limit is None:
            return []
        return [step(Link(f"{owner} limiter", self.limit, 0.0, "SHARED", self.wire.place), "")]


@dataclass(eq=False)
class Torus(ShapedCluster):
    """Routes lead along one dimension after the other, in each the shorter way round."""

    dimensions: Sequence[int] = ()

    def _between(self, source: int, destination: int) -> Steps:
        """Also where both ways round are equally long."""
        at, steps, apart = source, Steps(), 1
        for dimension, size in enumerate(self.dimensions):
            here, there = at // apart % size, destination // apart % size
            half = size // 2
            onward = here < there <= here + half or (here > half and (here + half) % size >= there)
            while (place := at // apart % size) != there:
                turned = (place + (1 if onward else -1)) % size
                after = at + (turned - place) * apart
                # A link belongs to the host from which it leads onwards.
                link, way = (at, "UP") if onward else (after, "DOWN")
                steps += self._limiter(self.points[at])
                steps += self._over(f"{self.name} link {dimension} of {link}", way)
                at = after
            apart *= size
        return steps + self._limiter(self.points[destination])


@dataclass(eq=False)
class FatTree(ShapedCluster):
    """Switches above the hosts, level by level. Routes go up as far as they must and down again: d-mod-k (Zahavi 2010).

    A node of level l has a label, a number for every level: the first l of them say which of several equal switches it
    is, the others where it hangs.
    """

    down: Sequence[int] = ()
    """Per level: how many nodes hang on a switch."""
    up: Sequence[int] = ()
    """Per level: to how many switches each of those is joined."""
    cables: Sequence[int] = ()
    """Per level: by how many cables to each."""
    first: int = 0
    """SimGrid's program numbers the hosts of all fat trees of a platform on: the number of the first host here."""

    def _between(self, source: int, destination: int) -> Steps:
        target = self._label(destination)
        label, level, steps = self._label(source), 0, Steps()
        while label[level:] != target[level:]:
            up, cables = self.up[level], self.cables[level]
            port = (destination + self.first) // math.prod(self.up[:level]) % (up * cables)
            steps += self._limit(level, label) + self._cable(level, label, port % up, port // up, "UP")
            label = (*label[:level], port % up, *label[level + 1 :])
            level += 1
        last = -1
        """The port that was taken above: SimGrid's program looks for the next from there on, before all others."""
        while level:
            down, cables, wanted = self.down[level - 1], self.cables[level - 1], target[level - 1]
            cable = max(0, -((wanted - last - 1) // down))
            if last < 0 or cable >= cables:
                cable = (source + self.first) % cables
            last = cable * down + wanted
            above, limiter = label[level - 1], self._limit(level, label)
            label = (*label[: level - 1], wanted, *label[level:])
            level -= 1
            steps += self._cable(level, label, above, cable, "DOWN") + limiter
        return steps + self._limit(0, target)

    def _label(self, host: int) -> tuple[int, ...]:
        """Where a host hangs."""
        label = []
        for down in self.down:
            host, place = divmod(host, down)
            label.append(place)
        return tuple(label)

    def _called(self, level: int, label: Sequence[int]) -> str:
        if level:
            return f"{self.name} switch {level}/{'.'.join(map(str, label))}"
        return self.points[sum(place * math.prod(self.down[:at]) for at, place in enumerate(label))]

    def _cable(self, level: int, label: Sequence[int], above: int, cable: int, way: str) -> Steps:
        """From a node to one of the switches above it."""
        return self._over(f"{self._called(level, label)} cable {cable + 1} to its switch {above + 1}", way)

    def _limit(self, level: int, label: Sequence[int]) -> Steps:
        return self._limiter(self._called(level, label))


@dataclass(eq=False)
class Dragonfly(ShapedCluster):
    """Groups of chassis of routers with hosts.

    Green links join all routers of a chassis, black ones those of one number in all chassis of a group, blue ones two
    groups: of either the router that has the other's number in the first chassis.
    """

    groups: int = 1
    chassis: int = 1
    routers: int = 1
    nodes: int = 1
    blue: int = 1
    black: int = 1
    green: int = 1
    """How many cables each of these links is."""

    def _between(self, source: int, destination: int) -> Steps:
        """By the fewest links between groups. In a group SimGrid's program counts a router reached by a green link as
        one of the first chassis.
        """
        group, chassis, router = self._at(source)
        other, its_chassis, its_router = self._at(destination)
        steps = self._limiter(self.points[source]) + self._over(f"{self.points[source]} link", "UP")
        if group != other:
            if router != other:
                steps += self._pass(group, chassis, router) + self._green(group, chassis, router, other)
                router = other
            if chassis:
                steps += self._pass(group, chassis, router) + self._black(group, chassis, 0, router)
            low, high = sorted((group, other))
            way = "UP" if group == low else "DOWN"
            steps += self._over(f"{self.name} blue link {low} - {high}", way, self.blue)
            steps += self._pass(group, 0, router)
            group, chassis, router = other, 0, group
        if (group, chassis, router) != (other, its_chassis, its_router):
            if router != its_router:
                steps += self._pass(group, chassis, router) + self._green(group, chassis, router, its_router)
                chassis, router = 0, its_router
            if chassis != its_chassis:
                steps += self._pass(group, chassis, router) + self._black(group, chassis, its_chassis, router)
        steps += self._pass(other, its_chassis, its_router)
        end = self.points[destination]
        return steps + self._over(f"{end} link", "DOWN") + self._limiter(end)

    def _at(self, host: int) -> tuple[int, int, int]:
        """A host's group, chassis and router."""
        router = host // self.nodes
        return router // (self.chassis * self.routers), router // self.routers % self.chassis, router % self.routers

    def _pass(self, group: int, chassis: int, router: int) -> Steps:
        return self._limiter(f"{self.name} router {group}.{chassis}.{router}")

    def _green(self, group: int, chassis: int, here: int, there: int) -> Steps:
        low, high = sorted((here, there))
        name = f"{self.name} green link {group}.{chassis}: {low} - {high}"
        return self._over(name, "UP" if here == low else "DOWN", self.green)

    def _black(self, group: int, here: int, there: int, router: int) -> Steps:
        low, high = sorted((here, there))
        name = f"{self.name} black link {group}: {low} - {high} of {router}"
        return self._over(name, "UP" if here == low else "DOWN", self.black)
