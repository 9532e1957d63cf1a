"""Pictures of the simulated network: who does what when, how busy links are, where the load is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import networkx as nx
import numpy as np

from simgmc.network.timeline import Timeline
from simgmc.network.timing import Timing

COLOURS = {
    "compute": "#4477aa", "compress": "#66ccee", "transfer": "#228833", "latency": "#aa3377", "aggregate": "#ccbb44",
    "wait": "#dddddd", "send": "#88cc99",
}  # fmt: skip
"""Colour-blind safe, the same in every picture."""


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw_gantt(timeline: Timeline, hosts: Sequence[str], path: str | Path) -> None:
    """Where every host's time goes (upper half of its bar: the parts of the breakdown) and when
    it sends (lower half)."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.2, 0.9 + 0.34 * len(hosts)), layout="constrained")
    shown: set[str] = set()
    for row, host in enumerate(hosts):
        for spans, low in ((timeline.parts, -0.42), (timeline.actions, 0.02)):
            for what, colour in COLOURS.items():
                bars = [(s.start, s.end - s.start) for s in spans if s.track == host and s.what == what]
                if bars and (low < 0 or what in ("send", "aggregate")):
                    label = None if what in shown else what
                    shown.add(what)
                    axes.broken_barh(bars, (row + low, 0.4), facecolors=colour, linewidth=0, label=label)
    axes.set_yticks(range(len(hosts)), hosts, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("simulated time, s", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=180)
    pyplot.close(figure)


def draw_utilisation(timeline: Timeline, path: str | Path, most: int = 12) -> None:
    """The load of the busiest links over time, in percent of their bandwidth."""
    pyplot = _pyplot()

    def carried(link: str) -> float:
        changes = timeline.rates[link]
        return sum(rate * (after - time) for (time, rate), (after, _) in zip(changes, changes[1:])) / (timeline.bandwidth[link] or 1.0)

    chosen = sorted(timeline.rates, key=carried, reverse=True)[:most]
    figure, rows = pyplot.subplots(max(len(chosen), 1), 1, figsize=(7.2, 0.8 + 0.45 * len(chosen)), sharex=True, layout="constrained", squeeze=False)
    for axes, link in zip(rows[:, 0], chosen):
        times, rates = np.array(timeline.rates[link]).T
        axes.fill_between(times, 100 * rates / (timeline.bandwidth[link] or 1.0), step="post", color=COLOURS["send"], linewidth=0)
        axes.set_ylim(0, 100)
        axes.set_yticks([])
        axes.set_ylabel(link, rotation=0, ha="right", va="center", fontsize=6)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1, 0].set_xlabel("simulated time, s (height: 0 to 100 % of the link)", fontsize=8)
    rows[-1, 0].tick_params(axis="x", labelsize=7)
    figure.savefig(path, dpi=180)
    pyplot.close(figure)


def draw_topology(graph: nx.DiGraph, timing: Timing, path: str | Path) -> None:
    """The network with every link coloured by the share of its bandwidth used over the run."""
    pyplot = _pyplot()
    place = nx.kamada_kawai_layout(graph.to_undirected(), weight=None) if len(graph) <= 200 else nx.spring_layout(graph, seed=0)
    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    load = dict(zip(timing.links, timing.utilisation))
    edges = list(graph.edges)
    switches = [node for node, data in graph.nodes(data=True) if data.get("kind") != "host"]
    hosts = [node for node in graph if node not in set(switches)]
    nx.draw_networkx_nodes(graph, place, switches, node_shape="s", node_size=90, node_color="#bbbbbb", ax=axes)
    nx.draw_networkx_nodes(graph, place, hosts, node_size=110, node_color="#4477aa", ax=axes)
    colours = [100 * load.get(edge, 0.0) for edge in edges]
    drawn = nx.draw_networkx_edges(
        graph, place, edges, edge_color=colours, edge_cmap=pyplot.get_cmap("viridis_r"), edge_vmin=0, edge_vmax=max([*colours, 1.0]),
        connectionstyle="arc3,rad=0.08", arrowsize=7, width=1.8, ax=axes,
    )  # fmt: skip
    nx.draw_networkx_labels(graph, {node: (x, y + 0.06) for node, (x, y) in place.items()}, font_size=6, ax=axes)
    if drawn:
        scale = pyplot.cm.ScalarMappable(pyplot.Normalize(0, max([*colours, 1.0])), "viridis_r")
        figure.colorbar(scale, ax=axes, label="% of the link's bandwidth used over the run", shrink=0.7)
    axes.set_axis_off()
    figure.savefig(path, dpi=180)
    pyplot.close(figure)
