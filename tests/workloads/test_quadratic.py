"""Quadratics: their optimum, their gradients and noise, the numbers that a scenario may give."""

import dataclasses

import numpy as np
import pytest
import torch

from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.workloads.problems.catalogue import PROBLEMS
from simgmc.workloads.problems.quadratic import Quadratics, from_numbers, gmc_toy
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload


def random_quadratics(workers=3, d=5, noise=0.0, seed=0):
    draws = generator(seed, "curvature").standard_normal((workers, d, d))
    matrices = draws @ draws.transpose(0, 2, 1) + np.eye(d)
    return Quadratics(matrices, generator(seed, "centres").standard_normal((workers, d)), np.full(d, 2.0), noise)


def full(problem):
    return problem.matrices if problem.matrices.ndim == 3 else np.stack([np.diag(row) for row in problem.matrices])


def direct(problem, w):
    """F at w as the definition says."""
    pairs = zip(full(problem), problem.minimisers, strict=True)
    return np.mean([(w - c) @ A @ (w - c) / 2 for A, c in pairs])


@pytest.mark.parametrize("problem", [random_quadratics(), gmc_toy("A", 7), gmc_toy("B", 6)], ids=["full", "A", "B"])
def test_value_gap_and_optimum_are_those_of_the_mean_objective(problem):
    points = generator(1, "points").standard_normal((20, problem.d))
    expected = np.array([direct(problem, w) for w in points])
    np.testing.assert_allclose(problem.value(points), expected, rtol=1e-12)
    np.testing.assert_allclose(problem.gap(points), expected - direct(problem, problem.optimum), rtol=1e-9)
    assert (problem.gap(points) > 0).all() and problem.gap(problem.optimum) == 0
    slope = sum(A @ (problem.optimum - c) for A, c in zip(full(problem), problem.minimisers, strict=True))
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_the_toys_are_the_reconstructions():
    a, b = gmc_toy("A", 4), gmc_toy("B", 4)
    w = np.array([0.3, -1.0, 2.0, 0.5])
    c = np.array([0.25, 0.5, 0.75, 1.0])
    assert direct(a, w) == pytest.approx(((w - c) @ (w - c) + (w + c) @ (w + c)) / 2)
    assert (
        a.optimum.tolist() == [0.0] * 4
        and a.start.tolist() == [3.0] * 4
        and gmc_toy("A", 2).start.tolist() == [3.0, 2.0]
    )
    np.testing.assert_allclose(b.optimum, np.array([-9, 9, -9, 9]) / 11)
    assert b.matrices.tolist() == [[1, 10, 1, 10], [10, 1, 10, 1]] and b.start.tolist() == [5.0] * 4


@pytest.mark.parametrize("problem", [random_quadratics(), gmc_toy("B", 5)], ids=["full", "diagonal"])
def test_gradients_are_the_derivatives_that_autograd_finds(problem):
    workload = QuadraticWorkload(problem, 0)
    at = torch.from_numpy(generator(2, "at").standard_normal((problem.workers, problem.d))).requires_grad_()
    matrices, centres = torch.from_numpy(full(problem)), torch.from_numpy(problem.minimisers)
    losses = torch.stack([(w - c) @ A @ (w - c) / 2 for w, c, A in zip(at, centres, matrices, strict=True)])
    (expected,) = torch.autograd.grad(losses.sum(), at)
    gradients, found = workload.gradients(at, 0)
    torch.testing.assert_close(gradients, expected)
    torch.testing.assert_close(found, losses.detach())
    assert gradients.dtype == torch.float64


@pytest.mark.parametrize(
    "problem", [random_quadratics(noise=0.5), gmc_toy("B", 5, noise=0.5)], ids=["full", "diagonal"]
)
def test_one_workers_gradient_has_the_bits_of_its_row(problem):
    workload = QuadraticWorkload(problem, 3)
    shared = workload.initial_parameters()
    gradients, losses = workload.gradients(shared[None], 7)
    for worker in range(problem.workers):
        gradient, loss = workload.gradient(worker, shared, 7)
        assert torch.equal(gradient, gradients[worker]) and torch.equal(loss, losses[worker])


def test_noise_depends_on_seed_step_and_worker_alone_and_has_the_stated_deviation():
    def noise(seed, step):
        noisy = QuadraticWorkload(gmc_toy("A", 2000, noise=0.3), seed)
        clean = QuadraticWorkload(gmc_toy("A", 2000), seed)
        at = noisy.initial_parameters()[None]
        return noisy.gradients(at, step)[0] - clean.gradients(at, step)[0]

    assert torch.equal(noise(0, 5), noise(0, 5))
    draws = torch.cat([noise(0, 5), noise(0, 6), noise(1, 5)])
    correlation = torch.corrcoef(draws) - torch.eye(6)
    assert correlation.abs().max() < 5 / 2000**0.5
    assert draws.std() == pytest.approx(0.3, rel=0.05)


