"""Which schedule carries a message, and its solution where it has the network to itself; both are remembered."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from simgmc.costs.steps import Average, Mix
from simgmc.network import collectives
from simgmc.network.cluster.exchange import RingLinks, Solution, solve_events, solve_ring, solve_server
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.collectives.gossip import gossip
from simgmc.network.collectives.schedule import Placement, Schedule, Structure
from simgmc.network.shortcuts.fast_server import MIN_MESSAGES, ServerLinks
from simgmc.network.shortcuts.isolation import MAX_STEPS, Ancestry, cannot_meet, needs_everybody
from simgmc.network.topology.catalogue import access, groups
from simgmc.network.topology.routing import Links

_KEPT = 256
"""Schedules and solutions kept for messages that come again."""
_KEPT_SIZE = 1_000_000
"""Slices of all solutions kept, about: each may take some tens of bytes."""


class Schedules:
    """The schedules of a cluster, laid onto its links, with their proofs and solutions."""

    def __init__(self, settings: ClusterSettings, links: Links):
        self._settings = settings
        self._links = links
        self._placements: dict[tuple, Placement] = {}
        self._schedules: OrderedDict[tuple, tuple[str, Schedule]] = OrderedDict()
        self._solutions: OrderedDict[tuple, tuple[Schedule, Solution]] = OrderedDict()
        self._gossips: OrderedDict[tuple, Schedule] = OrderedDict()
        self._rings: dict[tuple[int, ...], RingLinks] = {}
        self._servers: dict[int, ServerLinks | None] = {}
        self._apart: dict[int, bool] = {}
        """Per placement (by id): can its exchanges not meet?"""
        self._structures: list[Structure] = []
        options = settings.options
        if not options.groups:
            options = replace(options, groups=groups(settings.graph, settings.workers))
        if options.shards == "bandwidth":
            options = replace(options, shares=access(settings.graph, settings.server_hosts))
        self._options = options

    def of_gossip(self, mix: Mix) -> Schedule:
        """The flows of messages to neighbours."""
        key = (mix.nbytes.tobytes(), mix.edges.tobytes())
        found = self._gossips.get(key)
        if found is None:
            links: list[list[int]] = [[] for _ in self._settings.workers]
            for sender, receiver in mix.edges.tolist():
                links[sender].append(receiver)
            found = self._gossips[key] = gossip(links, mix.nbytes, self._settings.aggregation)
            if len(self._gossips) > _KEPT:
                self._gossips.popitem(last=False)
        return found

    def of_average(self, average: Average, members: list[int]) -> tuple[str, Schedule]:
        """The collective that carries these messages, and its flows."""
        partial = None if average.partial is None else average.partial.tobytes()
        key = (average.up.tobytes(), average.down, average.summable, average.item_bytes, partial, tuple(members))
        found = self._schedules.get(key)
        if found is None:
            name = self._settings.collective
            found = self._cheapest(average, members) if name == "auto" else (name, self._build(name, average, members))
            self._schedules[key] = found
            if len(self._schedules) > _KEPT:
                self._schedules.popitem(last=False)
        return found

    def _build(self, name: str, average: Average, members: list[int]) -> Schedule:
        if len(members) > 1:
            self._settings.require_servers(name)
        options = self._options
        if len(members) < len(self._settings.workers) and options.groups:
            place = {worker: rank for rank, worker in enumerate(members)}
            kept = [tuple(place[w] for w in group if w in place) for group in options.groups]
            options = replace(options, groups=tuple(group for group in kept if group))
        return collectives.schedule(name, average, self._settings.aggregation, options)

    def _cheapest(self, average: Average, members: list[int]) -> tuple[str, Schedule]:
        """The collective that is fastest when simulated alone, all workers ready at once."""
        best: tuple[float, str, Schedule] | None = None
        for name, entry in collectives.COLLECTIVES.items():
            if entry.carries == "summable" and not average.summable:
                continue
            if entry.servers_needed(self._options) > len(self._settings.server_hosts) or entry.changes_average:
                continue
            if entry.groups_needed > len(self._options.groups):
                continue
            if entry.needs_unions and average.partial is None and not average.summable:
                continue
            schedule = self._build(name, average, members)
            seconds = float(self.solve(schedule, members, np.zeros(len(members))).finish.max())
            if best is None or seconds < best[0] * (1 - 1e-12):
                best = (seconds, name, schedule)
        assert best is not None  # a ring carries anything
        return best[1], best[2]

    def placement(self, structure: Structure, members: list[int]) -> Placement:
        """A structure's flows on the links between these workers, and the servers."""
        key = (id(structure), tuple(members))
        found = self._placements.get(key)
        if found is None:
            hosts = [self._settings.workers[worker] for worker in members]
            servers = self._settings.server_hosts[: structure.hosts - structure.participants]
            found = Placement(structure, (*hosts, *servers), self._links, self._settings.overheads)
            self._placements[key] = found
            self._structures.append(structure)
        return found

    def provably_alone(self, placement: Placement) -> bool:
        """Whether this exchange cannot meet the ones before and after it on any link.

        One run uses one collective. If that is a ring whose routes share no link, a rank ends
        after its own last byte has left, and nobody else sends on its links: nothing is to be
        proved. Otherwise its graph must prove it, and be the same for every message; solving at
        once then pays only where solutions come again.
        """
        if not collectives.COLLECTIVES[self._settings.collective].one_structure:
            return False
        if self._settings.random and self._server(placement) is None:
            return False
        if placement.structure.flows > MAX_STEPS or None in placement.routes:
            return False
        if id(placement) not in self._apart:
            ancestry = Ancestry(placement)
            self._apart[id(placement)] = needs_everybody(ancestry) and cannot_meet(ancestry, ancestry)
        return self._apart[id(placement)]

    def _server(self, placement: Placement) -> ServerLinks | None:
        """What the fast path of a parameter server needs; None where it does not apply."""
        workers = placement.structure.participants
        plain = self._settings.collective == "parameter-server" and placement.structure.flows == 2 * workers + 1
        if not plain or workers < MIN_MESSAGES:
            return None
        if id(placement) not in self._servers:
            found = ServerLinks(placement)
            self._servers[id(placement)] = found if found.simple else None
        return self._servers[id(placement)]

    def ring(self, members: list[int]) -> RingLinks:
        """The links of a ring of these workers."""
        key = tuple(members)
        if key not in self._rings:
            hosts = [self._settings.workers[worker] for worker in members]
            self._rings[key] = RingLinks(hosts, self._links, self._settings.overheads)
        return self._rings[key]

    def solve(self, schedule: Schedule, members: list[int], gates: np.ndarray) -> Solution:
        """The times of an exchange that has the network to itself; ``gates``: (members,) when each is ready."""
        key = (id(schedule), gates.tobytes())
        kept = self._solutions.get(key)
        if kept is not None:
            return kept[1]
        ring = schedule.ring
        if ring is not None and (links := self.ring(members)).apart:
            solution = solve_ring(ring, links, gates)
        else:
            placement = self.placement(schedule.structure, members)
            server = self._server(placement)
            if server is not None:
                solution = solve_server(schedule, placement, server, gates)
            else:
                solution = solve_events(schedule, placement, gates)
        # The schedule is kept with its solution, so that its id cannot come to mean another.
        self._solutions[key] = (schedule, solution)
        size = len(gates) if schedule.ring is None else schedule.ring.chunk.size * schedule.ring.slices
        if len(self._solutions) > min(_KEPT, 2 + _KEPT_SIZE // size):
            self._solutions.popitem(last=False)
        return solution
