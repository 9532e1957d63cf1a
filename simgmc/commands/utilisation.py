"""``simgmc utilisation``: compute utilisation of a finished run's methods, and the bandwidth that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from simgmc.core.files import reading_copies
from simgmc.core.terminal import plain_console, print_line
from simgmc.experiment.answers.utilisation import utilisations
from simgmc.experiment.plan import require_stated_times, trainings
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.utilisation import Utilisation
from simgmc.results.tables.utilisation_table import curve_columns, needed_columns, print_utilisation
from simgmc.results.tables.written import numbers
from simgmc.scenario import ScenarioFile

NEEDED, CURVE, PICTURE = "utilisation.csv", "utilisation_curve.csv", "utilisation_vs_bandwidth"
"""What is written into the run directory."""


def utilisation(
    run: str | Path, *, at: Iterable[tuple[str, Any]] = (), console: Console | None = None, plots: bool = True
) -> list[Utilisation]:
    """Tell how much of their time workers compute, and the bandwidths for 50 to 99 % of it; write tables and a figure.

    ``at``: only networks of the grid that have these values. ``plots``: whether the figure is drawn.
    """
    directory, console = open_run(run), console or plain_console()
    found, left_out, methods = measured(run, dict(at))
    print_utilisation(console, found)
    directory.replace(directory.path / NEEDED, numbers(needed_columns(found)).encode())
    directory.replace(directory.path / CURVE, numbers(curve_columns(found)).encode())
    written = [NEEDED, CURVE]
    if plots:
        from simgmc.results.figures import panels  # loads matplotlib
        from simgmc.results.figures.utilisation_plot import utilisation_figures  # as it does

        with panels.style():
            figures = utilisation_figures(found, methods)
            panels.save(figures, directory.plots, PICTURE, directory.replace, ("png", "pdf"))
        written.append(f"plots/{PICTURE}")
    if left_out:
        print_line(console, f"left out: {', '.join(left_out)}: another network gives another training of them")
    print_line(console, f"\n{directory.path}: {', '.join(written)}")
    return found


def measured(run: str | Path, at: Mapping[str, Any]) -> tuple[list[Utilisation], list[str], list[str]]:
    """The same without a word: what was found, the methods that were left out, and all methods."""
    directory = open_run(run)
    with reading_copies(copies(directory.path)):
        file = ScenarioFile.read(directory.path / "scenario.toml")
        require_stated_times(file.points, file.place)
        found, left_out = utilisations(directory, trainings(file.points), at, str(directory.path))
    return found, left_out, [method.name for method in file.points[0].scenario.methods]
