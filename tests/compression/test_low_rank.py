"""PowerSGD's pieces: exact on low rank, linear, a projection."""

import pytest
import torch

from simgmc.compression import build
from simgmc.compression.low_rank import LowRank
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.randomness import generator
from tests.compression.vectors import LAYOUT, gaussian, randomness


def average(message):
    return message.mean().dense()


def step(low_rank, vector, q):
    """One round of the two averages; the update and the next Q."""
    p, rest = low_rank.orthogonalise(average(low_rank.left(vector, q)))
    q = average(low_rank.right(vector, p))
    return low_rank.expand(p, q, rest), q


def test_the_update_is_the_mean_when_the_mean_has_the_rank():
    layout = Layout(("w", "b"), ((30, 20), (5,)))
    left, right = gaussian(4, 30, 2, dtype=torch.float64), gaussian(2, 20, seed=1, dtype=torch.float64)
    vector = torch.cat([(left @ right).flatten(1), gaussian(4, 5, seed=2, dtype=torch.float64)], 1)
    low_rank = LowRank(layout=layout, rank=2)
    update, _ = step(low_rank, vector, low_rank.start(generator(0, "test"), vector))
    assert torch.allclose(update, vector.mean(0, keepdim=True), atol=1e-12)


def test_the_two_averages_equal_one_step_on_the_mean():
    vector = gaussian(6, LAYOUT.d, dtype=torch.float64)
    low_rank = LowRank(layout=LAYOUT, rank=3)
    q = low_rank.start(generator(0, "test"), vector)
    together, _ = step(low_rank, vector, q)
    on_the_mean, _ = step(low_rank, vector.mean(0, keepdim=True), q)
    assert torch.allclose(together, on_the_mean, atol=1e-12)


def test_a_warm_start_converges_to_the_best_approximation():
    layout = Layout(("w",), ((30, 20),))
    matrix = gaussian(30, 20, dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    best = ((u[:, :2] * s[:2]) @ v[:2]).flatten()
    low_rank = LowRank(layout=layout, rank=2)
    q = low_rank.start(generator(0, "test"), matrix)
    for _ in range(400):
        update, q = step(low_rank, matrix.view(1, -1), q)
    assert torch.allclose(update[0], best, atol=1e-6)


def test_columns_are_orthonormal_even_for_a_gradient_of_zeros():
    low_rank = LowRank(layout=LAYOUT, rank=2)
    for vector in (gaussian(2, LAYOUT.d), torch.zeros(2, LAYOUT.d)):
        p, _ = low_rank.orthogonalise(average(low_rank.left(vector, low_rank.start(generator(0, "test"), vector))))
        for matrix in low_rank.matrices:
            thin = p[0, matrix.left : matrix.left + matrix.n * matrix.r].view(matrix.n, matrix.r)
            assert torch.allclose(thin.T @ thin, torch.eye(matrix.r), atol=1e-5)


def test_sizes_are_rank_times_both_sides_and_small_tensors_whole():
    vector = gaussian(3, LAYOUT.d)
    low_rank = LowRank(layout=LAYOUT, rank=2)
    left = low_rank.left(vector, low_rank.start(generator(0, "test"), vector))
    p, _ = low_rank.orthogonalise(average(left))
    floats = left.floats + low_rank.right(vector, p).floats
    assert floats.tolist() == [2 * ((6 + 36) + (20 + 9) + (10 + 12)) + 6 + 1] * 3
    assert left.summable and low_rank.right(vector, p).summable


def test_own_factors_are_a_projection_of_each_workers_vector():
    vector = gaussian(4, LAYOUT.d, dtype=torch.float64)
    message = build("low-rank", LAYOUT, rank=2)(vector, randomness())
    lost = (message.subtract_from(vector) ** 2).sum(1)
    assert torch.allclose(lost, (vector**2).sum(1) - (message.dense() ** 2).sum(1))
    assert (lost < (vector**2).sum(1)).all()
    assert not message.summable


def test_factors_that_would_not_be_smaller_are_not_used():
    low_rank = LowRank(layout=LAYOUT, rank=50)
    vector = gaussian(2, LAYOUT.d, dtype=torch.float64)
    update, _ = step(low_rank, vector, low_rank.start(generator(0, "test"), vector))
    assert low_rank.matrices == () and torch.allclose(update, vector.mean(0, keepdim=True))


def test_a_layout_is_needed():
    with pytest.raises(SimgmcError, match="layout"):
        build("low-rank", rank=1)
