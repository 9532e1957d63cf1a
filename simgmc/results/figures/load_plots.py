"""Pictures of single workers: what their time is made of, how stale gradients were, how far apart models are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from simgmc.core.quantities import axis_unit, number, percent_text
from simgmc.results.figures import lines, looks, panels
from simgmc.results.figures.bars import PART_COLORS
from simgmc.results.figures.panels import Panel
from simgmc.results.series import curves
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.series.loads import Load
from simgmc.results.series.measures import Measure
from simgmc.results.series.read import ComparisonPoint, Results, Series, compared_at

_COLORS = {
    name: PART_COLORS[part]
    for name, part in zip(
        ("compute", "compress", "communication", "wait"), ("compute", "compress", "transfer", "wait"), strict=True
    )
}
_FEW = 16
"""Workers that have room for gaps between their bars and for error bars."""
_MAX_BINS = 40
_SHOWN = 0.99
"""The axis of staleness ends at this share of a method's gradients if it would be over twice as long for all."""
CONSENSUS = Measure("consensus distance", "consensus distance", False, "consensus distance", log=True)
_SINGLE = {
    "mean worker": {"linestyle": "--", "linewidth": 1.0},
    "worst worker": {"linestyle": (0, (1, 1)), "linewidth": 1.0},
}
"""Values of single workers in ``other_metrics.csv``, after the measure's name, and how each is drawn."""


def idle_bars(results: Results, loads: Sequence[Load], onto: Axes | None = None) -> list[Figure] | None:
    """A bar per worker and a panel per method, stacked to the whole of its time; None where all workers are alike."""
    if not any(load.uneven for load in loads):
        return None

    def draw(axis: Axes, load: Load) -> None:
        workers = np.arange(len(load.details[0].gradients))
        base = np.zeros(len(workers))
        few = len(workers) <= _FEW
        for name, shares in load.shares.items():
            mean = 100 * shares.mean(axis=0)
            axis.bar(workers, mean, 0.8 if few else 1.0, bottom=base, color=_COLORS[name], lw=0)
            base += mean
        if few and len(load.details) > 1:
            busy = 100 * (1 - load.idle)
            axis.errorbar(
                workers, busy.mean(axis=0), yerr=busy.std(axis=0, ddof=1), fmt="none", ecolor="#E8E8E8", elinewidth=0.6
            )
        axis.set(xlim=(-0.6, len(workers) - 0.4), ylim=(0, 100))
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axis.grid(visible=False, axis="x")

    def finding(load: Load) -> str:
        worker, worst = load.worst
        idle = f"idle {percent_text(load.mean_idle.mean)} of the time"
        return f"{idle}, worker {worker} most: {percent_text(worst)}" if load.uneven else f"every worker {idle}"

    handles = [Patch(color=color) for color in _COLORS.values()]
    note = "bars: mean over seeds" if _several(loads) else ""
    if note and any(len(load.details[0].gradients) <= _FEW for load in loads):
        note += "; lines where idle time begins: ± one standard deviation"
    return _grid(results, loads, draw, finding, "worker", "share of its time (%)", handles, list(_COLORS), note, onto)


