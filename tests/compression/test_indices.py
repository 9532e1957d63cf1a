"""Index formats: round trips, sizes, and how near they come to the entropy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.compression.wire.indices import INDEX_FORMATS, decode, encode, size


@st.composite
def supports(draw):
    d = draw(st.integers(1, 5000))
    return np.array(sorted(draw(st.sets(st.integers(0, d - 1), max_size=min(d, 120)))), np.int64), d


@given(supports())
@pytest.mark.parametrize("format", INDEX_FORMATS)
def test_indices_round_trip_and_know_their_size(format, case):
    indices, d = case
    payload = encode(format, indices, d)
    assert len(payload) == size(format, indices, d)
    decoded, used = decode(format, memoryview(payload + b"\xff" * 4), len(indices), d)
    assert used == len(payload) and np.array_equal(decoded, indices) and decoded.dtype == np.int64


@pytest.mark.parametrize("format", INDEX_FORMATS)
@pytest.mark.parametrize("indices", [[], [0], [2**20], [0, 1, 2, 3], [0, 2**20], list(range(2**20 + 1))])
def test_extreme_supports_round_trip(format, indices):
    indices = np.array(indices, np.int64)
    payload = encode(format, indices, 2**20 + 1)
    assert np.array_equal(decode(format, memoryview(payload), len(indices), 2**20 + 1)[0], indices)


@given(supports())
def test_auto_is_the_shortest_and_one_byte(case):
    indices, d = case
    assert size("auto", indices, d) == 1 + min(size(one, indices, d) for one in INDEX_FORMATS[:-1])


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1])
def test_golomb_rice_is_within_three_percent_of_the_entropy(density):
    d = 272_474
    k = int(density * d)
    indices = np.sort(np.random.default_rng(0).choice(d, k, replace=False))
    entropy = (math.lgamma(d + 1) - math.lgamma(k + 1) - math.lgamma(d - k + 1)) / math.log(2)
    assert entropy <= 8 * size("golomb-rice", indices, d) <= 1.03 * entropy
