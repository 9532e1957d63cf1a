"""Sizes of partial sums against sets."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from simgmc.compression import build
from simgmc.core.randomness import Randomness


@given(st.integers(2, 6), st.integers(6, 40), st.integers(1, 6), st.integers(0, 2**31))
def test_partial_sums_are_the_sizes_of_the_united_sets(rows, d, count, seed):
    vectors = torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, d)).astype(np.float32))
    message = build("top-k", count=count)(vectors, Randomness(0, 0, 0, range(rows)))
    supports = [set(message.row(row)[0].tolist()) for row in range(rows)]
    growth = message.partial_sums()
    for steps in range(rows):
        for part in range(rows):
            union = set().union(*(supports[(part + step) % rows] for step in range(steps + 1)))
            assert growth[steps, part] == 8 * sum(index * rows // d == part for index in union)
    assert growth[-1].sum() == 8 * len(set().union(*supports))


def test_messages_that_sum_in_place_have_no_growth():
    vectors = torch.ones(3, 12)
    for name, options in (("identity", {}), ("rbgs", {"count": 4})):
        assert build(name, **options)(vectors, Randomness(0, 0, 0, range(3))).partial_sums() is None
