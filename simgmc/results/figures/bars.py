"""Figures made of bars: time to target, and what a round's time is made of."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from simgmc.core.quantities import axis_unit, time_text
from simgmc.results.directory.details import PARTS
from simgmc.results.figures import looks, panels
from simgmc.results.figures.panels import Page, Panel
from simgmc.results.series import curves
from simgmc.results.series.reach import Reach
from simgmc.results.series.read import ComparisonPoint, Results

PART_COLORS = dict(zip(PARTS, ("#1B1B3A", "#5B5F97", "#E07A5F", "#F2CC8F", "#81B29A", "#D0D0D0"), strict=True))
"""One colour per part of a worker's time, in every picture."""
_NAME_WIDTH = 1.0
"""Inches for the methods' names beside the bars."""


def target_bars(results: Results, target: float, baseline: str | None, onto: Axes | None = None) -> list[Figure]:
    """Time to target, a bar per method; hatched where not every seed reached it, and then a lower bound."""
    rows = panels.point_rows(results)
    reaches = {p: {m: results.reach(m, p, target) for m in results.methods if results.at(m, p)} for p in results.points}
    names = _names(results)
    partly = any(reach.spent for here in reaches.values() for reach in here.values())
    log = any(
        curves.wide([reach.at_least for reach in here.values()], curves.LOG_BARS_FROM) for here in reaches.values()
    )
    made = _pages(rows, _shown(results), onto)
    for page in made:
        panels.titles(
            page,
            lambda panel: curves.finding(results, panel.points[0], "sim_time_s", target, baseline),
            _NAME_WIDTH - 0.2,
        )
        if partly:
            patch = Patch(facecolor="white", edgecolor="#404040", hatch="//////", lw=0.6)
            panels.page_legend(page, [patch], ["not reached by every seed: a lower bound"])
        for row in page.rows:
            _name_axis(page.axes[row[0]], _shown(results))
        page.figure.draw_without_rendering()  # from here on the panels' widths are known
        for group in panels.sharing(page, log=log):
            _draw_bars(results, page, group, reaches, names, log, f"time to {results.measure.value_text(target)}")
    return [page.figure for page in made]


def _draw_bars(
    results: Results, page: Page, group: list[Panel], reaches: dict, names: list[str], log: bool, name: str
) -> None:
    """Draws the panels of a group. They have the same horizontal limits, with room for the times at the bars' ends."""
    here = [reach for panel in group for reach in reaches[panel.points[0]].values()]
    longest = max(reach.at_least for reach in here) or 1.0
    left = min([reach.at_least for reach in here if reach.at_least > 0], default=longest) / 3 if log else 0.0
    right = longest
    for panel in group:
        axis = page.axes[panel]
        width = axis.get_window_extent().width / page.figure.dpi
        for method, reach in reaches[panel.points[0]].items():
            _bar(axis, names.index(method), reach, left, looks.look(results.methods, method)["color"])
            text = curves.reach_label(reach)
            error = reach.spread.std or 0.0 if not reach.spent else 0.0
            end = max(reach.at_least + error, left)
            room = max(0.15, 1 - (panels.text_width(text, 6.5) + 0.12) / width)
            right = max(right, left * (end / left) ** (1 / room) if log else end / room)
            axis.annotate(
                text, (end, names.index(method)), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5
            )
    for panel in group:
        axis = page.axes[panel]
        if log:
            axis.set_xscale("log")
        axis.set_xlim(left, right)
        unit = axis_unit("time", max(left, 1e-9), longest, log=log)
        panels.scaled_axis(axis.xaxis, unit, name + (", log scale" if log else ""), log=log)


def _bar(axis, place: int, reach: Reach, left: float, color: str) -> None:
    how = {"facecolor": "white", "hatch": "//////"} if reach.spent else {"facecolor": color}
    axis.barh(place, max(reach.at_least - left, 0.0), left=left, height=0.68, edgecolor=color, lw=0.6, **how)
    if reach.spread is not None and reach.spread.std and not reach.spent:
        axis.errorbar(reach.spread.mean, place, xerr=reach.spread.std, color="#404040", lw=0.7, capsize=1.5)


def round_bars(results: Results, onto: Axes | None = None) -> list[Figure]:
    """What a worker's round is made of, in percent, with the time of a round at the end of each bar."""
    rows = panels.point_rows(results)
    names = _names(results)
    made = _pages(rows, _shown(results), onto)
    for page in made:
        for panel, axis in page.axes.items():
            means = {}
            for method in results.methods:
                found = [one.breakdown for one in results.at(method, panel.points[0])]
                total = sum(getattr(one, f"{part}_s") for one in found for part in PARTS)
                if not found or total <= 0:
                    continue
                left, place = 0.0, names.index(method)
                for part in PARTS:
                    share = 100 * sum(getattr(one, f"{part}_s") for one in found) / total
                    axis.barh(place, share, left=left, height=0.68, color=PART_COLORS[part], lw=0)
                    left += share
                means[method] = float(np.mean([one.sim_time_s / max(one.rounds, 1) for one in found]))
                axis.annotate(
                    time_text(means[method]), (100, place), xytext=(3, 0), textcoords="offset points",
                    va="center", fontsize=6.5, annotation_clip=False,
                )  # fmt: skip
            axis.set_xlim(0, 100)
            axis.set_xlabel("share of a round (%), and its mean time")
        panels.titles(page, lambda panel: _round_finding(results, panel.points[0]), _NAME_WIDTH)
        for row in page.rows:
            _name_axis(page.axes[row[0]], _shown(results))
        panels.page_legend(page, [Patch(color=color) for color in PART_COLORS.values()], list(PART_COLORS), filled=True)
    return [page.figure for page in made]


def _round_finding(results: Results, point: ComparisonPoint) -> str:
    """Which part is largest, if it is the same for most methods, or for each."""
    largest: dict[str, list[str]] = {}
    for method in results.methods:
        found = [one.breakdown for one in results.at(method, point)]
        seconds = {part: sum(getattr(one, f"{part}_s") for one in found) for part in PARTS}
        if sum(seconds.values()) > 0:
            largest.setdefault(max(seconds, key=seconds.get), []).append(method)
    if not largest:
        return "no time passes"
    if len(largest) == 1:
        whose = "every method's round" if len(_names(results)) > 1 else "the round"
        return f"{next(iter(largest))} is the largest part of {whose}"
    return "largest part: " + "; ".join(f"{part} for {', '.join(methods)}" for part, methods in largest.items())


def _names(results: Results) -> list[str]:
    return [method for method in results.methods if any(one.key.method == method for one in results.series)]


def _shown(results: Results) -> list[str]:
    """The names as the bars have them."""
    return [results.names[method] for method in _names(results)]


def _pages(rows: list[list[Panel]], names: list[str], onto: Axes | None) -> list[Page]:
    lines = max(len(panels.fold(name, 7, _NAME_WIDTH)) for name in names)
    return panels.pages(rows, 0.3 + max(0.2, 0.125 * lines) * len(names), onto)


def _name_axis(axis, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), ["\n".join(panels.fold(name, 7, _NAME_WIDTH)) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    for shared in axis.get_shared_y_axes().get_siblings(axis):
        shared.grid(visible=False, axis="y")
        shared.tick_params(axis="y", length=0)
