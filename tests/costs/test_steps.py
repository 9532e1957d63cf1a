"""Rounds as the one thing between training and cluster: resolving averages, and costs that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Compute, Membership, RoundCosts, Step, with_everybody

K = 3


def average(**more) -> Average:
    sizes = np.full(K, 40)
    return Average(sizes, 0, True, 4, sizes // 4, 0, **more)


class Told:
    """A round of two averages; the second is there only once the first is resolved."""

    def __init__(self):
        self.steps: list[Step] = [Compute(1), average()]
        self.told: list[Membership] = []

    def step(self, number):
        assert number < 2 or self.told, "a step after an average that is not resolved was asked for"
        if len(self.told) == 1 and len(self.steps) == 2:
            self.steps.append(average())
        return self.steps[number] if number < len(self.steps) else None

    def resolve(self, number, membership):
        self.told.append(membership)
        self.steps[number] = dataclasses.replace(self.steps[number], down=10 * len(self.told))
        return self.steps[number]


def test_everybody_is_in_every_average_and_each_is_resolved_before_the_next_step():
    told = Told()
    costs = with_everybody(told, K)
    assert told.told == [Membership(frozenset(range(K)), K)] * 2
    assert isinstance(costs, RoundCosts) and list(costs) == told.steps
    assert [step.down for step in costs[1:]] == [10, 20]


def test_known_costs_are_a_round_that_comes_to_itself():
    costs = RoundCosts([Compute(1), average(), Compute(2)])
    assert [costs.step(number) for number in range(4)] == [*costs, None]
    again = with_everybody(costs, K)
    assert len(again) == 3 and all(one is other for one, other in zip(again, costs))


def test_known_costs_refuse_others_than_those_who_took_part():
    costs = RoundCosts([average(participants=np.array([True, False, True]), receivers=3)])
    assert costs.resolve(0, Membership(frozenset({0, 2}), 3)) is costs[0]
    with pytest.raises(SimgmcError, match="costs are of another cluster"):
        with_everybody(costs, K)
