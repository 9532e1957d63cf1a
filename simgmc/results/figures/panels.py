"""Figures made of panels, one per grid point: layout, looks of methods, titles, legends, axes, files."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from simgmc.core.errors import SimgmcError
from simgmc.core.quantities import number
from simgmc.results.series.read import ComparisonPoint, Results

COLUMN_WIDTH, PAGE_WIDTH = 3.3, 7.0
ROWS_PER_PAGE = 4
_TITLE, _LINE = 0.45, 0.16
"""Inches of height that figures have for each row's titles; of a line of a legend."""


@contextmanager
def style():
    """The look of all figures, for as long as the block lasts."""
    with matplotlib.style.context(Path(__file__).with_name("simgmc.mplstyle")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for the character
        yield


@dataclass(frozen=True)
class Panel:
    """One panel: what it is called, and what is drawn in it."""

    name: str
    points: tuple[ComparisonPoint, ...]
    method: str = ""
    """Whose panel it is, where each method has its own."""


@dataclass(frozen=True)
class Page:
    """A figure and its panels, row by row."""

    figure: Figure
    axes: dict[Panel, Axes]
    rows: list[list[Panel]]
    onto: Axes | None = None
    """The axis that the only panel is drawn on, where somebody gave one: the figure around it is theirs."""


def point_rows(results: Results, points: Sequence[ComparisonPoint] | None = None) -> list[list[Panel]]:
    """One panel per grid point: collectives side by side and a row for each of the grid's other values, or,
    where only one of the two varies (or there are more than three collectives), one after the other."""
    points = list(points or results.points)
    rows = [[point for point in points if point.grid == grid] for grid in dict.fromkeys(p.grid for p in points)]
    if not _side_by_side(points):
        rows = flow(points)
    return [[Panel(results.label(point), (point,)) for point in row] for row in rows]


def _side_by_side(points: Sequence[ComparisonPoint]) -> bool:
    return 1 < len({point.transport for point in points}) <= 3 and len({point.grid for point in points}) > 1


def flow(items: list) -> list[list]:
    """One, two or three side by side."""
    across = len(items) if len(items) <= 3 else 2 if len(items) == 4 else 3
    return [items[start : start + across] for start in range(0, len(items), max(across, 1))]


def sharing(page: Page, *, log: bool) -> list[list[Panel]]:
    """The groups of panels that have the same horizontal limits, so that they can be compared at sight.

    Collectives at the same grid values always; different grid values only on a logarithmic axis,
    since on a linear one the longest would squeeze the others.
    """
    every = [panel for row in page.rows for panel in row]
    points = [panel.points[0] for panel in every]
    if _side_by_side(points):
        return page.rows
    return [every] if log or len({point.grid for point in points}) == 1 else [[panel] for panel in every]


def pages(rows: list[list[Panel]], panel_height: float, onto: Axes | None = None) -> list[Page]:
    """Figures with at most four rows each, or the figure of the axis ``onto``, on which a single panel is drawn.

    They have room for short titles; :func:`titles` and :func:`legend` add what more they need, so that panels stay as
    high as they are. Raises SimgmcError where several panels were to be drawn on one axis.
    """
    if onto is not None:
        names = [panel.name for row in rows for panel in row]
        if len(names) > 1:
            raise SimgmcError(
                f"one axis holds one panel, and there are {len(names)} ({'; '.join(names)}): choose with at={{KEY: "
                "VALUE}, or method= where each method has its own"
            )
        return [Page(onto.figure.figure, {rows[0][0]: onto}, rows, onto)]
    made = []
    across = max(map(len, rows))
    for start in range(0, len(rows), ROWS_PER_PAGE):
        here = rows[start : start + ROWS_PER_PAGE]
        height = len(here) * (panel_height + _TITLE) + 0.35
        figure = Figure(figsize=(COLUMN_WIDTH if across == 1 else PAGE_WIDTH, height))
        grid = figure.subplots(len(here), across, sharey=True, squeeze=False)
        axes = {}
        for row, line in zip(here, grid, strict=True):
            for axis in line[len(row) :]:
                axis.remove()
            axes |= dict(zip(row, line, strict=False))
        made.append(Page(figure, axes, here))
    return made


def titles(page: Page, finding: Callable[[Panel], str], beside: float = 0.0) -> None:
    """Over each panel its name in bold and under it what is seen, folded to the panel's width.

    ``beside``: inches that something left of the panels takes (names of bars). On an axis that was given the name alone
    is its title, to be changed by whoever gave it.
    """
    if page.onto is not None:
        page.onto.set_title(page.rows[0][0].name)
        return
    width = (page.figure.get_figwidth() - 0.5 - beside) / max(map(len, page.rows)) - 0.12
    above = {"xy": (0, 1), "xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    more = 0.0
    for row in page.rows:
        folded = {panel: fold(finding(panel), 7.5, width) for panel in row}
        height = 3 + 1.23 * 7.5 * max(map(len, folded.values()))
        names = {panel: fold(panel.name, 8, width, "bold") for panel in row}
        more += max(0.0, (height + 2 + 1.2 * 8 * max(map(len, names.values()))) / 72 - _TITLE)
        for panel in row:
            page.axes[panel].annotate(
                "\n".join(folded[panel]), xytext=(0, height), va="top", fontsize=7.5, linespacing=1.15, **above
            )
            page.axes[panel].annotate(
                "\n".join(names[panel]), xytext=(0, height + 2), va="bottom", fontsize=8, fontweight="bold", **above
            )
    _heighten(page.figure, more)


def _heighten(figure: Figure, inches: float) -> None:
    figure.set_figheight(figure.get_figheight() + inches)


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of one line of text, in inches."""
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)[0] / 72


def fold(text: str, size: float, width: float, weight: str = "normal") -> list[str]:
    """The text in lines no wider than ``width`` inches; a word that is too long is broken."""
    for letters in range(len(text), 3, -1):
        lines = textwrap.wrap(text, letters)
        if all(text_width(line, size, weight) <= width for line in lines):
            return lines
    return [text]


def _legend_layout(labels: Sequence[str], width: float, size: float = 7) -> tuple[list[str], int, int]:
    """Labels folded to the figure's width, and how many columns and lines of text the legend takes."""
    folded = ["\n".join(fold(label, size, width - 0.6)) for label in labels]
    widths = [max(text_width(line, size) for line in label.split("\n")) + 0.5 for label in folded]
    lines = [label.count("\n") + 1 for label in folded]
    for columns in sorted({-(-len(folded) // rows) for rows in range(1, len(folded) + 1)}, reverse=True):
        split = np.array_split(np.arange(len(folded)), columns)  # as matplotlib fills columns
        if columns == 1 or sum(max(widths[i] for i in column) for column in split) <= width - 0.1:
            break
    return folded, columns, max(sum(lines[i] for i in column) for column in split)


def page_legend(page: Page, handles: Sequence, labels: Sequence[str], note: str = "", *, filled: bool = False) -> None:
    """:func:`legend` under all panels, or the legend of the axis that was given: where it covers least, or under it
    where bars fill the panel."""
    if page.onto is None:
        legend(page.figure, handles, labels, note)
        return
    under = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 3} if filled else {}
    _named(page.onto.legend(handles, [str(place) for place in range(len(labels))], **under), labels)


def legend(figure: Figure, handles: Sequence, labels: Sequence[str], note: str = "") -> None:
    """A legend under all panels, so that it never covers data, with a line on what is shown."""
    folded, columns, lines = _legend_layout(labels, figure.get_figwidth())
    notes = fold(note, 6.5, figure.get_figwidth() - 0.2) if note else []
    made = figure.legend(
        handles, [str(place) for place in range(len(folded))], loc="outside lower center", ncols=columns,
        title="\n".join(notes) or None,
    )  # fmt: skip
    _named(made, folded)
    _heighten(figure, _LINE * (lines + len(notes)))


def _named(made: Legend, labels: Sequence[str]) -> None:
    """The entries' texts, set only now: a legend leaves out labels that begin with an underscore."""
    for text, label in zip(made.get_texts(), labels, strict=True):
        text.set_text(label)


def scaled_axis(axis, unit: tuple[float, str], name: str, *, log: bool) -> None:
    """Labels an x or y axis that holds raw numbers in a unit: plain, round numbers of that unit on either scale."""
    scale, text = unit
    axis.set_label_text(f"{name} ({text})" if text else name)
    low, high = sorted(axis.get_view_interval())
    if log and high / low >= 3:
        axis.set_major_locator(
            _InUnit(LogLocator(subs=(1.0,) if high / low >= 100 else (1.0, 2.0, 5.0), numticks=8), scale)
        )
        axis.set_minor_locator(_InUnit(LogLocator(subs="auto", numticks=100), scale))
    else:
        axis.set_major_locator(_InUnit(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]), scale))
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value / scale)))


