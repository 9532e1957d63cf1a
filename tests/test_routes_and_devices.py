"""Fifty rounds of every method: the same trajectory whichever way, and on whichever device, gradients are computed.

In float64 sums that round differently move a trajectory by far less than the tolerance, while a
message of other coordinates or another minibatch would move it by far more.
"""

import csv
import functools
import math
from io import StringIO

import pytest
import torch
from far_device import uniforms_of_the_host
from rich.console import Console
from test_resume import method
from test_simulation import SMALL

from simgmc.algorithms import ALGORITHMS
from simgmc.experiment import assembly
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.simulation import Simulation
from simgmc.results.directory.run_directory import create
from simgmc.scenario import ScenarioFile
from simgmc.workloads.classification import ClassificationWorkload

ROUNDS, TOLERANCE = 50, 1e-7
PROBLEM = {
    "name": "quadratic", "start": [3.0, -3.0], "matrices": [[1.0, 2.0], [2.0, 1.0], [1.5, 0.5], [0.7, 1.1]],
    "minimisers": [[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0], [0.5, 0.5]],
}  # fmt: skip
OWN = {"quantized-pr-sgd-gossip": {"compressor": {"name": "qsgd", "levels": 64}}}
"""Coarser differences of models make it diverge."""


def scenario(name):
    """A method on digits, or on quadratics where it needs a finite sum; a small step, so that none diverges."""
    content = {
        **SMALL,
        "workload": {**SMALL["workload"], "rounds": ROUNDS, "evaluate_every": "10 rounds"},
        "optimizer": {"learning_rate": 0.02, "weight_decay": 1e-4},
        "methods": [method(name) | OWN.get(name, {})],
        "report": {"baseline": name},
    }
    algorithm = ALGORITHMS[name]
    if algorithm.finite_sum:
        content["workload"] = {"problem": PROBLEM, "workers": 4, "rounds": ROUNDS, "evaluate_every": "10 rounds"}
        content |= {"optimizer": {"learning_rate": 0.02}, "report": {"baseline": name, "metric": "gap"}}
    if algorithm.mixing != "none" or (algorithm.asynchronous and not algorithm.centralised):
        content["gossip"] = {"graph": "ring"}
    return ScenarioFile(content, "small.toml", ())


def trajectory(name, out, monkeypatch, device="cpu", **how):
    """Clock, bytes, loss and accuracy of every evaluation."""
    made = functools.partial(ClassificationWorkload, dtype=torch.float64)

    def build(*arguments, **options):
        return made(*arguments, **(options | how))

    monkeypatch.setattr(assembly, "ClassificationWorkload", build)
    file = scenario(name)
    directory = create(out, file.resolved(), grid_keys=())
    console = Console(file=StringIO(), width=120)
    with RunProgress(console, len(trainings(file.points)), file.points[0].scenario.report.metric) as progress:
        Simulation(file.points, directory, assembly.WorkloadFactory(device, None, None), progress, 1e9).run()
    with open(out / "metrics.csv", newline="") as stream:
        return [
            [float(row[key]) for key in ("sim_time_s", "bytes_up", "test_loss", "test_accuracy") if row[key]]
            for row in csv.DictReader(stream)
        ]


def same(first, second):
    assert len(first) == len(second) >= 5
    assert len({row[2] for row in first}) == len(first)  # it trains
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            assert math.isclose(a, b, rel_tol=TOLERANCE), (one, other)


NETWORKS = [name for name, algorithm in ALGORITHMS.items() if not algorithm.finite_sum]


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_split_by_worker_and_worker_after_worker_give_the_same_trajectory(name, tmp_path, monkeypatch):
    one, other = (trajectory(name, tmp_path / route, monkeypatch, route=route) for route in ("split", "loop"))
    same(one, other)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ALGORITHMS)
def test_cuda_and_the_cpu_give_the_same_trajectory(name, tmp_path, monkeypatch):
    monkeypatch.setattr("simgmc.compression.quantisation.quantise.uniforms", uniforms_of_the_host)
    one, other = (trajectory(name, tmp_path / device, monkeypatch, device) for device in ("cpu", "cuda"))
    same(one, other)
