"""Where the nodes of a network are drawn, in inches from the middle of the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

_WIDE, _ROUND = (2.25, 1.55), (2.3, 2.3)
"""Half axes of the ellipse that the hosts lie on: with level names, with names turned outwards."""
_LEVEL_NAMES = 20
"""Hosts around an ellipse whose names need not be turned."""
_MIDDLE = object()


@dataclass(frozen=True)
class TopologyLayout:
    """Places and names of nodes."""

    places: dict[str, tuple[float, float]]
    directions: dict[str, float]
    """Per host: the angle at which its name stands, in radians."""
    height: float
    """Inches."""
    roomy: bool
    """Few enough nodes for arrowheads and large marks."""
    turned: bool
    """Names are written along their directions."""
    letters: float
    """Points."""

    def radius(self, graph: nx.DiGraph, node: str) -> float:
        """Half the size of a node's mark, in inches."""
        if graph.nodes[node].get("kind") != "host":
            return 0.05 if self.roomy else 0.03
        return 0.075 if self.roomy else 0.035


def lay_out(graph: nx.DiGraph) -> TopologyLayout:
    """Layers for a fat-tree, rows for a torus, circles around the middle for everything whose
    hosts hang on switches, and springs for the rest."""
    hosts = [node for node in graph if graph.nodes[node].get("kind") == "host"]
    kind = graph.graph.get("topology")
    if kind == "fat-tree":
        return _layers(graph, hosts)
    if kind == "torus":
        return _rows(graph, hosts)
    wires = nx.Graph(graph.to_undirected())
    if nx.is_tree(wires):
        return _tree(wires, hosts)
    core = wires.subgraph([node for node in wires if node not in hosts])
    hanging = all(wires.degree(host) == 1 for host in hosts)
    if hanging and len(core) > 2 and (nx.density(core) > 0.4 or all(degree <= 2 for _, degree in core.degree)):
        return _circles(wires, list(core), hosts)
    return _springs(wires, hosts)


def _tree(wires: nx.Graph, hosts: list[str]) -> TopologyLayout:
    inner = wires.subgraph([node for node in wires if node not in hosts])
    center = list(nx.center(inner)) if len(inner) else list(nx.center(wires))[:1]
    tree = nx.DiGraph()
    if len(center) == 1:
        root: object = center[0]
        tree.add_edges_from(nx.bfs_edges(wires, root))
    else:
        root = _MIDDLE
        cut = wires.copy()
        cut.remove_edge(*center)
        for half in sorted(center, key=list(wires).index):
            tree.add_edge(_MIDDLE, half)
            tree.add_edges_from(nx.bfs_edges(cut, half))
    return _around(tree, root, hosts, halves=root is _MIDDLE)


def _circles(wires: nx.Graph, core: list[str], hosts: list[str]) -> TopologyLayout:
    tree = nx.DiGraph()
    for node in core:
        tree.add_edge(_MIDDLE, node)
        tree.add_edges_from((node, host) for host in wires[node] if host in hosts)
    return _around(tree, _MIDDLE, hosts, halves=False)


def _around(tree: nx.DiGraph, root: object, hosts: list[str], halves: bool) -> TopologyLayout:
    """Leaves evenly around an ellipse, clockwise, with a gap between groups; the others between
    them and the middle, each at the mean angle of its leaves."""
    tree.add_node(root)
    depth = nx.shortest_path_length(tree, root)
    deepest = max(max(depth.values()), 1)
    order = {host: place for place, host in enumerate(hosts)}

    def leaves(node: object) -> list:
        found = [leaf for child in sorted(tree[node], key=first) for leaf in leaves(child)]
        return found or [node]

    def first(node: object) -> int:
        return min((order[one] for one in nx.descendants(tree, node) | {node} if one in order), default=len(order))

    groups = [leaves(child) for child in sorted(tree[root], key=first)] or [[root]]
    if all(len(group) == 1 for group in groups):
        groups = [[leaf for group in groups for leaf in group]]
    gap = 0.8 if len(groups) > 1 else 0.0
    slots = sum(map(len, groups)) + gap * len(groups)
    angles: dict[object, float] = {}
    # Two halves lie left and right; otherwise the first leaf is at the top.
    turn = 0.0
    for group in groups:
        share = 0.5 if halves else (len(group) + gap) / slots
        step = share / (len(group) + gap)
        for place, leaf in enumerate(group):
            angles[leaf] = (-math.pi / 2 if halves else math.pi / 2) - 2 * math.pi * (
                turn + step * (place + (gap + 1) / 2 if gap else place)
            )
        turn += share
    turned = len(angles) > _LEVEL_NAMES
    axes = _ROUND if turned else _WIDE
    places, directions = {}, {}
    for node in depth:
        mine = [angles[leaf] for leaf in leaves(node)]
        angle = sum(mine) / len(mine)
        reach = 1.0 if node in angles else _reach(depth[node] / deepest, halves)
        places[node] = (axes[0] * reach * math.cos(angle), axes[1] * reach * math.sin(angle))
        directions[node] = angle if turned else math.atan2(axes[0] * math.sin(angle), axes[1] * math.cos(angle))
    places.pop(_MIDDLE, None)
    if root in places:
        places[root] = (0.0, 0.0)
    height = 2 * (axes[1] + (0.62 if turned else 0.3))
    return TopologyLayout(places, directions, height, not turned, turned, 6.0 if len(angles) <= 80 else 4.5)


