"""Figures made of lines: accuracy along time, bytes or epochs, and time to target along a key of the grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from simgmc.core.quantities import axis_unit, time_unit
from simgmc.core.units import grid_number
from simgmc.results.figures import looks, panels
from simgmc.results.figures.panels import Page, Panel
from simgmc.results.series import curves
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.series.measures import Measure
from simgmc.results.series.read import ComparisonPoint, Results

_ALONG = {"bytes_up": "sent by all workers", "epoch": "epoch"}
_DIVERGED = {
    "marker": "x",
    "markersize": 7.0,
    "markeredgewidth": 1.6,
    "linestyle": "none",
    "color": "#404040",
    "zorder": 4,
    "clip_on": False,
}
_TARGET = {"color": "#404040", "linewidth": 0.7, "linestyle": (0, (5, 2))}


def measure_figure(
    results: Results,
    along: str,
    target: float | None,
    baseline: str | None,
    finding: Callable[[ComparisonPoint], str] | None = None,
    onto: Axes | None = None,
) -> list[Figure]:
    """Accuracy (or loss) against simulated time, bytes sent by all workers, or epochs; [] of too many panels.

    ``finding`` says what a panel shows, where that is not who reaches the target or ends best; ``onto``: see
    :func:`panels.pages`.
    """
    drawn = {
        point: {m: c for m in results.methods if (c := curves.curve(results, m, point, along)) is not None}
        for point in results.points
    }
    rows = _without_repeats(results, drawn)
    if not rows:
        return []
    log = along != "epoch" and any(
        curves.wide([curve.x[-1] for curve in lines.values()], curves.LOG_FROM) for lines in drawn.values()
    )
    everything = [curve for lines in drawn.values() for curve in lines.values()]
    means = np.concatenate([curve.mean for curve in everything])
    log_y = (
        not results.measure.higher_is_better and bool((means > 0).all()) and curves.wide(means, curves.LOG_LOSS_FROM)
    )
    log_y = log_y or (results.measure.log and bool((means > 0).any()))
    finding = finding or (lambda point: curves.finding(results, point, along, target, baseline))
    handles, labels = _method_handles(results)
    if target is not None:
        handles.append(Line2D([], [], **_TARGET))
        labels.append(f"target: {results.measure.value_text(target)}")
    if any(one.diverged is not None for one in results.series):
        handles.append(Line2D([], [], **{**_DIVERGED, "markersize": 4.0}))
        labels.append("diverged (with some seed)")
    made = panels.pages(rows, 1.75, onto)
    for page in made:
        for group in panels.sharing(page, log=log):
            _draw_lines(results, page, group, drawn, along, log=log, log_y=log_y, target=target)
        _scale_rows(results, page, drawn, log_y=log_y, target=target)
        panels.titles(page, lambda panel: finding(panel.points[0]))
        panels.page_legend(page, handles, labels, seeds_note(results))
    return [page.figure for page in made]


def _draw_lines(
    results: Results,
    page: Page,
    group: list[Panel],
    drawn: dict,
    along: str,
    *,
    log: bool,
    log_y: bool,
    target: float | None,
) -> None:
    """Draws the panels of a group, which have the same horizontal limits."""
    scale_y = 100.0 if results.measure.share else 1.0
    here = [curve for panel in group for curve in drawn[panel.points[0]].values()]
    right = max(curve.x[-1] for curve in here) or 1.0
    left = min([x for curve in here for x in curve.x if x > 0], default=right) if log else 0.0
    for panel in group:
        axis = page.axes[panel]
        for place, (method, curve) in enumerate(drawn[panel.points[0]].items()):
            look = looks.look(results.methods, method)
            shown = curve.x > 0 if log else np.full(len(curve.x), True)  # a log axis has no place for the start
            x, mean = curve.x[shown], scale_y * curve.mean[shown]
            mean = np.where(mean > 0, mean, np.nan) if log_y else mean
            marks = (0.02 * place, 0.16) if np.isfinite(mean).sum() > 8 else None
            axis.plot(x, mean, markevery=marks, zorder=3, **look)
            if any(one.diverged is not None for one in results.at(method, panel.points[0])) and np.isfinite(mean).any():
                end = np.flatnonzero(np.isfinite(mean))[-1]
                axis.plot(x[end], mean[end], **_DIVERGED | {"color": look["color"]})
            if curve.std is not None:
                std = scale_y * curve.std[shown]
                low = np.maximum(mean - std, mean / 10) if log_y else mean - std
                axis.fill_between(x, low, mean + std, color=look["color"], alpha=0.18, lw=0)
        if target is not None:
            axis.axhline(scale_y * target, zorder=2, **_TARGET)
        if log:
            axis.set_xscale("log")
        if log_y:
            axis.set_yscale("log")
        axis.set_xlim(left / 1.15 if log else -0.015 * right, right * (1.15 if log else 1.015))
        kind = {"sim_time_s": "time", "bytes_up": "bytes"}.get(along)
        unit = axis_unit(kind, left, right, log=log) if kind else (1.0, "")
        panels.scaled_axis(axis.xaxis, unit, _ALONG.get(along, results.time), log=log)


def _scale_rows(results: Results, page: Page, drawn: dict, *, log_y: bool, target: float | None) -> None:
    """The vertical axes, shared by the panels of a row."""
    for row in page.rows:
        first = page.axes[row[0]]
        first.set_ylabel(measure_name(results.measure))
        if log_y:
            low, high = first.get_ylim()
            first.set_ylim(max(low, high * curves.LOWEST_SHARE), high)
            panels.scaled_axis(first.yaxis, (1.0, ""), measure_name(results.measure), log=True)
        else:
            linear_limits(
                first, results.measure, [curve for panel in row for curve in drawn[panel.points[0]].values()], target
            )


def measure_name(measure: Measure) -> str:
    """Of an axis."""
    return measure.text + (" (%)" if measure.share else "")


def linear_limits(axis: Axes, measure: Measure, here: list[curves.Curve], target: float | None = None) -> None:
    """Vertical limits that show these curves (shares in percent). The untrained start does not set them."""
    share = measure.share
    low, high = curves.without_start(here, 100.0 if share else 1.0, target, axis.get_ylim())
    axis.set_ylim((max(low, 0.0), min(high, 102.0)) if share else (low, high))


def _without_repeats(results: Results, drawn: dict) -> list[list[Panel]]:
    """Panels for all grid points, those with exactly the same curves taken together; [] where they are too many."""
    groups: list[list[ComparisonPoint]] = []
    for point, lines in drawn.items():
        for group in groups:
            other = drawn[group[0]]
            if lines.keys() == other.keys() and all(lines[m].same_as(other[m]) for m in lines):
                group.append(point)
                break
        else:
            groups.append([point])
            if len(groups) > MAX_POINTS:
                return []
    if len(groups) == len(results.points):
        return panels.point_rows(results)
    return panels.flow([Panel(_name(results, group), tuple(group)) for group in groups])


def _name(results: Results, group: list[ComparisonPoint]) -> str:
    """What several grid points have in common."""
    if len(group) == 1:
        return results.label(group[0])
    if len(group) == len(results.points):
        on_network = all(key.startswith("cluster.") for key, _ in group[0].grid)
        return "on every network" if on_network else "at every grid point"
    shared = [set(results.label(point).split(", ")) for point in group]
    common = [part for part in results.label(group[0]).split(", ") if all(part in parts for parts in shared)]
    if common and sum(set(common) <= set(results.label(point).split(", ")) for point in results.points) == len(group):
        return ", ".join(common)
    return "; ".join(results.label(point) for point in group)


def target_sweep(
    results: Results, key: str, target: float, baseline: str | None, onto: Axes | None = None
) -> list[Figure]:
    """Time to target against a numeric key of the grid, a panel per collective and per value of the other keys.

    Open markers: not every seed reached the target, which takes at least this long.
    """
    index = [name for name, _ in results.points[0].grid].index(key)
    groups: dict[tuple, list[ComparisonPoint]] = {}
    for point in sorted(results.points, key=lambda point: grid_number(point.grid[index][1])[0]):
        rest = point.grid[:index] + point.grid[index + 1 :]
        groups.setdefault((point.transport, rest), []).append(point)
    order = {point: place for place, point in enumerate(results.points)}
    sweeps = {min(points, key=order.get): points for points in groups.values()}
    rows = panels.point_rows(results, sorted(sweeps, key=order.get))
    rows = [[Panel(_sweep_name(results, panel.points[0], key), panel.points) for panel in row] for row in rows]
    handles, labels = _method_handles(results)
    open_points = any(results.reach(m, p, target).spent for p in results.points for m in results.methods)
    if open_points:
        handles.append(Line2D([], [], marker="o", color="#404040", markerfacecolor="white", linestyle=":"))
        labels.append("open: not by every seed (lower bound)")
    made = panels.pages(rows, 1.75, onto)
    lengths = [
        results.reach(m, p, target).at_least for p in results.points for m in results.methods if results.at(m, p)
    ]
    log = any(length > 0 for length in lengths)  # otherwise all meet it at the start
    positive = [length for length in lengths if length > 0] or [1.0]
    unit = axis_unit("time", min(positive), max(positive), log=True)
    for page in made:
        for panel, axis in page.axes.items():
            points = sweeps[panel.points[0]]
            _draw_sweep(results, axis, points, index, target, log)
            _key_axis(
                axis.xaxis,
                results.key_labels[key],
                sorted({grid_number(point.grid[index][1]) for point in results.points}),
            )
        first = page.axes[page.rows[0][0]]
        first.set_ylim(min(positive) / 1.5 if log else -0.05, max(positive) * 1.5)
        for row in page.rows:
            name = f"time to {results.measure.value_text(target)}"
            panels.scaled_axis(page.axes[row[0]].yaxis, unit, name, log=log)
        panels.titles(page, lambda panel: _sweep_finding(results, sweeps[panel.points[0]], index, target, baseline))
        panels.page_legend(page, handles, labels, seeds_note(results))
    return [page.figure for page in made]


def _sweep_finding(
    results: Results, points: list[ComparisonPoint], index: int, target: float, baseline: str | None
) -> str:
    return curves.sweep_finding(results, points, [point.grid[index][1] for point in points], target, baseline)


def _draw_sweep(results: Results, axis, points: list[ComparisonPoint], index: int, target: float, log: bool) -> None:
    x = np.array([grid_number(point.grid[index][1])[0] for point in points])
    if (x > 0).all():
        axis.set_xscale("log")
    if log:
        axis.set_yscale("log")
    for method in results.methods:
        reaches = [results.reach(method, point, target) if results.at(method, point) else None for point in points]
        here = np.array([reach is not None for reach in reaches])
        if not here.any():
            continue
        look = looks.look(results.methods, method)
        y = np.array([math.nan if reach is None else reach.at_least for reach in reaches])
        whole = np.array([reach is not None and not reach.spent for reach in reaches])
        axis.plot(x, np.where(whole, y, math.nan), zorder=3, **look)
        if not whole.all():
            axis.plot(x, y, zorder=2, **look | {"linestyle": ":", "markerfacecolor": "white", "linewidth": 0.8})
        std = np.array([reach.spread.std or 0.0 if ok else math.nan for reach, ok in zip(reaches, whole, strict=True)])
        if np.nansum(std) > 0:
            axis.fill_between(x, np.maximum(y - std, y / 10), y + std, color=look["color"], alpha=0.18, lw=0)


def _sweep_name(results: Results, point: ComparisonPoint, key: str) -> str:
    """The panel's name without the value that the axis shows."""
    rest = ComparisonPoint(point.transport, tuple(pair for pair in point.grid if pair[0] != key))
    others = tuple(
        ComparisonPoint(p.transport, tuple(pair for pair in p.grid if pair[0] != key)) for p in results.points
    )
    return replace(results, points=others).label(rest)


