"""The memory that a run needs: counted right on a small model, near what is measured, refused in time."""

import gc
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from simgmc.commands.dry_run import dry_run
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.costs.steps import Average
from simgmc.experiment import run as running
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight import memory
from simgmc.experiment.preflight.memory import FLOW_AT_ONCE, FLOW_SIMULATED, flow_bytes, needed_by
from simgmc.experiment.preflight.prediction import wire_format
from simgmc.network import collectives
from simgmc.network.cluster.schedules import options_of
from simgmc.network.conditions.work import Duration
from simgmc.scenario import ScenarioFile
from simgmc.workloads import memory as machine
from simgmc.workloads.classification import ClassificationWorkload, PassBytes
from simgmc.workloads.gradients import live_memory
from simgmc.workloads.gradients.live_memory import LiveTensors


def scenario(workers=2, hidden=(32,), algorithm="dmsgd", **method):
    return {
        "name": "run", "seeds": [1],
        "workload": {
            "dataset": {"name": "synthetic", "features": 256, "train": max(2000, 16 * workers)},
            "model": {"name": "mlp", "hidden": list(hidden)}, "workers": workers, "batch_per_worker": 4, "rounds": 6,
            "evaluate_every": "3 rounds",
        },
        "optimizer": {"learning_rate": 0.01},
        "cluster": {
            "topology": "star", "bandwidth": "1 Gbit/s", "latency": "1 ms", "collective": "parameter-server",
            "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [{"algorithm": algorithm, **method}],
        "report": {"baseline": algorithm},
    }  # fmt: skip


SPARSE = {"compressor": {"name": "top-k", "density": 0.01}}
OPTIONS = {"gmc": SPARSE, "dgc": SPARSE, "choco-sgd": {**SPARSE, "gamma": 0.1}}


def test_live_tensors_are_counted_until_they_are_gone():
    old = torch.ones(1000)
    with LiveTensors() as live:
        a = torch.zeros(1000)
        b = a + old
        c = b.view(10, 100)[2:]  # no memory of its own
        old.add_(1)
        del a
        assert live.now == 4000 and live.peak == 8000
        del b, c
        assert live.now == 0


@pytest.mark.parametrize(("algorithm", "rows"), [("dmsgd", 4), ("gmc", 4), ("dgc", 5)])
def test_a_small_model_counts_the_stacked_tensors_of_a_method(algorithm, rows):
    # profiled with torch.profiler on full rounds: so many (workers, d) tensors at the worst moment
    method = {} if algorithm == "dmsgd" else SPARSE
    needed, stacked = counted(8, algorithm, **method)
    assert needed.step / stacked == pytest.approx(rows, abs=0.4)
    assert needed.gradient <= needed.step and not needed.separate


def counted(workers, algorithm, report=None, content=None, **method):
    """What is needed, and the bytes of one (workers, d) tensor, of 262,144 parameters."""
    content = content or scenario(workers, algorithm=algorithm, **method)
    content["report"] |= report or {}
    (training,) = trainings(ScenarioFile(content, "test").points)
    layout = Layout(("a", "b"), ((512, 256), (256, 512)))
    return needed_by(
        training, SimpleNamespace(layout=layout, workers=workers, d=layout.d, components=0)
    ), 4.0 * workers * layout.d


@pytest.mark.parametrize(
    ("algorithm", "method"),
    [("swarm-sgd", {"period": 3}), ("async-sgd", {}), ("swarm-sgd-non-blocking", {"compressor": {"name": "qsgd"}})],
)
def test_events_on_a_small_model_count_what_the_whole_model_holds(monkeypatch, algorithm, method):
    small, stacked = counted(4, algorithm, **method)
    monkeypatch.setattr(live_memory, "SIZE", 2 * 512 * 256)
    monkeypatch.setattr(live_memory, "MAX_PARAMETERS", 4 * 2 * 512 * 256)
    whole, _ = counted(4, algorithm, **method)
    for moment in ("gradient", "step", "evaluation"):
        assert getattr(small, moment) == pytest.approx(getattr(whole, moment), rel=0.06)
    assert whole.gradient > 3 * stacked and small.separate


def test_single_workers_that_are_evaluated_are_counted():
    needed, stacked = counted(4, "async-sgd")
    server, _ = counted(4, "async-sgd", report={"single_workers": False})
    assert (
        needed.evaluation >= stacked and server.evaluation == needed.evaluation
    )  # centralised: the server's model alone
    # evaluated at simulated times, models wait for the slowest worker
    content = scenario(4, algorithm="local-sgd")
    content["workload"]["evaluate_every"] = "1 s"
    timed, _ = counted(4, "local-sgd", content=content)
    untimed, _ = counted(4, "local-sgd")
    assert timed.evaluation > untimed.evaluation


def test_a_stated_count_is_the_same_share_of_the_small_model():
    count = 150_000  # more than the small model has
    stated, _ = counted(2, "gmc", compressor={"name": "top-k", "count": count})
    share, _ = counted(2, "gmc", compressor={"name": "top-k", "density": count / (2 * 512 * 256)})
    assert stated.step == pytest.approx(share.step, rel=0.01)
    with pytest.raises(
        SimgmcError, match="methods.gmc.compressor.count = 300000: the model has only 262,144 parameters"
    ):
        counted(2, "gmc", compressor={"name": "top-k", "count": 300_000})


@pytest.mark.parametrize("algorithm", ["swarm-sgd", "async-sgd"])
def test_first_messages_of_a_training_under_the_clock_leave_nothing_behind(algorithm):
    (training,) = trainings(ScenarioFile(scenario(4, algorithm=algorithm), "test").points)
    gc.disable()
    try:
        with LiveTensors() as live:
            wire_format(training, Layout(("a",), ((100_000,),)), 10.0)
            assert live.now < 4 * 100_000
    finally:
        gc.enable()


def test_the_header_says_what_a_run_needs(tmp_path, capsys):
    running.run(ScenarioFile(scenario(), "test"), out=tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("memory")]
    assert "about" in line and "at its worst (dmsgd): now" in line


def test_a_dry_run_says_it_too_and_refuses_what_does_not_fit(monkeypatch, capsys):
    dry_run(ScenarioFile(scenario(algorithm="async-sgd"), "test"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("memory")]
    assert "at its worst (async-sgd): now" in line
    monkeypatch.setattr(memory, "available", lambda device: 1e6)
    with pytest.raises(SimgmcError, match="workload: needs about .* has 1.00 MB free"):
        dry_run(ScenarioFile(scenario(algorithm="async-sgd"), "test"))


def test_fewer_threads_are_used_where_what_all_hold_would_not_fit(tmp_path, monkeypatch, capsys):
    content = ScenarioFile(scenario(workers=16), "test")
    running.run(content, out=tmp_path / "all", threads=4)
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("threads")]
    monkeypatch.setattr(ClassificationWorkload, "pass_bytes", PassBytes(10**8))  # 16, 12, 8, 4 at once
    monkeypatch.setattr(memory, "available", lambda device: 1e9)
    running.run(content, out=tmp_path / "two", threads=4)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("threads")]
    assert line.split(":")[0].split() == ["threads", "2", "of", "4"]
    assert (tmp_path / "two/metrics.csv").read_bytes() == (tmp_path / "all/metrics.csv").read_bytes()
    monkeypatch.setattr(memory, "available", lambda device: 1e8)
    with pytest.raises(SimgmcError, match="Most of it is for the activations: a smaller workload.batch_per_worker"):
        running.run(content, out=tmp_path / "none", threads=4)


