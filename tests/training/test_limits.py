"""Schedules and directories beyond their limits."""

from __future__ import annotations

import math

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.training.schedules import Schedule
from simgmc.workloads.data.published_files import data_directory


def test_a_rate_that_overflows_is_infinite_not_an_error():
    assert Schedule("multi-step", (1.0, 2.0), 1e308).factor(3.0, 4.0) == math.inf
    assert Schedule("multi-step", (1.0, 2.0), 0.5).factor(3.0, 4.0) == 0.25


def test_the_home_of_an_unknown_user_is_refused():
    with pytest.raises(SimgmcError, match="no such user"):
        data_directory("~nosuchuser/x")
