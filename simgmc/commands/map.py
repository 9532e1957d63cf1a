"""``simgmc map``: a page on which a finished run's networks are walked about in."""

from __future__ import annotations

from pathlib import Path

from simgmc.core.errors import SimgmcError
from simgmc.core.files import reading_copies
from simgmc.experiment.answers.replayed import around
from simgmc.experiment.plan import require_stated_times
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.rows import replace
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.page.map import MapOf, map_page
from simgmc.results.series.measures import measure_of
from simgmc.results.series.read import read_results
from simgmc.results.series.verdict import Verdict
from simgmc.scenario import ScenarioFile

FILE = "map.html"


def map_networks(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the page, by default ``map.html`` in the run directory; returns its path.

    Of a run over a grid with numeric keys of the cluster it is of that grid; any other is put on a grid around its
    network first, by replays in memory.
    """
    directory = open_run(run)
    with reading_copies(copies(directory.path)):
        text = map_page(_map_of(directory))
    if out is None:
        return directory.replace(directory.path / FILE, text.encode())
    try:
        return replace(Path(out), text.encode())
    except OSError as error:
        raise SimgmcError(f"{out}: cannot be written: {error.strerror}") from None


def _map_of(directory: RunDirectory) -> MapOf:
    file = ScenarioFile.read(directory.path / "scenario.toml")
    scenario = file.points[0].scenario
    target, baseline = scenario.report.target, scenario.report.baseline
    names = [method.name for method in scenario.methods]
    results = read_results(directory, names, measure_of(scenario.report.metric, scenario.report.better == "higher"))
    if not results.series:
        raise SimgmcError(f"{directory.path}: no series is finished; give the same simgmc run command again")
    if any(key.startswith("cluster.") for key in Verdict(results, target, baseline).numeric):
        return MapOf(directory.path.name, results, target, baseline, ["The grid is the run's own."], {})
    require_stated_times(file.points, file.place)
    results, left_out = around(directory, file, results)
    cluster = scenario.cluster
    own = {"bandwidth": cluster.bandwidth, "latency": cluster.latency, "compute.gradient": cluster.compute.gradient}
    start = {f"cluster.{key}": value.text for key, value in own.items() if value is not None}
    networks = len({tuple(pair for pair in one.grid if pair[0].startswith("cluster.")) for one in results.points})
    notes = [f"The run holds no grid of networks: its rounds were replayed on {networks} networks around its own."]
    if left_out:
        notes.append(f"Left out: {', '.join(left_out)}; another network gives another training of them.")
    return MapOf(directory.path.name, results, target, baseline, notes, start)
