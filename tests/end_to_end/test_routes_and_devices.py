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
from rich.console import Console

from simgmc.algorithms import ALGORITHMS
from simgmc.experiment import assembly
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.run import run_trainings
from simgmc.results.directory.run_directory import create
from simgmc.workloads.classification import ClassificationWorkload
from tests.far_device import uniforms_of_the_host
from tests.small_runs import fifty_rounds_of

TOLERANCE = 1e-7


def trajectory(name, out, monkeypatch, device="cpu", **how):
    """Clock, bytes, loss and accuracy of every evaluation."""
    made = functools.partial(ClassificationWorkload, dtype=torch.float64)

    def build(*arguments, **options):
        return made(*arguments, **(options | how))

    monkeypatch.setattr(assembly, "ClassificationWorkload", build)
    file = fifty_rounds_of(name)
    directory = create(out, file.resolved(), grid_keys=())
    console = Console(file=StringIO(), width=120)
    with RunProgress(console, len(trainings(file.points)), file.points[0].scenario.report.metric) as progress:
        run_trainings(trainings(file.points), directory, assembly.WorkloadFactory(device, None, None), progress, 1e9)
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


@pytest.mark.parametrize("name", ["gmc", "choco-sgd", "async-sgd"])  # of each way to ask for gradients
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
