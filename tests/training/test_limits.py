"""Schedules and directories beyond their limits."""

from __future__ import annotations

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.training.schedules import LearningRateSchedule
from simgmc.workloads.data.published_files import data_directory


def test_the_rate_after_as_many_and_as_large_steps_as_there_may_be_is_finite():
    steps = LearningRateSchedule("multi-step", tuple(n / 100 for n in range(1, 101)), 1000.0)
    assert steps.factor(3.0, 4.0) == pytest.approx(1e300)
    assert LearningRateSchedule("multi-step", (1.0, 2.0), 0.5).factor(3.0, 4.0) == 0.25


def test_the_home_of_an_unknown_user_is_refused():
    with pytest.raises(SimgmcError, match="no such user"):
        data_directory("~nosuchuser/x")
