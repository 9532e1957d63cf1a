"""Compute utilisation against bandwidth, the figure of the DiLoCo papers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from simgmc.core.quantities import bandwidth_text, number, percent_text
from simgmc.results.figures import looks, panels
from simgmc.results.figures.panels import Panel
from simgmc.results.series.utilisation import SHARES, Utilisation

_TOLD = 0.9
"""The utilisation that titles speak of."""
_SEEN = 0.005
"""Utilisations below this, and so near to the highest, are not shown at the ends of the axis."""


def utilisation_figures(found: Sequence[Utilisation], methods: Sequence[str]) -> list[Figure]:
    """A panel for each network; lines join the replays of a sweep, markers are the bandwidths that were solved for."""
    networks = {name: [one for one in found if one.network == name] for name in dict.fromkeys(o.network for o in found)}
    rows = panels.flow([Panel(name, ()) for name in networks])
    shown = [method for method in methods if any(one.method == method for one in found)]
    handles = [Line2D([], [], **looks.look(methods, method)) for method in shown]
    note = f"markers: the least bandwidth for {', '.join(f'{100 * share:g} %' for share in SHARES)}"
    made = panels.pages(rows, 1.9)
    stated = all(one.bandwidth is not None for one in found)
    for page in made:
        for panel, axis in page.axes.items():
            here = networks[panel.name]
            low, high = _limits(here, stated)
            for one in here:
                look = looks.look(methods, one.method)
                scale = 8 * one.bandwidth if stated and one.bandwidth is not None else 1.0
                axis.plot(scale * one.needs.factors, 100 * one.needs.utilisation, **look | {"marker": ""})
                solved = [(scale * at, 100 * share) for share, at in one.needs.needed.items() if at is not None]
                axis.plot(*zip(*solved, strict=True), **look | {"linestyle": "none"}) if solved else None
                if stated:
                    axis.axvline(scale, color="#404040", linewidth=0.7, linestyle=(0, (5, 2)), zorder=1)
            axis.set_xscale("log")
            axis.set_xlim(low, high)
            axis.set_ylim(0, 102)
            axis.yaxis.set_major_locator(FixedLocator([0, *(100 * share for share in SHARES[:3]), 99]))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0,), numticks=6))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, stated)))
            axis.xaxis.set_minor_locator(NullLocator())  # over ten decades they are a grey band
            axis.set_xlabel("bandwidth of a link" if stated else "times the bandwidth of every link")
        for row in page.rows:
            page.axes[row[0]].set_ylabel("compute utilisation (%)")
        panels.titles(page, lambda panel: finding(networks[panel.name]))
        panels.page_legend(page, handles, shown, note + ("; dashed: the run's bandwidth" if stated else ""))
    return [page.figure for page in made]


def finding(here: Sequence[Utilisation]) -> str:
    """Who needs least bandwidth for 90 %, and who most."""
    needed = {one.method: one for one in here if one.needs.needed[_TOLD] is not None}
    if not needed:
        best = max(here, key=lambda one: one.needs.limit)
        return f"no bandwidth gives {100 * _TOLD:g} %: at most {percent_text(best.needs.limit)}, {best.method}"
    ordered = sorted(needed.values(), key=lambda one: one.needs.needed[_TOLD] or 0.0)
    texts = [f"{one.method} {_amount(one)}" for one in dict.fromkeys((ordered[0], ordered[-1]))]
    never = [one.method for one in here if one.method not in needed]
    return f"for {100 * _TOLD:g} %: {', '.join(texts)}" + (f"; never {', '.join(never)}" if never else "")


def _amount(one: Utilisation) -> str:
    factor = one.needs.needed[_TOLD] or 0.0
    return f"{number(factor)} times" if one.bandwidth is None else bandwidth_text(one.bandwidth * factor, 3)


def _tick(value: float, stated: bool) -> str:
    return bandwidth_text(value / 8) if stated else f"{value:g}"


def _limits(here: Sequence[Utilisation], stated: bool) -> tuple[float, float]:
    """From where something is seen to where nothing changes any more, the run's bandwidth and all markers included."""
    low, high = [], []
    for one in here:
        scale = 8 * one.bandwidth if stated and one.bandwidth is not None else 1.0
        moving = (one.needs.utilisation > _SEEN) & (one.needs.utilisation < one.needs.limit - _SEEN)
        places = [*one.needs.factors[moving], 1.0, *(at for at in one.needs.needed.values() if at is not None)]
        low.append(scale * float(np.min(places)))
        high.append(scale * float(np.max(places)))
    return min(low) / 1.5, max(high) * 1.5
