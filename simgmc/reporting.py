"""What a finished run shows: tables on the console, summary and plots in its directory."""

from __future__ import annotations

from rich.console import Console

from simgmc.results.grids import MOST_POINTS, is_large
from simgmc.results.large_tables import print_large_summary
from simgmc.results.plots import draw_plots, left_out
from simgmc.results.run_directory import RunDirectory
from simgmc.results.series import read_results
from simgmc.results.summary import summarize, write_summary
from simgmc.results.tables import print_summary
from simgmc.scenario import Scenario


def report(console: Console, directory: RunDirectory, scenario: Scenario) -> None:
    """Tables on the console, and summary and plots in the run directory."""
    names = [method.name for method in scenario.methods]
    target, baseline = scenario.report.target, scenario.report.baseline
    results = read_results(directory, methods=names)
    rows = summarize(results, target=target, baseline=baseline)
    write_summary(directory, results, rows)
    (print_large_summary if is_large(results) else print_summary)(console, results, rows, target, baseline)
    plots = draw_plots(directory, methods=names, target=target, baseline=baseline, results=results)
    console.print(f"\n{directory.path}: metrics.csv, summary.csv, breakdown.csv, and in plots/: " + ", ".join(sorted({plot.stem for plot in plots})), markup=False, highlight=False, soft_wrap=True)
    if missing := left_out(results, target, plots):
        console.print(f"not drawn, since they would need more than {MOST_POINTS} panels: {', '.join(missing)}; every grid point is in {directory.path / 'summary.csv'}", markup=False, highlight=False, soft_wrap=True)
