"""A network drawn with its links coloured by load: one line for each direction, on its right-hand side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simgmc.core.quantities import bandwidth_text, percent_text, time_text
from simgmc.results.figures import panels
from simgmc.results.figures.panels import PAGE_WIDTH, Page, Panel
from simgmc.results.figures.topology_layout import TopologyLayout, lay_out

_COLORS = ListedColormap(colormaps["YlOrRd"](np.linspace(0.22, 1.0, 256)))
_IDLE, _UNLIMITED = "#D4D4D4", "#8FB6CF"
_HOST, _SERVER, _SWITCH = "#0072B2", "#000000", "#7F7F7F"
_NAMED_SWITCHES = 12
"""Switches that are called by their names; of more, only the hosts are."""


def draw(
    graph: nx.DiGraph, loads: Mapping[tuple[str, str], float], servers: Sequence[str], name: str, seconds: float
) -> Figure:
    """The network of a whole run.

    ``loads``: the share of its bandwidth that each link used, 0 to 1, over the run's simulated
    ``seconds``; links that carried no bytes are left out.
    """
    layout = lay_out(graph)
    figure = Figure(figsize=(PAGE_WIDTH, 0.95 * layout.height + 0.6))
    axis = figure.subplots()
    axis.set_aspect("equal", adjustable="box")
    axis.set_axis_off()
    norm = Normalize(0, 100 * _ceiling(max(loads.values(), default=0.0)))
    _links(axis, graph, loads, layout, norm)
    _nodes(axis, graph, servers, layout)
    _names(axis, graph, servers, layout)
    axis.set_xlim(-PAGE_WIDTH / 2 + 0.45, PAGE_WIDTH / 2 - 0.45)
    margin = 0.22  # room for the outermost names
    axis.set_ylim(-layout.height / 2 - margin, layout.height / 2 + margin)
    bar = figure.colorbar(ScalarMappable(norm, _COLORS), ax=axis, fraction=0.025, pad=0.01, shrink=0.8)
    bar.set_label("load over the whole run (% of bandwidth)", fontsize=7)
    bar.outline.set_linewidth(0.4)
    panel = Panel(name, ())
    panels.titles(Page(figure, {panel: axis}, [[panel]]), lambda _: _finding(graph, loads, seconds))
    _legend(figure, graph, loads, servers)
    return figure


def _ceiling(load: float) -> float:
    """The end of the colours' scale: a round number above the largest load."""
    if load <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(load))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if load <= step * power * (1 + 1e-9))


def _links(axis: Axes, graph: nx.DiGraph, loads: Mapping, layout: TopologyLayout, norm: Normalize) -> None:
    width = 1.7 if layout.roomy else 0.9
    offset = 0.028 if layout.roomy else 0.014
    lines, colors, widths, heads, head_colors = [], [], [], [], []
    # The busiest last, so that they lie on top.
    for edge in sorted(graph.edges, key=lambda edge: loads.get(edge, -1.0)):
        used = edge in loads
        color = _IDLE if not used else _COLORS(norm(100 * loads[edge])) if _limited(graph, edge) else _UNLIMITED
        a, b = (np.array(layout.places[node]) for node in edge)
        length = float(np.hypot(*(b - a)))
        if length == 0:
            continue
        along = (b - a) / length
        right = np.array([along[1], -along[0]])
        start = a + offset * right + _size(graph, edge[0], layout, along) * along
        end = b + offset * right - _size(graph, edge[1], layout, along) * along
        lines.append((start, end))
        colors.append(color)
        widths.append(width if used else 0.5 * width)
        if layout.roomy and used:
            heads.append([end, end - 0.11 * along + 0.055 * right, end - 0.11 * along - 0.005 * right])
            head_colors.append(color)
    axis.add_collection(LineCollection(lines, colors=colors, linewidths=widths, capstyle="butt", zorder=1))
    axis.add_collection(
        PolyCollection(heads, facecolors=head_colors, edgecolors=head_colors, linewidths=0.6, zorder=1.5)
    )


def _limited(graph: nx.DiGraph, edge: tuple[str, str]) -> bool:
    return graph.edges[edge]["bandwidth"] < math.inf


def _named(graph: nx.DiGraph, node: str) -> bool:
    """Whether a switch is drawn as its name in a box."""
    switches = sum(data.get("kind") != "host" for _, data in graph.nodes(data=True))
    return graph.nodes[node].get("kind") != "host" and switches <= _NAMED_SWITCHES and not node.startswith("port of ")


