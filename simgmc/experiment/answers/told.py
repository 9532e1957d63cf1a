"""What a run says of itself when it has ended: tables, the verdict, what bound its methods, pictures and a page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from simgmc.core.processes.side_by_side import Beside
from simgmc.core.terminal import print_line
from simgmc.experiment.answers.explanation import explain
from simgmc.experiment.answers.refine import refine
from simgmc.experiment.answers.report_page import Known, write_page
from simgmc.experiment.training import Training
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.report import report
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.series.read import Results
from simgmc.results.tables.explanations import print_explanations
from simgmc.scenario import ScenarioFile


def tell(
    console: Console,
    directory: RunDirectory,
    file: ScenarioFile,
    plan: Sequence[Training],
    beside: Beside,
    *,
    plots: bool,
    refined: bool,
    replayed: bool = False,
) -> Results:
    """Prints what came of a run of these trainings, and writes its summary, pictures and page; returns its results.

    ``beside``: where plots are drawn meanwhile; ``plots``: whether any are, and a page. ``refined``: whether it is
    said exactly where the answer flips. ``replayed``: whether trainings were taken over from another run.
    """
    reported = report(console, directory, file.points, beside, plots=plots, replayed=replayed)
    if refined:
        refine(console, directory, file, plan, reported.results)
    explained = explain(directory, plan) if len(file.points) <= MAX_POINTS else None
    if explained is not None:
        print_explanations(console, explained.found)
    page = write_page(directory, Known(file, plan, reported, explained)) if plots else None
    reported.print_files(console, directory)
    if page is not None:
        print_line(console, f"\nreport: {page}")
    return reported.results
