"""Reference cases and measurements in files: reading them and computing what they ask for."""

from __future__ import annotations

import networkx as nx

from simgmc.network.flows import BandwidthChange, Flow, completion_times
from simgmc.network.topology import add_link


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
                source=str(flow.get("src", route[0][0] if route else "here")),
                destination=str(flow.get("dst", route[-1][1] if route else "here")),
                nbytes=flow["bytes"],
                start=flow.get("start", 0.0),
                after=[number[other] for other in flow.get("after", ())],
                delay=flow.get("delay", 0.0),
                rate_cap=flow.get("rate_cap"),
                route=route,
                name=flow["id"],
            )
        )
    changes = [BandwidthChange(event["time"], *ends[event["link"]], event["bandwidth"]) for event in case.get("events", ())]
    times = completion_times(graph, flows, latency, changes)
    return {flow["id"]: time for flow, time in zip(case["flows"], times)}
