"""Figures of runs: each function takes a run and gives a matplotlib figure.

>>> figure = simgmc.plot.accuracy_vs_time("runs/quickstart", at={"cluster.collective": "ring"})
>>> figure.savefig("ring.pdf")

Every function takes

- ``run``: a run directory, what :func:`simgmc.load` or :func:`simgmc.compare` gives, or a list of these to compare;
- ``ax``: a matplotlib axis to draw on. What is drawn must then be a single panel; its name becomes the axis's title,
  and the axis gets a legend. Without it a figure of 3.3 or 7 inches width is made, a panel for each grid point;
- ``at``: values of varied keys, as the scenario writes them: only these grid points are drawn. A transport is chosen by
  ``"cluster.collective"``, one of several runs by ``"run"``;
- ``methods``: only these methods. A method has the same colour, line and marker whichever are drawn.

The result is the figure: the axis's own where one is given. Raises SimgmcError where the run has nothing of the kind to
show, or what is drawn would need several panels and there is one axis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.experiment.reading import Comparison, Run, RunLike, readable
from simgmc.results.figures import bars, heat_maps, lines, load_plots, panels
from simgmc.results.figures.collectives import collective_figures
from simgmc.results.figures.partition_plot import partition_figures
from simgmc.results.series import curves
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.series.loads import Load, loads_of
from simgmc.results.series.read import Results

__all__ = [
    "accuracy_vs_bytes",
    "accuracy_vs_epoch",
    "accuracy_vs_time",
    "collectives",
    "consensus_vs_time",
    "first_to_target_map",
    "idle_per_worker",
    "partition",
    "single_workers_vs_time",
    "speedup_map",
    "staleness",
    "time_per_round",
    "time_to_target",
    "time_to_target_vs",
]

At = Mapping[str, Any]
Methods = Sequence[str]
NOWHERE: At = MappingProxyType({})
"""In place of ``at``: every grid point."""


def accuracy_vs_time(
    run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = (), target: float | None = None
) -> Figure:
    """What the run is measured by (accuracy in percent, or its loss, gap ...) against simulated time.

    Lines are the mean over seeds, bands ± one sample standard deviation. ``target``: the horizontal line, in the
    measure's own unit (0.8 of an accuracy); the scenario's unless given.
    """
    return _measure(run, "sim_time_s", ax, at, methods, target)


def accuracy_vs_bytes(
    run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = (), target: float | None = None
) -> Figure:
    """As :func:`accuracy_vs_time`, against the bytes that all workers have sent."""
    return _measure(run, "bytes_up", ax, at, methods, target)


def accuracy_vs_epoch(
    run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = (), target: float | None = None
) -> Figure:
    """As :func:`accuracy_vs_time`, against passes over the training data."""
    return _measure(run, "epoch", ax, at, methods, target)


def _measure(run: RunLike, along: str, ax: Axes | None, at: At, methods: Methods, target: float | None) -> Figure:
    def draw(one: _Chosen) -> list[Figure]:
        goal = one.of.target if target is None else target
        return lines.measure_figure(one.results, along, goal, one.of.baseline, onto=ax)

    return _drawn(run, at, methods, draw)


def time_to_target(
    run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = (), target: float | None = None
) -> Figure:
    """A bar for each method: simulated time until the target is met, the mean over seeds ± one standard deviation.

    Hatched, and then a lower bound, where not every seed met it. ``target``: the scenario's unless given.
    """
    return _drawn(
        run, at, methods, lambda one: bars.target_bars(one.results, one.goal(target), one.of.baseline, ax)
    )  # fmt: skip


def collectives(
    run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = (), target: float | None = None
) -> Figure:
    """Time to target with all collectives in one panel: who is first over two numeric keys of the grid, lines along
    one, or bars."""
    return _drawn(run, at, methods, lambda one: collective_figures(one.results, one.goal(target), ax))


def time_to_target_vs(
    run: RunLike,
    key: str,
    *,
    ax: Axes | None = None,
    at: At = NOWHERE,
    methods: Methods = (),
    target: float | None = None,
) -> Figure:
    """Time to the target against a numeric key of the grid, such as ``"cluster.bandwidth"``, of three values or more.

    Open markers are lower bounds: not every seed met the target. ``target``: the scenario's unless given.
    """

    def draw(one: _Chosen) -> list[Figure]:
        known = curves.numeric_keys(one.results)
        if key not in known:
            raise SimgmcError(
                f"{one.of.name}: {show_value(key)} is no key of three numbers or more; {suggestion(key, known)}"
            )
        return lines.target_sweep(one.results, key, one.goal(target), one.of.baseline, ax)

    return _drawn(run, at, methods, draw)


def time_per_round(run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = ()) -> Figure:
    """What a worker's round is made of: shares of its time in percent, and the time of a round at the bar's end."""

    def draw(one: _Chosen) -> list[Figure]:
        if any(series.breakdown is None for series in one.results.series):
            raise SimgmcError(f"{one.of.name}: some series are not finished; their rounds' times are not known")
        return bars.round_bars(one.results, ax)

    return _drawn(run, at, methods, draw)


def idle_per_worker(run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = ()) -> Figure:
    """What every worker's time is made of, in percent, a panel for each method; where workers differ."""
    return _drawn(run, at, methods, lambda one: load_plots.idle_bars(one.results, one.loads, ax))


