"""What carries a method's messages is what its results stand under, whatever collective the cluster has."""

import csv
from io import StringIO

import pytest
import tomli_w
from click.testing import CliRunner
from rich.console import Console

from simgmc.cli import main
from simgmc.core.processes.side_by_side import Beside
from simgmc.experiment.plan import trainings
from simgmc.results.directory.run_directory import open_run
from simgmc.results.report import report
from simgmc.results.series.read import read_results
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL

GRID = ["parameter-server", "ring"]
METHODS = [
    {"name": "DMSGD", "algorithm": "dmsgd"},
    {"name": "Gossip", "algorithm": "d-psgd"},
    {"name": "Torus", "algorithm": "d-psgd", "gossip": {"graph": "torus"}},
    {"name": "Swarm", "algorithm": "swarm-sgd"},
    {"name": "OSGP", "algorithm": "osgp", "gossip": {"graph": "exponential"}},
    {"name": "Async", "algorithm": "async-sgd", "learning_rate": 0.02},
]
TRANSPORTS = {
    "Gossip": "gossip ring",
    "Torus": "gossip torus",
    "Swarm": "pairwise ring",
    "OSGP": "asynchronous gossip exponential",
    "Async": "asynchronous server",
}


def content(methods=METHODS, **changes):
    workload = {**SMALL["workload"], "rounds": 4, "evaluate_every": "2 rounds"}
    made = {
        **SMALL,
        "seeds": [0],
        "workload": workload,
        "methods": methods,
        "report": {"baseline": methods[0]["name"], "target": 0.2},
    }
    return {**made, "gossip": {"graph": "ring"}, "grid": {"cluster.collective": GRID}, **changes}


