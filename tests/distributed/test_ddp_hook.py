"""Methods under plain DDP: their steps are those of the simulation, whatever the buckets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from simgmc.core.errors import SimgmcError
from simgmc.distributed.ddp import MethodHook
from simgmc.experiment.assembly import WorkloadFactory, build_stacked_trainer
from simgmc.experiment.plan import trainings
from simgmc.scenario import ScenarioFile
from tests.places import ROOT
from tests.small_runs import SMALL

ROUNDS = 6
TOP_K = {"name": "top-k", "density": 0.05}
METHODS = {
    "sgd": {},
    "dmsgd": {"momentum": 0.9},
    "gmc": {"compressor": TOP_K, "momentum": 0.9},
    "dgc": {"compressor": TOP_K, "momentum": 0.9},
    "ef": {"compressor": TOP_K},
    "powersgd": {},
    "1-bit-adam": {},
    "qsgd": {"compressor": {"name": "qsgd", "levels": 4}},
    "gmc-server-momentum": {"compressor": {"name": "rbgs", "density": 0.1}, "momentum": 0.9},
}


def training(method, workers):
    content = SMALL | {
        "workload": SMALL["workload"] | {"workers": workers, "rounds": ROUNDS, "evaluate_every": "6 rounds"},
        "optimizer": {"learning_rate": 0.1},
        "cluster": {key: SMALL["cluster"][key] for key in ("bandwidth", "latency", "collective", "compute")},
        "methods": [{"name": "it", "algorithm": method, **METHODS[method]}],
        "report": {},
    }
    (found,) = trainings(ScenarioFile(content, "here").points)
    return found, WorkloadFactory("cpu", None, 1)(found.scenario, 3)


def simulated(method, workers):
    found, workload = training(method, workers)
    trainer = build_stacked_trainer(found, workload, "all")
    for _ in range(ROUNDS):
        trainer.next_round().with_everybody()
    return trainer.model()


class Flat(torch.nn.Module):
    """The model's tensors; the gradient of what it returns is the one that it was given."""

    def __init__(self, workload):
        super().__init__()
        pieces = workload.initial_parameters().reshape(-1).split(workload.layout.sizes)
        shapes = workload.layout.shapes
        self.tensors = torch.nn.ParameterList(one.clone().view(shape) for one, shape in zip(pieces, shapes))

    def forward(self, gradient):
        pieces = gradient.split([one.numel() for one in self.tensors])
        return sum((one.reshape(-1) * piece).sum() for one, piece in zip(self.tensors, pieces))


def by_ddp(method, rank, workers, **options):
    _, workload = training(method, workers)
    model = DistributedDataParallel(Flat(workload), bucket_cap_mb=0.002)  # several buckets
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hook = MethodHook(model, optimizer, method, seed=3, **(METHODS[method] | options)).register()
    flat = lambda: torch.cat([one.detach().reshape(-1) for one in model.module.tensors])
    for step in range(ROUNDS):
        optimizer.zero_grad()
        model(workload.gradient(rank, flat(), step)[0]).backward()
        optimizer.step()
    assert hook.rounds == ROUNDS
    return flat()


@pytest.fixture(scope="module")
def alone():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("method", ["gmc", "powersgd", "1-bit-adam"])
def test_one_process_makes_the_simulated_steps(alone, method):
    assert torch.allclose(by_ddp(method, 0, 1), simulated(method, 1), rtol=1e-4, atol=1e-6)


def test_what_is_more_than_a_gradients_way_is_refused(alone):
    model = DistributedDataParallel(torch.nn.Linear(4, 3))
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    for method, options, says in (
        ("local-sgd", {"period": 2}, "more than one gradient"),
        ("gmc+", {"compressor": TOP_K}, "elsewhere than at the parameters"),
        ("lars", {}, "follows from the parameters too"),
        ("d-psgd", {}, "does not average over all workers"),
        ("post-local-sgd", {"period": 2}, "no communication hook|needs|option"),
        ("gmc", {}, "gmc needs compressor"),
        ("gmc", {"compressor": TOP_K, "moment": 1}, "no option 'moment'"),
    ):
        with pytest.raises(SimgmcError, match=says):
            MethodHook(model, plain, method, **options)
    for optimizer in (torch.optim.Adam(model.parameters()), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)):
        with pytest.raises(SimgmcError, match="makes its own step"):
            MethodHook(model, optimizer, "gmc", compressor=TOP_K)


def test_a_saved_hook_goes_on_as_if_it_had_never_stopped(alone):
    def hook():
        model = DistributedDataParallel(torch.nn.Linear(6, 2))
        return MethodHook(model, torch.optim.SGD(model.parameters(), lr=0.1), "gmc", compressor=TOP_K)

    gradients = torch.randn(4, 14)
    whole, first, second = hook(), hook(), hook()
    expected = [whole.step(one) for one in gradients]
    for one in gradients[:2]:
        first.step(one)
    second.load_state_dict(first.state_dict())
    assert all(torch.equal(second.step(one), step) for one, step in zip(gradients[2:], expected[2:]))


RANK = """
import os, sys, torch, torch.distributed as dist
from tests.distributed.test_ddp_hook import METHODS, by_ddp
torch.set_num_threads(1)
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", store=dist.FileStore(sys.argv[1] + "/store", 2), rank=rank, world_size=2)
found = {method: by_ddp(method, rank, 2) for method in METHODS}
torch.save(found, f"{sys.argv[1]}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_make_the_simulated_steps(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path)],
            cwd=ROOT, env=os.environ | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    for one in ranks:
        _, errors = one.communicate(timeout=300)
        assert one.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for method in METHODS:
        assert torch.equal(first[method], second[method]), method
        assert torch.allclose(first[method], simulated(method, 2), rtol=1e-4, atol=1e-6), method
