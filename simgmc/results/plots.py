"""The plots of a run, from its run directory.

- ``accuracy_vs_time``, ``accuracy_vs_bytes``, ``accuracy_vs_epoch``: a panel per grid point; lines are
  the mean over seeds, bands the mean ± one sample standard deviation (how seeds with different
  times are brought together: curves.curve). Panels that would show exactly the same are drawn once.
- ``time_to_target``: the same answer as bars, with the numbers.
- ``time_to_target_vs_KEY``: along a numeric key of the grid with at least three values.
- ``time_per_round``: what a worker's round is made of.

A method has one colour, line style and marker everywhere, by its place in the scenario.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from simgmc.results import bars, curves, lines, panels
from simgmc.results.run_directory import RunDirectory
from simgmc.results.series import Results, read_results


def draw_plots(
    directory: RunDirectory,
    *,
    methods: Sequence[str] | None = None,
    target: float | None = None,
    baseline: str | None = None,
    formats: Sequence[str] = ("png", "pdf"),
) -> list[Path]:
    """Draws everything that the run's data allow into its ``plots`` folder; returns the files.

    ``methods`` gives the scenario's order, ``target`` the accuracy (a loss where the task has none)
    and ``baseline`` the method that findings compare with.
    """
    results = read_results(directory, methods)
    files: list[Path] = []
    if not results.series:
        return files
    with panels.style():
        for name, figures in figures_of(results, target, baseline).items():
            files += panels.save(figures, directory.plots, name, directory.replace, formats)
    return files


def figures_of(results: Results, target: float | None = None, baseline: str | None = None) -> dict[str, list[Figure]]:
    """All figures by file name. To be called, and the figures saved, within :func:`panels.style`."""
    figures = {}
    measure = "accuracy" if results.measure.higher_is_better else "loss"
    for column, along in {"sim_time_s": "time", "bytes_up": "bytes", "epoch": "epoch"}.items():
        figures[f"{measure}_vs_{along}"] = lines.measure_figure(results, column, target, baseline)
    if target is not None:
        figures["time_to_target"] = bars.target_bars(results, target, baseline)
        for key in curves.numeric_keys(results):
            figures[f"time_to_target_vs_{key.rpartition('.')[2]}"] = lines.target_sweep(results, key, target, baseline)
    if all(one.breakdown is not None for one in results.series):
        figures["time_per_round"] = bars.round_bars(results)
    return figures
