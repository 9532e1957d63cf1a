"""Heat maps over two quantities of a grid: who meets the target first, and how many times sooner than the baseline.

A cell is a grid point, drawn from half way to its neighbours; nothing is smoothed but the
labelled contours of the speed-up, which are interpolated between the cells' centres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from simgmc.results.figures import looks, panels
from simgmc.results.figures.panels import Page, Panel
from simgmc.results.figures.plane_axes import Scale, frame
from simgmc.results.series.grids import (
    MAX_POINTS,
    NOBODY,
    NOT_RUN,
    SOME_SEEDS,
    Group,
    axes_of,
    groups,
    speedup_finding,
    winner_finding,
)  # fmt: skip
from simgmc.results.series.read import Results

_SPEEDUPS = "PRGn"
_GREY, _NOT_RUN, _EDGE = "#E6E6E6", "#FFFFFF", "#202020"
_HATCH = {"not run": "xxxx", "some seeds": "....", "incomplete": "////", ">": "////", "<": "\\\\\\\\"}
_HATCH_COLOR = "#404040"
_BAR_WIDTH = 0.75
"""Inches that the colour bar and its numbers take."""


def heat_map_figures(results: Results, target: float, baseline: str | None) -> dict[str, list[Figure]]:
    """By file name; none where the grid has no two numeric keys with three values each, an empty list
    where more than :data:`~simgmc.results.series.grids.MAX_POINTS` maps would be needed.

    ``first_to_target_map`` has, for each collective and other key, a map of who is first and under
    it the speed-up of whichever method but the baseline is first; ``speedup_map`` (where there is
    more than one such method) the speed-up of each.
    """
    planes = _planes(results, target, baseline)
    if not planes:
        return {}
    if len(planes) > MAX_POINTS:
        return {"first_to_target_map": []}
    others = _others(results, baseline)
    blocks = panels.flow(planes)
    rows = []
    for block in blocks:
        rows.append([_Map(plane, None, False) for plane in block])
        if others:
            rows.append([_Map(plane, None, True) for plane in block])
    figures = {"first_to_target_map": _figures(rows)}
    if len(others) > 1:
        figures["speedup_map"] = _figures(
            [[_Map(plane, method, True) for plane in block] for block in blocks for method in others]
        )
    return figures


def winner_maps(results: Results, target: float, baseline: str | None, onto: Axes | None = None) -> list[Figure]:
    """Who is first, a panel for each collective and other key; [] where there is no plane or there are too many."""
    rows = panels.flow([_Map(plane, None, False) for plane in _planes(results, target, baseline)])
    return _figures(rows, onto) if rows and sum(map(len, rows)) <= MAX_POINTS else []


def speedup_maps(
    results: Results, target: float, baseline: str, methods: Sequence[str] = (), onto: Axes | None = None
) -> list[Figure]:
    """The speed-up of these methods (without one, of whichever is first), as :func:`winner_maps`.

    [] too where nobody but the baseline is there, or the baseline is not.
    """
    planes = _planes(results, target, baseline) if _others(results, baseline) else []
    rows = panels.flow([_Map(plane, method, True) for plane in planes for method in methods or (None,)])
    return _figures(rows, onto) if rows and sum(map(len, rows)) <= MAX_POINTS else []


def _planes(results: Results, target: float, baseline: str | None) -> list[Group]:
    keys = axes_of(results)
    return groups(results, keys, target, baseline) if keys else []


def _others(results: Results, baseline: str | None) -> list[str]:
    """The methods that can be compared with the baseline; none where it is not there."""
    there = {one.key.method for one in results.series}
    return [method for method in results.methods if method != baseline and method in there] if baseline in there else []


@dataclass(frozen=True, eq=False)
class _Map:
    """What one panel shows: who is first in a plane, or a speed-up over the baseline there."""

    plane: Group
    method: str | None
    """Whose speed-up; None: of whichever but the baseline is first."""
    speedup: bool

    @property
    def name(self) -> str:
        if not self.speedup:
            return f"{self.plane.name}: who is first"
        return f"{self.plane.name}: {self.method or 'best other'} over {self.plane.baseline}"

    @property
    def finding(self) -> str:
        """What is seen, in a sentence."""
        return speedup_finding(self.plane, self.method) if self.speedup else winner_finding(self.plane)


def _figures(rows: list[list[_Map]], onto: Axes | None = None) -> list[Figure]:
    """Pages of maps: one colour scale, one legend of what the page has."""
    maps = {Panel(one.name, ()): one for row in rows for one in row}
    laid = [[Panel(one.name, ()) for one in row] for row in rows]
    norm = _norm([one for one in maps.values() if one.speedup])
    handles, labels = _legend([one for row in rows for one in row])
    made = panels.pages(laid, 2.15, onto)
    for page in made:
        contours: dict[Axes, list] = {}
        for panel, axis in page.axes.items():
            one = maps[panel]
            if one.speedup:
                contours[axis] = _draw_speedup(axis, one, norm)
            else:
                _draw_winners(axis, one.plane)
            frame(axis, one.plane, bottom=not _below(page, panel), left=any(panel == row[0] for row in page.rows))
        if contours:
            plane = rows[0][0].plane
            goal = plane.results.measure.value_text(plane.target)
            _color_bar(page, list(contours), norm, f"speed-up over {plane.baseline}", f"in time to {goal}")
        panels.titles(page, lambda panel: maps[panel].finding, _BAR_WIDTH if contours else 0.0)
        if labels:
            panels.page_legend(page, handles, labels)
        if (layout := page.figure.get_layout_engine()) is not None:
            layout.execute(page.figure)  # from here on it is known where contours' labels lie
        page.figure.set_layout_engine("none")  # and nothing is laid out again
        for axis, labels_inside in contours.items():
            _drop_crowded(axis, labels_inside)
    return [page.figure for page in made]


def _below(page: Page, panel: Panel) -> bool:
    """Whether the row under a panel has one at its place."""
    (row,) = [place for place, line in enumerate(page.rows) if panel in line]
    return row + 1 < len(page.rows) and len(page.rows[row + 1]) > page.rows[row].index(panel)


def _cells(plane: Group, where: np.ndarray) -> list[Rectangle]:
    across, up = (Scale.of(key).edges for key in plane.keys)
    return [
        Rectangle((across[j], up[i]), across[j + 1] - across[j], up[i + 1] - up[i])
        for i, j in zip(*np.nonzero(where), strict=True)
    ]


def _hatch(axis: Axes, plane: Group, where: np.ndarray, hatch: str, color: str = "none") -> None:
    for cell in _cells(plane, where):
        cell.set(facecolor=color, edgecolor=_HATCH_COLOR, hatch=hatch, linewidth=0.0)
        axis.add_patch(cell)


def _draw_winners(axis: Axes, plane: Group) -> None:
    winner = plane.winner
    across, up = (Scale.of(key) for key in plane.keys)
    colors = np.full((*winner.shape, 3), to_rgb(_GREY))
    colors[winner == NOT_RUN] = to_rgb(_NOT_RUN)
    for index in set(winner[winner >= 0].tolist()):
        colors[winner == index] = _soft(looks.look(plane.results.methods, plane.results.methods[index])["color"])
    axis.pcolormesh(across.edges, up.edges, colors, rasterized=True)
    _hatch(axis, plane, winner == NOT_RUN, _HATCH["not run"])
    _hatch(axis, plane, winner == SOME_SEEDS, _HATCH["some seeds"])
    _hatch(axis, plane, plane.incomplete & (winner >= 0), _HATCH["incomplete"])
    if plane.undecided.any():
        i, j = np.nonzero(plane.undecided)
        axis.plot(across.places[j], up.places[i], **_UNDECIDED)
    axis.add_collection(
        LineCollection(_flips(winner, across.edges, up.edges), colors=_EDGE, linewidths=1.1, capstyle="projecting")
    )


_UNDECIDED = {"linestyle": "none", "marker": "o", "markersize": 1.6, "color": _EDGE, "markeredgewidth": 0}


def _soft(color: str) -> tuple[float, ...]:
    """A method's colour, as light as hatches and dots need behind them."""
    return tuple(1 - 0.72 * (1 - part) for part in to_rgb(color))


