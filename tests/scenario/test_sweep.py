"""The table [sweep]: ranges become values of the grid, and what is stated of the best stays."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from simgmc.scenario.sweep import values_of
from tests.small_runs import SMALL

RATES = {"log": [0.003, 0.3], "points": 5}


def swept(table, **more):
    return ScenarioFile({**SMALL, "sweep": table, **more}, "small.toml")


def rates_of(file):
    return [[one.learning_rate for one in point.scenario.methods] for point in file.points]


@given(st.floats(1e-6, 1e3), st.floats(1.1, 1e4), st.integers(2, 40))
def test_a_range_has_both_ends_and_equal_steps_or_equal_ratios(low, times, points):
    high = low * times
    for kind, along in (("log", np.log), ("linear", np.asarray)):
        found = np.array(values_of({kind: [low, high], "points": points}, ""))
        assert len(found) == points
        np.testing.assert_allclose(found[[0, -1]], [low, high], rtol=1e-3)
        exact = np.linspace(along(low), along(high), points)
        np.testing.assert_allclose(np.exp(exact) if kind == "log" else exact, found, rtol=1e-3)


def test_every_method_gets_a_searched_key_that_none_states_and_only_those_that_do_where_some_do():
    assert rates_of(swept({"methods.*.learning_rate": RATES})) == [
        [rate] * len(SMALL["methods"]) for rate in (0.003, 0.009487, 0.03, 0.09487, 0.3)
    ]
    some = [{**SMALL["methods"][0], "learning_rate": 0.5}, *SMALL["methods"][1:]]
    found = rates_of(swept({"methods.*.learning_rate": [0.1, 0.2]}, methods=some))
    assert [rates[:2] for rates in found] == [[0.1, None], [0.2, None]]


def test_a_sweep_written_out_is_the_same_sweep():
    file = swept({"methods": {"*": {"learning_rate": RATES}}, "optimise": "final", "halving": {"first": 0.5}})
    assert list(file.grid) == ["methods.*.learning_rate"]
    again = ScenarioFile(tomllib.loads(file.resolved()), "resolved.toml")
    assert again.resolved() == file.resolved()
    assert again.sweep == file.sweep and (file.sweep.halving.first, file.sweep.halving.factor) == (0.5, 3)


@pytest.mark.parametrize(
    "table, message",
    [
        (
            {"optimizer.learning_rate": {"log": [0.3, 0.003], "points": 5}},
            "a smaller and a larger number",
        ),
        ({"optimizer.learning_rate": {"log": [0, 1], "points": 5}}, "both above 0"),
        ({"optimizer.learning_rate": {"log": [0.1, 1], "points": 1}}, "points = 1: must be a whole number from 2"),
        ({"optimizer.learning_rate": {"log": [0.1, 1]}}, "must be a list of values, or a range"),
        ({"optimise": "speed"}, r'sweep\.optimise = "speed"'),
        ({"halving": {"factor": 1}}, r"sweep\.halving\.factor = 1: must be at least 2"),
        ({"nothing.there": [1, 2]}, "nothing"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_key(table, message):
    with pytest.raises(SimgmcError, match=message):
        swept(table)
