"""A link that is dead for good ends the methods that need it, as a crash does; the others' results stand."""

import csv

import pytest
import tomli_w
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.results.directory.run_directory import open_run
from tests.small_runs import SMALL

METHODS = [
    {"name": "Central", "algorithm": "dmsgd"},
    {"name": "Gossip", "algorithm": "d-psgd"},
    {"name": "OSGP", "algorithm": "osgp"},
    {"name": "Async", "algorithm": "async-sgd", "learning_rate": 0.02},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Four workers, to one of which nothing gets any more from 0.4 s on; the server goes on with the other three."""
    folder = tmp_path_factory.mktemp("dead")
    workload = {**SMALL["workload"], "rounds": 12, "evaluate_every": "3 rounds"}
    cluster = {
        **SMALL["cluster"],
        "changes": {"failures": {"source": "switch", "destination": "worker3", "down": "400 ms"}},
    }
    made = {
        **SMALL,
        "seeds": [0],
        "workload": workload,
        "cluster": cluster,
        "gossip": {"graph": "ring"},
        "methods": METHODS,
        "report": {"baseline": "Central"},
    }
    (folder / "small.toml").write_text(tomli_w.dumps(made))
    result = CliRunner().invoke(
        main, ["run", str(folder / "small.toml"), "--out", str(folder / "run")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return folder / "run", result.output


def test_every_method_has_what_it_had_reached_by_then(finished):
    run, _ = finished
    with (run / "breakdown.csv").open() as stream:
        found = {row["method"]: row for row in csv.DictReader(stream)}
    assert set(found) == {method["name"] for method in METHODS}
    for name in ("Central", "Gossip", "OSGP"):
        assert 0 < int(found[name]["rounds"]) < 12
        assert "link switch -> worker3 has no bandwidth" in found[name]["stopped"]
    evaluated = open_run(run).evaluations()
    assert all(len(rows) > 1 for key, rows in evaluated.items() if key.method in ("Gossip", "OSGP", "Async"))


def test_it_is_said_which_link_ended_which_method_and_when(finished):
    _, output = finished
    warnings = [line for line in output.splitlines() if line.startswith("warning: ")]
    assert (
        len([line for line in warnings if line.startswith("warning: Gossip, gossip ring, seed 0: ended early: ")]) == 1
    )
    for name in ("Central", "Gossip", "OSGP"):
        (line,) = [line for line in warnings if line.startswith(f"warning: {name}, ")]
        assert "is stuck at t = " in line and "worker3, " in line and "link switch -> worker3 has no bandwidth" in line
    for named in ("Central, parameter-server", "Gossip, gossip ring", "OSGP, asynchronous gossip ring"):
        assert output.count(f"{named}: ended early: ") == 2  # among the results, and in what bound them


def test_the_run_is_finished_and_does_not_begin_anew(finished):
    run, _ = finished
    output = (
        CliRunner()
        .invoke(main, ["run", str(run.parent / "small.toml"), "--out", str(run)], catch_exceptions=False)
        .output
    )
    assert output.count("kept, it was finished before") == len(METHODS)


def test_a_prediction_says_that_the_run_would_end_early(finished):
    run, _ = finished
    output = (
        CliRunner().invoke(main, ["run", str(run.parent / "small.toml"), "--dry-run"], catch_exceptions=False).output
    )
    assert "Gossip (gossip ring) ends early: " in output and "OSGP (asynchronous gossip ring) ends early: " in output
    (row,) = [line.split() for line in output.splitlines() if line.split()[:3] == ["Gossip", "gossip", "ring"]]
    assert int(row[3]) < 5


def test_at_several_grid_points_it_says_which_of_them_end_early(finished):
    grid = "grid.cluster.bandwidth=['5 Mbit/s', '20 Mbit/s']"
    output = (
        CliRunner()
        .invoke(
            main, ["run", str(finished[0].parent / "small.toml"), "--set", grid, "--dry-run"], catch_exceptions=False
        )
        .output
    )
    for bandwidth in ("5 Mbit/s", "20 Mbit/s"):
        assert output.count(f"Central (parameter-server, {bandwidth}) ends early: ") == 1