def _key_axis(axis, name: str, values: list[tuple[float, str]]) -> None:
    """Ticks at the grid's own values, written short; where they are too dense, some without a number."""
    unit = values[0][1]
    numbers = [value for value, _ in values]
    place = np.log(numbers) if axis.get_scale() == "log" else np.array(numbers)
    place = (place - place[0]) / (place[-1] - place[0])
    named = [0]
    for index in range(1, len(numbers)):
        if place[index] - place[named[-1]] > 0.15:
            named.append(index)
    axis.set_major_locator(FixedLocator([numbers[index] for index in named]))
    axis.set_minor_locator(FixedLocator(numbers))
    axis.set_minor_formatter(NullFormatter())
    if unit == "s":
        axis.set_major_formatter(
            FuncFormatter(lambda value, _: "0 s" if value == 0 else _in_unit(value, time_unit(value)))
        )
        axis.set_label_text(name)
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: _prefixed(value)))
        axis.set_label_text(f"{name} ({unit})" if unit else name)


def _in_unit(value: float, unit: tuple[float, str]) -> str:
    return f"{value / unit[0]:.4g} {unit[1]}"


def _prefixed(value: float) -> str:
    """``10M``, ``2.5G``: short, for the unit stands in the axis's label."""
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.4g}{prefix}"
    return f"{value:.4g}"


def _method_handles(results: Results) -> tuple[list[Line2D], list[str]]:
    shown = [method for method in results.methods if any(one.key.method == method for one in results.series)]
    return [Line2D([], [], **looks.look(results.methods, method)) for method in shown], [
        results.names[method] for method in shown
    ]


def seeds_note(results: Results) -> str:
    """What lines and bands are; nothing of a single seed."""
    seeds = {len(results.at(method, point)) for method in results.methods for point in results.points} - {0}
    if max(seeds, default=1) == 1:
        return ""
    many = str(min(seeds)) if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    return f"lines: mean over {many} seeds; bands: ± one standard deviation"
