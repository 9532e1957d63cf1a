"""What cannot fit is refused before anything is trained, by the key that is wrong."""

from __future__ import annotations

from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

from simgmc import running
from simgmc.cli import main
from simgmc.errors import SimgmcError
from simgmc.precautions import check_counts, late_milestones, parameters
from simgmc.scenario import ScenarioFile
from test_simulation import SMALL

BASE = {**SMALL, "methods": [*SMALL["methods"][:1], {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "top-k", "count": 5}}]}
BASE["report"] = {**SMALL.get("report", {}), "baseline": BASE["methods"][0].get("name", BASE["methods"][0]["algorithm"])}
COUNT = "methods.GMC.compressor.count"


def scenario(*settings):
    return ScenarioFile(BASE, "small.toml", settings)


def run(out, *settings):
    console = Console(file=StringIO(), width=120)
    running.run(scenario(*settings), out=out, device="cpu", console=console)
    return console.file.getvalue()


def test_the_number_of_parameters_is_known_without_data_and_memory():
    found = parameters(scenario().points[0].scenario)
    workload = running.WorkloadFactory("cpu", None, 1)(scenario().points[0].scenario, 0)
    assert found == workload.d


def test_a_count_above_the_number_of_parameters_is_refused_by_its_key():
    d = parameters(scenario().points[0].scenario)
    check_counts(scenario((COUNT, d)))
    with pytest.raises(SimgmcError, match=rf"small.toml: {COUNT} = {d + 1}: the model has only {d:,} parameters"):
        check_counts(scenario((COUNT, d + 1)))


def test_counts_inside_composed_compressors_and_grids_are_found():
    composed = {"name": "composed", "sparsify": {"name": "top-k", "count": 10**6}, "quantise": {"name": "qsgd"}}
    with pytest.raises(SimgmcError, match=r"methods.GMC.compressor.sparsify.count = 1000000"):
        check_counts(scenario(("methods.GMC.compressor", composed)))
    with pytest.raises(SimgmcError, match=rf"{COUNT} = 1000000"):
        check_counts(scenario((f"grid.{COUNT}", [5, 10**6])))


def test_a_run_refuses_it_before_it_makes_its_directory(tmp_path):
    with pytest.raises(SimgmcError, match="methods.GMC.compressor: count = 1000000"):
        run(tmp_path / "run", (COUNT, 10**6))
    assert not (tmp_path / "run").exists()


def test_more_shards_than_samples_are_refused_when_the_scenario_is_read():
    with pytest.raises(SimgmcError, match=r"workload.partition.shards_per_worker = 1000: must be at most \d+"):
        scenario(("workload.partition", {"name": "shards", "shards_per_worker": 1000}))


LATE = ("optimizer.schedule", {"kind": "multi-step", "milestones": [0.001, 150, 225]})


def test_milestones_past_the_end_of_training_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("simgmc.reporting.draw_plots", lambda *arguments, **options: [])
    note = "optimizer.schedule.milestones: 150, 225 past the end of training"
    assert note in run(tmp_path / "run", LATE)
    assert late_milestones(scenario(LATE)) == []  # rounds alone say nothing of epochs
    (found,) = late_milestones(scenario(LATE), 10.0)
    assert found.startswith(note)
    assert late_milestones(scenario(LATE), 1e-9) == []


def test_check_says_all_of_this(tmp_path):
    import tomli_w

    file = tmp_path / "small.toml"
    file.write_bytes(tomli_w.dumps(BASE).encode())
    found = CliRunner().invoke(main, ["check", str(file), "--set", f"{COUNT}=1000000"])
    assert found.exit_code == 2 and f"{COUNT} = 1000000" in found.output
    arguments = ["--set", 'optimizer.schedule={kind="multi-step", milestones=[0.5, 150]}', "--set", "workload.epochs=1"]
    content = {**BASE, "workload": {key: value for key, value in BASE["workload"].items() if key != "rounds"}}
    file.write_bytes(tomli_w.dumps(content).encode())
    found = CliRunner().invoke(main, ["check", str(file), *arguments])
    assert found.exit_code == 0 and "# note: optimizer.schedule.milestones: 150 past the end of training (1 epochs)" in found.output