def test_what_does_not_fit_is_refused_with_the_figure_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 60e6)
    with pytest.raises(
        SimgmcError,
        match=(
            r"needs about .* state of 60 workers x 82,890.* has 60.0 MB free .* fewer workers \(about \d+ would fit\)"
        ),
    ) as caught:
        running.run(ScenarioFile(scenario(workers=60, hidden=(256, 64)), "test"), out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_model_that_does_not_fit_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(machine, "available", lambda device: 1e6)
    with pytest.raises(
        SimgmcError, match="1,000,000 parameters need at least 24.0 MB for one worker; 1.00 MB are free"
    ):
        machine.require_model_memory(1_000_000, 4, "cpu")


def test_the_limit_of_a_container_counts_and_its_files_in_memory_are_free(tmp_path):
    files = {"max": "1000\n", "current": "900\n", "stat": "anon 100\ninactive_file 300\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in files]
    assert machine._container(*paths) == 400
    (tmp_path / "max").write_text("max\n")
    assert machine._container(*paths) is None
    assert machine._container("/nowhere", "/nowhere", "/nowhere") is None


def test_activations_are_counted_on_a_gradient():
    with LiveTensors() as live:
        model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.ReLU(), nn.Linear(100, 1, bias=False))
        model(torch.zeros(50, 100)).sum().backward()
    # weights and their gradients, two hidden layers kept for the backward pass
    assert live.peak >= 4 * (2 * (100 * 100 + 100) + 2 * 50 * 100)


def test_on_cuda_the_passes_of_a_captured_round_are_there_already_and_all_workers_points_are_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 10**9)

    def predicted(route, algorithm):
        training = trainings(ScenarioFile(scenario(workers=3, algorithm=algorithm), "run", ()).points)[0]
        layout = Layout.flat(1000)
        workload = SimpleNamespace(
            workers=3, d=1000, layout=layout, dtype=torch.float32, device=torch.device("cuda"), route=route, at_once=2,
            threads=1, components=0,
            pass_bytes=PassBytes(10**8, 10**6, 10**5),
        )  # fmt: skip
        return memory.predict_memory(training, workload)

    captured, launched = (predicted(route, "dmsgd") for route in ("cuda graph", "cuda streams"))
    assert launched.parts["activations"] == 2 * 10**8 + 3 * 10**5 and captured.more < 10**7
    separate = predicted("cuda streams", "local-sgd")
    assert separate.parts["activations"] == launched.parts["activations"] + 2 * 3 * 4 * 1000


