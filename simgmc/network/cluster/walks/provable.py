"""What may be solved without events, and how much has to be simulated otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.cluster.schedules import options_of, places_of
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.collectives.catalogue import CHOICES, COLLECTIVES
from simgmc.network.collectives.sliced_ring import slices_of
from simgmc.network.shortcuts.solver import Solver
from simgmc.network.topology.routing import Links


def nothing_but_messages(settings: ClusterSettings) -> bool:
    """Whether links keep their bandwidth and carry whole messages of all workers alone: what the conditions say."""
    chosen = settings.fast and not settings.notes_hold_ups and settings.collective != "auto"
    alone = chosen and settings.static and settings.whole and not settings.waits_for_first
    return alone and all(float(rate) > 0 for _, _, rate in settings.payload_graph.edges(data="bandwidth", default=0.0))


def flows_simulated(settings: ClusterSettings, nbytes: float) -> float:
    """How many flows of an exchange of so many bytes a worker are simulated one by one; nothing of it is built that
    grows with the square of the workers.
    """
    if len(settings.workers) < 2:
        return 0.0
    entry = CHOICES[settings.collective]
    if entry.build is None:  # all of these are tried
        return sum(
            flows_simulated(replace(settings, collective=name), nbytes)
            for name, other in COLLECTIVES.items()
            if other.servers_needed(settings.options) <= len(settings.server_hosts)
            and other.groups_needed <= len(options_of(settings).groups)
            and not other.changes_average
        )
    workers, places = len(settings.workers), places_of(settings, Links(settings.payload_graph, settings.seed))
    alone = nothing_but_messages(settings)
    if entry.round_a_ring:
        sliced = (settings.options.slices or slices_of(nbytes / workers)) if "slices" in entry.options else 1
        return 0.0 if alone and places.ring(range(workers)).apart else 3.0 * workers * (workers - 1) * sliced
    if entry.all_to_all:
        return 2.0 * workers**2 * (settings.options.slices or 1)
    up = np.full(workers, max(1, int(nbytes)))
    schedule = entry.build(Average(up, int(up[0]), True, 4, up, 0), settings.aggregation, options_of(settings))
    at_once = alone and Solver([places]).in_arrays(schedule, range(workers))
    return 0.0 if at_once else float(schedule.structure.flows)
