"""Where the flows of exchanges go, on one network, and whole exchanges solved at once on several."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from simgmc.network.collectives.schedule import Placement, Schedule, Structure
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.shortcuts.fast_server import ServerLinks
from simgmc.network.shortcuts.isolation import always_alone
from simgmc.network.shortcuts.solutions import RingLinks, RingNetworks, ServerNetworks, Solution, solve_events, together
from simgmc.network.topology.routing import Links

_KEPT_SIZE = 1_000_000
"""Numbers in the solutions that are kept for exchanges that come again, about."""


class Places:
    """The flows of exchanges laid onto the links of one cluster; remembered."""

    def __init__(self, workers: Sequence[str], servers: Sequence[str], links: Links, overheads: Overheads):
        self.workers, self.servers, self.links, self.overheads = workers, servers, links, overheads
        self._placements: dict[tuple, Placement] = {}
        self._structures: list[Structure] = []
        self._rings: dict[tuple[int, ...], RingLinks] = {}

    def placement(self, structure: Structure, members: Sequence[int]) -> Placement:
        """A structure's flows on the links between these workers, and the servers."""
        key = (id(structure), tuple(members))
        found = self._placements.get(key)
        if found is None:
            hosts = [self.workers[worker] for worker in members]
            servers = self.servers[: structure.hosts - structure.participants]
            found = Placement(structure, (*hosts, *servers), self.links, self.overheads)
            self._placements[key] = found
            self._structures.append(structure)  # kept, so that its id cannot come to mean another
        return found

    def ring(self, members: Sequence[int]) -> RingLinks:
        """The links of a ring of these workers."""
        key = tuple(members)
        if key not in self._rings:
            hosts = [self.workers[worker] for worker in members]
            self._rings[key] = RingLinks(hosts, self.links, self.overheads)
        return self._rings[key]

    def alone(self, schedule: Schedule, one_structure: bool) -> bool:
        """Whether exchanges of all workers like this one cannot meet those before and after them on any link.

        A run uses one collective. If that is a ring whose routes share no link, a rank ends after its own last byte
        has left, and nobody else sends on its links: nothing is to be proved. Otherwise its graph must be the same for
        every message (``one_structure``), and prove it.
        """
        everybody = range(len(self.workers))
        if schedule.ring is not None:
            return self.ring(everybody).apart
        return one_structure and always_alone(
            schedule.structure, tuple(self.placement(schedule.structure, everybody).routes)
        )


class Solver:
    """Solves exchanges that have the network to themselves, on N networks that differ in numbers alone.

    The bits of a solution do not depend on which networks are solved beside it.
    """

    def __init__(self, places: Sequence[Places]):
        self._places = places
        self._rings: dict[tuple[int, ...], RingNetworks | None] = {}
        self._servers: dict[tuple[int, ...], tuple[Structure, ServerNetworks | None]] = {}
        self._kept: OrderedDict[tuple, tuple[Schedule, Solution]] = OrderedDict()

    def solve(self, schedule: Schedule, members: Sequence[int], gates: np.ndarray) -> Solution:
        """``gates``: (N, members) s at which each is ready, the first of them at 0."""
        key = (id(schedule), gates.tobytes())
        kept = self._kept.get(key)
        if kept is None:
            # The schedule is kept with its solution, so that its id cannot come to mean another.
            kept = self._kept[key] = schedule, self._solve(schedule, members, gates)
            size = gates.size if schedule.ring is None else gates.size * schedule.ring.steps * schedule.ring.slices
            if len(self._kept) > min(256, 2 + _KEPT_SIZE // size):
                self._kept.popitem(last=False)
        return kept[1]

    def _solve(self, schedule: Schedule, members: Sequence[int], gates: np.ndarray) -> Solution:
        if schedule.ring is not None and (ring := self._ring(members)) is not None:
            return ring.solve(schedule.ring, gates)
        structure = schedule.structure
        if (server := self._server(structure, members)) is not None:
            return server.solve(schedule, gates)
        return together(
            [
                solve_events(schedule, places.placement(structure, members), own)
                for places, own in zip(self._places, gates)
            ]
        )

    def _ring(self, members: Sequence[int]) -> RingNetworks | None:
        """None where routes share a link."""
        key = tuple(members)
        if key not in self._rings:
            ways = [places.ring(members) for places in self._places]
            self._rings[key] = RingNetworks(ways) if all(way.apart for way in ways) else None
        return self._rings[key]

    def _server(self, structure: Structure, members: Sequence[int]) -> ServerNetworks | None:
        """None where it is not the round of one parameter server, or its links are shared otherwise."""
        workers = structure.participants
        if structure.hosts != workers + 1 or structure.flows != 2 * workers + 1:
            return None
        key = (id(structure), *members)
        if key not in self._servers:
            placements = [places.placement(structure, members) for places in self._places]
            ways = [ServerLinks(placement) for placement in placements]
            found = ServerNetworks(ways, placements) if all(way.simple for way in ways) else None
            self._servers[key] = structure, found
        return self._servers[key][1]
