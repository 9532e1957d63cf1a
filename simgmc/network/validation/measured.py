"""Measured collectives: what simgmc computes for them, with no calibration and with overheads
fitted on some of the rows.

How each is modelled, one-way latency L between hosts, bandwidth B each way:

- NCCL all-reduce: the default sliced ring; on nodes of several devices that ring, or ``nccl-tree``, as the row
  says, messages striped over the node's cards.
- NCCL broadcast and reduce: a chain of all nodes in slices of 4 MiB (NCCL's buffer).
- Gloo all-reduce: its own ring of two segments under way, each of which waits for the receiver's word
  (:mod:`simgmc.network.validation.library_rings`).
- Gloo broadcast: a binomial tree whose inner nodes serve all their children at once.
- Gloo reduce: such a ring's reduce-scatter, then a gather at the root.
- Gloo, all: one connection between two ranks, which outside a placement group has at most 5 Gbit/s of an
  instance's link, and as much under way as Linux's largest send buffer of 4 MiB holds of payload.
- p2p: one flow.
- dp-allreduce, dp-central-ps, dp-sharded-ps (synchronisations of training loops): NCCL's ring of chunks, whose
  steps wait for a latency each where it outlasts a chunk (50 ms at 1 Gbit/s: twice the time); a reduce and a
  broadcast; a sharded server on the workers.

What no model here explains: the training loops' other 10 to 25 % (in one setting, two sizes of one exchange differ by
1.07 to 1.33 times the ring's bytes), and networks whose speed the rows do not state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.network import collectives
from simgmc.network.calibration.exchange import dense
from simgmc.network.calibration.fit import fit
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.schedule import Schedule, StructureBuilder
from simgmc.network.topology.catalogue import groups
from simgmc.network.topology.gpu_nodes import gpu_nodes
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.routing import Links
from simgmc.network.topology.shapes import star
from simgmc.network.validation.library_rings import gloo_all_reduce, gloo_phase, nccl_all_reduce
from simgmc.network.validation.rooted import broadcast, gather, reduce

UNTOUCHED_BANDWIDTH = 1.25e9
"""Bytes/s assumed where the network was left as it was: the instances' nominal 10 Gbit/s."""
UNTOUCHED_LATENCY = 5e-5
"""Seconds assumed where the network was left as it was: within one data centre."""
_BOTH, _NCCL = ("nccl", "gloo"), ("nccl",)
MODELLED = {
    "allreduce": _BOTH, "broadcast": _BOTH, "reduce": _BOTH, "p2p": _BOTH,
    "dp-allreduce": _BOTH, "dp-central-ps": _NCCL, "dp-sharded-ps": _NCCL,
}  # fmt: skip
"""Measured collectives that there is a model of, and by which libraries."""
FITTED = ("allreduce", "dp-allreduce", "dp-sharded-ps")
"""Those whose overheads are fitted: averages of all, whose times follow from the number of nodes."""
NCCL_BUFFER = 4 * 2**20
GLOO_RATE = 625e6
"""Bytes/s of Gloo's one connection: EC2's limit of a flow outside a placement group."""
GLOO_WINDOW = 2.7e6
"""Bytes of payload that Linux's largest send buffer of 4 MiB holds, which counts the packets' descriptors too."""


@dataclass(frozen=True)
class HeldOut:
    """Overheads fitted on the rows of one kind with the fewest nodes, and what they do to those with more."""

    kind: str
    """The library and the collective."""
    overheads: Overheads
    fitted_on: tuple[int, ...]
    """Rows (their places in the file)."""
    tested_on: tuple[int, ...]
    seconds: dict[int, float]
    """Computed with the fitted overheads, per row of both kinds."""
    mean_error: float
    """Mean absolute relative error on the rows tested on."""
    largest_error: float
    error_before: float
    """Mean absolute relative error on them with nothing fitted."""


