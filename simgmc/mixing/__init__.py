"""Gossip: which workers exchange models (graphs), and with which weights (mixing matrices).

Plain numpy and networkx: the trainer multiplies with the weights, the cluster sends along
the edges, scenarios are checked without loading torch. May import core.
"""

from simgmc.mixing.graphs import GRAPHS, MAX_NODES, GossipGraph, gossip_graph
from simgmc.mixing.matrices import (
    WEIGHTS,
    Mixing,
    everybody,
    mixing,
    read_matrix,
    stated_mixing,
)

__all__ = [
    "GRAPHS",
    "MAX_NODES",
    "WEIGHTS",
    "GossipGraph",
    "Mixing",
    "everybody",
    "gossip_graph",
    "mixing",
    "read_matrix",
    "stated_mixing",
]
