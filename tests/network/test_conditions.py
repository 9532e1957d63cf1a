"""Conditions: stragglers, pauses, changing bandwidth, background traffic, failures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.conditions import ComputeTime, Pauses


def stood_still(pauses, start, end, offset):
    """Seconds of pauses between two times, pause by pause."""
    first = int((start - offset) // pauses.period) - 1
    begins = [offset + n * pauses.period for n in range(first, int((end - offset) // pauses.period) + 2)]
    return sum(max(min(end, begin + pauses.length) - max(start, begin), 0.0) for begin in begins)


@given(st.floats(0, 5), st.floats(0.01, 3), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_pauses_stretch_work_by_the_time_stood_still(start, seconds, offset):
    pauses = Pauses(period=1.0, length=0.25)
    end = pauses.stretched(start, seconds, offset)
    assert end - start - stood_still(pauses, start, end, offset) == pytest.approx(seconds, rel=1e-9)


def test_work_without_a_pause_in_the_way_is_not_stretched():
    assert Pauses(10.0, 1.0).stretched(2.0, 3.0, 0.5) == pytest.approx(5.0)
    assert Pauses(10.0, 1.0).stretched(2.0, 3.0, 4.0) == pytest.approx(6.0)
    assert Pauses(10.0, 1.0).stretched(4.5, 1.0, 4.0) == pytest.approx(6.0)
    assert Pauses(10.0, 1.0).stretched(4.5, 0.0, 4.0) >= 4.5


def test_shifted_exponential_stragglers_are_never_faster_and_have_the_stated_mean():
    factors = np.concatenate([ComputeTime(1, exponential=0.5, seed=2).factors(t, 0, 64) for t in range(200)])
    assert factors.min() >= 1 and factors.mean() == pytest.approx(1.5, rel=0.02)


def test_draws_depend_on_seed_round_and_worker_only():
    compute = ComputeTime(1.0, sigma=0.3, exponential=0.2, seed=5)
    assert (compute.times(7, 0, 1, 4) == compute.times(7, 0, 1, 4)).all()
    assert (compute.times(7, 0, 1, 4) != compute.times(8, 0, 1, 4)).all()
    assert (compute.times(7, 0, 1, 4) != ComputeTime(1.0, sigma=0.3, exponential=0.2, seed=6).times(7, 0, 1, 4)).all()


@pytest.mark.parametrize(
    "arguments", [{"seconds": -1}, {"sigma": -0.1}, {"slowdown": (0,)}, {"exponential": float("nan")}]
)
def test_impossible_compute_times_are_refused(arguments):
    with pytest.raises(SimgmcError):
        ComputeTime(**{"seconds": 1.0, **arguments})
    with pytest.raises(SimgmcError):
        Pauses(1.0, 1.0)
