"""What slows workers down, what conditions refuse, and whether exchanges may be solved at once under them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.overlap import Overlap
from simgmc.network.conditions.pauses import Pauses
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.transport import Transport
from simgmc.network.conditions.wandering import Wandering


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
    stragglers = Stragglers("shifted-exponential", mean=0.5)
    factors = np.concatenate([stragglers.factors(2, t, 0, 64) for t in range(200)])
    assert factors.min() >= 1 and factors.mean() == pytest.approx(1.5, rel=0.02)


def test_log_normal_stragglers_have_median_one_and_the_stated_spread():
    factors = np.log(np.concatenate([Stragglers(sigma=0.4).factors(1, t, 0, 64) for t in range(300)]))
    assert np.median(factors) == pytest.approx(0.0, abs=0.02) and factors.std() == pytest.approx(0.4, rel=0.02)


def test_draws_depend_on_seed_round_and_worker_only():
    stragglers = Stragglers(sigma=0.3)
    assert (stragglers.factors(5, 7, 0, 4) == stragglers.factors(5, 7, 0, 4)).all()
    assert (stragglers.factors(5, 7, 0, 4) != stragglers.factors(5, 8, 0, 4)).all()
    assert (stragglers.factors(5, 7, 0, 4) != stragglers.factors(6, 7, 0, 4)).all()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: ComputeTime(-1), "compute time -1"),
        (lambda: ComputeTime(1.0, (0,)), "slowdown"),
        (lambda: Stragglers(sigma=-0.1), "Stragglers: sigma = -0.1 must be a number of at least 0"),
        (lambda: Stragglers(sigma=float("nan")), "sigma = nan"),
        (lambda: Stragglers(), "log-normal needs sigma"),
        (lambda: Stragglers("shifted-exponential", sigma=1.0), "shifted-exponential needs mean"),
        (lambda: Pauses(1.0, 1.0), "length 1.0 must be below period 1.0"),
        (lambda: Pauses(0.0, 1.0), "Pauses: period = 0.0 must be a finite number of seconds, above 0"),
        (lambda: Wandering(1e-4, 1.0), 'interval = 0.0001 must be a finite number of seconds, at least "1 ms"'),
        (lambda: Overlap(0), "buckets = 0"),
        (lambda: Transport(efficiency=0.0), "efficiency = 0.0"),
        (lambda: Transport(rate_cap=0.0), "rate_cap = 0.0 must be a finite number of bytes/s, above 0"),
    ],
)
def test_impossible_conditions_are_refused_by_their_field(build, says):
    with pytest.raises(SimgmcError, match=re.escape(says)):
        build()