def _flips(winner: np.ndarray, across: np.ndarray, up: np.ndarray) -> list[list[tuple[float, float]]]:
    """The edges between neighbouring cells with different answers."""
    lines = []
    for i, j in zip(*np.nonzero(winner[:, 1:] != winner[:, :-1]), strict=True):
        lines.append([(across[j + 1], up[i]), (across[j + 1], up[i + 1])])
    for i, j in zip(*np.nonzero(winner[1:] != winner[:-1]), strict=True):
        lines.append([(across[j], up[i + 1]), (across[j + 1], up[i + 1])])
    return lines


def _norm(maps: Sequence[_Map]) -> LogNorm:
    """Logarithmic and symmetric around 1, to the next 2, 5 or 10 beyond all that the maps have."""
    values = [ratio.value for one in maps for ratio in one.plane.advantages(one.method).flat if ratio is not None]
    largest = max([max(value, 1 / value) for value in values], default=2.0)
    power = 10.0 ** math.floor(math.log10(largest))
    limit = next(step * power for step in (2.0, 5.0, 10.0) if step * power >= largest * (1 - 1e-9))
    return LogNorm(1 / limit, limit)


def _draw_speedup(axis: Axes, one: _Map, norm: LogNorm) -> list[Text]:
    """Returns the contours' labels."""
    plane = one.plane
    across, up = (Scale.of(key) for key in plane.keys)
    ratios = plane.advantages(one.method)
    values = np.array([[math.nan if ratio is None else ratio.value for ratio in row] for row in ratios])
    bounds = np.array([["" if ratio is None else ratio.bound for ratio in row] for row in ratios])
    colors = matplotlib.colormaps[_SPEEDUPS](norm(np.where(np.isfinite(values), values, 1.0)))[..., :3]
    colors[~np.isfinite(values)] = to_rgb(_GREY)
    colors[plane.winner == NOT_RUN] = to_rgb(_NOT_RUN)
    axis.pcolormesh(across.edges, up.edges, colors, rasterized=True)
    _hatch(axis, plane, plane.winner == NOT_RUN, _HATCH["not run"])
    for bound in "><":
        _hatch(axis, plane, bounds == bound, _HATCH[bound])
    exact = np.where(bounds == "=", values, math.nan)
    levels = [level for level in _levels(norm) if np.nanmin(exact, initial=1e9) < level < np.nanmax(exact, initial=0.0)]
    if not levels:
        return []
    # Contours of the logarithm: with a factor between neighbours, half way is its root.
    drawn = axis.contour(
        across.places, up.places, np.log10(exact), [math.log10(level) for level in levels],
        colors=_EDGE, linewidths=[1.4 if level == 1 else 0.5 for level in levels], linestyles="solid",
    )  # fmt: skip
    texts = list(axis.clabel(drawn, fmt=lambda value: _times(10**value), fontsize=6, inline=False))
    for text in texts:
        text.set_path_effects([patheffects.withStroke(linewidth=1.6, foreground="white")])
    return texts


