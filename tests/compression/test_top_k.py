"""Selection by magnitude: exact where it says exact, about k where it says about."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simgmc.compression import build
from simgmc.compression.sparsification.magnitude import largest
from simgmc.core.errors import SimgmcError
from tests.compression.vectors import LAYOUT, gaussian, randomness, stacked


def oracle(vector: np.ndarray, k: int) -> np.ndarray:
    """By a stable sort: largest magnitude first, of equal ones the lowest index, zeros never."""
    order = np.argsort(-np.abs(vector.astype(np.float64)), kind="stable")[:k]
    return np.sort(order[vector[order] != 0])


@given(stacked(max_rows=1, max_d=200), st.data())
def test_top_k_is_exactly_the_k_largest(vector, data):
    k = data.draw(st.integers(1, vector.shape[1]))
    message = build("top-k", count=k)(vector, randomness())
    assert message.indices.tolist() == oracle(vector[0].numpy(), k).tolist()
    assert torch.equal(message.values.flat, vector[0][message.indices])


def structured(d: int) -> dict[str, np.ndarray]:
    """Vectors whose strided samples mislead about the whole."""
    draws = np.random.default_rng(0)
    gauss = draws.standard_normal(d).astype(np.float32)
    columns = np.zeros(d, np.float32)
    columns[::9] = gauss[::9]
    hidden = np.ones(d, np.float32)
    hidden[1::3] = 100 + gauss[1::3]
    layers = gauss * np.repeat(10.0 ** np.arange(-5, 5), -(-d // 10))[:d].astype(np.float32)
    plateau = np.where(draws.random(d) < 0.3, 1.0, gauss / 10).astype(np.float32)
    few = np.zeros(d, np.float32)
    few[[5, d // 2, d - 1]] = [1e-40, -2, 3]
    ascending = np.arange(d, dtype=np.float32)
    return {
        "gauss": gauss,
        "columns": columns,
        "hidden": hidden,
        "layers": layers,
        "plateau": plateau,
        "few": few,
        "ascending": ascending,
        "equal": np.ones(d, np.float32),
        "descending": ascending[::-1].copy(),
    }


@pytest.mark.parametrize("kind", structured(8))
@pytest.mark.parametrize("density", [0.0005, 0.001, 0.01, 0.1, 0.19, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_top_k_is_exact_on_large_structured_vectors(kind, density, dtype):
    vector = structured(70_001)[kind].astype(dtype)
    k = int(density * len(vector))
    assert np.array_equal(largest(vector, k)[0], oracle(vector, k))


def test_top_k_over_several_chunks_is_exact():
    vector = gaussian(600_000).numpy()
    assert np.array_equal(largest(vector, 6000)[0], oracle(vector, 6000))


def test_exactly_k_are_kept_of_equal_magnitudes_and_the_lowest_indices_win():
    vector = torch.tensor([[1.0, -2.0, 2.0, 2.0, -2.0, 0.0]])
    message = build("top-k", count=2)(vector, randomness())
    assert message.indices.tolist() == [1, 2]


@given(stacked(), st.integers(1, 20))
def test_top_k_is_a_contraction(vector, k):
    d = vector.shape[1]
    k = min(k, d)
    rest = build("top-k", count=k)(vector.double(), randomness()).subtract_from(vector.double())
    assert ((rest**2).sum(1) <= (1 - k / d) * (vector.double() ** 2).sum(1) * (1 + 1e-12)).all()


def test_per_tensor_keeps_its_share_of_every_tensor():
    vector = gaussian(2, LAYOUT.d)
    message = build("top-k", LAYOUT, density=0.1, per_tensor=True)(vector, randomness())
    for row in range(2):
        indices = message.row(row)[0].numpy()
        for a, b in zip(LAYOUT.offsets, LAYOUT.offsets[1:]):
            expected = oracle(vector[row, a:b].numpy(), max(1, int(0.1 * (b - a)))) + a
            assert np.array_equal(indices[(indices >= a) & (indices < b)], expected)


def test_density_keeps_the_floor_but_at_least_one():
    keeps = lambda density, d: build("top-k", density=density)(gaussian(1, d), randomness()).counts[0]
    assert keeps(0.29, 100) == 29 and keeps(0.001, 272_474) == 272 and keeps(0.001, 10) == 1 and keeps(1.0, 10) == 10


# Sampled thresholds


@pytest.mark.parametrize("sampling", ["uniform", "strided"])
def test_a_sampled_threshold_sends_every_coordinate_above_its_smallest(sampling):
    vector = gaussian(6, 20_000)
    message = build("sampled-top-k", density=0.01, sampling=sampling)(vector, randomness())
    for row in range(6):
        indices, values = message.row(row)
        assert torch.equal(indices, (vector[row].abs() >= values.abs().min()).nonzero().flatten())


def test_a_uniform_sample_sends_k_on_average_with_the_variation_of_an_order_statistic():
    d, k, m = 20_000, 400, 200
    message = build("sampled-top-k", count=k)(gaussian(d).expand(400, d), randomness(400))
    deviation = k / math.sqrt(math.ceil(m * k / d))
    assert abs(message.counts.mean() - k) < 5 * deviation / math.sqrt(400)
    assert 0.7 * deviation < message.counts.std() < 1.2 * deviation


@pytest.mark.parametrize("sampling", ["uniform", "strided"])
@pytest.mark.parametrize(("d", "k"), [(20_000, 110), (20_000, 210), (3_000, 31), (50_000, 52)])
def test_as_many_are_sent_on_average_as_were_asked_for_also_where_a_rank_is_rounded_up(d, k, sampling):
    """Of 200 sampled coordinates k would have the 1.1-th rank, say: the second alone would send almost twice k."""
    message = build("sampled-top-k", count=k, sampling=sampling)(gaussian(d).expand(600, d), randomness(600))
    rank = math.ceil(max(math.ceil(0.01 * d), 200) * k / d)
    assert abs(message.counts.mean() / k - 1) < 0.02 + 5 / math.sqrt(rank * 600)


def test_the_corrected_threshold_sends_between_four_fifths_of_k_and_k_of_the_largest():
    d, k = 20_000, 200
    vector = gaussian(d).expand(100, d)
    message = build("sampled-top-k", count=k, correct=True, sampling="strided")(vector, randomness(100))
    assert (message.counts <= k).all() and (message.counts >= 0.8 * k).all()
    largest_magnitudes = set(oracle(vector[0].numpy(), math.floor(1.3 * k)).tolist())
    assert all(set(message.row(row)[0].tolist()) <= largest_magnitudes for row in range(100))


def test_a_corrected_threshold_that_selects_too_many_takes_the_exact_top_k():
    d, k = 20_000, 200
    vector = gaussian(d).expand(300, d)
    plain = build("sampled-top-k", count=k)(vector, randomness(300))
    corrected = build("sampled-top-k", count=k, correct=True)(vector, randomness(300))
    over = np.flatnonzero(plain.counts > 1.3 * k)
    assert len(over) > 10
    for row in over:
        assert np.array_equal(corrected.row(row)[0].numpy(), oracle(vector[0].numpy(), k))


def test_a_sample_of_zeros_sends_at_most_limit_times_k_and_no_zeros():
    vector = torch.zeros(1, 10_000)
    vector[0, :8] = torch.linspace(1, 2, 8)
    message = build("sampled-top-k", count=2, limit=1.5)(vector.expand(400, -1), randomness(400))
    cut = np.flatnonzero(message.counts == 3)
    assert len(cut) and (message.counts <= 3).all()  # a sample of half misses all eight in one of 256 cases
    assert np.array_equal(message.row(cut[0])[0].numpy(), oracle(vector[0].numpy(), 3))


def test_a_whole_sample_is_exact():
    vector = gaussian(3, 5000)
    sampled = build("sampled-top-k", density=0.01, sample=1.0)(vector, randomness())
    assert torch.equal(sampled.dense(), build("top-k", density=0.01)(vector, randomness()).dense())


def test_workers_sample_on_their_own_and_rounds_differ():
    vector = gaussian(5000).expand(2, 5000)
    first = build("sampled-top-k", density=0.05)(vector, randomness())
    second = build("sampled-top-k", density=0.05)(vector, randomness(round=1))
    assert first.counts[0] != first.counts[1] and first.counts[0] != second.counts[0]


@given(stacked(), st.floats(0, 10, width=32))
def test_a_threshold_sends_what_reaches_it(vector, threshold):
    message = build("threshold", threshold=threshold)(vector, randomness())
    kept = (vector.abs() >= threshold) & (vector != 0)
    assert torch.equal(message.dense(), torch.where(kept, vector, torch.zeros(())))


def test_a_count_beyond_the_vector_is_refused():
    with pytest.raises(SimgmcError, match="count = 11: the vector has only 10"):
        build("top-k", count=11)(gaussian(1, 10), randomness())