def _size(graph: nx.DiGraph, node: str, layout: TopologyLayout, along: np.ndarray) -> float:
    """How far from a node's middle its mark reaches in a direction, in inches."""
    if not _named(graph, node):
        return layout.radius(graph, node)
    half = np.array([panels.text_width(node, 6) / 2 + 0.045, 0.085])
    return float(np.min(half / np.maximum(np.abs(along), 1e-9)))


def _kind(graph: nx.DiGraph, node: str, servers: Sequence[str]) -> str:
    if node in servers:
        return "server"
    return "worker" if graph.nodes[node].get("kind") == "host" else "switch"


_LOOKS = {
    "worker": {"marker": "o", "color": _HOST},
    "server": {"marker": "D", "color": _SERVER},
    "switch": {"marker": "s", "color": _SWITCH},
}


def _nodes(axis: Axes, graph: nx.DiGraph, servers: Sequence[str], layout: TopologyLayout) -> None:
    for kind, look in _LOOKS.items():
        nodes = [node for node in graph if _kind(graph, node, servers) == kind and not _named(graph, node)]
        if nodes:
            x, y = zip(*(layout.places[node] for node in nodes))
            size = 2 * 72 * layout.radius(graph, nodes[0]) * (0.72 if kind == "server" else 0.9)
            axis.plot(x, y, linestyle="", markersize=size, markeredgewidth=0, zorder=3, **look)


def _names(axis: Axes, graph: nx.DiGraph, servers: Sequence[str], layout: TopologyLayout) -> None:
    switches = [node for node in graph if _kind(graph, node, servers) == "switch"]
    for node in graph:
        x, y = layout.places[node]
        if node in switches:
            if _named(graph, node):
                axis.annotate(
                    node, (x, y), xytext=(0, -0.5), textcoords="offset points", ha="center", va="center",
                    fontsize=6, zorder=4,
                    bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": _SWITCH, "linewidth": 0.8},
                )  # fmt: skip
            continue
        angle, distance = layout.directions[node], layout.radius(graph, node) + 0.05
        at = (x + distance * math.cos(angle), y + distance * math.sin(angle))
        weight = "bold" if node in servers else "normal"
        if layout.turned:
            degrees = math.degrees(angle) % 360
            flipped = 90 < degrees < 270
            axis.text(
                *at, node, fontsize=layout.letters, rotation=degrees - 180 if flipped else degrees, fontweight=weight,
                ha="right" if flipped else "left", va="center", rotation_mode="anchor",
            )  # fmt: skip
        else:
            across, up = math.cos(angle), math.sin(angle)
            side = "left" if across > 0.3 else "right" if across < -0.3 else "center"
            level = "center" if side != "center" else "bottom" if up > 0 else "top"
            axis.text(*at, node, fontsize=layout.letters, fontweight=weight, ha=side, va=level)


def _legend(figure: Figure, graph: nx.DiGraph, loads: Mapping, servers: Sequence[str]) -> None:
    kinds = [kind for kind in _LOOKS if any(_kind(graph, node, servers) == kind for node in graph)]
    handles = [Line2D([], [], linestyle="", markersize=5, markeredgewidth=0, **_LOOKS[kind]) for kind in kinds]
    if "switch" in kinds and any(_named(graph, node) for node in graph):
        handles[-1].set(markerfacecolor="white", markeredgewidth=0.8)
    if any(edge in loads and not _limited(graph, edge) for edge in graph.edges):
        handles.append(Line2D([], [], color=_UNLIMITED, lw=1.7))
        kinds.append("carries bytes, bandwidth unlimited")
    if any(edge not in loads for edge in graph.edges):
        handles.append(Line2D([], [], color=_IDLE, lw=1.0))
        kinds.append("carries none")
    panels.legend(figure, handles, kinds, "each direction of a wire is the line on its right-hand side")


def _finding(graph: nx.DiGraph, loads: Mapping[tuple[str, str], float], seconds: float) -> str:
    used = [edge for edge in graph.edges if edge in loads]
    if not used:
        return "no link carries bytes"
    if not any(_limited(graph, edge) for edge in used):
        return f"{len(used)} of {graph.number_of_edges()} links carry bytes, all of unlimited bandwidth"
    most = max(round(loads[edge], 9) for edge in used)
    same = [edge for edge in used if round(loads[edge], 9) == most]
    a, b = same[0]
    others = f" and {len(same) - 1} more" if len(same) > 1 else ""
    whole = bandwidth_text(graph.edges[a, b]["bandwidth"])
    return (
        f"busiest: {a} → {b}{others}, {percent_text(round(most, 4))} of {whole} "
        f"over {time_text(seconds)}; {len(used)} of {graph.number_of_edges()} links carry bytes"
    )
