"""Measured collectives: what simgmc computes for them, with no calibration and with overheads
fitted on some of the rows.

How each is modelled, one-way latency L between hosts, bandwidth B each way:

- NCCL all-reduce: the default sliced ring; on nodes of several devices that ring, or ``nccl-tree``, as the row
  says, messages striped over the node's cards.
- NCCL broadcast and reduce: a chain of all nodes in slices of 4 MiB (NCCL's buffer).
- Gloo all-reduce: a ring that forwards segments one at a time, waiting for each to arrive:
  a latency per segment, which makes it move as if 1.5 to 1.9 times a ring's bytes.
- Gloo broadcast: a binomial tree whose inner nodes serve all their children at once.
- Gloo reduce: such a ring's reduce-scatter, then a gather at the root.
- p2p: one flow.
- dp-allreduce, dp-central-ps, dp-sharded-ps (steps of training loops): the all-reduce; a
  reduce and a broadcast; a sharded server on the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average
from simgmc.network import collectives
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.schedule import Execution, Placement, Schedule, StructureBuilder
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.conditions.work import Duration
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.topology.catalogue import groups
from simgmc.network.topology.gpu_nodes import gpu_nodes
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.routing import Links
from simgmc.network.topology.shapes import star
from simgmc.network.validation.rooted import broadcast, gather, reduce

UNTOUCHED_BANDWIDTH = 1.25e9
"""Bytes/s assumed where the network was left as it was: the instances' nominal 10 Gbit/s."""
UNTOUCHED_LATENCY = 5e-5
"""Seconds assumed where the network was left as it was: within one data centre."""
MODELLED = ("allreduce", "broadcast", "reduce", "p2p", "dp-allreduce", "dp-central-ps", "dp-sharded-ps")
"""Measured collectives that there is a model of."""
NCCL_BUFFER = 4 * 2**20
GLOO_SEGMENT = 2**20
"""Bytes: Gloo's largest segment."""


@dataclass(frozen=True)
class Fit:
    """Overheads fitted on some rows and what they do to the others."""

    overheads: Overheads
    fitted_on: tuple[int, ...]
    """Rows (their places in the file)."""
    tested_on: tuple[int, ...]
    seconds: dict[int, float]
    """Computed with the fitted overheads, per row of both kinds."""
    mean_error: float
    """Mean absolute relative error on the rows tested on."""
    largest_error: float


def simulated_seconds(row: dict, overheads: Overheads = IDEAL) -> float:
    """What the simulated network takes for one measured row.

    ``row``: collective, lib ("nccl" or "gloo"), nodes, bytes, latency_s, bandwidth_Bps; of nodes with several devices
    also devices, algorithm ("ring" or "tree"), cards, inside_Bps, and then bandwidth_Bps is that of one card.
    """
    if row.get("devices"):
        return _on_devices(row, overheads)
    nodes, nbytes, lib = int(row["nodes"]), float(row["bytes"]), row["lib"]
    bandwidth = row["bandwidth_Bps"] or UNTOUCHED_BANDWIDTH
    latency = UNTOUCHED_LATENCY if row["latency_s"] is None else row["latency_s"]
    kind = row["collective"]
    slices = max(1, round(nbytes / NCCL_BUFFER))

    def run(schedule: Schedule) -> float:
        return _makespan(schedule, bandwidth, latency, overheads)

    if kind in ("allreduce", "dp-allreduce"):
        if lib == "gloo":
            return _segmented_ring(nodes, nbytes, bandwidth * overheads.efficiency, latency, 2 * (nodes - 1), overheads)
        return run(collectives.schedule("ring", _dense(nodes, nbytes), Duration(0.0)))
    if kind == "p2p":
        return run(broadcast(2, 0, nbytes, slices=1))
    if kind == "broadcast":
        return run(_binomial_broadcast(nodes, nbytes) if lib == "gloo" else broadcast(nodes, 0, nbytes, slices))
    if kind == "reduce":
        if lib == "gloo":
            scatter = _segmented_ring(nodes, nbytes, bandwidth * overheads.efficiency, latency, nodes - 1, overheads)
            return scatter + run(gather(0, [int(nbytes / nodes)] * nodes))
        return run(reduce(nodes, 0, nbytes, slices))
    if kind == "dp-central-ps":
        return run(reduce(nodes, 0, nbytes, slices)) + run(broadcast(nodes, 0, nbytes, slices))
    if kind == "dp-sharded-ps":
        return run(collectives.schedule("colocated-parameter-server", _dense(nodes, nbytes), Duration(0.0), Options()))
    raise SimgmcError(f"measured collective {kind!r} is unknown: must be one of {', '.join(MODELLED)}")