def command(*arguments):
    result = CliRunner().invoke(main, [str(part) for part in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def rows(run, file):
    with open(run / file, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transports")
    (folder / "small.toml").write_text(tomli_w.dumps(content()))
    command("run", folder / "small.toml", "--out", folder / "run")
    return folder / "run"


def test_a_method_that_uses_no_collective_is_trained_once_whatever_collectives_the_grid_has():
    plan = trainings(ScenarioFile(content(), "small.toml").points)
    assert {one.method.name: len(one.points) for one in plan} == {"DMSGD": 2, **dict.fromkeys(TRANSPORTS, 1)}
    assert len(plan) == len(METHODS)
    assert not any("collective" in one.key for one in plan)


def test_every_file_names_what_carried_the_messages(finished):
    for file in (
        "metrics.csv",
        "breakdown.csv",
        "workers.csv",
        "links.csv",
        "other_metrics.csv",
        "staleness.csv",
        "summary.csv",
    ):
        found = {}
        for row in rows(finished, file):
            found.setdefault(row["method"], set()).add(row["collective"])
        for method, transports in found.items():
            assert transports == (set(GRID) if method == "DMSGD" else {TRANSPORTS[method]}), (file, method)
    assert {row["method"] for row in rows(finished, "breakdown.csv")} == {"DMSGD", *TRANSPORTS}
    assert len(rows(finished, "breakdown.csv")) == 7


def test_methods_without_a_collective_are_compared_on_each_and_called_by_what_they_used(finished):
    results = read_results(open_run(finished), [method["name"] for method in METHODS])
    assert [results.label(point) for point in results.points] == ["parameter-server", "ring"]
    assert results.names == {
        "DMSGD": "DMSGD",
        **{method: f"{method} ({transport})" for method, transport in TRANSPORTS.items()},
    }
    for method in TRANSPORTS:
        assert results.at(method, results.points[0]) == results.at(method, results.points[1]) != []
    summary = {(row["method"], row["compared_on"]): row for row in rows(finished, "summary.csv")}
    assert set(summary) == {(method["name"], collective) for method in METHODS for collective in GRID}


def test_tables_and_pictures_say_what_a_method_used(finished, monkeypatch, with_plots):
    console = Console(file=StringIO(), width=200)
    figures = {}
    monkeypatch.setattr(
        "simgmc.results.figures.panels.pictures", lambda made, name, _: figures.update({name: made}) or {name: b""}
    )
    points = ScenarioFile.read(finished / "scenario.toml").points
    report(console, open_run(finished), points, Beside()).print_files(console, open_run(finished))
    text = console.file.getvalue()
    assert text.count("Swarm (pairwise ring)") == 4 and "─ pairwise ring" in text
    legend = {one.get_text() for one in figures["accuracy_vs_time"][0].legends[0].get_texts()}
    assert {"DMSGD", "Gossip (gossip ring)", "OSGP (asynchronous gossip exponential)"} <= legend
    bars = {one.get_text().replace("\n", " ") for one in figures["time_per_round"][0].axes[0].get_yticklabels()}
    assert {"DMSGD", "Torus (gossip torus)", "Async (asynchronous server)"} <= bars


def test_a_run_of_gossip_alone_stands_under_its_graph(tmp_path):
    gossip = [METHODS[1], {**METHODS[1], "name": "Other", "learning_rate": 0.01}]
    (tmp_path / "small.toml").write_text(tomli_w.dumps(content(gossip)))
    output = command("run", tmp_path / "small.toml", "--out", tmp_path / "run")
    results = read_results(open_run(tmp_path / "run"))
    assert [results.label(point) for point in results.points] == ["gossip ring"]
    assert results.names == {"Gossip": "Gossip", "Other": "Other"}
    assert "parameter-server" not in next(line for line in output.splitlines() if line.startswith("network"))


def test_a_grid_of_graphs_names_each_methods_own(tmp_path):
    made = {**content(METHODS[:2]), "grid": {"gossip.graph": ["ring", {"name": "random-regular", "degree": 2}]}}
    (tmp_path / "small.toml").write_text(tomli_w.dumps(made))
    command("run", tmp_path / "small.toml", "--out", tmp_path / "run")
    found = {row["collective"] for row in rows(tmp_path / "run", "breakdown.csv") if row["method"] == "Gossip"}
    assert found == {"gossip ring", "gossip random-regular (degree 2)"}
    results = read_results(open_run(tmp_path / "run"))
    assert results.names == {"DMSGD": "DMSGD (parameter-server)", "Gossip": "Gossip (gossip)"}
    assert [results.label(point) for point in results.points] == ["graph ring", "graph random-regular (degree 2)"]


def test_one_collective_among_other_ways_stands_with_the_methods_that_use_it(tmp_path):
    made = content(METHODS[:2])
    del made["grid"]
    (tmp_path / "small.toml").write_text(tomli_w.dumps(made))
    output = command("run", tmp_path / "small.toml", "--out", tmp_path / "run")
    results = read_results(open_run(tmp_path / "run"))
    (point,) = results.points
    assert results.label(point) == "all methods" and [
        len(results.at(method, point)) for method in ("DMSGD", "Gossip")
    ] == [1, 1]
    assert results.names == {"DMSGD": "DMSGD (parameter-server)", "Gossip": "Gossip (gossip ring)"}
    assert "DMSGD (parameter-server)" in output
    assert {row["speedup"] for row in rows(tmp_path / "run", "summary.csv") if row["method"] == "DMSGD"} <= {"1.0", ""}


def test_finished_series_of_such_methods_are_kept_and_replayed(finished, tmp_path):
    again = command("run", finished.parent / "small.toml", "--out", finished)
    assert again.count("kept, it was finished before") == len(METHODS)
    command("replay", finished, "--set", "cluster.bandwidth=7 Mbit/s", "--out", tmp_path / "replayed")
    found = {(row["method"], row["collective"]) for row in rows(tmp_path / "replayed", "breakdown.csv")}
    assert found == {
        ("DMSGD", "parameter-server"),
        ("DMSGD", "ring"),
        ("Gossip", "gossip ring"),
        ("Torus", "gossip torus"),
    }


def test_a_timeline_at_any_collective_finds_a_method_that_uses_none(finished, tmp_path, without_pictures):
    output = command(
        "timeline",
        finished,
        "--method",
        "Gossip",
        "--at",
        "cluster.collective=ring",
        "--rounds",
        "1",
        "--out",
        tmp_path,
    )
    assert "Gossip, gossip ring, seed 0" in output


def test_a_prediction_names_what_carries_the_messages(tmp_path):
    (tmp_path / "small.toml").write_text(tomli_w.dumps(content()))
    output = command("run", tmp_path / "small.toml", "--dry-run")
    lines = [line.split() for line in output.splitlines()]
    assert ["Gossip", "gossip", "ring"] in [line[:3] for line in lines]
    assert sum(line[:1] == ["Swarm"] and line[1:3] == ["pairwise", "ring"] for line in lines) == 1
