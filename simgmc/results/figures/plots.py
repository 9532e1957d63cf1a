"""The plots of a run, from its run directory; each is drawn by a function in :data:`FIGURES`.

- ``accuracy_vs_time``, ``accuracy_vs_bytes``, ``accuracy_vs_epoch`` (or ``loss``, ``gap``, ``distance``: what
  the run is measured by; what else of these it holds is drawn along time): a panel per grid point; lines are
  the mean over seeds, bands the mean ± one sample standard deviation (how seeds with different
  times are brought together: curves.curve). Panels that would show exactly the same are drawn once.
- ``time_to_target``: the same answer as bars, with the numbers.
- ``time_to_target_vs_KEY``: along a numeric key of the grid with at least three values.
- ``collectives``: time to target again, with all collectives in one panel: a map over two such keys, lines along one,
  else bars.
- ``time_per_round``: what a worker's round is made of.
- ``trajectory``: for problems of two parameters, each method's path over the contours of the objective.
- ``idle_per_worker``: what every worker's time is made of, where workers differ.
- ``staleness``: how many gradients (or messages) had which staleness, of methods that have it.
- ``consensus_vs_time``, ``single_workers_vs_time``: of methods whose workers have models of their own.
- ``partition``: how many samples of each label every worker has.
- ``first_to_target_map``, ``speedup_map``: over two numeric keys with at least three values each.

No figure has more than 12 panels (grids.MAX_POINTS): where it would, it is not drawn.

A method has one colour, line style and marker everywhere, see looks.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from simgmc.results.directory.partition_table import read_partition_table
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.figures import bars, heat_maps, lines, load_plots, panels, trajectories
from simgmc.results.figures.collectives import collective_figures
from simgmc.results.figures.material import Figures, Material
from simgmc.results.figures.partition_plot import partition_figures
from simgmc.results.figures.trajectories import Surface
from simgmc.results.series import curves, grids
from simgmc.results.series.measures import ACCURACY, DISTANCE, GAP
from simgmc.results.series.read import ComparisonPoint, Results, read_results


def draw_plots(
    directory: RunDirectory,
    *,
    methods: Sequence[str] | None = None,
    target: float | None = None,
    baseline: str | None = None,
    surfaces: Mapping[ComparisonPoint, Surface] | None = None,
    formats: Sequence[str] = ("png", "pdf"),
    results: Results | None = None,
    only: Sequence[Callable[[Material], Figures]] = (),
) -> dict[str, dict[str, bytes]]:
    """Draws everything that the run's data allow; returns the files of each figure, by figure and name.

    No file: the figure would need too many panels. Nothing is written. ``methods`` gives the scenario's order;
    ``target``, ``baseline`` and ``surfaces`` are those of :class:`~simgmc.results.figures.material.Material`.
    ``results``: what the directory holds, if it has been read. ``only``: those of :data:`FIGURES` that are drawn; all
    unless given.
    """
    results = results or read_results(directory, methods)
    if not results.series:
        return {}
    details = {} if grids.is_large(results) else directory.details()
    material = Material(results, target, baseline, surfaces or {}, details, read_partition_table(directory))
    with panels.style():
        return {name: panels.pictures(figures, name, formats) for name, figures in figures_of(material, only).items()}


def figures_of(material: Material, only: Sequence[Callable[[Material], Figures]] = ()) -> dict[str, list[Figure]]:
    """All figures (or only some) by file name; an empty list where there would be too many panels.

    To be called, and the figures saved, within :func:`panels.style`.
    """
    drawn = {name: figures for draw in only or FIGURES for name, figures in draw(material).items()}
    return {name: figures for name, figures in drawn.items() if figures is not None}


def _measure(material: Material) -> Figures:
    results = material.results
    return {
        f"{results.measure.name}_vs_{along}": lines.measure_figure(results, column, material.target, material.baseline)
        for column, along in {"sim_time_s": "time", "bytes_up": "bytes", "epoch": "epoch"}.items()
    }


def _other_measures(material: Material) -> Figures:
    results = material.results
    figures: Figures = {}
    for other in (ACCURACY, GAP, DISTANCE) if results.measure.log else ():
        held = (np.isfinite(one.columns.get(other.column, np.nan)).any() for one in results.series)
        if other != results.measure and all(held):
            measured = dataclasses.replace(results, measure=other)
            figures[f"{other.name}_vs_time"] = lines.measure_figure(measured, "sim_time_s", None, material.baseline)
    return figures


def _trajectory(material: Material) -> Figures:
    surfaces = material.surfaces
    return {"trajectory": trajectories.trajectory_figures(material.results, surfaces) if surfaces else None}


def _time_to_target(material: Material) -> Figures:
    results, target, baseline = material.results, material.target, material.baseline
    if target is None:
        return {}
    figures: Figures = {"time_to_target": [] if material.large else bars.target_bars(results, target, baseline)}
    for key in curves.numeric_keys(results):
        few = grids.group_count(results, [key]) <= grids.MAX_POINTS
        name = f"time_to_target_vs_{results.key_labels[key].replace(' ', '_')}"
        figures[name] = lines.target_sweep(results, key, target, baseline) if few else []
    return figures | heat_maps.heat_map_figures(results, target, baseline)


def _collectives(material: Material) -> Figures:
    return {} if material.target is None else {"collectives": collective_figures(material.results, material.target)}


def _time_per_round(material: Material) -> Figures:
    if any(one.breakdown is None for one in material.results.series):
        return {}
    return {"time_per_round": [] if material.large else bars.round_bars(material.results)}


def _loads(material: Material) -> Figures:
    return {
        "idle_per_worker": load_plots.idle_bars(material.results, material.loads),
        "staleness": load_plots.staleness_bars(material.results, material.loads),
    }


def _workers_apart(material: Material) -> Figures:
    return {
        "consensus_vs_time": load_plots.consensus_figure(material.results),
        "single_workers_vs_time": load_plots.single_worker_figure(material.results),
    }


def _partition(material: Material) -> Figures:
    return {"partition": partition_figures(material.partitions)}


FIGURES: tuple[Callable[[Material], Figures], ...] = (
    _measure,
    _other_measures,
    _trajectory,
    _time_to_target,
    _collectives,
    _time_per_round,
    _loads,
    _workers_apart,
    _partition,
)
"""Everything that is drawn of a run."""
OF_NETWORKS = (_time_to_target, _collectives, _time_per_round)
"""Those of :data:`FIGURES` that show networks, rather than trainings."""