def staleness(run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = ()) -> Figure:
    """How many of a method's gradients (or messages) had which staleness, in percent, a panel for each method."""
    return _drawn(run, at, methods, lambda one: load_plots.staleness_bars(one.results, one.loads, ax))


def consensus_vs_time(run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = ()) -> Figure:
    """How far workers' models are from their mean, against simulated time; of methods whose workers have their own."""
    return _drawn(run, at, methods, lambda one: load_plots.consensus_figure(one.results, ax))


def single_workers_vs_time(run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = ()) -> Figure:
    """The averaged model beside the mean and the worst worker's own, a panel for each method that has them."""
    return _drawn(run, at, methods, lambda one: load_plots.single_worker_figure(one.results, ax))


def partition(run: RunLike, *, ax: Axes | None = None) -> Figure:
    """How many training samples of each label every worker has, under the run's first partition and first seed."""
    return _drawn(run, NOWHERE, (), lambda one: partition_figures(one.of.partitions()[:1], ax))


def first_to_target_map(
    run: RunLike, *, ax: Axes | None = None, at: At = NOWHERE, methods: Methods = (), target: float | None = None
) -> Figure:
    """Which method meets the target first, over the grid's first two numeric keys of three values or more."""
    return _drawn(
        run, at, methods, lambda one: heat_maps.winner_maps(one.results, one.goal(target), one.of.baseline, ax)
    )  # fmt: skip


def speedup_map(
    run: RunLike,
    *,
    ax: Axes | None = None,
    at: At = NOWHERE,
    methods: Methods = (),
    target: float | None = None,
    baseline: str | None = None,
) -> Figure:
    """How many times sooner than the baseline each of ``methods`` meets the target, over two numeric keys of the grid.

    Without ``methods``: whichever but the baseline is first. ``baseline``: the scenario's unless given.
    """

    def draw(one: _Chosen) -> list[Figure]:
        than = baseline or one.of.baseline
        one.results.only({}, [*methods, *([than] if than else [])], one.of.name)  # all of them are there
        return heat_maps.speedup_maps(one.results, one.goal(target), than, methods, ax)

    return _drawn(run, at, (), draw)


@dataclass(frozen=True)
class _Chosen:
    """What is drawn: a run, and those of its series that were asked for."""

    of: Run | Comparison
    results: Results

    def goal(self, target: float | None) -> float:
        """The target that was given, else the run's."""
        found = self.of.target if target is None else target
        if found is None:
            raise SimgmcError(f"{self.of.name}: its scenario has no report.target: give one, target=...")
        return found

    @property
    def loads(self) -> Sequence[Load]:
        return loads_of(self.results, self.of.details())


def _drawn(run: RunLike, at: At, methods: Methods, draw: Callable[[_Chosen], list[Figure] | None]) -> Figure:
    of = readable(run)
    chosen = _Chosen(of, of.results.only(at, methods, of.name))
    with panels.style():
        figures = draw(chosen) if chosen.results.series else None
    if figures is None:
        raise SimgmcError(f"{of.name}: has nothing of the kind to show")
    if len(figures) != 1:
        many = f"{len(figures)} figures" if figures else f"more than {MAX_POINTS} panels"
        raise SimgmcError(f"{of.name}: would take {many}: choose grid points with at={{KEY: VALUE}}, or methods=[...]")
    return figures[0]


def _shown_in_notebooks() -> None:
    """A figure that a cell ends with is seen, also before pyplot has made one, which has notebooks show figures."""
    if "ipykernel" not in sys.modules:
        return
    from IPython import get_ipython  # there with the kernel
    from IPython.core.pylabtools import select_figure_formats

    shell = get_ipython()
    if shell is not None:
        formatters = shell.display_formatter.formatters.values()
        if not any(Figure in one.type_printers for one in formatters):
            select_figure_formats(shell, {"png"})


_shown_in_notebooks()