class _InUnit(Locator):
    """Another locator's ticks, round in the unit shown rather than in the raw one."""

    def __init__(self, locator: Locator, scale: float) -> None:
        self.locator, self.scale = locator, scale

    def tick_values(self, vmin: float, vmax: float) -> np.ndarray:
        return np.asarray(self.locator.tick_values(vmin / self.scale, vmax / self.scale)) * self.scale

    def __call__(self) -> np.ndarray:
        return self.tick_values(*self.axis.get_view_interval())


def plain(value: float) -> str:
    """A tick's number: as short as it can be."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return number(value, 1).replace("e+0", "e").replace("e-0", "e-")


def pictures(page_figures: Sequence[Figure], name: str, formats: Sequence[str]) -> dict[str, bytes]:
    """By file name, each figure in each format; more than one page gets numbers. The same figure gives the same
    bytes."""
    found = {}
    for index, figure in enumerate(page_figures, start=1):
        stem = name if len(page_figures) == 1 else f"{name}_{index}"
        for form in formats:
            stream = io.BytesIO()
            metadata = {"CreationDate": None} if form == "pdf" else None
            figure.savefig(stream, format=form, metadata=metadata)
            figure.set_layout_engine("none")  # what has been laid out stays so, in every format
            found[f"{stem}.{form}"] = stream.getvalue()
    return found


def save(
    page_figures: Sequence[Figure],
    folder: Path,
    name: str,
    write: Callable[[Path, bytes], Path],
    formats: Sequence[str],
) -> list[Path]:
    """Writes :func:`pictures`."""
    return [write(folder / file, content) for file, content in pictures(page_figures, name, formats).items()]
