"""The plots of a run, from its run directory.

- ``accuracy_vs_time``, ``accuracy_vs_bytes``, ``accuracy_vs_epoch`` (or ``loss``, ``gap``, ``distance``: what
  the run is measured by; what else of these it holds is drawn along time): a panel per grid point; lines are
  the mean over seeds, bands the mean ± one sample standard deviation (how seeds with different
  times are brought together: curves.curve). Panels that would show exactly the same are drawn once.
- ``time_to_target``: the same answer as bars, with the numbers.
- ``time_to_target_vs_KEY``: along a numeric key of the grid with at least three values.
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
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from simgmc.results.directory.details import Details
from simgmc.results.directory.partition_table import read_partition_table
from simgmc.results.directory.run_directory import RunDirectory, SeriesKey
from simgmc.results.figures import bars, heat_maps, lines, load_plots, panels, trajectories
from simgmc.results.figures.partition_plot import partition_figures
from simgmc.results.figures.trajectories import Surface
from simgmc.results.series import curves, grids
from simgmc.results.series.loads import loads_of
from simgmc.results.series.read import ACCURACY, DISTANCE, GAP, ComparisonPoint, Results, read_results


def draw_plots(
    directory: RunDirectory,
    *,
    methods: Sequence[str] | None = None,
    target: float | None = None,
    baseline: str | None = None,
    surfaces: Mapping[ComparisonPoint, Surface] | None = None,
    formats: Sequence[str] = ("png", "pdf"),
    results: Results | None = None,
) -> list[Path]:
    """Draws everything that the run's data allow into its ``plots`` folder; returns the files.

    ``methods`` gives the scenario's order, ``target`` the value to reach of what the run is measured
    by, ``baseline`` the method that findings compare with, ``surfaces`` the objective of each grid
    point where it has two parameters. ``results``: what the directory holds, if it has been read.
    """
    results = results or read_results(directory, methods)
    details = {} if grids.is_large(results) else directory.details()
    files: list[Path] = []
    if not results.series:
        return files
    with panels.style():
        drawn = figures_of(results, target, baseline, surfaces, details) | {
            "partition": partition_figures(read_partition_table(directory))
        }
        for name, figures in drawn.items():
            files += panels.save(figures, directory.plots, name, directory.replace, formats)
    return files


def figures_of(
    results: Results,
    target: float | None = None,
    baseline: str | None = None,
    surfaces: Mapping[ComparisonPoint, Surface] | None = None,
    details: Mapping[SeriesKey, Details] | None = None,
) -> dict[str, list[Figure]]:
    """All figures by file name, none of those with too many panels.

    To be called, and the figures saved, within :func:`panels.style`.
    """
    figures = {}
    large = grids.is_large(results)
    for column, along in _ALONG.items():
        figures[f"{results.measure.name}_vs_{along}"] = lines.measure_figure(results, column, target, baseline)
    for other in (ACCURACY, GAP, DISTANCE) if results.measure.log else ():
        if other != results.measure and all(
            np.isfinite(one.columns.get(other.column, np.nan)).any() for one in results.series
        ):
            measured = dataclasses.replace(results, measure=other)
            figures[f"{other.name}_vs_time"] = lines.measure_figure(measured, "sim_time_s", None, baseline)
    if surfaces:
        figures["trajectory"] = trajectories.trajectory_figures(results, surfaces)
    if target is not None:
        figures["time_to_target"] = [] if large else bars.target_bars(results, target, baseline)
        for key in curves.numeric_keys(results):
            few = grids.group_count(results, [key]) <= grids.MAX_POINTS
            figures[_sweep_name(key)] = lines.target_sweep(results, key, target, baseline) if few else []
        figures |= heat_maps.heat_map_figures(results, target, baseline)
    if all(one.breakdown is not None for one in results.series):
        figures["time_per_round"] = [] if large else bars.round_bars(results)
    loads = loads_of(results, details or {})
    figures["idle_per_worker"] = load_plots.idle_bars(results, loads)
    figures["staleness"] = load_plots.staleness_bars(results, loads)
    figures["consensus_vs_time"] = load_plots.consensus_figure(results)
    figures["single_workers_vs_time"] = load_plots.single_worker_figure(results)
    return figures


def left_out(results: Results, target: float | None, drawn: Sequence[Path]) -> list[str]:
    """The figures that a small grid has and that this large one does not, having too many panels."""
    if not grids.is_large(results):
        return []
    names = [f"{results.measure.name}_vs_{along}" for along in _ALONG.values()]
    if target is not None:
        names += ["time_to_target", *(_sweep_name(key) for key in curves.numeric_keys(results))]
        names += ["first_to_target_map"] if grids.axes_of(results) else []
    names.append("time_per_round")
    there = {file.stem for file in drawn} | {file.stem.rpartition("_")[0] for file in drawn}
    return [name for name in names if name not in there]


_ALONG = {"sim_time_s": "time", "bytes_up": "bytes", "epoch": "epoch"}


def _sweep_name(key: str) -> str:
    return f"time_to_target_vs_{key.rpartition('.')[2]}"