def _times(value: float) -> str:
    return f"{value:.3g}×"


def _levels(norm: LogNorm) -> list[float]:
    """1, 2, 5, 10 ... and their inverses; powers of 10 alone where that would be too many."""
    powers = range(math.floor(math.log10(norm.vmax)) + 1)
    steps = (1.0, 2.0, 5.0) if norm.vmax <= 100 else (1.0,)
    above = [step * 10.0**power for power in powers for step in steps if step * 10.0**power <= norm.vmax]
    return sorted({*(1 / level for level in above), *above})


def _color_bar(page: Page, axes: list[Axes], norm: LogNorm, *label: str) -> None:
    mappable = matplotlib.cm.ScalarMappable(norm, matplotlib.colormaps[_SPEEDUPS])
    bar = page.figure.colorbar(mappable, ax=axes, location="right", fraction=0.06, pad=0.02, aspect=22 * len(page.rows))
    bar.ax.yaxis.set_major_locator(FixedLocator(_levels(norm)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _times(value)))
    bar.ax.grid(visible=False)
    height = 1.9 * len(axes) / max(map(len, page.rows))
    bar.set_label("\n".join(line for part in label for line in panels.fold(part, 8, height)))
    bar.outline.set_visible(False)


def _drop_crowded(axis: Axes, texts: list[Text]) -> None:
    """Contours' labels that stick out of the panel or lie on another go; the colour bar has the numbers too."""
    panel, kept = axis.get_window_extent(), []
    for text in texts:
        box = text.get_window_extent()
        inside = panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1
        if inside and not any(box.overlaps(other) for other in kept):
            kept.append(box.padded(2))
        else:
            text.remove()


def _legend(maps: Sequence[_Map]) -> tuple[list, list[str]]:
    """Only what the maps have."""
    planes = {id(one.plane): one.plane for one in maps}.values()
    results, target = maps[0].plane.results, maps[0].plane.target
    goal, baseline = results.measure.value_text(target), maps[0].plane.baseline
    handles, labels = [], []

    def entry(handle, label: str) -> None:
        handles.append(handle)
        labels.append(label)

    if any(not one.speedup for one in maps):
        codes = {code for plane in planes for code in plane.winner.flat}
        for index in sorted(code for code in codes if code >= 0):
            entry(
                Patch(color=_soft(looks.look(results.methods, results.methods[index])["color"])),
                f"{results.names[results.methods[index]]} first",
            )
        if any(plane.undecided.any() for plane in planes):
            entry(Line2D([], [], **_UNDECIDED), "too close to tell who is first")
        if NOBODY in codes:
            entry(Patch(color=_GREY), f"no method reaches {goal}")
        if SOME_SEEDS in codes:
            entry(_hatched(_GREY, "some seeds"), f"only some seeds reach {goal}")
        if any((plane.incomplete & (plane.winner >= 0)).any() for plane in planes):
            entry(_hatched(_NOT_RUN, "incomplete"), "over who is first: some series are missing")
    if any((plane.winner == NOT_RUN).any() for plane in planes):
        entry(_hatched(_NOT_RUN, "not run"), "not run")
    ratios = [
        (one.plane.winner[at], ratio)
        for one in maps
        if one.speedup
        for at, ratio in np.ndenumerate(one.plane.advantages(one.method))
    ]
    bounds = {ratio.bound for _, ratio in ratios if ratio}
    if ">" in bounds:
        entry(_hatched(_NOT_RUN, ">"), f"over a speed-up: at least, {baseline} had not reached {goal}")
    if "<" in bounds:
        entry(_hatched(_NOT_RUN, "<"), f"at most: only {baseline} had reached {goal} with every seed")
    if any(ratio is None and code != NOT_RUN for code, ratio in ratios) and not {NOBODY, SOME_SEEDS} & {
        code for code, _ in ratios
    }:
        entry(Patch(color=_GREY), "unknown which is sooner")
    return handles, labels


def _hatched(color: str, why: str) -> Patch:
    return Patch(facecolor=color, edgecolor=_HATCH_COLOR, hatch=_HATCH[why], linewidth=0.3)