def staleness_bars(results: Results, loads: Sequence[Load], onto: Axes | None = None) -> list[Figure] | None:
    """How many of a method's gradients (or messages) had which staleness, a panel per method where some is above 0."""
    stale = [load for load in loads if load.staleness is not None and load.staleness[0][-1] > 0]
    if not stale:
        return None
    most, nearly = (max(load.staleness_at_most(part) for load in stale) for part in (1.0, _SHOWN))
    longest = most if most <= 2 * nearly else nearly  # a few far out would squeeze all others
    bins = -(-(longest + 1) // _MAX_BINS)

    def share(load: Load) -> np.ndarray:
        values, shares = load.staleness
        padded = np.pad(shares, ((0, 0), (0, -len(values) % bins)))
        return 100 * padded.reshape(len(shares), -1, bins).sum(axis=2)

    def spread(binned: np.ndarray) -> np.ndarray:
        return binned.std(axis=0, ddof=1) if len(binned) > 1 else np.zeros(binned.shape[1])

    binned = [share(load) for load in stale]
    top = 1.05 * max(
        float((one.mean(axis=0) + spread(one)).max()) for one in binned
    )  # of all panels, which share their axis
    end = bins * (longest // bins + 1) - 0.5  # of the last bar in full

    def draw(axis: Axes, load: Load) -> None:
        binned = share(load)
        places = bins * np.arange(binned.shape[1]) + (bins - 1) / 2
        color = looks.look(results.methods, load.method)["color"]
        axis.bar(places, binned.mean(axis=0), 0.86 * bins, color=color, lw=0)
        if len(binned) > 1:
            axis.errorbar(
                places, binned.mean(axis=0), yerr=spread(binned), fmt="none", ecolor="#202020", elinewidth=0.6
            )
        axis.axvline(load.staleness_summary[0].mean, color="#404040", lw=0.8, ls="--")
        axis.set(xlim=(-0.5 - 0.05 * bins, end + 0.05 * bins))
        axis.set_ylim(0, top)
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))

    def finding(load: Load) -> str:
        mean, high, most = load.staleness_summary
        return f"{load.stale}: mean {number(mean.mean)}, 95 % at most {high}, all at most {most}"

    kinds = {load.stale for load in stale}
    name = f"share of {' or '.join(sorted(kinds))} (%)" if bins == 1 else f"share in {bins} values (%)"
    unit = {("gradients",): "updates", ("messages",): "rounds"}.get(tuple(kinds), "updates, rounds of messages")
    note = "bars: mean over seeds, lines: ± one standard deviation" if _several(stale) else ""
    return _grid(
        results,
        stale,
        draw,
        finding,
        f"staleness ({unit})",
        name,
        [Line2D([], [], color="#404040", lw=0.8, ls="--")],
        ["mean"],
        note,
        onto,
    )


def consensus_figure(results: Results, onto: Axes | None = None) -> list[Figure] | None:
    """How far the workers' models are from their mean, along simulated time; of the methods that have it.

    None where none has.
    """
    series = tuple(_started(one) for one in results.series if CONSENSUS.column in one.columns)
    if not any(np.isfinite(one[CONSENSUS.column]).any() for one in series):
        return None
    own = Results(series, results.methods, compared_at(series), CONSENSUS)

    def finding(point: ComparisonPoint) -> str:
        ends = {
            m: [float(one[CONSENSUS.column][-1]) for one in own.at(m, point) if one.diverged is None]
            for m in own.methods
        }
        ends = {
            method: float(np.mean(values)) for method, values in ends.items() if values and np.isfinite(values).all()
        }
        if not ends:
            return "no method ends with a finite value"
        nearest = min(ends, key=ends.get)
        if len(ends) == 1:
            return f"{nearest} ends {number(ends[nearest])} apart"
        return f"{nearest} ends closest together, {number(ends[nearest])} apart"

    return lines.measure_figure(own, "sim_time_s", None, None, finding, onto)


def _started(one: Series) -> Series:
    """Without the distance at the start, where all workers hold the same and only rounding tells them apart."""
    distance = np.where(one["sim_time_s"] > 0, one[CONSENSUS.column], np.nan)
    return dataclasses.replace(one, columns={**one.columns, CONSENSUS.column: distance})


