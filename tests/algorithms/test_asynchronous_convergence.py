"""Where methods without a barrier end up: near the optimum, as near as the centralised method where data are alike."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from simgmc.algorithms import ALGORITHMS
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload
from tests.algorithms.small_scheduler import Schedule, quadratic, times

K, NOISE, LR = 4, 0.3, 0.05
ROUNDS = {"swarm-sgd": 150, "swarm-sgd-non-blocking": 150, "staleness-aware-sgd": 600, "pop-sgd": 600}
"""Of every worker; others 300. A round of a swarm has two steps; the last two methods are slow."""
METHODS = {
    "swarm-sgd": {"momentum": 0.0},
    "swarm-sgd-non-blocking": {"momentum": 0.0},
    "pop-sgd": {"momentum": 0.0},
    "ad-psgd": {"momentum": 0.0},
    "osgp": {"momentum": 0.0, "nesterov": False},
    "async-sgd": {},
    "staleness-aware-sgd": {},
    "stale-synchronous-sgd": {},
}


@functools.cache
def problem(alike: bool) -> QuadraticWorkload:
    """The same quadratic on every worker, or quadratics that have little in common."""
    apart = quadratic(K, noise=NOISE).problem
    if not alike:
        return QuadraticWorkload(apart, 0)
    same = [np.repeat(numbers[:1], K, axis=0) for numbers in (apart.matrices, apart.minimisers)]
    return QuadraticWorkload(Quadratics(*same, apart.start, NOISE), 0)


def floor(name: str, alike: bool, lr: float) -> float:
    """Mean gap over the second half of a run at random speeds; one gradient moves the model by lr / K on average."""
    workload, algorithm, gaps = problem(alike), ALGORITHMS[name](**METHODS[name]), []
    rounds = ROUNDS.get(name, 300)

    def after(schedule):
        if sum(one.rounds for one in schedule.all) > K * rounds // 2:
            point = algorithm.model(schedule.server) if algorithm.centralised else schedule.models.mean(0)
            gaps.append(workload.evaluate(point).others["gap"])

    rate = lr / K if algorithm.centralised else lr
    compute, latency = lambda k, n: times(5, k, n), lambda i, j, n: 0.1
    Schedule(algorithm, workload, lr=rate, compute=compute, latency=latency, after=after).run(rounds)
    return float(np.mean(gaps))


@functools.cache
def centralised_floor(alike: bool, lr: float) -> float:
    """The same of synchronous SGD."""
    workload = problem(alike)
    x, gaps = workload.initial_parameters()[None], []
    for t in range(300):
        x = x - lr * workload.gradients(x, t)[0].mean(0, keepdim=True)
        if t >= 150:
            gaps.append(workload.evaluate(x[0]).others["gap"])
    return float(np.mean(gaps))


@pytest.mark.parametrize("name", METHODS)
def test_with_data_alike_it_reaches_the_neighbourhood_of_the_centralised_method(name):
    """Within a factor of 3, which is the spread of single runs, of a gap thousands of times smaller than
    the start's.
    """
    workload = problem(True)
    start = workload.evaluate(workload.initial_parameters()).others["gap"]
    reference = centralised_floor(True, LR)
    assert reference < start / 2000
    assert reference / 3 < floor(name, True, LR) < 3 * reference


@pytest.mark.parametrize("name", METHODS)
def test_with_data_apart_the_remaining_gap_falls_with_the_rate(name):
    """Models that drift apart, or stale gradients, cost what vanishes with the rate: at least in proportion to it."""
    coarse, fine = floor(name, False, 2 * LR), floor(name, False, LR / 2)
    assert fine < 0.4 * coarse
    assert coarse < 0.02 * problem(False).evaluate(problem(False).initial_parameters()).others["gap"]


def test_every_method_that_the_clock_drives_is_among_these():
    assert {name for name, cls in ALGORITHMS.items() if cls.asynchronous} - {"adsaga"} == set(METHODS)