def _on_devices(row: dict, overheads: Overheads) -> float:
    """An NCCL all-reduce on nodes of several devices. Their bus has no latency of its own."""
    names = worker_names(row["nodes"] * row["devices"])
    inside = row["inside_Bps"]
    graph = gpu_nodes(
        [Host(name, inside, inside, 0.0) for name in names],
        row["devices"],
        row["bandwidth_Bps"],
        row["cards"],
        row["latency_s"] / 2,
    )
    name = {"ring": "ring", "tree": "nccl-tree"}[row["algorithm"]]
    average = _dense(len(names), float(row["bytes"]))
    schedule = collectives.schedule(name, average, Duration(0.0), Options(groups=groups(graph, names)))
    return _seconds(schedule, graph, names, overheads)


def _dense(nodes: int, nbytes: float) -> Average:
    up = np.full(nodes, int(nbytes))
    return Average(up, int(nbytes), True, 4, np.zeros(nodes, dtype=np.int64), 0)


def _makespan(schedule: Schedule, bandwidth: float, latency: float, overheads: Overheads) -> float:
    names = worker_names(schedule.structure.hosts)
    return _seconds(schedule, star([Host(name, bandwidth, bandwidth, latency / 2) for name in names]), names, overheads)


def _seconds(schedule: Schedule, graph: nx.DiGraph, names: Sequence[str], overheads: Overheads) -> float:
    """Until everything has arrived, everybody ready at once."""
    structure, links = schedule.structure, Links(overheads.seen(graph))
    network = FluidNetwork(links)
    execution = Execution(network, schedule, Placement(structure, names, links, overheads))
    for participant in range(structure.participants):
        execution.ready(participant)
    network.run()
    return max(execution.landed)


def _segmented_ring(nodes: int, nbytes: float, rate: float, latency: float, steps: int, overheads: Overheads) -> float:
    """A ring that sends a segment only after the one before has arrived: every rank does the
    same at the same time, so the time is the number of segments times that of one."""
    chunk = nbytes / nodes
    segments = max(1, round(chunk / GLOO_SEGMENT))
    return overheads.startup * latency + steps * segments * (chunk / segments / rate + latency + overheads.software)


def _binomial_broadcast(nodes: int, nbytes: float) -> Schedule:
    build = StructureBuilder(nodes)
    came: dict[int, int] = {}
    distance = 1 << ((nodes - 1).bit_length() - 1)
    while distance:
        for rank in range(0, nodes, 2 * distance):
            if rank + distance < nodes:
                after = (came[rank],) if rank else ()
                came[rank + distance] = build.flow(rank, rank + distance, after, gates=() if rank else (0,))
        distance //= 2
    for rank, flow in came.items():
        build.finish(rank, [flow])
    structure = build.build()
    return Schedule(structure, np.full(structure.flows, nbytes), np.zeros(structure.flows))


def headline(row: dict) -> bool:
    """Whether a row is an NCCL all-reduce on a stated network: what the collectives are held to."""
    stated = row["latency_s"] is not None and row["bandwidth_Bps"] is not None and row.get("calibrated") is None
    return row["collective"] == "allreduce" and row["lib"] == "nccl" and stated


def fit_overheads(rows: Sequence[dict], nodes: int = 4) -> Fit | None:
    """Overheads fitted on the NCCL all-reduces of ``nodes`` nodes, tested on all others.

    Least squares of relative errors in three numbers, none negative: the payload share,
    latencies lost at start-up, and seconds of software per message. None where there are too few rows.
    """
    from scipy.optimize import nnls  # takes half a second to load; only fits need it

    chosen = [
        index
        for index, row in enumerate(rows)
        if headline(row) and row.get("measured_s") is not None and not row.get("devices")
    ]
    inside = tuple(index for index in chosen if rows[index]["nodes"] == nodes)
    outside = tuple(index for index in chosen if rows[index]["nodes"] != nodes)
    if len(inside) < 3 or not outside:
        return None
    measured = np.array([rows[index]["measured_s"] for index in inside])
    ideal = np.array([simulated_seconds(rows[index]) for index in inside])
    latency = np.array([rows[index]["latency_s"] for index in inside])
    steps = np.full(len(inside), 2.0 * (nodes - 1))
    columns = np.stack([ideal - latency, latency, steps], axis=1)
    (slower, startup, software), _ = nnls(columns / measured[:, None], (measured - ideal) / measured)
    overheads = Overheads(float(1.0 / (1.0 + slower)), float(software), float(startup))
    seconds = {index: simulated_seconds(rows[index], overheads) for index in (*inside, *outside)}
    errors = [abs(seconds[index] / rows[index]["measured_s"] - 1.0) for index in outside]
    return Fit(overheads, inside, outside, seconds, float(np.mean(errors)), float(max(errors)))