def single_worker_figure(results: Results, onto: Axes | None = None) -> list[Figure] | None:
    """The averaged model beside single workers' (their mean, the worst), along simulated time.

    A panel for each method that has them; None where none has, [] where they would be too many.
    """
    measure = results.measure
    columns = {name: f"{measure.column} {name}" for name in _SINGLE}
    results = dataclasses.replace(
        results, series=tuple(_alike_at_the_start(one, measure.column, columns.values()) for one in results.series)
    )
    places = dict.fromkeys((one.key.method, one.point) for one in results.series)
    having = [(method, point) for method, point in places if _have(results, method, point, columns.values())]
    if not having:
        return None
    if len(having) > MAX_POINTS:
        return []
    scale = 100.0 if measure.share else 1.0
    styles = {"averaged model": {"linestyle": "-"}, **_SINGLE}
    handles = [Line2D([], [], color="#404040", **{"linewidth": 1.2} | style) for style in styles.values()]
    made = panels.pages(_rows(results, having), 1.6, onto)
    for page in made:
        drawn: dict[Panel, list[curves.Curve]] = {}
        for panel, axis in page.axes.items():
            (point,), method = panel.points, panel.method
            color = looks.look(results.methods, method)["color"]
            end = 0.0
            for name, style in styles.items():
                own = dataclasses.replace(
                    results, measure=dataclasses.replace(measure, column=columns.get(name, measure.column))
                )
                curve = curves.curve(own, method, point, "sim_time_s")
                drawn.setdefault(panel, []).append(curve)
                axis.plot(curve.x, scale * curve.mean, color=color, zorder=3, **style)
                if curve.std is not None:
                    axis.fill_between(
                        curve.x,
                        scale * (curve.mean - curve.std),
                        scale * (curve.mean + curve.std),
                        color=color,
                        alpha=0.15,
                        lw=0,
                    )
                end = max(end, float(curve.x[-1]))
            axis.set_xlim(-0.015 * end, 1.015 * end or 1.0)
            panels.scaled_axis(axis.xaxis, axis_unit("time", 0.0, end, log=False), results.time, log=False)
        for row in page.rows:
            page.axes[row[0]].set_ylabel(lines.measure_name(measure))
            lines.linear_limits(page.axes[row[0]], measure, [curve for panel in row for curve in drawn[panel]])
        panels.titles(page, lambda panel: _behind(results, panel.method, panel.points[0], columns["worst worker"]))
        panels.page_legend(page, handles, list(styles), lines.seeds_note(results))
    return [page.figure for page in made]


def _alike_at_the_start(one: Series, column: str, singles: Iterable[str]) -> Series:
    """With what single workers have there, which is what all have, where nobody took it down."""
    begun = one["sim_time_s"] > 0
    own = {
        name: np.where(begun | np.isfinite(one[name]), one[name], one[column])
        for name in singles
        if name in one.columns
    }
    return dataclasses.replace(one, columns={**one.columns, **own})


def _have(results: Results, method: str, point: ComparisonPoint, columns: Sequence[str]) -> bool:
    seeds = results.at(method, point)
    return bool(seeds) and all(
        np.isfinite(one.columns.get(column, np.nan)).any() for one in seeds for column in columns
    )


def _behind(results: Results, method: str, point: ComparisonPoint, column: str) -> str:
    """How far the worst worker is from the averaged model at the end."""
    apart = np.mean([one[column][-1] - one[results.measure.column][-1] for one in results.at(method, point)])
    if not np.isfinite(apart):
        return "no finite value at the end"
    if results.measure.share:
        return f"worst worker ends {abs(100 * apart):.1f} points {'below' if apart < 0 else 'above'} the averaged model"
    return f"worst worker ends {number(abs(apart))} {'above' if apart > 0 else 'below'} the averaged model"


def _several(loads: Sequence[Load]) -> bool:
    return any(len(load.details) > 1 for load in loads)


def _rows(results: Results, pairs: Sequence[tuple[str, ComparisonPoint]]) -> list[list[Panel]]:
    """A panel per method and grid point of its own; another one at which methods are compared begins another row."""
    left = dict.fromkeys(pairs)
    rows = []
    for place in results.points:
        here = []
        for method in results.methods:
            point = next((one.point for one in results.at(method, place)), place)
            if (method, point) in left:
                del left[method, point]
                where = "" if results.points == (point,) else f", {results.label(point)}"
                here.append(Panel(method + where, (point,), method))
        rows += panels.flow(here)
    return rows


def _grid(
    results: Results,
    loads: Sequence[Load],
    draw: Callable[[Axes, Load], None],
    finding: Callable[[Load], str],
    x_name: str,
    y_name: str,
    handles: list,
    labels: list[str],
    note: str,
    onto: Axes | None,
) -> list[Figure]:
    """A panel per load; [] where they would be too many."""
    if len(loads) > MAX_POINTS:
        return []
    of = {(load.method, load.point): load for load in loads}
    rows = _rows(results, list(of))
    shown = {panel: of[panel.method, panel.points[0]] for row in rows for panel in row}
    made = panels.pages(rows, 1.45, onto)
    for page in made:
        for panel, axis in page.axes.items():
            draw(axis, shown[panel])
            axis.set_xlabel(x_name)
        for row in page.rows:
            page.axes[row[0]].set_ylabel(y_name)
        panels.titles(page, lambda panel: finding(shown[panel]))
        panels.page_legend(page, handles, labels, note, filled=len(labels) > 1)
    return [page.figure for page in made]
