"""``simgmc why``: what bound each method of a finished run, and what would help."""

from __future__ import annotations

from rich.console import Console

from simgmc.core.files import reading_copies
from simgmc.core.terminal import print_line
from simgmc.experiment.answers.explanation import explain
from simgmc.experiment.plan import require_stated_times, trainings
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.tables.explanations import print_explanations
from simgmc.scenario import ScenarioFile


def why(run: str, console: Console) -> None:
    """Explain every method of a run on every cluster of its grid."""
    directory = open_run(run)
    with reading_copies(copies(directory.path)):
        _why(directory, console)


def _why(directory: RunDirectory, console: Console) -> None:
    file = ScenarioFile.read(directory.path / "scenario.toml")
    require_stated_times(file.points, file.place)
    explained = explain(directory, trainings(file.points))
    print_explanations(console, explained.found)
    for line in explained.missing:
        print_line(console, line)
