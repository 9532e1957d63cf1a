"""Which schedule carries a message; remembered for messages that come again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np

from simgmc.costs.steps import Average, Mix
from simgmc.network import collectives
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.collectives.gossip import gossip
from simgmc.network.collectives.options import Options
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.shortcuts.solver import Places, Solver
from simgmc.network.topology.catalogue import access, groups
from simgmc.network.topology.routing import Links

_KEPT = 256
"""Schedules kept for messages that come again."""
_WITHOUT_AVERAGE, _WITHOUT_UNIONS = (
    frozenset(entry.name for entry in collectives.COLLECTIVES.values() if not getattr(entry, reads))
    for reads in ("sends_average", "needs_unions")
)
"""Collectives whose flows do not depend on the average's size, or on how supports unite; those of one's own may."""


def options_of(settings: ClusterSettings) -> Options:
    """A cluster's options of its collective, with the groups and the shares that follow from its network."""
    options = settings.options
    if not options.groups:
        options = replace(options, groups=groups(settings.graph, settings.workers))
    if options.shards == "bandwidth":
        options = replace(options, shares=access(settings.graph, settings.server_hosts))
    return options


def seen(average: Average, collective: str) -> tuple[object, ...]:
    """All of an average that its flows over a collective follow from."""
    down = None if collective in _WITHOUT_AVERAGE else average.down
    partial = None if average.partial is None or collective in _WITHOUT_UNIONS else average.partial.tobytes()
    return average.up.tobytes(), down, average.summable, average.item_bytes, partial


def places_of(settings: ClusterSettings, links: Links) -> Places:
    """Where the flows of a cluster go."""
    return Places(settings.workers, settings.server_hosts, links, settings.overheads)


class Schedules:
    """The schedules of a cluster."""

    def __init__(self, settings: ClusterSettings, places: Places):
        self._settings = settings
        self._alone = Solver([places])
        self._schedules: OrderedDict[tuple, tuple[str, Schedule]] = OrderedDict()
        self._gossips: OrderedDict[tuple, Schedule] = OrderedDict()
        self._options = options_of(settings)

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
        name = self._settings.collective
        key = (*seen(average, name), tuple(members))
        found = self._schedules.get(key)
        if found is None:
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
            seconds = float(self._alone.solve(schedule, members, np.zeros((1, len(members)))).finish.max())
            if best is None or seconds < best[0] * (1 - 1e-12):
                best = (seconds, name, schedule)
        assert best is not None  # a ring carries anything
        return best[1], best[2]
