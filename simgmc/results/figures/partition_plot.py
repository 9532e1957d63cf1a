"""Who holds what: the training samples of every worker, by label.

Bars stacked by label where labels can be told apart by colour, a map of labels and workers under the
sizes where there are more; sizes alone where samples have no single label (text).
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, StepPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simgmc.core.errors import SimgmcError
from simgmc.results.directory.partition_table import PartitionTable
from simgmc.results.figures import panels
from simgmc.results.figures.panels import Page, Panel

MAX_COLOURS = 10
"""Labels that can be told apart in a stack."""
MAX_BARS = 40
"""Workers whose bars stand apart. Of more, a label is one outline: thousands of bars take a minute to draw."""
MAX_PICTURES = 6
"""Partitions of one run that are drawn."""


def partition_figures(tables: Sequence[PartitionTable], onto: Axes | None = None) -> list[Figure] | None:
    """One figure per partition, None of none. To be called, and the figures saved, within :func:`panels.style`.

    ``onto``: an axis for the only one. Raises SimgmcError where it has more labels than a single axis shows.
    """
    if onto is not None and tables:
        return [_on(onto, tables[0])]
    return [_figure(one) for one in tables[:MAX_PICTURES]] or None


def _on(axis: Axes, table: PartitionTable) -> Figure:
    workers, labels = table.counts.shape
    if labels > MAX_COLOURS:
        raise SimgmcError(
            f"{table.name}: its {labels} labels are drawn as a map under the sizes, which takes two axes: leave ax away"
        )
    _bars(axis, table, stacked=labels > 1)
    _worker_axis(axis, workers)
    axis.set_title(table.name)
    if labels > 1:
        axis.legend(*_labels(labels), title="label", loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    return axis.figure.figure


def _figure(table: PartitionTable) -> Figure:
    workers, labels = table.counts.shape
    width = panels.COLUMN_WIDTH if workers <= 16 else panels.PAGE_WIDTH
    mapped = labels > MAX_COLOURS
    height = 2.1 + (min(3.4, max(1.2, 0.035 * labels)) if mapped else 0)
    figure = Figure(figsize=(width, height))
    if mapped:
        sizes, shares = figure.subplots(2, 1, sharex=True, height_ratios=[1, max(1.0, 0.025 * labels)])
        _bars(sizes, table, stacked=False)
        _map(figure, (sizes, shares), table)
    else:
        sizes = shares = figure.subplots()
        _bars(sizes, table, stacked=labels > 1)
    _worker_axis(shares, workers)
    for axis in {sizes, shares}:
        axis.grid(False, axis="x")
        axis.tick_params(axis="x", length=0 if workers <= 16 else 2)
    panel = Panel(table.name, ())
    panels.titles(Page(figure, {panel: sizes}, [[panel]]), lambda _: table.finding(), 0.5 if labels > 1 else 0.0)
    if not mapped and labels > 1:
        figure.legend(
            *_labels(labels), loc="outside right upper", title="label", handlelength=0.8, handleheight=0.8, reverse=True
        )
    return figure


def _worker_axis(axis: Axes, workers: int) -> None:
    axis.set_xlabel("worker")
    axis.set_xlim(-0.5, workers - 0.5)
    if workers <= 16:
        axis.set_xticks(range(workers))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=[1, 2, 5, 10]))


def _labels(labels: int) -> tuple[list[Patch], list[str]]:
    return [Patch(color=_colour(label, labels)) for label in range(labels)], [str(label) for label in range(labels)]


def _colour(label: int, labels: int):
    if labels <= 8:
        return matplotlib.rcParams["axes.prop_cycle"].by_key()["color"][label]
    return matplotlib.colormaps["tab10"](label)


def _bars(axis: Axes, table: PartitionTable, *, stacked: bool) -> None:
    """A bar per worker; a gap between bars only where there is room for one."""
    workers, labels = table.counts.shape
    alike = table.sizes.min() == table.sizes.max()
    below = np.zeros(workers)
    for label in range(labels) if stacked else (0,):
        above = below + (table.counts[:, label] if stacked else table.sizes)
        colour = _colour(label, labels) if stacked else "0.45"
        if workers > MAX_BARS:
            # stairs() looks for the limits at every corner; here they are known
            edges = np.arange(workers + 1) - 0.5
            outline = StepPatch(above, edges, baseline=below, fill=True, color=colour, linewidth=0)
            outline.sticky_edges.y.append(below.min())
            axis.add_artist(outline)
            axis.update_datalim([(edges[0], below.min()), (edges[-1], above.max())])
            axis.autoscale_view()
        else:
            gap = {"linewidth": 0.3, "edgecolor": "white"} if alike else {"linewidth": 0}
            axis.bar(np.arange(workers), above - below, 0.8, below, color=colour, **gap)
        below = above
    if workers <= 16 and not alike:
        for place, size in enumerate(table.sizes):
            axis.annotate(
                f"{size:,}",
                (place, size),
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=5.5 if workers > 8 else 6,
            )
        axis.margins(y=0.1)
    axis.set_ylabel(table.unit)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _map(figure: Figure, axes: tuple[Axes, Axes], table: PartitionTable) -> None:
    """Samples by label and worker on the lower of two axes, white where there are none."""
    axis = axes[1]
    counts = np.ma.masked_equal(table.counts.T, 0)
    workers, labels = table.counts.shape
    image = axis.imshow(
        counts,
        aspect="auto",
        interpolation="nearest",
        cmap=_from_light(),
        vmin=0,
        extent=(-0.5, workers - 0.5, labels - 0.5, -0.5),
    )
    axis.set_ylabel("label")
    axis.grid(False)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=18, shrink=0.6, anchor=(0.0, 0.0))
    bar.set_label(table.unit)
    bar.outline.set_linewidth(0.4)


def _from_light():
    """A sequential map whose least colour still differs from the white of nothing."""
    return matplotlib.colors.LinearSegmentedColormap.from_list(
        "light to dark", matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, 64))
    )
