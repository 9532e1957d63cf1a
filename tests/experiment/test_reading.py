"""Runs read from Python: frames, tables, models, replays, comparisons, figures on an axis."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import simgmc
from simgmc import SimgmcError
from tests.places import ROOT
from tests.small_runs import SMALL

GRID = {"cluster.bandwidth": ["1 Mbit/s", "5 Mbit/s", "20 Mbit/s"], "cluster.latency": ["1 ms", "3 ms", "20 ms"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    content = SMALL | {"seeds": [3, 4], "methods": SMALL["methods"][:2]}
    return simgmc.run(content, out=tmp_path_factory.mktemp("read") / "lab", device="cpu", quiet=True, plots=False)


@pytest.fixture(scope="module")
def grid(run):
    return simgmc.replay(run, grid=GRID, out=run.path.parent / "grid", quiet=True, plots=False)


def rows(run, file):
    with (run / file).open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("backend", ["pandas", "polars"])
@pytest.mark.parametrize(
    ("name", "file"),
    [("evaluations", "metrics.csv"), ("summary", "summary.csv"), ("breakdown", "breakdown.csv"),
     ("workers", "workers.csv"), ("links", "links.csv")],
)  # fmt: skip
def test_a_frame_has_the_rows_of_its_file_with_keys_as_numbers(grid, backend, name, file):
    frame, written = getattr(simgmc.load(grid, backend=backend), name), rows(grid, file)
    assert len(frame) == len(written) > 0
    for column in frame.columns:
        if column in ("bandwidth_mbit_s", "cluster_latency_s"):
            is_rate = column == "bandwidth_mbit_s"
            key, scale = ("cluster.bandwidth", 1) if is_rate else ("cluster.latency", 1e-3)
            expected = [float(row[key].split()[0]) * scale for row in written]
            assert list(frame[column]) == pytest.approx(expected)
            continue
        values = frame[column].to_list()
        for value, row in zip(values, written, strict=True):
            text = row[column]
            unknown = value is None or value != value
            assert unknown == (text == "")
            if not unknown:
                same = str(value).lower() == text if isinstance(value, (bool, str)) else value == float(text)
                assert same or str(value) == text


def test_costs_are_the_bytes_that_the_evaluations_count(run):
    costs, ends = run.costs, run.evaluations.groupby(["method", "seed"])["bytes_up"].max()
    sent = costs.groupby(["method", "seed"])["bytes_sent"].sum()
    assert sent.to_dict() == ends.to_dict()
    assert set(costs["kind"]) == {"compute", "compress", "average"}


def test_the_scenario_is_a_dict_with_every_default(run):
    assert run.scenario["workload"]["workers"] == 4 and run.scenario["cluster"]["latency"] == "3 ms"
    assert run.scenario["report"]["baseline"] == run.baseline == "DMSGD" and run.target == 0.3
    assert run.methods == ("DMSGD", "GMC")


def test_another_target_gives_another_summary(run):
    summary = run.summarize(target=0.0001, baseline="GMC")
    assert list(summary["time_to_target_mean_s"]) == [0, 0] and not run.summary["time_to_target_mean_s"].eq(0).any()


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def test_a_model_is_a_state_dict_or_goes_into_a_module(run):
    state = run.model("GMC", 3)
    net = Net()
    with torch.no_grad():
        assert all(not torch.equal(state[name], value) for name, value in net.state_dict().items())
        assert run.model("GMC", 3, into=net) is net
        assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert not torch.equal(state["1.weight"], run.model("GMC", 4)["1.weight"])


def test_a_model_that_is_not_there_or_does_not_fit_is_refused(run):
    for arguments, says in [
        (("GMCC", 3), 'no model of method "GMCC"; did you mean "GMC"?'),
        (("GMC", 9), "no model of seed 9; it has 3, 4"),
        (("GMC",), "2 models of GMC: choose seed and at: seed 3; seed 4"),
        (("GMC", 3, nn.Linear(2, 2)), "does not fit Linear"),
        (("GMC", 3, None, {"cluster.latency": "1 ms"}), "does not tell models of GMC apart"),
    ]:
        with pytest.raises(SimgmcError, match=says.replace("?", r"\?")):
            run.model(*arguments)


def test_a_replay_is_a_run_on_every_network_of_the_grid(run, grid):
    assert len(grid.summary) == 9 * len(run.summary)
    here = grid.summary.query("bandwidth_mbit_s == 5 and cluster_latency_s == 0.003")
    assert list(here["sim_time_mean_s"]) == list(run.summary["sim_time_mean_s"])


def test_quiet_prints_nothing(run, capfd):
    simgmc.replay(run, set={"cluster.latency": "5 ms"}, out=run.path.parent / "quiet", quiet=True, plots=False)
    assert capfd.readouterr() == ("", "")


def test_runs_side_by_side_have_a_column_for_what_differs(run, grid):
    other = simgmc.replay(run, set={"cluster.latency": "50 ms"}, out=run.path.parent / "far", quiet=True, plots=False)
    both = simgmc.compare([run, other])
    assert list(both.summary.columns[:4]) == ["run", "method", "collective", "compared_on"]
    assert both.summary.groupby("run")["cluster_latency_s"].first().to_dict() == {"lab": 0.003, "far": 0.05}
    assert len(both.evaluations) == len(run.evaluations) + len(other.evaluations)
    assert len(both.workers) == 2 * len(run.workers)
    for name, one in both.runs.items():
        mine = both.summary[both.summary["run"] == name]
        assert list(mine["speedup"]) == list(one.summary["speedup"])
    three = simgmc.compare({"lab": run, "grid": grid})
    assert set(three.summary.query("run == 'lab'")["bandwidth_mbit_s"]) == {5.0}  # what its scenario states
    assert len(both.table().splitlines()) == 2 + 4


def test_what_cannot_be_compared_is_refused_by_the_name_of_the_key(run, tmp_path):
    def changed(name, before, after):
        shutil.copytree(run.path, tmp_path / name)
        file = tmp_path / name / "scenario.toml"
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))
        return tmp_path / name

    for name, before, after, says in [
        (
            "data",
            'name = "digits"',
            'name = "mnist"',
            r"workload\.dataset is .*digits.* in 'lab' and .*mnist.* in 'data'",
        ),
        ("metric", 'metric = "accuracy"', 'metric = "loss"', r"report\.metric is \"accuracy\" in 'lab' and \"loss\""),
        ("target", "target = 0.3", "target = 0.5", r"report\.target is 0\.3 in 'lab' and 0\.5 .* target=VALUE"),
    ]:
        with pytest.raises(SimgmcError, match=says):
            simgmc.compare([run, changed(name, before, after)])
    assert simgmc.compare([run, tmp_path / "target"], target=0.4).target == 0.4
    with pytest.raises(SimgmcError, match="both called 'lab'|are both called \"lab\""):
        simgmc.compare([run, run])
    with pytest.raises(SimgmcError, match="no method is called"):
        simgmc.compare([run, tmp_path / "target"], target=0.4, baseline="nobody")


def test_tables_have_a_row_per_row_of_the_summary_in_every_form(grid):
    for kind in ("results", "rounds"):
        assert len(grid.table(kind).splitlines()) == 2 + len(grid.summary)
        assert grid.table(kind, "latex").count(r"\\") == 1 + len(grid.summary)
        assert len(grid.table(kind, "csv").splitlines()) == 1 + len(
            grid.summary if kind == "results" else grid.breakdown
        )
    for wrong in ({"kind": "links"}, {"form": "html"}):
        with pytest.raises(SimgmcError, match="must be"):
            grid.table(**wrong)


ONE = {"cluster.bandwidth": "5 Mbit/s", "cluster.latency": "3 ms"}
DRAWN = {
    "accuracy_vs_time": {"at": ONE},
    "accuracy_vs_bytes": {"at": ONE, "methods": ["GMC"]},
    "accuracy_vs_epoch": {"at": ONE},
    "time_to_target": {"at": ONE},
    "time_to_target_vs": {"key": "cluster.bandwidth", "at": {"cluster.latency": "0.003 s"}},
    "time_per_round": {"at": ONE},
    "idle_per_worker": {"at": ONE, "methods": ["GMC"]},
    "partition": {},
    "first_to_target_map": {},
    "speedup_map": {"methods": ["GMC"]},
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_on_an_axis_or_on_its_own(grid, name):
    draw, options = getattr(simgmc.plot, name), DRAWN[name]
    own = draw(grid, **options)
    assert isinstance(own, Figure) and len(own.axes) >= 1
    figure = Figure()
    left, right = figure.subplots(1, 2)
    before = dict(matplotlib.rcParams)
    assert draw(grid, ax=right, **options) is figure
    assert dict(matplotlib.rcParams) == before and not left.has_data()
    assert right.has_data() or right.patches
    figure.draw_without_rendering()


def test_several_panels_on_one_axis_are_refused_with_how_to_choose(grid):
    with pytest.raises(SimgmcError, match=r"one axis holds one panel, and there are 9 .* choose with at="):
        simgmc.plot.time_to_target(grid, ax=Figure().subplots())
    with pytest.raises(SimgmcError, match='"cluster.colective" does not vary; did you mean "cluster.collective"'):
        simgmc.plot.time_to_target(grid, at={"cluster.colective": "ring"})
    with pytest.raises(SimgmcError, match='cluster.latency = "7 ms" is not there; it has 1 ms, 3 ms, 20 ms'):
        simgmc.plot.time_to_target(grid, at={"cluster.latency": "7 ms"})
    with pytest.raises(SimgmcError, match="nothing of the kind"):
        simgmc.plot.staleness(grid)


def test_a_method_keeps_its_colour_whatever_is_drawn_with_it(run, grid):
    def colour(of, **options):
        (axis, *_) = simgmc.plot.accuracy_vs_epoch(of, **options).axes
        return axis.lines[0 if "methods" in options else 1].get_color()

    assert len({colour(run), colour(run, methods=["GMC"]), colour([run, grid], methods=["GMC"])}) == 1


def test_reading_a_run_loads_neither_torch_nor_matplotlib(run):
    code = f"""
import sys, simgmc
run = simgmc.load({str(run.path)!r})
run.scenario, run.table(), run.summary
print([name for name in ("torch", "matplotlib") if name in sys.modules])
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
    assert Path(os.fspath(run)) == run.path and np.isfinite(run.summary["sim_time_mean_s"]).all()
