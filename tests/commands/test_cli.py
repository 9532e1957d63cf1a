"""The command line as a user meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from simgmc.cli import main
from tests.places import SCENARIOS

QUICKSTART = str(SCENARIOS / "quickstart.toml")


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_quick_commands_load_neither_torch_nor_matplotlib():
    code = (
        "import sys\nfrom simgmc.cli import main\n"
        f"for arguments in (['--help'], ['list'], ['check', {QUICKSTART!r}]):\n"
        "    try: main(arguments)\n    except SystemExit as end: assert not end.code, arguments\n"
        "    assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules), arguments"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_replay_loads_no_torch(short_run, tmp_path):
    replayed = tmp_path / "replayed"
    arguments = ["replay", short_run, "--set", "cluster.bandwidth=50 Mbit/s", "--out", str(replayed)]
    code = (
        "import sys\nfrom simgmc.cli import main\nfrom simgmc.results.figures import plots\n"
        "plots.FIGURES = (plots._time_to_target,)\n"  # others take as long, and no other libraries
        f"try: main({arguments!r})\nexcept SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (replayed / "plots" / "time_to_target.png").is_file()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "optimizer.learning_rate=0.2",
            "optimizer.learning_rate: was 0.1, is 0.2; only cluster and report keys can differ",
        ),
        ("methods.DMSGD.momentum=0.5", "methods.DMSGD.momentum: was not there, is 0.5; only"),
    ],
)
def test_a_replay_names_the_key_that_it_cannot_change(short_run, setting, says):
    result = call("replay", short_run, "--set", setting)
    assert result.exit_code == 2 and f"scenario.toml: {says}" in result.output


SHORT = ["run", QUICKSTART, "--seed", "1", "--method", "DMSGD", "--set", "workload.epochs=0.1", "--device", "cpu"]


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("short") / "run")
    assert call(*SHORT, "--out", path).exit_code == 0
    return path


def test_no_line_of_the_help_is_cut_off():
    commands = call("--help").output.partition("Commands:")[2]
    assert "timeline" in commands and "..." not in commands


def test_python_m_simgmc_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "simgmc", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("simgmc, version ")


def test_set_replaces_what_the_grid_varies():
    output = call("check", QUICKSTART, "--set", "cluster.collective=ring").output
    assert 'collective = "ring"' in output and "valid: 1 grid point" in output


def test_a_mistake_is_one_line_on_stderr_with_status_2():
    result = call("check", QUICKSTART, "--set", "cluster.bandwith=3")
    assert result.exit_code == 2
    assert result.output.startswith("error: ") and 'did you mean "bandwidth"?' in result.output


def test_a_missing_scenario_names_what_is_there():
    result = call("check", str(Path(QUICKSTART).with_name("quick.toml")))
    assert result.exit_code == 2 and "quickstart.toml" in result.output


def test_set_takes_text_with_and_without_quotes():
    for text in ('cluster.bandwidth="3 Mbit/s"', "cluster.bandwidth=3 Mbit/s"):
        assert 'bandwidth = "3 Mbit/s"' in call("check", QUICKSTART, "--set", text).output


def test_seed_replaces_the_scenarios_seeds():
    assert "seeds = [\n    7,\n    9,\n]" in call("check", QUICKSTART, "--seed", "7", "--seed", "9").output


def test_a_missing_dataset_is_named_before_anything_runs(tmp_path):
    result = call(
        "run",
        QUICKSTART,
        "--set",
        "workload.dataset=fashion-mnist",
        "--data-dir",
        str(tmp_path),
        "--out",
        str(tmp_path / "run"),
    )
    assert result.exit_code == 2
    assert "train-images-idx3-ubyte.gz" in result.output and str(tmp_path) in result.output
    assert not (tmp_path / "run").exists()


def test_a_run_directory_of_another_scenario_is_not_overwritten(short_run):
    run = Path(short_run)
    before = (run / "metrics.csv").read_bytes()
    result = call(*SHORT, "--out", short_run, "--set", "optimizer.momentum=0.5")
    assert result.exit_code == 2 and "--overwrite" in result.output
    assert (run / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", QUICKSTART, "--out", "a", "--out", "b"], "--out is given 2 times; it takes one value"),
        (["run", QUICKSTART, "--device", "cpu", "--threads", "1", "--threads", "2"], "--threads is given 2 times"),
        (["timeline", "runs/x", "--seed", "1", "--seed", "1", "--seed", "2"], "--seed is given 3 times"),
        (["replay", "runs/x", "--cluster", "a.toml", "--cluster", "b.toml"], "--cluster is given 2 times"),
        (["validate", "--json", "a", "--json", "b"], "--json is given 2 times"),
        (
            ["check", QUICKSTART, "--set", "cluster.latency=1 ms", "--set", "cluster.latency = 2 ms"],
            "cluster.latency is set twice",
        ),
        (
            ["check", QUICKSTART, "--set", "grid.cluster.latency=['1 ms']", "--set", "cluster.latency=2 ms"],
            "cluster.latency would undo grid.cluster.latency",
        ),
        (
            ["check", QUICKSTART, "--set", "cluster.compute.gradient=1 ms", "--set", "cluster.compute={}"],
            "cluster.compute would undo cluster.compute.gradient",
        ),
        (
            ["timeline", "runs/x", "--at", "cluster.collective=ring", "--at", "cluster.collective=tree"],
            "cluster.collective is set twice",
        ),
        (["check", QUICKSTART, "--seed", "1", "--set", "seeds=[2]"], "--seed and --set seeds"),
        (["replay", "runs/x", "--cluster", "a.toml", "--set", "cluster={}"], "--cluster and --set cluster"),
    ],
)
def test_what_would_be_lost_of_two_options_is_refused(arguments, says):
    result = call(*arguments)
    assert result.exit_code == 2 and says in result.output


def test_options_that_may_be_repeated_may():
    result = call(
        "check",
        QUICKSTART,
        "--set",
        "cluster.compute={gradient='1 ms',compression='1 ms',aggregation='1 ms'}",
        "--set",
        "cluster.compute.gradient=2 ms",
        "--seed",
        "4",
        "--seed",
        "5",
    )
    assert (
        result.exit_code == 0
        and "seeds = [\n    4,\n    5,\n]" in result.output
        and 'gradient = "2 ms"' in result.output
    )


def test_timelines_of_several_methods_are_all_drawn(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("simgmc.commands.timeline.timeline", lambda run, **options: seen.append(options["methods"]))
    assert call("timeline", str(tmp_path), "--method", "A", "--method", "B").exit_code == 0
    assert seen == [("A", "B")]


@pytest.mark.parametrize(
    "arguments",
    [["run", QUICKSTART, "--out", ""], ["run", QUICKSTART, "--data-dir", ""], ["replay", ""], ["check", ""]],
)
def test_an_empty_path_is_refused_and_nothing_is_begun(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2 and "is empty: a path is needed" in done.output
    assert not list(tmp_path.iterdir())
