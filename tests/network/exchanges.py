"""One exchange on a star, alone on the network: what the collective tests have in common."""

from __future__ import annotations

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network import collectives
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import Execution, run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.topology.catalogue import Host, star, worker_names
from simgmc.network.topology.routing import Links


def message(up, down=None, summable=True, item_bytes=4) -> Average:
    """The sizes of one average, the papers' counts left at zero."""
    up = np.asarray(up, dtype=np.int64)
    return Average(up, int(up.max() if down is None else down), summable, item_bytes, np.zeros_like(up), 0)


def hosts(up, down, latency, servers=1):
    """Workers with these access links, and servers like the first of them."""
    names = [*worker_names(len(up)), *(["server"] if servers else [])]
    up, down, latency = ([*column, column[0]] for column in (up, down, latency))
    return [Host(*row) for row in zip(names, up, down, latency)]


def uniform(workers, bandwidth, latency):
    """Equal hosts; ``latency`` is that between two of them."""
    return hosts([bandwidth] * workers, [bandwidth] * workers, [latency / 2] * workers)


def execute(schedule, machines, ready=None) -> Execution:
    """Run one schedule on a star; workers become ready at the given times."""
    links = Links(star(machines))
    participants = schedule.structure.participants
    names = [*worker_names(participants), *["server"] * (schedule.structure.hosts - participants)]
    return run_alone(schedule, Placement(schedule.structure, names, links), ready)


def finish_times(execution) -> list[float]:
    """When each participant had everything."""
    return [
        max([execution.gate[p], *(execution.landed[flow] for flow in flows)])
        for p, flows in enumerate(execution.schedule.structure.finishes)
    ]


def finish(name, average, machines, ready=None, aggregation=Duration(0.0)) -> list[float]:
    """When each worker has the average."""
    return finish_times(execute(collectives.schedule(name, average, aggregation), machines, ready))
