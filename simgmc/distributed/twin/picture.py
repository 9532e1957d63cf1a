"""The picture of a twin: every round and exchange, measured against simulated, and the rounds one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from simgmc.core.pictures import write_picture
from simgmc.core.quantities import axis_unit
from simgmc.distributed.twin.comparison import Twin

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def draw(found: Sequence[Twin], path: Path) -> None:
    """Write it. Raises SimgmcError where it cannot be written."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    along, against = figure.subplots(1, 2, width_ratios=(1.4, 1))
    seconds = [
        value for one in found for row in (*one.rounds, *one.exchanges) for value in (row.measured, row.simulated)
    ]
    scale, unit = axis_unit("time", min(seconds), max(seconds), log=False)
    for one, colour in zip(found, COLOURS * (1 + len(found) // len(COLOURS))):
        numbers = [row.round + 1 for row in one.rounds]
        along.plot(numbers, [row.measured / scale for row in one.rounds], color=colour, linewidth=1.2, label=one.method)
        along.plot(numbers, [row.simulated / scale for row in one.rounds], color=colour, linewidth=1.0, linestyle="--")
        for rows, marker in ((one.rounds, "o"), (one.exchanges, "x")):
            points = [row.measured / scale for row in rows], [row.simulated / scale for row in rows]
            against.scatter(*points, s=10, color=colour, marker=marker, linewidths=0.8)
    span = (0.8 * min(seconds) / scale, 1.25 * max(seconds) / scale)
    against.plot(span, span, color="0.6", linewidth=0.8, zorder=0)
    against.set(
        xscale="log", yscale="log", xlim=span, ylim=span, xlabel=f"measured ({unit})", ylabel=f"simulated ({unit})"
    )
    for axis in (against.xaxis, against.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span[1] < 100 * span[0] else (1.0,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    against.set_title("o round, x exchange", fontsize=8)
    along.set(xlabel="round", ylabel=f"time of a round ({unit})")
    along.set_ylim(bottom=0)
    along.set_title("solid: measured, dashed: simulated", fontsize=8)
    along.legend(fontsize=7, frameon=False)
    write_picture(figure, path)
