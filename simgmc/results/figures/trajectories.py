"""Paths of two parameters over the contours of the objective: the whole way, and the last of it near the optimum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simgmc.core.quantities import number
from simgmc.results.figures import looks, panels
from simgmc.results.figures.panels import Page, Panel
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.series.read import ComparisonPoint, Results, Series

AXES = ("w[0]", "w[1]")
"""The parameters, as ``other_metrics.csv`` names them."""
TAIL = 0.1
"""The part of a training's evaluations that counts as its end."""
_CONTOURS = 12
_OPTIMUM = {"marker": "*", "markersize": 8.0, "color": "#202020", "linestyle": "none", "zorder": 5}
_START = {"marker": "o", "markersize": 4.0, "color": "#202020", "linestyle": "none", "zorder": 5}


class Surface(Protocol):
    """An objective of two parameters."""

    optimum: np.ndarray
    """(2,)."""

    def gap(self, points: np.ndarray) -> np.ndarray:
        """F - F* at points (..., 2)."""


def trajectory_figures(results: Results, surfaces: Mapping[ComparisonPoint, Surface]) -> list[Figure]:
    """For every problem two panels: each method's path (its first seed's), and its last tenth close up.

    [] where they would need more than 12 panels (grids.MAX_POINTS). Networks do not change paths, so of points
    that differ in ``cluster`` keys alone one is drawn.
    """
    drawn: dict[tuple, ComparisonPoint] = {}
    for point in results.points:
        if point in surfaces:
            drawn.setdefault(tuple(pair for pair in point.grid if not pair[0].startswith("cluster.")), point)
    rows = [
        [Panel(_name(results, point, "the whole path"), (point,)), Panel("near the optimum", (point,))]
        for point in drawn.values()
    ]
    if not rows or 2 * len(rows) > MAX_POINTS:
        return []
    figures = []
    for start in range(0, len(rows), panels.ROWS_PER_PAGE):
        here = rows[start : start + panels.ROWS_PER_PAGE]
        figure = Figure(figsize=(panels.PAGE_WIDTH, 3.6 * len(here) + 0.3))
        grid = figure.subplots(len(here), 2, squeeze=False)
        axes = {
            panel: axis for row, line in zip(here, grid, strict=True) for panel, axis in zip(row, line, strict=True)
        }
        page = Page(figure, axes, here)
        for whole, near in here:
            point = whole.points[0]
            paths = {
                m: seeds[0] for m in results.methods if (seeds := results.at(m, point)) and AXES[0] in seeds[0].columns
            }
            _draw_whole(results, axes[whole], paths, surfaces[point])
            _draw_near(results, axes[near], paths, surfaces[point])
        panels.titles(page, lambda panel: _finding(results, panel, surfaces))
        shown = [m for m in results.methods if any(one.key.method == m for one in results.series)]
        handles = [Line2D([], [], **looks.look(results.methods, m)) for m in shown]
        handles += [Line2D([], [], **_START), Line2D([], [], **_OPTIMUM)]
        panels.page_legend(page, handles, [*(results.names[method] for method in shown), "start", "optimum"])
        figures.append(figure)
    return figures


def _name(results: Results, point: ComparisonPoint, what: str) -> str:
    own = [
        value
        for value, (key, _) in zip(_values(results, point), point.grid, strict=True)
        if value and not key.startswith("cluster.")
    ]
    return ", ".join([*own, what]) if own else what


def _values(results: Results, point: ComparisonPoint) -> list[str]:
    """The grid's values as text, empty where they are the same everywhere."""
    shown = iter(results.values(point))
    varies = [len({other.grid[index][1] for other in results.points}) > 1 for index in range(len(point.grid))]
    return [next(shown) if one else "" for one in varies]


def _path(one: Series) -> np.ndarray:
    """(evaluations, 2)."""
    return np.stack([one[name] for name in AXES], axis=1)


def _tail(one: Series) -> np.ndarray:
    path = _path(one)
    return path[-max(2, round(TAIL * len(path))) :]


def _draw_whole(results: Results, axis: Axes, paths: Mapping[str, Series], surface: Surface) -> None:
    start = next((_path(one)[0] for one in paths.values()), surface.optimum)
    corners = [_path(one) for one in paths.values() if one.diverged is None]
    everything = np.concatenate([[start, surface.optimum], *corners])
    _frame(axis, everything.min(axis=0), everything.max(axis=0), surface)
    for method, one in paths.items():
        path, look = _path(one), looks.look(results.methods, method)
        axis.plot(path[:, 0], path[:, 1], zorder=3, **look | {"marker": "", "linewidth": 0.9})
    axis.plot(*start, **_START)
    axis.plot(*surface.optimum, **_OPTIMUM)


def _draw_near(results: Results, axis: Axes, paths: Mapping[str, Series], surface: Surface) -> None:
    tails = {method: _tail(one) for method, one in paths.items() if one.diverged is None}
    reach = max((np.abs(tail - surface.optimum).max() for tail in tails.values()), default=0.0) or 1.0
    _frame(axis, surface.optimum - reach, surface.optimum + reach, surface)
    for method, tail in tails.items():
        look = looks.look(results.methods, method) | {"markersize": 2.4, "linewidth": 0.4, "alpha": 0.5}
        axis.plot(tail[:, 0], tail[:, 1], zorder=3, **look)
    axis.plot(*surface.optimum, **_OPTIMUM | {"markersize": 6.0})


def _frame(axis: Axes, low: np.ndarray, high: np.ndarray, surface: Surface) -> None:
    """A square around a box, with contours of the objective's square root: evenly spaced circles for a round one."""
    centre, half = (low + high) / 2, 0.56 * float((high - low).max() or 1.0)
    x, y = (np.linspace(c - half, c + half, 161) for c in centre)
    height = np.sqrt(np.maximum(surface.gap(np.stack(np.meshgrid(x, y), axis=-1)), 0.0))
    axis.contour(x, y, height, levels=_CONTOURS, colors="#C4C4C4", linewidths=0.5, zorder=1)
    axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel=AXES[0], ylabel=AXES[1])
    axis.set_aspect("equal", adjustable="box")
    axis.grid(visible=False)


def _finding(results: Results, panel: Panel, surfaces: Mapping[ComparisonPoint, Surface]) -> str:
    """What a panel shows: on the right, which method ends nearest, by the mean distance of its last tenth."""
    point = panel.points[0]
    seeds = {method: found[0] for method in results.methods if (found := results.at(method, point))}
    lost = [method for method, one in seeds.items() if one.diverged is not None]
    if not panel.name.startswith("near"):
        return f"{', '.join(lost)} diverge{'s' if len(lost) == 1 else ''}" if lost else "every evaluation's mean model"
    far = {
        method: float(np.linalg.norm(_tail(one) - surfaces[point].optimum, axis=1).mean())
        for method, one in seeds.items()
        if one.diverged is None and AXES[0] in one.columns
    }
    if not far:
        return "every method diverges"
    nearest, farthest = min(far, key=far.get), max(far, key=far.get)
    near, distant = (number(far[method], 2) for method in (nearest, farthest))
    return f"last tenth: {nearest} stays nearest (mean distance {near}), {farthest} farthest ({distant})"
