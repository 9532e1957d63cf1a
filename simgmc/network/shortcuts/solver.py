"""Where the flows of exchanges go, on one network, and whole exchanges solved at once on several."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from simgmc.network.conditions.overheads import Overheads
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.schedule import Schedule, Structure
from simgmc.network.shortcuts.fast_flows import MAX_FLOWS, FlowNetworks
from simgmc.network.shortcuts.fast_server import ServerLinks
from simgmc.network.shortcuts.solutions import (
    RingLinks,
    RingNetworks,
    ServerNetworks,
    Solution,
    solve_events,
    solve_flows,
    together,
    unsolved,
)
from simgmc.network.topology.routing import Links

_KEPT_SIZE = 1_000_000
"""Numbers in the solutions that are kept for exchanges that come again, about."""


_SIMULATED = 64
"""Exchanges simulated by events that are kept of each network, for those that come again."""
_PARTS = 16
"""Sets of networks of which it is kept how their exchanges are solved, where some have others than the rest."""
_STRUCTURES = 64
"""Structures of which it is kept how their flows are solved."""


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


class Solver:
    """Solves exchanges that have the network to themselves, on N networks that differ in numbers alone.

    The bits of a solution do not depend on which networks are solved beside it.
    """

    def __init__(self, places: Sequence[Places]):
        self._places = places
        self._rings: dict[tuple[int, ...], tuple[list[_Way], list[int]]] = {}
        self._others: OrderedDict[tuple[int, ...], tuple[Structure, list[_Way]]] = OrderedDict()
        """By structure (its id) and members; the structure is kept, so that its id cannot come to mean another."""
        self._kept: OrderedDict[tuple, tuple[Schedule, Solution]] = OrderedDict()
        self._by_events: list[OrderedDict[tuple, tuple[Schedule, Solution]]] = [OrderedDict() for _ in places]
        self._parts: OrderedDict[bytes, Solver] = OrderedDict()
        """By the networks' numbers: of exchanges whose forms differ from network to network."""
        self.simulated = np.zeros(len(places), np.int64)
        """(N,) exchanges that had to be simulated event by event."""

    def possible(self, schedule: Schedule, members: Sequence[int]) -> np.ndarray:
        """(N,) bool: on which networks it may be tried: every flow has a route, and they are not too many."""
        found = np.ones(len(self._places), bool)
        if len(schedule.forms) > 1:
            for some, part in schedule.forms:
                assert some is not None
                found[some] = self._part(some).possible(part, members)
            return found
        for numbers, networks in self._ways_of(schedule, members):
            if isinstance(networks, FlowNetworks):
                found[numbers] = networks.routed
            elif networks is None:
                found[numbers] = False
        return found

    def in_arrays(self, schedule: Schedule, members: Sequence[int]) -> bool:
        """Whether it is solved on all networks without a list of its flows."""
        ways = self._ways_of(schedule, members)
        return all(isinstance(networks, RingNetworks | ServerNetworks) for _, networks in ways)

    def solve(
        self, schedule: Schedule, members: Sequence[int], gates: np.ndarray, wanted: np.ndarray | None = None
    ) -> Solution:
        """``gates``: (N, members) s at which each is ready, the first of them at 0; ``wanted``: (N,) on which networks
        it is worth events, where flows meet; None: on all."""
        if len(schedule.forms) > 1:
            return self._in_parts(schedule, members, gates, wanted)
        key = (id(schedule), gates.tobytes())
        kept = self._kept.get(key)
        if kept is not None:
            return kept[1]
        ways, found, events = self._ways_of(schedule, members), [], False
        for numbers, networks in ways:
            own, some = (gates, schedule) if len(ways) == 1 else (gates[numbers], schedule.among(numbers))
            if isinstance(networks, RingNetworks):
                assert some.ring is not None
                found.append(networks.solve(some.ring, own))
            elif isinstance(networks, ServerNetworks):
                found.append(networks.solve(some, own))
            elif networks is None:
                found.append(unsolved(own))
            else:
                solution, simulated = self._flows(networks, some, members, own, numbers, wanted)
                found.append(solution)
                events |= simulated
        solution = found[0] if len(found) == 1 else together([numbers for numbers, _ in ways], found)
        if not events and solution.solved.all():
            # The schedule is kept with its solution, so that its id cannot come to mean another.
            self._kept[key] = schedule, solution
            _keep(self._kept, gates.size * _size(schedule))
        return solution

    def _in_parts(
        self, schedule: Schedule, members: Sequence[int], gates: np.ndarray, wanted: np.ndarray | None
    ) -> Solution:
        """Exchanges of several forms, each form on its networks by itself."""
        found, places = [], []
        for networks, some in schedule.forms:
            assert networks is not None
            part = self._part(networks)
            some_wanted = None if wanted is None else wanted[networks]
            part.simulated = self.simulated[networks]
            found.append(part.solve(some, members, gates[networks], some_wanted))
            self.simulated[networks] = part.simulated
            places.append(networks)
        return together(places, found)

    def _part(self, networks: np.ndarray) -> Solver:
        """Of some of the networks."""
        key = networks.tobytes()
        if key not in self._parts:
            self._parts[key] = Solver([self._places[one] for one in networks.tolist()])
            if len(self._parts) > _PARTS:
                self._parts.popitem(last=False)
        return self._parts[key]

    def _flows(
        self,
        networks: FlowNetworks,
        schedule: Schedule,
        members: Sequence[int],
        gates: np.ndarray,
        numbers: np.ndarray,
        wanted: np.ndarray | None,
    ) -> tuple[Solution, bool]:
        """On networks of these numbers: in arrays, by events where flows meet; whether they met on one."""
        worth = np.ones(len(numbers), bool) if wanted is None else wanted[numbers]
        keys = [(id(schedule.on(place)), own.tobytes()) for place, own in enumerate(gates)]
        found = {
            place: memory[key][1]
            for place, (number, key) in enumerate(zip(numbers.tolist(), keys))
            if worth[place] and key in (memory := self._by_events[number])
        }
        begun = unsolved(gates)
        if len(found) < worth.sum():
            begun = solve_flows(networks, schedule, gates)
            for place in np.flatnonzero(worth & ~begun.solved).tolist():
                if place not in found:
                    number, own = int(numbers[place]), schedule.on(place)
                    found[place] = self._simulated(number, keys[place], own, members, gates[place])
        if not found:
            return begun, False
        places = [np.arange(len(numbers)), *(np.array([place]) for place in found)]
        return together(places, [begun, *found.values()]), True

    def _simulated(
        self, network: int, key: tuple, schedule: Schedule, members: Sequence[int], gates: np.ndarray
    ) -> Solution:
        """By events, on one of the networks; remembered."""
        self.simulated[network] += 1
        memory = self._by_events[network]
        solution = solve_events(schedule, self._places[network].placement(schedule.structure, members), gates)
        memory[key] = schedule, solution
        if len(memory) > _SIMULATED:
            memory.popitem(last=False)
        return solution

    def _ways_of(self, schedule: Schedule, members: Sequence[int]) -> list[_Way]:
        """How each network is solved; those of one way together."""
        found: list[_Way] = []
        rest: Sequence[int] = range(len(self._places))
        if schedule.ring is not None:
            found, rest = self._ring(members)
            if not rest:
                return found
        if flows_in(schedule) > MAX_FLOWS and not _is_server(schedule):
            return [*found, (np.array(rest), None)]
        key = (id(schedule.structure), *members)
        if key not in self._others:
            self._others[key] = schedule.structure, self._ways(schedule, members, rest)
            if len(self._others) > _STRUCTURES:
                self._others.popitem(last=False)
        return found + self._others[key][1]

    def _ring(self, members: Sequence[int]) -> tuple[list[_Way], list[int]]:
        """The networks on which no route of a ring shares a link with another; and the numbers of the rest."""
        key = tuple(members)
        if key not in self._rings:
            ways = [places.ring(members) for places in self._places]
            apart = [number for number, way in enumerate(ways) if way.apart]
            found: list[_Way] = [(np.array(apart), RingNetworks([ways[number] for number in apart]))] if apart else []
            self._rings[key] = found, [number for number, way in enumerate(ways) if not way.apart]
        return self._rings[key]

    def _ways(self, schedule: Schedule, members: Sequence[int], rest: Sequence[int]) -> list[_Way]:
        """Of these networks, the round of one parameter server where links are shared as it needs; and all else."""
        structure = schedule.structure
        placements = {number: self._places[number].placement(structure, members) for number in rest}
        servers = {}
        if _is_server(schedule):
            servers = {number: ServerLinks(placement) for number, placement in placements.items()}
            servers = {number: way for number, way in servers.items() if way.simple}
        found: list[_Way] = []
        if servers:
            networks = ServerNetworks(list(servers.values()), [placements[number] for number in servers])
            found.append((np.array(list(servers)), networks))
        if others := [number for number in rest if number not in servers]:
            found.append((np.array(others), FlowNetworks([placements[number] for number in others])))
        return found


