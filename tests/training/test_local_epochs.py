"""Periods in passes over each worker's own samples: FedAvg's local epochs, with unequally many local steps."""

import csv
import math
import tomllib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.worker import Epochs
from simgmc.core.errors import SimgmcError
from simgmc.costs.log import from_bytes, to_bytes
from simgmc.costs.steps import Compute
from simgmc.scenario import ScenarioFile
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from tests.small_runs import SMALL, method, run

SIZES, BATCH, LR = (8, 24, 5), 8, 0.2


def workload(sizes=SIZES):
    rng, n = np.random.default_rng(0), 60
    x, y = rng.normal(size=(n, 6)).astype(np.float32), rng.integers(0, 3, n)
    torch.manual_seed(0)
    owned = [np.arange(start, start + size) for start, size in zip((0, 20, 44), sizes, strict=True)]
    return ClassificationWorkload(
        nn.Linear(6, 3), Dataset("random", x, y, x, y, 3), owned, batch=BATCH, seed=1, dtype=torch.float64,
        by_samples=True,
    )  # fmt: skip


def trainer(task, name="local-sgd", epochs=1.0, **options):
    found = ALGORITHMS[name](period=Epochs(epochs), **options)
    return StackedTrainer(found, task, lambda epoch: LR, gradients=round(3 * task.batches_per_epoch))


def test_rounds_are_federated_averaging_as_plain_torch_writes_it():
    """Each worker from the common model through its own samples once, with a momentum of its own; then n_k / n."""
    task = workload()
    one = trainer(task, momentum=0.5)
    model = nn.Linear(6, 3).double()
    common, momenta = task.initial_parameters(), [None] * 3
    counts, taken = [1, 3, 1], [0, 0, 0]
    for number in range(3):
        costs = one.next_round().with_everybody()
        computed = sum(step.of_each(3) for step in costs if isinstance(step, Compute))
        assert computed.tolist() == counts
        found = []
        for worker, steps in enumerate(counts):
            nn.utils.vector_to_parameters(common.clone(), model.parameters())
            optimizer = torch.optim.SGD(model.parameters(), LR, momentum=0.5)
            for parameter, kept in zip(model.parameters(), momenta[worker] or (), strict=False):
                optimizer.state[parameter]["momentum_buffer"] = kept
            for _ in range(steps):
                x, y = task._training.at_step(taken[worker]).worker(worker)
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                taken[worker] += 1
            momenta[worker] = [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]
            found.append(nn.utils.parameters_to_vector(model.parameters()).detach())
        common = sum(size / sum(SIZES) * own for size, own in zip(SIZES, found, strict=True))
        torch.testing.assert_close(one.model(), common)
        assert one.epoch == pytest.approx(number + 1, abs=0.5 / task.batches_per_epoch + 1e-9)
    assert one.gradients == one.gradients_in_all
    assert one.progress().latest == [count - 1 for count in taken]


LOCAL = [
    "local-sgd", "post-local-sgd", "pr-sgd-momentum", "qsparse-local-sgd", "quantized-pr-sgd", "overlap-local-sgd",
    "slowmo", "diloco",
]  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
def test_a_worker_with_fewer_steps_is_as_if_the_others_had_no_more(name):
    """A worker's own message of the first round does not depend on how many steps the others make."""

    def messages(sizes):
        options = {key: value for key, value in method(name).items() if key not in ("name", "algorithm", "period")}
        options = {key: value for key, value in options.items() if not isinstance(value, dict)}
        if "compressor" in method(name):
            from simgmc.compression import build

            options["compressor"] = build("identity", task.layout)
        if name == "post-local-sgd":
            options["start_epoch"] = 0.0
        sent = []
        one = trainer(workload(sizes), name, **options)
        one.on_message = lambda message: sent.append(message.dense())
        for _ in range(2 if name == "overlap-local-sgd" else 1):
            one.next_round().with_everybody()
        return sent[-1 if name == "overlap-local-sgd" else 0]

    task = workload()
    torch.testing.assert_close(messages((8, 24, 5))[0], messages((8, 8, 5))[0])


def test_with_equal_sizes_a_pass_is_so_many_steps_bit_for_bit():
    task = workload((16, 16, 16))
    steps, passes = (
        StackedTrainer(ALGORITHMS["slowmo"](period=period), task, lambda epoch: LR) for period in (2, Epochs(1.0))
    )
    for one in (steps, passes):
        one.next_round().with_everybody()
    assert torch.equal(steps.model(), passes.model()) and steps.gradients == passes.gradients == 2


def test_a_run_ends_at_its_epochs_goes_on_where_it_stopped_and_replays(tmp_path):
    content = {
        **SMALL,
        "workload": {
            **{key: value for key, value in SMALL["workload"].items() if key != "rounds"},
            "epochs": 3, "evaluate_every": "1 epoch",
            "partition": {"name": "quantity-skew", "minimum": 40},
        },
        "methods": [
            {"name": "FedAvg", "algorithm": "local-sgd", "period": "1 epoch"},
            {"name": "two", "algorithm": "slowmo", "period": "2 epochs"},
            {"name": "SGD", "algorithm": "sgd"},
        ],
        "report": {"baseline": "SGD"},
    }  # fmt: skip
    out, said = run(ScenarioFile(content, "small.toml", ()), tmp_path / "run")
    found = {row["method"]: row for row in csv.DictReader((out / "metrics.csv").open())}
    assert {name: (int(row["round"]), round(float(row["epoch"]), 1)) for name, row in found.items()} == {
        "FedAvg": (3, 3.0), "two": (2, 3.0), "SGD": (int(found["SGD"]["round"]), 3.0),
    }  # fmt: skip
    written = tomllib.loads((out / "scenario.toml").read_text())
    assert [one.get("period") for one in written["methods"]] == ["1 epoch", "2 epochs", None]
    gradients = {}
    for row in csv.DictReader((out / "workers.csv").open()):
        gradients.setdefault(row["method"], []).append(int(row["gradients"]))
    assert len(set(gradients["FedAvg"])) > 1 and len(set(gradients["SGD"])) == 1
    assert np.mean(gradients["FedAvg"]) == pytest.approx(gradients["SGD"][0], rel=0.05)


@pytest.mark.parametrize("period", ["1 hour", "0 epochs", "epoch", "-1 epochs", 0, 1.5])
def test_a_period_that_is_none_is_refused_with_what_would_be_right(period):
    methods = [{"name": "local", "algorithm": "local-sgd", "period": period}]
    with pytest.raises(SimgmcError, match=r'period.*passes of each worker over its own samples, such as "1 epoch"'):
        ScenarioFile({**SMALL, "methods": methods, "report": {}}, "small.toml", ())


def test_costs_of_unequal_steps_are_kept(tmp_path):
    one = trainer(workload())
    costs = one.next_round().with_everybody()
    (again,) = from_bytes(to_bytes([costs]))
    assert [step.of_each(3).tolist() for step in again if isinstance(step, Compute)] == [
        [1, 1, 1],
        [0, 1, 0],
        [0, 1, 0],
    ]
    assert math.isclose(sum(step.mean for step in again if isinstance(step, Compute)), 5 / 3)
