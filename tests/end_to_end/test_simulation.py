"""Whole runs: same bits every time, replay equals a full run, counters equal formulas."""

from __future__ import annotations

import tomllib
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from simgmc.commands.dry_run import dry_run
from simgmc.commands.replay import replay
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.engines import here
from simgmc.experiment.plan import trainings
from simgmc.results.directory.run_directory import open_run
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL, metrics, rows, run, scenario

TEN = ("workload.rounds", 10), ("workload.evaluate_every", "5 rounds"), ("methods", SMALL["methods"][:2])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of the small scenario as it is."""
    return run(scenario(), tmp_path_factory.mktemp("whole") / "run")[0]


def test_the_same_scenario_gives_byte_identical_metrics_twice(whole, tmp_path):
    again, _ = run(scenario(), tmp_path / "again")
    assert metrics(again) == metrics(whole)
    assert len(metrics(whole).splitlines()) == 1 + 4 * 4


def test_metrics_are_byte_identical_on_1_2_and_4_threads(tmp_path):
    model = {"name": "cnn", "channels": [8, 16]}
    file = scenario(("workload.model", model), ("workload.rounds", 3), ("workload.evaluate_every", "3 rounds"))
    found = {metrics(run(file, tmp_path / str(threads), threads=threads)[0]) for threads in (1, 2, 4)}
    assert len(found) == 1


def test_replaying_stored_costs_equals_a_full_run_on_that_network(tmp_path):
    grid = (
        ("grid.cluster.bandwidth", ["5 Mbit/s", "200 kbit/s"]),
        ("grid.cluster.collective", ["ring", "parameter-server"]),
    )
    together, _ = run(scenario(*grid, *TEN), tmp_path / "grid")
    for bandwidth, collective in (("5 Mbit/s", "ring"), ("200 kbit/s", "parameter-server")):
        alone = scenario(("cluster.bandwidth", bandwidth), ("cluster.collective", collective), *TEN)
        expected = rows(run(alone, tmp_path / collective)[0])
        found = [
            row
            for row in rows(together)
            if (row["collective"], row.pop("cluster.bandwidth", bandwidth)) == (collective, bandwidth)
        ]
        assert found == expected


COLLECTIVES = [
    "ring", "lock-step-ring", "ring-all-gather", "sharded-parameter-server", "colocated-parameter-server",
    "doubling-all-gather", "sparse-reduce-scatter",
]  # fmt: skip


def test_a_replay_on_every_collective_has_the_metrics_of_a_full_run_to_the_last_digit(whole, tmp_path):
    changes = [
        ("grid.cluster.collective", COLLECTIVES),
        ("cluster.latency", "7 ms"),
        ("cluster.topology", {"name": "two-tier", "per_rack": 2}),
    ]
    expected, _ = run(scenario(*changes), tmp_path / "expected")
    replay(whole, settings=changes, out=tmp_path / "replayed", console=Console(file=StringIO()))
    assert {row["collective"] for row in rows(expected)} == set(COLLECTIVES)
    for file in ("metrics.csv", "breakdown.csv", "summary.csv", "scenario.toml"):
        assert (tmp_path / "replayed" / file).read_bytes() == (expected / file).read_bytes()


def test_a_replay_refuses_to_change_what_is_computed(tmp_path):
    trained, _ = run(scenario(("workload.rounds", 3)), tmp_path / "a")
    with pytest.raises(SimgmcError, match="optimizer.*train again"):
        replay(trained, settings=[("optimizer.momentum", 0.5)], out=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    original = here.train

    def killed(task, *arguments):
        if task.training.method.name == "DGC":
            raise KeyboardInterrupt
        original(task, *arguments)

    monkeypatch.setattr(here, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        run(scenario(), tmp_path / "killed")
    monkeypatch.undo()
    again, printed = run(scenario(), tmp_path / "killed")
    assert metrics(again) == metrics(whole)
    assert printed.count("kept, it was finished before") == 2


def test_measured_times_are_written_out_so_that_the_rerun_is_the_same_run(tmp_path):
    measured, _ = run(scenario(("cluster.compute", "measured"), *TEN), tmp_path / "a")
    resolved = tomllib.loads((measured / "scenario.toml").read_text())
    assert resolved["cluster"]["compute"]["gradient"].endswith(" ms")
    assert "compression_time" not in resolved["methods"][0] and "compression_time" in resolved["methods"][1]
    again, _ = run(ScenarioFile.read(measured / "scenario.toml"), tmp_path / "b")
    assert metrics(again) == metrics(measured)


def test_a_device_profile_gives_the_stated_share_of_its_peak(tmp_path):
    file = scenario(("cluster.compute", {"profile": "nvidia-v100", "efficiency": 0.25}), ("workload.rounds", 1))
    out, _ = run(file, tmp_path / "a")
    resolved = tomllib.loads((out / "scenario.toml").read_text())["cluster"]["compute"]
    d_in, hidden, classes, batch = 64, 24, 10, 8
    # Forward, and backward to weights and to hidden activations (the input needs no gradient).
    flops = 2 * batch * (d_in * hidden * 2 + hidden * classes * 3)
    assert float(resolved["gradient"].split()[0]) == pytest.approx(1e3 * flops / (15.7e12 * 0.25))
    assert resolved["compression"] == "225.0 GB/s"


def test_sim_time_and_bytes_never_decrease_and_start_at_zero(whole):
    for method in ("DMSGD", "GMC", "DGC", "GMC block"):
        mine = [row for row in rows(whole) if row["method"] == method]
        for column in ("sim_time_s", "bytes_up", "bytes_down", "epoch"):
            values = [float(row[column]) for row in mine]
            assert values[0] == 0.0 and values == sorted(values)
        assert mine[0]["train_loss"] == mine[0]["rcc"] == "" and mine[-1]["train_loss"]


def test_rcc_from_counters_is_equation_9_to_the_last_float(whole):
    """Reading U: RCC = 1/(dKT) sum_t (sum_k nnz(c_tk) + K nnz(w_{t+1} - w_t)); blocks: s/d; dense: 1."""
    final = {row["method"]: float(row["rcc"]) for row in rows(whole) if row["rcc"]}
    d = 64 * 24 + 24 + 24 * 10 + 10
    assert final["DMSGD"] == 1.0
    assert final["GMC block"] == pytest.approx(int(0.1 * d) / d, rel=1e-15)
    for name in ("GMC", "DGC"):
        costs = open_run(whole).read_costs(f"{name}, seed 3")
        steps = [step for round_ in costs for step in round_ if isinstance(step, Average)]
        # 8 bytes a component: components are counted from the bytes, independently of the floats.
        nonzeros = sum(int(step.up.sum()) // 8 + 4 * (step.down // 8) for step in steps)
        assert final[name] == pytest.approx(nonzeros / (d * 4 * 30), rel=1e-14)


def test_bytes_up_are_the_encoded_messages_under_a_parameter_server(whole):
    final = {row["method"]: row for row in rows(whole)}
    for name in final:
        costs = open_run(whole).read_costs(f"{name}, seed 3")
        steps = [step for round_ in costs for step in round_ if isinstance(step, Average)]
        assert int(final[name]["bytes_up"]) == sum(int(step.up.sum()) for step in steps)
        assert int(final[name]["bytes_down"]) == 4 * sum(step.down for step in steps)


def test_uncompressed_gmc_trains_like_dmsgd_on_real_data(tmp_path):
    methods = [{"name": "DMSGD", "algorithm": "dmsgd"}, {"name": "GMC", "algorithm": "gmc", "compressor": "identity"}]
    out, _ = run(scenario(base={**SMALL, "methods": methods}), tmp_path / "a")
    by_method = {name: [row for row in rows(out) if row["method"] == name] for name in ("DMSGD", "GMC")}
    for one, other in zip(by_method["DMSGD"], by_method["GMC"], strict=True):
        assert float(one["test_loss"]) == pytest.approx(float(other["test_loss"]), rel=1e-4)
        assert one["sim_time_s"] == other["sim_time_s"] and one["bytes_up"] == other["bytes_up"]


def test_a_method_that_diverges_ends_and_the_others_go_on(tmp_path):
    methods = [{"name": "wild", "algorithm": "sgd", "learning_rate": 1e30}, {"name": "DMSGD", "algorithm": "dmsgd"}]
    out, printed = run(scenario(base={**SMALL, "methods": methods}), tmp_path / "a")
    assert "wild, seed 3: diverged" in printed
    mine = [row for row in rows(out) if row["method"] == "DMSGD"]
    assert int(mine[-1]["round"]) == 30
    assert all(np.isfinite(float(row["test_loss"])) for row in rows(out))


def test_a_dry_run_predicts_dense_bytes_exactly_and_trains_nothing(tmp_path):
    console = Console(file=StringIO(), width=160)
    dry_run(scenario(), device="cpu", console=console)
    printed = console.file.getvalue()
    assert "nothing is trained to its end" in printed
    assert not list(tmp_path.iterdir())
    from simgmc.experiment.preflight.prediction import predict

    file = scenario(("cluster.stragglers.sigma", 0.0))
    training = trainings(file.points)[0]
    workload = WorkloadFactory("cpu", None, 1)(training.scenario, 3)
    (prediction,) = predict(training, workload.layout, workload.batches_per_epoch)
    out, _ = run(file, tmp_path / "a")
    (last,) = [row for row in rows(out) if row["method"] == "DMSGD" and row["round"] == "30"]
    assert prediction.bytes_up == int(last["bytes_up"])
    assert prediction.sim_time_s == pytest.approx(float(last["sim_time_s"]), rel=1e-9)