_Way = tuple[np.ndarray, RingNetworks | ServerNetworks | FlowNetworks | None]
"""Numbers of networks, and how they are solved together; None: they are not, as there are too many flows."""


def flows_in(schedule: Schedule) -> int:
    """Flows of an exchange, its addings included; a ring's are not listed for that."""
    if schedule.ring is None:
        return schedule.structure.flows
    ring = schedule.ring
    return (ring.steps + ring.adding_steps) * ring.slices * ring.pieces.shape[-1]


def _is_server(schedule: Schedule) -> bool:
    """Whether it has the flows of a round of one parameter server."""
    if schedule.ring is not None:
        return False
    structure = schedule.structure
    return structure.hosts == structure.participants + 1 and structure.flows == 2 * structure.participants + 1


def _size(schedule: Schedule) -> int:
    """Numbers that a solution has of each participant, about."""
    if schedule.ring is not None:
        return schedule.ring.steps * schedule.ring.slices
    return 1 + 4 * schedule.structure.flows // max(schedule.structure.participants, 1)


def _keep(memory: OrderedDict, size: int) -> None:
    """Let the oldest go where there are too many; ``size``: numbers in each, about."""
    if len(memory) > min(256, 2 + _KEPT_SIZE // max(size, 1)):
        memory.popitem(last=False)
