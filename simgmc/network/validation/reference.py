"""Reference cases and measurements in files: reading them and computing what they ask for."""

from __future__ import annotations

import networkx as nx
import numpy as np

from simgmc.network.collectives.sliced_ring import ring_schedule
from simgmc.network.exchanges.execution import run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.exchanges.ring import Ring
from simgmc.network.flows.flows import BandwidthChange, Flow, completion_times
from simgmc.network.topology.catalogue import Host, add_link, star, worker_names
from simgmc.network.topology.routing import Links


def max_min_case(case: dict, latency: str) -> dict[str, float]:
    """Completion time of every flow of one max-min case, by flow id.

    ``case``: ``links`` (id, bandwidth, latency), ``flows`` (id, route as link ids, bytes,
    start, and optionally after, delay, rate_cap), optionally ``events`` (time, link,
    bandwidth). ``latency``: ``"last"`` or ``"first"``.
    """
    graph = nx.DiGraph()
    ends = {link["id"]: (f"{link['id']} in", f"{link['id']} out") for link in case["links"]}
    for link in case["links"]:
        add_link(graph, *ends[link["id"]], link["bandwidth"], link["latency"])
    number = {flow["id"]: index for index, flow in enumerate(case["flows"])}
    flows = []
    for flow in case["flows"]:
        route = [ends[link] for link in flow["route"]]
        flows.append(
            Flow(
                source=str(flow.get("src", route[0][0])) if route else "here",
                destination=str(flow.get("dst", route[-1][1])) if route else "here",
                nbytes=flow["bytes"],
                start=flow.get("start", 0.0),
                after=[number[other] for other in flow.get("after", ())],
                delay=flow.get("delay", 0.0),
                rate_cap=flow.get("rate_cap"),
                route=route,
                name=flow["id"],
            )
        )
    changes = [
        BandwidthChange(event["time"], *ends[event["link"]], event["bandwidth"]) for event in case.get("events", ())
    ]
    times = completion_times(graph, flows, latency, changes)
    return {flow["id"]: time for flow, time in zip(case["flows"], times)}


def sliced_ring_case(case: dict) -> float:
    """Makespan in seconds of one sliced ring.

    ``case``: nodes, slices, steps, chunk_bytes (one chunk or message per node), up and down
    (bytes/s per node), latency (s, between neighbours), ready (s per node).
    """
    nodes, latency = case["nodes"], case["latency"]
    machines = [
        Host(name, up, down, latency / 2) for name, up, down in zip(worker_names(nodes), case["up"], case["down"])
    ]
    schedule = ring_schedule(Ring(np.asarray(case["chunk_bytes"], dtype=float), case["steps"], case["slices"]))
    placement = Placement(schedule.structure, worker_names(nodes), Links(star(machines)))
    return max(run_alone(schedule, placement, case["ready"]).landed)
