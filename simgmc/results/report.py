"""What a finished run shows: tables on the console, summary and plots in its directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from rich.console import Console

from simgmc.core.processes.side_by_side import Beside
from simgmc.core.terminal import print_line
from simgmc.results.directory.details import FILES
from simgmc.results.directory.records import grid_texts
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.figures.plots import FIGURES, OF_NETWORKS, draw_plots
from simgmc.results.figures.trajectories import Surface
from simgmc.results.series.grids import MAX_POINTS, is_large
from simgmc.results.series.loads import loads_of
from simgmc.results.series.measures import measure_of
from simgmc.results.series.read import ComparisonPoint, Results, read_results
from simgmc.results.series.sentences import sentences
from simgmc.results.series.summary import summarize, write_summary
from simgmc.results.series.verdict import Verdict
from simgmc.results.tables.large_tables import print_large_summary
from simgmc.results.tables.load_table import print_loads
from simgmc.results.tables.participation import print_participation
from simgmc.results.tables.tables import print_summary
from simgmc.scenario import GridPoint
from simgmc.scenario.workload import ProblemWorkload

_TABLES = ("metrics.csv", "other_metrics.csv", "summary.csv", "breakdown.csv", *FILES, "partition.csv")


@dataclass(frozen=True)
class Report:
    """What was reported of a run, and its pictures, which may still be drawn."""

    results: Results
    """What was read of it."""
    pictures: Callable[[], Mapping[str, Sequence[Path]]]
    """Waits for each figure, and writes its files where that is not done; by figure, none where it has too many panels.
    """

    def print_files(self, console: Console, directory: RunDirectory) -> None:
        """Says what there is in the directory now."""
        pictures = self.pictures()
        drawn = sorted({file.stem for files in pictures.values() for file in files})
        files = [name for name in _TABLES if (directory.path / name).is_file()]
        print_line(
            console,
            f"\n{directory.path}: {', '.join(files)}" + (f", and in plots/: {', '.join(drawn)}" if drawn else ""),
        )
        if missing := [name for name, pages in pictures.items() if not pages]:
            print_line(
                console,
                f"not drawn, since they would need more than {MAX_POINTS} panels: {', '.join(missing)}; "
                f"every grid point is in {directory.path / 'summary.csv'}",
            )


def report(
    console: Console,
    directory: RunDirectory,
    points: Sequence[GridPoint],
    beside: Beside,
    *,
    plots: bool = True,
    replayed: bool = False,
) -> Report:
    """Tables on the console, and summary and plots in the run directory, of the run of these grid points.

    ``beside``: where plots are drawn. ``plots``: whether any are. Of a large grid they are PNG alone, and what it took
    over from a run that was ``replayed`` is not drawn again.
    """
    scenario = points[0].scenario
    names = [method.name for method in scenario.methods]
    target, baseline = scenario.report.target, scenario.report.baseline
    results = read_results(directory, names, measure_of(scenario.report.metric, scenario.report.better == "higher"))
    drawn: list[Callable[[], Mapping[str, Mapping[str, bytes]]]] = []
    if plots:
        large = is_large(results) and not scenario.report.full_metrics
        draw = partial(
            draw_plots,
            target=target,
            baseline=baseline,
            surfaces=_surfaces(points, results),
            results=replace(results),  # without what is remembered of it
            formats=("png",) if large else ("png", "pdf"),
        )
        # Meanwhile the page is made, with pictures of its own; of a large grid it takes these, so some are drawn here.
        here = OF_NETWORKS[1:] if large else ()
        there = [figure for figure in (OF_NETWORKS if large and replayed else FIGURES) if figure not in here]
        drawn.append(beside.call(partial(draw, only=there), directory))
        if here:
            drawn.insert(0, partial(draw, directory, only=here))
    rows = summarize(results, target=target, baseline=baseline)
    write_summary(directory, results, rows)
    print_tables = print_large_summary if is_large(results) else print_summary
    print_tables(console, results, rows, target, baseline, scenario.workload.evaluate_every)
    if not is_large(results):
        details = directory.details()
        print_loads(console, results, loads_of(results, details))
        print_participation(console, details)
    if is_large(results) and (note := _by_events(results)):
        print_line(console, f"\n{note}")
    if told := sentences(Verdict(results, target, baseline)):
        print_line(console, "\n" + "\n".join(told))

    @cache
    def pictures() -> dict[str, list[Path]]:
        found = {name: files for waited in drawn for name, files in waited().items()}
        return {
            name: [directory.replace(directory.plots / file, content) for file, content in files.items()]
            for name, files in found.items()
        }

    return Report(results, pictures)


def _by_events(results: Results) -> str:
    """How many series could not be walked without events."""
    by_method: dict[str, int] = {}
    for one in results.series:
        if one.breakdown is not None and one.breakdown.events_from is not None:
            by_method[one.key.method] = by_method.get(one.key.method, 0) + 1
    if not by_method:
        return ""
    named = ", ".join(f"{method} {count}" for method, count in by_method.items())
    return (
        f"Simulated event by event from some round on, as messages meet on a link: {sum(by_method.values())} of "
        f"{len(results.series)} series ({named})."
    )


def _surfaces(points: Sequence[GridPoint], results: Results) -> dict[ComparisonPoint, Surface]:
    """The objective at each grid point, where it is a function of two parameters."""
    found = {}
    for point in points:
        workload = point.scenario.workload
        surface = workload.entry.surface(workload.problem.options) if isinstance(workload, ProblemWorkload) else None
        if surface is not None:
            found[grid_texts(point.values)] = surface
    return {place: found[place.grid] for place in results.points if place.grid in found}