def simulated_seconds(row: dict, overheads: Overheads = IDEAL) -> float:
    """What the simulated network takes for one measured row.

    ``row``: collective, lib ("nccl" or "gloo"), nodes, bytes, latency_s, bandwidth_Bps; of nodes with several devices
    also devices, algorithm ("ring" or "tree"), cards, inside_Bps, and then bandwidth_Bps is that of one card.
    """
    if row.get("devices"):
        return _on_devices(row, overheads)
    nodes, nbytes, gloo = int(row["nodes"]), float(row["bytes"]), row["lib"] == "gloo"
    bandwidth = row["bandwidth_Bps"] or UNTOUCHED_BANDWIDTH
    latency = UNTOUCHED_LATENCY if row["latency_s"] is None else row["latency_s"]
    kind = row["collective"]
    slices = max(1, round(nbytes / NCCL_BUFFER))
    if gloo:
        overheads = replace(overheads, rate_cap=GLOO_RATE, window=GLOO_WINDOW)

    def run(schedule: Schedule) -> float:
        return _makespan(schedule, bandwidth, latency, overheads)

    if kind == "p2p":
        return run(broadcast(2, 0, nbytes, slices=1))
    if gloo:
        return _gloo_seconds(kind, nodes, nbytes, bandwidth, latency, overheads)
    if kind == "allreduce":
        return run(collectives.schedule("ring", dense(nodes, nbytes), Duration(0.0)))
    if kind == "dp-allreduce":
        lost = overheads.startup * latency
        return lost + nccl_all_reduce(nodes, nbytes, bandwidth * overheads.efficiency, latency, overheads.software)
    if kind == "broadcast":
        return run(broadcast(nodes, 0, nbytes, slices))
    if kind == "reduce":
        return run(reduce(nodes, 0, nbytes, slices))
    if kind == "dp-central-ps":
        return run(reduce(nodes, 0, nbytes, slices)) + run(broadcast(nodes, 0, nbytes, slices))
    if kind == "dp-sharded-ps":
        return run(collectives.schedule("colocated-parameter-server", dense(nodes, nbytes), Duration(0.0), Options()))
    raise SimgmcError(f"measured collective {kind!r} is unknown: must be one of {', '.join(MODELLED)}")


def _gloo_seconds(
    kind: str, nodes: int, nbytes: float, bandwidth: float, latency: float, overheads: Overheads
) -> float:
    assert overheads.rate_cap is not None and overheads.window is not None
    rate = min(bandwidth * overheads.efficiency, overheads.rate_cap)
    if latency:
        rate = min(rate, overheads.window / (2 * latency))
    lost = overheads.startup * latency
    if kind == "broadcast":
        return _makespan(_binomial_broadcast(nodes, nbytes), bandwidth, latency, overheads)
    if kind == "reduce":
        gathered = gather(0, [int(nbytes / nodes)] * nodes)
        scatter = gloo_phase(nodes, nbytes, rate, latency, software=overheads.software)
        return lost + scatter + _makespan(gathered, bandwidth, latency, overheads)
    return lost + gloo_all_reduce(nodes, nbytes, rate, latency, software=overheads.software)


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
    average = dense(len(names), float(row["bytes"]))
    schedule = collectives.schedule(name, average, Duration(0.0), Options(groups=groups(graph, names)))
    return _seconds(schedule, graph, names, overheads)


def _makespan(schedule: Schedule, bandwidth: float, latency: float, overheads: Overheads) -> float:
    names = worker_names(schedule.structure.hosts)
    return _seconds(schedule, star([Host(name, bandwidth, bandwidth, latency / 2) for name in names]), names, overheads)


def _seconds(schedule: Schedule, graph: nx.DiGraph, names: Sequence[str], overheads: Overheads) -> float:
    """Until everything has arrived, everybody ready at once."""
    placement = Placement(schedule.structure, names, Links(overheads.seen(graph)), overheads)
    return max(run_alone(schedule, placement).landed)


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


def fits(rows: Sequence[dict]) -> list[HeldOut]:
    """For every kind of rows (library and collective) on stated networks, with more than one number of nodes.

    The payload share, seconds of software per message and the latencies lost at the start are fitted on those with
    the fewest nodes, at least two, and held against the others.
    """
    kinds: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        stated = row.get("latency_s") is not None and row.get("bandwidth_Bps") is not None
        known = row["collective"] in FITTED and row.get("measured_s") is not None
        if stated and known and not row.get("devices") and not row.get("calibrated"):
            kinds.setdefault(f"{row['lib']} {row['collective']}", []).append(index)
    found = []
    for kind, places in kinds.items():
        fewest = min(rows[place]["nodes"] for place in places)
        inside = tuple(place for place in places if rows[place]["nodes"] == fewest)
        outside = tuple(place for place in places if rows[place]["nodes"] != fewest)
        if len(inside) >= 2 and outside:
            found.append(_held_out(kind, rows, inside, outside))
    return found


def _held_out(kind: str, rows: Sequence[dict], inside: tuple[int, ...], outside: tuple[int, ...]) -> HeldOut:
    measured = [rows[place]["measured_s"] for place in inside]
    latency = any(rows[place]["latency_s"] for place in inside)
    fitted = fit(lambda row, overheads: simulated_seconds(rows[inside[row]], overheads), measured, latency=latency)
    seconds = {place: simulated_seconds(rows[place], fitted.overheads) for place in (*inside, *outside)}
    errors = [abs(seconds[place] / rows[place]["measured_s"] - 1.0) for place in outside]
    before = [abs(simulated_seconds(rows[place]) / rows[place]["measured_s"] - 1.0) for place in outside]
    return HeldOut(
        kind, fitted.overheads, inside, outside, seconds, float(np.mean(errors)), max(errors), float(np.mean(before))
    )
