"""The memory that a run needs: counted right in a rehearsal, near what is measured, refused in time."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from simgmc import memory, running
from simgmc.building import build_trainer
from simgmc.errors import SimgmcError
from simgmc.layout import Layout
from simgmc.scenario import ScenarioFile
from simgmc.simulation import trainings
from simgmc.training.rehearsal import LiveTensors, rehearse


def scenario(workers=2, hidden=(32,), algorithm="dmsgd", **method):
    return {
        "name": "run", "seeds": [1],
        "workload": {
            "dataset": {"name": "synthetic", "features": 256, "train": max(2000, 16 * workers)},
            "model": {"name": "mlp", "hidden": list(hidden)}, "workers": workers, "batch_per_worker": 4, "rounds": 6, "evaluate_every": "3 rounds",
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
def test_a_rehearsal_counts_the_stacked_tensors_of_a_method(algorithm, rows):
    # profiled with torch.profiler on full rounds: so many (workers, d) tensors at the worst moment
    method = {} if algorithm == "dmsgd" else SPARSE
    (training,) = trainings(ScenarioFile(scenario(algorithm=algorithm, **method), "test").points)
    needed = rehearse(lambda small: build_trainer(training, small), Layout(("a", "b"), ((512, 256), (256, 512))))
    assert needed.per_worker / 4 == pytest.approx(rows, abs=0.4)
    assert needed.gradient_per_worker <= needed.per_worker and not needed.separate


def test_the_header_says_what_a_run_needs(tmp_path, capsys):
    running.run(ScenarioFile(scenario(), "test"), out=tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("memory")]
    assert "about" in line and "at its worst (dmsgd): now" in line


def test_what_does_not_fit_is_refused_with_the_figure_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 60e6)
    with pytest.raises(SimgmcError, match=r"needs about .* has 60.0 MB free .*state of 60 workers x 82,890.* fewer workers \(about \d+ would fit\)") as caught:
        running.run(ScenarioFile(scenario(workers=60, hidden=(256, 64)), "test"), out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_model_that_does_not_fit_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 1e6)
    with pytest.raises(SimgmcError, match="1,000,000 parameters need at least 24.0 MB for one worker; 1.00 MB are free"):
        memory.require_model_memory(1_000_000, 4, "cpu")


def test_the_limit_of_a_container_counts_and_its_files_in_memory_are_free(tmp_path):
    files = {"max": "1000\n", "current": "900\n", "stat": "anon 100\ninactive_file 300\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in files]
    assert memory._container(*paths) == 400
    (tmp_path / "max").write_text("max\n")
    assert memory._container(*paths) is None
    assert memory._container("/nowhere", "/nowhere", "/nowhere") is None


def test_activations_are_counted_on_a_gradient():
    with LiveTensors() as live:
        model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.ReLU(), nn.Linear(100, 1, bias=False))
        model(torch.zeros(50, 100)).sum().backward()
    # weights and their gradients, two hidden layers kept for the backward pass
    assert live.peak >= 4 * (2 * (100 * 100 + 100) + 2 * 50 * 100)


MEASURE = """
import io, json, resource, sys
from rich.console import Console
from simgmc import running
from simgmc.scenario import ScenarioFile
predicted, predict = [], running.predict_memory
running.predict_memory = lambda *given: predicted.append(predict(*given)) or predicted[-1]
running.run(ScenarioFile(json.loads(sys.argv[1]), "test"), out=sys.argv[2], console=Console(file=io.StringIO()))
print(predicted[0].total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "hidden", "algorithm"),
    [
        (1, [64], "dmsgd"), (8, [1024, 512], "dmsgd"), (8, [1024, 512], "gmc"), (64, [1024, 512], "gmc"), (256, [32], "gmc"),
        (256, [1024], "dgc"), (32, [2048, 1024], "dmsgd"), (4, [8192, 2700], "dmsgd"),
    ],
)  # fmt: skip
def test_the_prediction_is_within_a_tenth_of_the_peak_that_is_measured(tmp_path, workers, hidden, algorithm):
    content = scenario(workers, hidden, algorithm, **({} if algorithm == "dmsgd" else SPARSE))
    done = subprocess.run([sys.executable, "-c", MEASURE, json.dumps(content), str(tmp_path / "run")], capture_output=True, text=True, check=True)
    predicted, measured = map(float, done.stdout.split())
    assert predicted == pytest.approx(measured, rel=0.1)