def _reach(depth: float, halves: bool) -> float:
    """How far out a switch lies, as a share of the hosts' distance."""
    return 0.85 * depth if halves else 0.95 * depth


def _layers(graph: nx.DiGraph, hosts: list[str]) -> TopologyLayout:
    """Core, aggregation, edge and hosts of a fat-tree, one below the other."""
    layers = [[node for node in graph if node.startswith(name)] for name in ("core", "aggregation", "edge")] + [hosts]
    half = 2.75
    places: dict[str, tuple[float, float]] = {}
    turned = len(hosts) > 8
    heights = (1.6, 0.75, -0.1, -0.95)
    for layer, height in zip(layers[:3], heights):
        for node, x in _spread(layer, half * (0.75 if layer is layers[0] else 1.0)):
            places[node] = (x, height)
    for edge in layers[2]:
        own = [host for host in hosts if graph.has_edge(edge, host)]
        width = 2 * half / len(layers[2]) * 0.42
        for host, x in _spread(own, width if len(own) > 1 else 0.0):
            places[host] = (places[edge][0] + x, heights[3])
    roomy = len(graph) <= 24
    return TopologyLayout(
        places,
        dict.fromkeys(hosts, -math.pi / 2),
        4.0,
        roomy,
        True if turned else False,
        6.0 if len(hosts) <= 72 else 4.0,
    )


def _spread(nodes: list[str], half: float) -> Iterator[tuple[str, float]]:
    """Nodes from left to right, in the middles of equal shares of the width."""
    for place, node in enumerate(nodes):
        yield node, half * ((2 * place + 1) / len(nodes) - 1)


def _rows(graph: nx.DiGraph, hosts: list[str]) -> TopologyLayout:
    """The switches of a torus row by row, slightly askew so that the wires around do not lie on
    the others, each with its host beside it."""
    ports = [node for node in graph if node not in hosts]
    columns = next(
        (place for place, (a, b) in enumerate(pairwise(ports), start=1) if not graph.has_edge(a, b)), len(ports)
    )
    rows = math.ceil(len(ports) / columns)
    across, down = 4.6 / max(columns - 1, 1), 3.4 / max(rows - 1, 1)
    step = min(across, down)
    bow = 0.22 * step
    places, directions = {}, {}
    for number, port in enumerate(ports):
        row, column = divmod(number, columns)
        # On the arc of a circle, so that the wire from end to end passes beside the others.
        x = across * (column - (columns - 1) / 2) - bow * _arch(row, rows)
        y = down * ((rows - 1) / 2 - row) + bow * _arch(column, columns)
        places[port] = (x, y)
        for host in graph[port]:
            if host in hosts:
                places[host] = (x + 0.28 * step, y + 0.28 * step)
                directions[host] = math.pi / 4
    roomy = len(ports) <= 20
    return TopologyLayout(places, directions, 4.4, roomy, False, 6.0 if roomy else 4.5)


def _arch(place: int, count: int) -> float:
    return 1 - (2 * place / (count - 1) - 1) ** 2 if count > 2 else 0.0


def _springs(wires: nx.Graph, hosts: list[str]) -> TopologyLayout:
    """Any other network: distances as close as possible to the numbers of wires between."""
    found = nx.kamada_kawai_layout(wires)
    points = np.array(list(found.values()))
    spread = np.maximum(np.abs(points - points.mean(axis=0)).max(axis=0), 1e-9)
    scaled = (points - points.mean(axis=0)) / spread * np.array([2.4, 1.7])
    places = {node: (float(x), float(y)) for node, (x, y) in zip(found, scaled)}
    directions = {}
    for host in hosts:
        x, y = places[host]
        near = np.mean([places[node] for node in wires[host]] or [(0.0, 0.0)], axis=0)
        directions[host] = math.atan2(y - near[1], x - near[0])
    roomy = len(wires) <= 24
    return TopologyLayout(places, directions, 4.2, roomy, False, 6.0 if roomy else 4.5)
