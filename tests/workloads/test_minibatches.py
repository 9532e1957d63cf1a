"""Minibatches and augmentation: pure functions of (seed, step, worker)."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from simgmc.workloads.data.minibatches import Minibatches, Samples, crop_draws


def owned(sizes):
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    batch=st.integers(1, 15),
    seed=st.integers(0, 5),
)
def test_every_pass_takes_each_of_a_workers_samples_once(sizes, batch, seed):
    minibatches = Minibatches(owned(sizes), batch, seed)
    for worker, mine in enumerate(minibatches.owned):
        steps = -(-3 * len(mine) // min(batch, len(mine)))
        stream = np.concatenate([minibatches.indices(step, worker) for step in range(steps)])
        for turn in range(3):
            taken = stream[turn * len(mine) : (turn + 1) * len(mine)]
            assert sorted(taken) == sorted(mine)


@settings(max_examples=40, deadline=None)
@given(steps=st.permutations(range(8)), workers=st.permutations(range(3)))
def test_minibatches_do_not_depend_on_the_order_in_which_they_are_asked_for(steps, workers):
    asked = Minibatches(owned([7, 9, 5]), 4, seed=1)
    for step in steps:
        for worker in workers:
            fresh = Minibatches(owned([7, 9, 5]), 4, seed=1)
            assert (asked.indices(step, worker) == fresh.indices(step, worker)).all()


def test_all_indices_are_the_workers_own_stacked():
    minibatches = Minibatches(owned([7, 7]), 3, seed=0)
    rows = minibatches.all_indices(5)
    assert rows.shape == (2, 3)
    assert (rows == [minibatches.indices(5, 0), minibatches.indices(5, 1)]).all()


def test_passes_seeds_and_workers_differ():
    minibatches = Minibatches(owned([50, 50]), 50, seed=0)
    first = minibatches.indices(0, 0)
    assert (first != minibatches.indices(1, 0)).any()
    assert (first != minibatches.indices(0, 1) - 50).any()
    assert (first != Minibatches(owned([50, 50]), 50, seed=1).indices(0, 0)).any()


def pictures(count=6, channels=3, height=9, width=7):
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (count, channels, height, width), dtype=np.uint8), np.arange(count)


@pytest.mark.parametrize("channels_last", [True, False])
def test_taken_samples_are_normalised_per_channel(channels_last):
    images, labels = pictures()
    mean, std = np.array([10.0, 20.0, 30.0]), np.array([2.0, 3.0, 5.0])
    samples = Samples(images, labels, mean, std, torch.device("cpu"), torch.float64, channels_last)
    index = torch.tensor([[4, 1, 0], [2, 2, 5]])
    x, y = samples.take(index)
    expected = (images[index] - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-14)
    assert (y == index).all()
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    assert x[0].is_contiguous(memory_format=wanted)
    assert (samples.take(index)[0] == x).all()  # the stored samples are not changed


def test_augmentation_crops_from_the_picture_padded_with_black_and_flips():
    images, labels = pictures()
    samples = Samples(images, labels, np.zeros(1), np.ones(1), torch.device("cpu"), torch.float64, True)
    rng = np.random.default_rng(1)
    index = rng.integers(0, 6, (2, 40))
    crop = crop_draws(3, 0, 2, 40)
    x, _ = samples.take(torch.from_numpy(index), torch.from_numpy(crop))
    for worker in range(2):
        for place in range(40):
            down, right, flip = crop[worker, place]
            padded = np.pad(images[index[worker, place]], ((0, 0), (4, 4), (4, 4)))
            # a flip after the crop: the crop starts where the shift says, then is mirrored
            cut = padded[:, 4 + down : 13 + down, 4 + right : 11 + right]
            expected = cut[:, :, ::-1] if flip else cut
            assert (x[worker, place].numpy() == expected).all()


def test_augmentation_draws_are_uniform_and_a_workers_own():
    draws = crop_draws(0, 0, 4, 5000)
    for column, values in enumerate((range(-4, 5), range(-4, 5), range(2))):
        counts = np.array([(draws[..., column] == value).sum() for value in values])
        assert counts.sum() == 20_000
        expected = 20_000 / len(values)
        assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert (crop_draws(0, 0, 9, 5000)[:4] == draws).all()
    assert (crop_draws(0, 1, 4, 5000) != draws).any()
    assert (crop_draws(1, 0, 4, 5000) != draws).any()
    assert (draws[0] != draws[1]).any()