MEASURE = """
import io, json, resource, sys
from rich.console import Console
from simgmc.experiment import run as running
from simgmc.experiment.preflight import trial
from simgmc.scenario import ScenarioFile
predicted, predict = [], trial.predict_memory
trial.predict_memory = lambda *given: predicted.append(predict(*given)) or predicted[-1]
running.run(ScenarioFile(json.loads(sys.argv[1]), "test"), out=sys.argv[2], console=Console(file=io.StringIO()))
print(predicted[0].total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_a_ring_takes_a_kilobyte_for_each_flow_where_they_are_simulated_one_by_one():
    def found(**cluster):
        content = scenario(100, [32], "dmsgd")
        content["cluster"] |= {"collective": "ring", **cluster}
        return flow_bytes(trainings(ScenarioFile(content, "test").points)[0], 1e6)

    flows = 3 * 100 * 99 * 6  # slices of no less than a packet
    assert found() == 0
    assert found(changes={"wandering": [{"interval": "1 s", "sigma": 0.1}]}) == pytest.approx(flows * FLOW_SIMULATED)
    assert found(collective="parameter-server") == 0


def test_flows_that_are_simulated_one_by_one_are_counted_whatever_the_collective():
    def found(collective, **cluster):
        content = scenario(16, [32], "dmsgd")
        content["cluster"] |= {"collective": collective, **cluster}
        (training,) = trainings(ScenarioFile(content, "test").points)
        schedule = collectives.schedule(
            collective, Average(np.full(16, 10**6), 10**6, True, 4, np.full(16, 10**6), 0), Duration(0.001),
            options_of(training.settings(training.points[0])),
        )  # fmt: skip
        each = FLOW_AT_ONCE if "server" in collective else FLOW_SIMULATED
        return flow_bytes(training, 1e6) / each, schedule.structure.flows

    counted, flows = found("sharded-parameter-server", collective_options={"servers": 3})
    assert counted == pytest.approx(flows) and flows == 3 * (2 * 16 + 1)
    counted, flows = found("halving-doubling")
    assert counted == pytest.approx(flows) and flows > 0
    counted, flows = found("colocated-parameter-server")
    assert counted == pytest.approx(flows, rel=0.05)
    counted, flows = found("parameter-server", changes={"wandering": [{"interval": "1 s", "sigma": 0.1}]})
    assert counted == pytest.approx(flows) and flows == 33


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "hidden", "algorithm"),
    [
        (1, [64], "dmsgd"), (8, [1024, 512], "dmsgd"), (8, [1024, 512], "gmc"), (64, [1024, 512], "gmc"),
        (256, [32], "gmc"),
        (256, [1024], "dgc"), (32, [2048, 1024], "dmsgd"), (4, [8192, 2700], "dmsgd"),
        (8, [1024, 512], "swarm-sgd"), (32, [2048, 512], "swarm-sgd"), (8, [2048, 1024], "swarm-sgd-non-blocking"),
        (8, [1024, 512], "ad-psgd"), (32, [2048, 512], "ad-psgd"), (8, [1024, 512], "async-sgd"),
        (32, [2048, 512], "async-sgd"),
        (8, [1024, 512], "d-psgd"), (32, [2048, 512], "choco-sgd"),
    ],
)  # fmt: skip
def test_the_prediction_is_within_a_tenth_of_the_peak_that_is_measured(tmp_path, workers, hidden, algorithm):
    content = scenario(workers, hidden, algorithm, **OPTIONS.get(algorithm, {}))
    content["gossip"] = {"graph": "ring"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(content), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    predicted, measured = map(float, done.stdout.split())
    assert predicted == pytest.approx(measured, rel=0.1)
