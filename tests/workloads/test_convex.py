"""Logistic regression: gradients, the optimum and how well it is known, on made and on real data."""

import numpy as np
import pytest
import torch

from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.workloads.data.catalogue import DATASETS, load_dataset, require_files
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.partitions.catalogue import partition
from simgmc.workloads.problems.catalogue import PROBLEMS
from simgmc.workloads.problems.convex import ACCURACY, LogisticObjective, LogisticWorkload, minimise
from tests.places import PUBLISHED_DATA

needs_a9a = pytest.mark.skipif(
    not (PUBLISHED_DATA / "libsvm" / "a9a").is_file(), reason="the published files of a9a are not here"
)
WORKERS = 4


def made(n=203, d=6, seed=0):
    draws = generator(seed, "samples")
    samples = draws.standard_normal((n + 50, d)).astype(np.float32)
    labels = (samples @ draws.standard_normal(d) + draws.standard_normal(n + 50) > 0).astype(np.int64)
    return Dataset("made", samples[:n], labels[:n], samples[n:], labels[n:], 2)


def workload(data, *, batch=8, regularisation=1e-2, dtype=torch.float64, seed=1):
    owned = partition("iid", data.train_labels, WORKERS, seed)
    return LogisticWorkload(data, owned, regularisation=regularisation, batch=batch, seed=seed, dtype=dtype), owned


def test_gradients_are_the_derivatives_that_autograd_finds_on_each_workers_minibatch():
    data = made()
    task, owned = workload(data)
    at = torch.from_numpy(generator(3, "at").standard_normal((WORKERS, task.d))).requires_grad_()
    losses = []
    for worker in range(WORKERS):
        index = task._minibatches.indices(5, worker)
        assert set(index) <= set(owned[worker])
        x, y = torch.from_numpy(data.train_images[index]).double(), torch.from_numpy(2.0 * data.train_labels[index] - 1)
        losses.append(torch.log1p(torch.exp(-y * (x @ at[worker]))).mean() + 0.01 / 2 * at[worker] @ at[worker])
    (expected,) = torch.autograd.grad(sum(losses), at)
    gradients, found = task.gradients(at, 5)
    torch.testing.assert_close(gradients, expected)
    torch.testing.assert_close(found, torch.stack(losses).detach())
    for worker in range(WORKERS):
        assert torch.equal(task.gradient(worker, at[worker], 5)[0], gradients[worker])


@pytest.mark.parametrize("batch", [8, 7, 25, 50, 64])
def test_components_are_fixed_parts_whose_mean_is_the_workers_own_loss(batch):
    data = made()
    task, owned = workload(data, batch=batch)
    full, _ = workload(data, batch=50)
    assert task.components == -(-50 // batch)
    at = torch.linspace(-1, 1, task.d, dtype=torch.float64)
    for worker in range(WORKERS):
        parts = [task.component_gradient(worker, at, index) for index in range(task.components)]
        gradient, loss = full.gradient(worker, at, 0)
        torch.testing.assert_close(torch.stack([part for part, _ in parts]).mean(0), gradient)
        torch.testing.assert_close(torch.stack([value for _, value in parts]).mean(0), loss)
        again = at.clone().requires_grad_()
        samples = owned[worker][: 50 // task.components]
        signed = torch.from_numpy(data.train_images[samples] * (2.0 * data.train_labels[samples] - 1)[:, None])
        value = task.components / 50 * torch.log1p(torch.exp(-signed @ again)).sum() + 0.01 / 2 * again @ again
        torch.testing.assert_close(value.detach(), parts[0][1])
        torch.testing.assert_close(torch.autograd.grad(value, again)[0], parts[0][0])


def test_full_batches_give_the_gradient_of_the_objective_whose_gap_is_told():
    task, owned = workload(made(), batch=50)  # 203 samples: 50 each, 3 belong to nobody
    assert {len(piece) for piece in owned} == {50}
    w = torch.linspace(-1, 1, task.d, dtype=torch.float64)
    torch.testing.assert_close(task.gradients(w[None], 0)[0].mean(0), task._objective.gradient(w))
    assert task.gradients(task.optimum.point[None], 0)[0].mean(0).norm() < 1e-12


def test_the_optimum_is_known_as_well_as_is_stated():
    task, _ = workload(made())
    found = task.evaluate(task.optimum.point)
    assert found.others["gap"] == 0.0 == found.others["distance"]
    assert 0 <= task.optimum.excess <= ACCURACY
    for step in generator(4, "steps").standard_normal((20, task.d)):
        gap = task.evaluate(task.optimum.point + 1e-3 * torch.from_numpy(step)).others["gap"]
        assert gap >= 0.01 / 2 * 1e-6 * (step @ step) * 0.99  # strong convexity


def test_the_gap_falls_with_the_square_of_the_distance():
    task, _ = workload(made())
    direction = torch.ones(task.d, dtype=torch.float64)
    far, near = (task.evaluate(task.optimum.point + scale * direction).others["gap"] for scale in (1e-3, 1e-5))
    assert far / near == pytest.approx(1e4, rel=0.01)


def test_a_regularisation_too_small_to_vouch_for_the_optimum_is_refused():
    data = made()
    signed = torch.from_numpy(data.train_images * (2.0 * data.train_labels - 1)[:, None])
    with pytest.raises(SimgmcError, match="regularisation = 1e-25: too small"):
        minimise(LogisticObjective(signed, 1e-25))


def test_single_precision_trains_in_it_and_is_judged_in_double():
    task, _ = workload(made(), dtype=torch.float32)
    gradients, losses = task.gradients(task.initial_parameters()[None], 0)
    assert gradients.dtype == losses.dtype == torch.float32
    assert task.evaluate(task.optimum.point.float()).others["gap"] < 1e-12


def test_at_the_start_everybody_is_taken_for_the_first_class():
    data = made()
    task, _ = workload(data)
    found = task.evaluate(task.initial_parameters())
    assert found.accuracy == pytest.approx((data.test_labels == 0).mean())
    assert found.loss == pytest.approx(np.log(2)) == pytest.approx(found.others["objective"])


def test_more_than_two_classes_are_refused():
    data = made()
    many = Dataset("many", data.train_images, data.train_labels, data.test_images, data.test_labels, 3)
    with pytest.raises(SimgmcError, match="needs 2 classes"):
        workload(many)


def test_a_missing_a9a_is_named_with_how_to_get_it(tmp_path):
    with pytest.raises(SimgmcError, match=r"missing libsvm/a9a and 1 more.*LIBSVM Data"):
        require_files(["a9a"], tmp_path)


@needs_a9a
def test_a9a_as_published_and_its_optimum():
    data = load_dataset("a9a", PUBLISHED_DATA)
    entry = DATASETS["a9a"]
    assert data.train_images.shape == (entry.train, 123) and data.test_images.shape == (entry.test, 123)
    assert np.unique(data.train_images).tolist() == [0.0, 1.0]
    assert data.train_labels.sum() == 7841 and data.test_labels.sum() == 3846
    problem = PROBLEMS["logistic-regression"]
    options = problem.resolve({"dataset": "a9a", "batch_per_worker": 32, "partition": {"name": "dirichlet"}})
    task = problem.build(options, 8, 1, "cpu", lambda name: data)
    assert task.optimum.value == pytest.approx(0.3245, abs=2e-4)
    assert task.optimum.excess < 1e-20
    assert task.evaluate(task.optimum.point).accuracy == pytest.approx(0.85, abs=0.002)
