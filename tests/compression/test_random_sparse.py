"""Random coordinates and blocks: linearity, index-free sizes, exact expectations."""

import numpy as np
import pytest
import torch

from simgmc.compression import build
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness
from tests.compression.vectors import LAYOUT, gaussian, randomness

SHARED = [
    ("rbgs", {"count": 40}),
    ("rbgs", {"density": 0.1, "per_tensor": True}),
    ("random-k", {"count": 40}),
    ("grbs", {"ratio_in": 2, "ratio_out": 3}),
]


@pytest.mark.parametrize("name, parameters", SHARED)
def test_the_mean_of_the_compressed_is_the_compressed_mean(name, parameters):
    vector = gaussian(8, LAYOUT.d, dtype=torch.float64)
    compress = build(name, LAYOUT, **parameters)
    mean = compress(vector, randomness()).mean().dense()
    assert torch.allclose(mean, compress(vector.mean(0, keepdim=True), randomness()).dense(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name, parameters", SHARED)
def test_shared_coordinates_need_no_indices_and_hold_on_every_worker(name, parameters):
    vector = gaussian(4, LAYOUT.d)
    message = build(name, LAYOUT, **parameters)(vector, randomness())
    alone = build(name, LAYOUT, **parameters)(vector[2], Randomness(1, 0, 0, [2]))
    assert torch.equal(alone.indices, message.indices)
    assert message.summable and message.nbytes.tolist() == [4 * len(message.indices)] * 4


def selected(name, parameters, rounds, d=LAYOUT.d) -> np.ndarray:
    """How often each coordinate was kept."""
    times = np.zeros(d)
    for round in range(rounds):
        times[build(name, LAYOUT, **parameters)(torch.ones(d), randomness(1, round=round)).indices] += 1
    return times


def test_rbgs_keeps_consecutive_coordinates_that_wrap_around():
    wrapped = 0
    for round in range(30):
        indices = build("rbgs", count=200)(torch.ones(LAYOUT.d), randomness(1, round=round)).indices.numpy()
        assert len(indices) == 200 and (np.diff(indices) % LAYOUT.d == 1).all()
        wrapped += indices[0] > indices[-1]
    assert wrapped > 3


@pytest.mark.parametrize(
    "name, parameters, share",
    [
        ("rbgs", {"count": 100}, 100 / LAYOUT.d),
        ("random-k", {"count": 100}, 100 / LAYOUT.d),
        ("grbs", {"ratio_in": 2, "ratio_out": 2, "ratio_layer": 1.5}, 1 / 6),
        ("grbs", {"ratio_in": 7, "ratio_out": 1}, 1 / 7),
    ],
)
def test_every_coordinate_is_kept_equally_often(name, parameters, share):
    rounds = 1200
    times = selected(name, parameters, rounds)
    deviation = np.sqrt(rounds * share * (1 - share))
    assert np.abs(times - rounds * share).max() < 5.5 * deviation


def test_rbgs_loses_exactly_its_share_over_all_starts():
    d, s = 50, 7
    vector = gaussian(1, d, dtype=torch.float64)
    seen = {}
    for round in range(2000):
        message = build("rbgs", count=s)(vector, randomness(1, round=round))
        seen[int(message.indices[0])] = float((message.subtract_from(vector) ** 2).sum())
    assert len(seen) == d
    assert np.isclose(np.mean(list(seen.values())), (1 - s / d) * float((vector**2).sum()), rtol=1e-12)


@pytest.mark.parametrize("seed", ["own", "shared"])
def test_scaled_random_k_is_unbiased_with_the_known_variance(seed):
    d, k, draws = 40, 8, 4000
    vector = gaussian(d, dtype=torch.float64)
    compress = build("random-k", count=k, seed=seed, unbiased=True)
    if seed == "own":
        samples = compress(vector.expand(draws, d), randomness(draws)).dense()
    else:
        samples = torch.stack([compress(vector, randomness(1, round=t)).dense() for t in range(draws)])
    deviation = (samples.std(0) / draws**0.5).clamp(min=1e-12)
    assert ((samples.mean(0) - vector).abs() < 5 * deviation).all()
    error = ((samples - vector) ** 2).sum(1).mean()
    assert torch.isclose(error, (d / k - 1) * (vector**2).sum(), rtol=0.05)


def test_random_k_of_its_own_seed_draws_k_distinct_coordinates_per_worker():
    message = build("random-k", count=30, seed="own")(torch.ones(5, 100), randomness())
    rows = [message.row(row)[0] for row in range(5)]
    assert all(len(indices.unique()) == 30 for indices in rows)
    assert not torch.equal(rows[0], rows[1]) and not message.summable


def test_grbs_takes_an_aligned_block_of_every_tensor():
    layout = Layout(("conv", "linear", "bias"), ((6, 9, 2, 2), (8, 12), (18,)))
    for round in range(20):
        message = build("grbs", layout, ratio_in=2, ratio_out=3)(torch.ones(layout.d), randomness(1, round=round))
        kept = message.dense()
        for shape, a, b in zip(layout.shapes, layout.offsets, layout.offsets[1:]):
            assert int(kept[a:b].sum()) == (b - a) / 6
            if len(shape) == 1:
                continue
            grid = kept[a:b].view(shape[0], shape[1], -1)
            first, second = grid.amax((1, 2)).nonzero().flatten(), grid.amax((0, 2)).nonzero().flatten()
            assert len(first) == shape[0] // 2 and first[0] % len(first) == 0 and first[-1] - first[0] == len(first) - 1
            assert (
                len(second) == shape[1] // 3
                and second[0] % len(second) == 0
                and second[-1] - second[0] == len(second) - 1
            )


def test_grbs_without_layers_sends_nothing_and_says_so():
    empty = next(
        message
        for round in range(50)
        if not len((message := build("grbs", ratio_layer=2.0)(torch.ones(2, 9), randomness(round=round))).indices)
    )
    assert empty.nbytes.tolist() == [0, 0] and not empty.dense().any() and empty.encode() == b""
    assert torch.equal(empty.decode([b"", b""]).dense(), torch.zeros(2, 9))
