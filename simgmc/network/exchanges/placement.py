"""The flows of an exchange laid onto the links of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np

from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.exchanges.schedule import Structure
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")

Ways = tuple[tuple[int, ...], ...]
"""The routes that carry a message side by side, in equal parts."""


def shares_of(ways: Ways) -> dict[int, float]:
    """The share of a message's bytes that goes over each link."""
    found: dict[int, float] = {}
    for way in ways:
        for link in way:
            found[link] = found.get(link, 0.0) + 1.0 / len(ways)
    return found


def _links_of(ways: Ways) -> tuple[int, ...] | None:
    if not ways:
        return None
    return ways[0] if len(ways) == 1 else tuple(dict.fromkeys(link for way in ways for link in way))


class Placement:
    """A structure's flows laid onto the links of one network."""

    def __init__(self, structure: Structure, hosts: Sequence[str], links: Links, overheads: Overheads = IDEAL):
        if len(hosts) != structure.hosts:
            raise ValueError(f"{structure.hosts} hosts needed, {len(hosts)} given")
        self.structure = structure
        self.hosts = tuple(hosts)
        self.links = links
        self.overheads = overheads
        pairs = [(hosts[a], hosts[b]) for a, b in zip(structure.source, structure.destination)]
        self.local = [a == b for a, b in pairs]
        self.ways = [links.ways(a, b) for a, b in pairs]
        """Per flow: the routes that carry it side by side, in equal parts; mostly one."""
        self.routes = [_links_of(ways) for ways in self.ways]
        """Per flow: every link that it takes; None where it has no route."""
        self.cap = [_INFINITY if local else overheads.most(links, *pair) for local, pair in zip(self.local, pairs)]
        """Bytes/s that each flow never exceeds, whatever its links could carry."""
        self.latency = [links.delay(*pair) for pair in pairs]
        self.extra: list[float] | None = None
        """Seconds each flow's start is held up by the overheads."""
        if overheads.software or overheads.startup:
            self.extra = [
                0.0 if local else overheads.software + (overheads.startup * latency if gates else 0.0)
                for local, latency, gates in zip(self.local, self.latency, structure.gates)
            ]

    @cached_property
    def least_latency(self) -> float:
        """Seconds of latency that the quickest of the transfers has; 0 where there are none."""
        return min((latency for latency, local in zip(self.latency, self.local) if not local), default=0.0)

    def pair(self, flow: int) -> tuple[str, str]:
        """The hosts that a flow leads from and to."""
        return self.hosts[self.structure.source[flow]], self.hosts[self.structure.destination[flow]]

    @property
    def striped(self) -> bool:
        """Whether some flow takes several routes side by side."""
        return any(len(ways) > 1 for ways in self.ways)

    @cached_property
    def _uses(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every use of a link by a flow, and the share of the flow's bytes that goes there."""
        uses = [
            (link, flow, share)
            for flow, ways in enumerate(self.ways)
            if not self.local[flow]
            for link, share in shares_of(ways).items()
        ]
        link, flow, share = zip(*uses) if uses else ((), (), ())
        return np.array(link, dtype=np.int64), np.array(flow, dtype=np.int64), np.array(share)

    def over_links(self, moved: np.ndarray, rerouted: Mapping[int, Ways] = MappingProxyType({})) -> np.ndarray:
        """(links,) what went over each link when each flow has moved so much; ``rerouted``: other routes of some."""
        link, flow, share = self._uses
        over = np.bincount(link, weights=moved[flow] * share, minlength=len(self.links))
        for one, ways in rerouted.items():
            for sign, all_of_it in ((-1.0, self.ways[one]), (1.0, ways)):
                for at, part in shares_of(all_of_it).items():
                    over[at] += sign * part * moved[one]
        return over
