"""Signs, levels and trits: unbiased where they say so, with the variance they promise."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from simgmc.compression import build
from simgmc.core.randomness import Randomness
from tests.compression.vectors import LAYOUT, gaussian, randomness, stacked

DRAWS = 600
statistical = settings(max_examples=4, derandomize=True, phases=[Phase.generate], deadline=None)
"""Fixed examples, not shrunk: each draws the compressor many times."""

UNBIASED = {
    "2-norm": ("qsgd", {"levels": 4}),
    "1 level": ("qsgd", {"levels": 1}),
    "inf-norm": ("qsgd", {"levels": 3, "norm": "inf"}),
    "buckets": ("qsgd", {"levels": 2, "bucket": 7}),
    "ternary": ("ternary", {"clip": 0.0}),
}


def draws_of(compress, vector) -> torch.Tensor:
    return compress(vector.expand(DRAWS, -1), randomness(DRAWS)).dense()


@pytest.mark.parametrize("case", UNBIASED)
@statistical
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=25))
def test_stochastic_rounding_is_unbiased(case, numbers):
    name, parameters = UNBIASED[case]
    vector = torch.tensor(numbers, dtype=torch.float64)
    samples = draws_of(build(name, **parameters), vector)
    deviation = samples.std(0) / DRAWS**0.5
    assert ((samples.mean(0) - vector).abs() <= 6 * deviation + 6 * vector.norm() / DRAWS).all()


@pytest.mark.parametrize(
    "levels, norm, bucket", [(1, "2", None), (4, "2", None), (16, "2", 8), (1, "inf", None), (4, "inf", 8)]
)
@statistical
@given(st.lists(st.floats(-100, 100, width=32), min_size=8, max_size=40))
def test_the_variance_bound_holds(levels, norm, bucket, numbers):
    vector = torch.tensor(numbers, dtype=torch.float64)
    compress = build("qsgd", levels=levels, norm=norm, bucket=bucket)
    errors = ((draws_of(compress, vector) - vector) ** 2).sum(1)
    bound = float(compress.variance(min(bucket or len(numbers), len(numbers)))) * (vector**2).sum()
    assert errors.mean() <= bound + 6 * errors.std() / DRAWS**0.5 + 1e-12


@pytest.mark.parametrize("levels, norm", [(1, "2"), (4, "2"), (1, "inf"), (2, "inf")])
@statistical
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
def test_the_contractive_form_contracts(levels, norm, numbers):
    vector = torch.tensor(numbers, dtype=torch.float64)
    compress = build("qsgd", levels=levels, norm=norm, contractive=True)
    errors = ((draws_of(compress, vector) - vector) ** 2).sum(1)
    kept = 1 / (1 + float(compress.variance(len(numbers))))
    assert errors.mean() <= (1 - kept) * (vector**2).sum() + 6 * errors.std() / DRAWS**0.5 + 1e-12


def test_the_highest_level_is_exactly_the_norm():
    vector = torch.zeros(1, 50)
    vector[0, 3] = -0.1
    for levels in (1, 3, 7, 127, 300):
        assert torch.equal(build("qsgd", levels=levels)(vector, randomness()).dense(), vector)


@pytest.mark.parametrize(
    "levels, sparse, dense, fixed",
    [(1, 0.04, 1.01, 2), (16, 0.44, 1.12, 6), (64, 1.13, 1.48, 8), (256, 2.48, 2.69, 10)],
)
def test_bits_per_coordinate_of_a_gaussian_vector(levels, sparse, dense, fixed):
    """The figures that an independent count of Elias-omega code lengths gives for d = 100,000."""
    vector = gaussian(1, 100_000)
    expected = {"elias-sparse": sparse, "elias-dense": dense, "fixed": fixed}
    for coding, bits in expected.items():
        message = build("qsgd", levels=levels, coding=coding)(vector, randomness())
        assert 8 * message.nbytes[0] / 100_000 == pytest.approx(bits, abs=0.015)


@given(stacked())
def test_scaled_sign_loses_exactly_what_its_formula_says(vector):
    wide = vector.double()
    d = wide.shape[1]
    message = build("sign")(wide, randomness())
    scale = wide.abs().sum(1) / d
    expected = scale[:, None] * torch.where(wide >= 0, 1.0, -1.0)
    assert torch.allclose(message.dense(), expected, rtol=1e-12, atol=0)
    error = ((message.dense() - wide) ** 2).sum(1)
    norm = (wide**2).sum(1)
    assert torch.allclose(error, norm - d * scale**2, rtol=1e-6, atol=1e-9 * float(norm.max() + 1))


def test_sign_of_zero_is_plus():
    message = build("sign", scale="none")(torch.tensor([[0.0, -0.0, -1.0]]), randomness())
    assert message.dense().tolist() == [[1.0, 1.0, -1.0]]


def test_scales_per_tensor_are_each_tensors_own():
    vector = gaussian(2, LAYOUT.d, dtype=torch.float64)
    dense = build("sign", LAYOUT, per_tensor=True)(vector, randomness()).dense()
    for a, b in zip(LAYOUT.offsets, LAYOUT.offsets[1:]):
        assert torch.allclose(dense[:, a:b].abs(), vector[:, a:b].abs().mean(1, keepdim=True).expand(-1, b - a))


def test_a_majority_vote_returns_one_bit_a_coordinate():
    vector = torch.tensor([[1.0, -1, 2, -1], [3, -2, -1, 1], [-1, -5, 1, 0.5], [-4, 1, -1, -3]])
    mean = build("sign", scale="none", vote=True)(vector, randomness()).mean()
    assert mean.dense().tolist() == [[1.0, -1.0, 1.0, 1.0]]  # ties are plus
    assert mean.nbytes.tolist() == [1]


def test_ternary_clips_to_standard_deviations():
    vector = gaussian(1, 10_000, seed=3)
    vector[0, 0] = 50.0
    scale = build("ternary", clip=2.5)(vector, randomness()).values.scales[0]
    assert float(scale) == pytest.approx(2.5 * float(vector.std(correction=0)), rel=1e-5)
    assert float(build("ternary", clip=0.0)(vector, randomness()).values.scales[0]) == 50.0


def test_shared_scalers_make_sums_of_whole_numbers():
    workers = 8
    vector = gaussian(workers, LAYOUT.d)
    compress = build("ternary", LAYOUT, share_scale=True, per_tensor=True, clip=0.0)
    message = compress(vector, randomness())
    mean = message.mean()
    assert torch.allclose(mean.dense(), message.dense().mean(0, keepdim=True), atol=1e-6)
    bits = int(np.ceil(np.log2(2 * workers + 1)))
    assert mean.nbytes.tolist() == [4 * len(LAYOUT.sizes) + -(-bits * LAYOUT.d // 8)]
    for row in range(workers):
        agreed = compress.scales(vector).amax(0)
        alone = compress(vector[row], Randomness(1, 0, 0, [row]), scales=agreed)
        assert torch.equal(alone.dense(), message.dense()[row])


def test_each_worker_rounds_with_its_own_draws():
    dense = build("qsgd", levels=1)(gaussian(500).expand(2, 500), randomness()).dense()
    assert not torch.equal(dense[0], dense[1])


def test_quantising_the_kept_values_keeps_the_support_and_contracts():
    d, k, levels = 400, 40, 16
    vector = gaussian(d, dtype=torch.float64)
    compress = build("composed", sparsify={"name": "top-k", "count": k}, quantise={"name": "qsgd", "levels": levels})
    samples = draws_of(compress, vector)
    support = build("top-k", count=k)(vector, randomness()).dense()
    assert not samples[:, support == 0].any()
    w = min(k / levels**2, k**0.5 / levels)
    errors = ((samples - vector) ** 2).sum(1)
    assert errors.mean() <= (vector**2).sum() - (1 - w) * (support**2).sum() + 6 * errors.std() / DRAWS**0.5
    deviation = samples.std(0) / DRAWS**0.5
    assert ((samples.mean(0) - support).abs() <= 6 * deviation + 1e-9).all()
