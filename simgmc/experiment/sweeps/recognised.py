"""Trainings that a run directory holds of an earlier version of a sweep: told by their content, never trained again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from simgmc.core.errors import SimgmcError
from simgmc.experiment.plan import trainings
from simgmc.experiment.training import Training
from simgmc.results.directory.records import SeriesKey
from simgmc.results.directory.run_directory import change_scenario, open_run
from simgmc.results.directory.scenario_changes import heading, same
from simgmc.scenario import GridPoint, ScenarioFile


def content_hash(file: ScenarioFile, training: Training, point: GridPoint) -> str:
    """SHA-256 of all that a series follows from: method, seed, workload, updates, graph, cluster, code of one's own."""
    scenario, method = point.scenario, training.method
    graph = scenario.gossip if scenario.has_graph(method) and method.gossip is None else None
    report = scenario.report.model_copy(update={"baseline": None, "target": None})
    code = [(name, one.sha256) for name, one in sorted(file.code.used.items())]
    settings = scenario.workload, scenario.optimizer, method, training.seed, graph, scenario.cluster, report, code
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def hashes(file: ScenarioFile) -> dict[SeriesKey, tuple[str, str]]:
    """Of every series of a plan, with the key of its training."""
    return {
        training.series(point): (content_hash(file, training, point), training.key)
        for training in trainings(file.points)
        for point in training.points
    }


def carry_over(file: ScenarioFile, out: Path) -> int:
    """Make the run in a directory one of this scenario, where it is of another with the same grid keys: what is the
    same in both stays, the rest goes. Returns how many series stay; 0 where nothing is changed.
    """
    if not ((out / "scenario.toml").is_file() and (out / "metrics.csv").is_file()):
        return 0
    directory = open_run(out)
    before = directory.scenario_text()
    if same(before, file.resolved()):
        return 0
    try:
        earlier = ScenarioFile.read(out / "scenario.toml")
    except SimgmcError:
        return 0  # the run itself says what is the matter
    if list(earlier.grid) != list(file.grid):
        return 0
    old, new = hashes(earlier), hashes(file)
    kept = {key: training for key, (content, training) in new.items() if old.get(key, ("",))[0] == content}
    stay = kept.keys() & directory.finished()
    if not stay:
        return 0
    whole = {training for _, training in new.values()} - {
        training for key, (content, training) in new.items() if key in old and old[key][0] != content
    }
    change_scenario(out, heading(before) + file.resolved(), stay, whole)
    return len(stay)