def test_an_evaluation_gives_gap_distance_and_for_two_parameters_the_point():
    two, three = (QuadraticWorkload(gmc_toy("B", d), 0) for d in (2, 3))
    found = two.evaluate(torch.tensor([1.0, 2.0]))
    assert found.accuracy is None and found.loss == pytest.approx(direct(two.problem, np.array([1.0, 2.0])))
    assert found.others["distance"] == pytest.approx(np.hypot(1 + 9 / 11, 2 - 9 / 11))
    assert found.others["gap"] == pytest.approx(5.5 / 2 * found.others["distance"] ** 2)
    assert (found.others["w[0]"], found.others["w[1]"]) == (1.0, 2.0)
    assert set(three.evaluate(three.initial_parameters()).others) == {"gap", "distance"}


def test_diagonals_and_the_same_matrices_written_out_are_one_problem():
    numbers = dict(minimisers=[[1, 0], [-1, 2]], start=[3, 3], noise=0.0)
    one = from_numbers(matrices=[[1, 10], [10, 1]], **numbers)
    other = from_numbers(matrices=[[1, 10], [[10, 0], [0, 1]]], **numbers)
    assert one.diagonal and not other.diagonal
    np.testing.assert_allclose(one.optimum, other.optimum)
    assert one.least == pytest.approx(other.least)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"matrices": [[1, 1]]}, "2 are given for 1 matrices"),
        ({"matrices": [[1, 1], [1]]}, "matrices: number 1 must be 2 numbers"),
        ({"matrices": [[1, 1], [[1, 2], [3, 1]]]}, "number 1 is not symmetric"),
        ({"matrices": [[1, 1], [1, -1]]}, "positive definite"),
        ({"minimisers": [[1, 1], [1, 1, 1]]}, "minimisers: number 1 has 3 numbers, start has 2"),
        ({"start": []}, "start = []: must be a list of numbers"),
        ({"start": [1, float("inf")]}, "must be a list of numbers"),
        ({"start": [1, 10**400]}, "must be a list of numbers"),
        ({"noise": -1}, "noise = -1: must be"),
        ({"matrices": None}, 'needs the option "matrices"'),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_name(change, says):
    entry = PROBLEMS["quadratic"]
    given = {"matrices": [[1, 1], [2, 2]], "minimisers": [[1, 1], [-1, -1]], "start": [3, 3]} | change
    with pytest.raises(SimgmcError) as refusal:
        entry.check(entry.resolve(given), 2)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "problem", [random_quadratics(noise=0.3), gmc_toy("B", 5, noise=0.3)], ids=["full", "diagonal"]
)
def test_components_differ_by_fixed_slopes_and_their_mean_is_the_workers_objective(problem):
    task = QuadraticWorkload(problem, 0)
    exact = QuadraticWorkload(dataclasses.replace(problem, noise=0.0), 0)
    at = torch.from_numpy(generator(2, "at").standard_normal(problem.d)).requires_grad_()
    for worker in range(problem.workers):
        parts = [task.component_gradient(worker, at, index) for index in range(task.components)]
        gradient, loss = exact.gradient(worker, at, 0)
        gradients = torch.stack([part for part, _ in parts])
        torch.testing.assert_close(gradients.mean(0), gradient)
        torch.testing.assert_close(torch.stack([value for _, value in parts]).mean(0).detach(), loss.detach())
        # 16 x d draws less their mean: 5 standard errors of their standard deviation.
        spread = float((gradients - gradient).square().sum() / (15 * problem.d)) ** 0.5
        assert abs(spread / 0.3 - 1) < 5 / (2 * 15 * problem.d) ** 0.5
        offset = at - torch.from_numpy(problem.minimisers[worker])
        value = (
            offset @ torch.from_numpy(full(problem)[worker]) @ offset / 2 + (gradients[3] - gradient).detach() @ offset
        )
        torch.testing.assert_close(value, parts[3][1])
        torch.testing.assert_close(torch.autograd.grad(value, at)[0], parts[3][0])
        assert torch.equal(task.component_gradient(worker, at, 3)[0], parts[3][0])
        assert torch.equal(exact.component_gradient(worker, at, 3)[0], gradient)
