"""Machines with several devices: a fast bus inside each, several network cards towards the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option
from simgmc.core.units import BANDWIDTH, DURATION, QuantityOption
from simgmc.network.topology.entry import TopologyEntry
from simgmc.network.topology.graph import Host, add_host, add_wire

STRIPED, HASHED = "all", "hash"
_MAX_CARDS = 64


def gpu_nodes(
    hosts: Sequence[Host],
    devices: int,
    card_bandwidth: float,
    cards: int = 1,
    card_latency: float = 0.0,
    striping: str = STRIPED,
) -> nx.DiGraph:
    """Nodes of ``devices`` hosts, in order. A host's access link leads to the bus of its node (a switch, ``node0``).

    Each node has ``cards`` network cards (``node0.card0`` ...) on its bus; card 0 of every node is joined to ``rail0``,
    a switch that is no bottleneck itself, and so on.

    Args:
        card_bandwidth: bytes/s of each card, each direction.
        card_latency: s of a card's link to its rail, one way; two cards' latencies add.
        striping: ``all``: a message to another node goes over all cards side by side, an equal part over each;
            ``hash``: each ordered pair of hosts uses one card, by hashing.
    """
    for name, value, most in (("devices", devices, math.inf), ("cards", cards, _MAX_CARDS)):
        if not 1 <= value <= most:
            raise SimgmcError(f"{name} = {value}: must be at least 1" + f" and at most {most}" * (most < math.inf))
    graph = nx.DiGraph(topology="gpu-nodes", striped=striping == STRIPED)
    for number, host in enumerate(hosts):
        node = f"node{number // devices}"
        if node not in graph:
            graph.add_node(node, kind="switch")
            for card in range(cards):
                graph.add_node(f"{node}.card{card}", kind="switch")
                graph.add_node(f"rail{card}", kind="switch")
                add_wire(graph, node, f"{node}.card{card}", math.inf, 0.0)
                add_wire(graph, f"{node}.card{card}", f"rail{card}", card_bandwidth, card_latency)
        add_host(graph, host, node, group=node)
    return graph


TOPOLOGIES = (
    TopologyEntry(
        "gpu-nodes",
        "nodes of several devices on a fast bus, with several network cards each",
        "NVIDIA DGX, HGX; rail-optimised networks",
        {
            "devices": Option("hosts in a node; bandwidth and latency are those of a host's link to the bus", int),
            "cards": Option("network cards of each node, each on a rail of its own", int, 1),
            "card_bandwidth": QuantityOption(
                "of each card, each direction", units=BANDWIDTH, example="25 GB/s", positive=True
            ),
            "card_latency": QuantityOption(
                "of a card's link to its rail, one way; two cards' latencies add; 0 unless given",
                default=None,
                units=DURATION,
                example="2 us",
            ),
            "striping": Option(
                "over which cards a message goes: an equal part over each, or one card for each pair of hosts, chosen "
                "by hash",
                str,
                STRIPED,
                (STRIPED, HASHED),
            ),
        },
        build=gpu_nodes,
        details="""\
Its links, as cluster.changes may name them: worker0 -> node0 (a device's own, to the bus), node0 -> node0.card0,
node0.card0 -> rail0, and back. A server is the last host: a device of the last node, or of a node of its own.""",
    ),
)
