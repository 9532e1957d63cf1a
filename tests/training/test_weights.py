"""Workers that weigh by their samples: the mean gradient is that of all samples together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simgmc.algorithms import ALGORITHMS
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness
from simgmc.scenario import ScenarioFile
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.gradients.statistics import averaged
from tests.small_runs import SMALL

SIZES = 2, 4, 8
LR = 0.3


def workload(sizes=SIZES, by_samples=True):
    """With minibatches of all that a worker holds, some of it more than once."""
    rng, n = np.random.default_rng(0), sum(SIZES)
    x, y = rng.normal(size=(n, 6)).astype(np.float32), rng.integers(0, 3, n)
    data = Dataset("random", x, y, x, y, 3, np.zeros(1), np.ones(1))
    torch.manual_seed(0)
    owned = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    task = ClassificationWorkload(
        nn.Linear(6, 3), data, owned, batch=8, seed=1, dtype=torch.float64, by_samples=by_samples
    )
    return task, torch.from_numpy(x).double(), torch.from_numpy(y)


def trained(task, rounds=3, name="sgd", **options):
    trainer = StackedTrainer(ALGORITHMS[name](**options), task, lambda epoch: LR)
    for _ in range(rounds):
        trainer.next_round().with_everybody()
    return trainer


def test_the_weighted_mean_of_gradients_is_the_gradient_of_all_samples():
    task, x, y = workload()
    trainer = trained(task)
    model = nn.Linear(6, 3).double()
    nn.utils.vector_to_parameters(task.initial_parameters(), model.parameters())
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(x), y)
        for parameter, gradient in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
            parameter.data -= LR * gradient
    torch.testing.assert_close(trainer.model(), nn.utils.parameters_to_vector(model.parameters()).detach())
    loss = nn.functional.cross_entropy(model(x), y).item()
    assert task.minibatch_loss(trainer.model(), trainer.progress().latest) == pytest.approx(loss, rel=1e-12)
    assert (trained(workload(by_samples=False)[0]).model() - trainer.model()).abs().max() > 1e-3


def test_workers_that_hold_equally_many_samples_weigh_nothing_bit_for_bit():
    weighted, equal = (trained(workload((4, 4, 4), flag)[0]) for flag in (True, False))
    assert torch.equal(weighted.model(), equal.model())


VECTORS = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
SHARES = [0.125, 0.25, 0.625]


@pytest.mark.parametrize(
    ("name", "options"),
    [("identity", {}), ("top-k", {"density": 0.2}), ("top-k", {"density": 0.9}), ("random-k", {"density": 0.2}),
     ("sign", {}), ("qsgd", {}), ("low-rank", {"rank": 1})],
)  # fmt: skip
def test_a_weighted_mean_is_that_of_the_decoded_messages(name, options):
    message = build(name, Layout(("w",), ((8, 5),)), **options)(VECTORS, Randomness(0, 0, 0, range(3)))
    right = torch.tensor(SHARES) @ message.dense()
    torch.testing.assert_close(message.mean(SHARES).dense()[0], right)
    torch.testing.assert_close(message.mean([1 / 3] * 3).dense(), message.mean().dense())


def test_votes_and_levels_that_are_summed_on_the_way_are_refused():
    with pytest.raises(SimgmcError, match=r'workload.weights = "samples": .* vote .*weights = "equal"'):
        trained(workload()[0], name="signsgd")


def test_averaged_statistics_weigh_as_well_those_of_all_samples_together():
    parts = [torch.randn(n, 4, dtype=torch.float64) + n for n in SIZES]
    rows = {
        "running_mean": torch.stack([part.mean(0) for part in parts]),
        "running_var": torch.stack([part.var(0, correction=0) for part in parts]),
    }
    found = averaged(rows, [n / sum(SIZES) for n in SIZES])
    torch.testing.assert_close(found["running_mean"], torch.cat(parts).mean(0))
    torch.testing.assert_close(found["running_var"], torch.cat(parts).var(0, correction=0))


def test_the_header_says_what_workers_weigh():
    notes = workload()[0].notes
    assert any("hold 2 to 8 samples and weigh by them" in note for note in notes)
    assert any("2 of them hold less than a batch" in note for note in notes)
    assert any("all weigh the same" in note for note in workload(by_samples=False)[0].notes)


@pytest.mark.parametrize(
    ("partition", "stated", "weighs"),
    [("iid", None, False), ("quantity-skew", None, True), ("quantity-skew", "equal", False),
     ({"name": "dirichlet", "definition": "per-class"}, None, True), ("dirichlet", "samples", False)],
)  # fmt: skip
def test_workers_weigh_by_samples_where_a_partition_states_unequal_sizes(partition, stated, weighs):
    table = {**SMALL["workload"], "partition": partition} | ({"weights": stated} if stated else {})
    file = ScenarioFile({**SMALL, "workload": table}, "weights")
    assert file.points[0].scenario.workload.weighs_unequally is weighs
