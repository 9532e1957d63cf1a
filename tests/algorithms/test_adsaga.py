"""ADSAGA: the same bookkeeping as SAGA, and linear convergence to the optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.algorithms.asynchronous_server import ADSAGA, AsyncSGD
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.partitions.catalogue import partition
from simgmc.workloads.problems.convex import LogisticWorkload
from tests.algorithms.small_scheduler import Schedule, quadratic, times
from tests.algorithms.trajectories import difference

LR = 0.05


def logistic(workers, n=160, d=5, batch=8):
    draws = generator(0, "samples")
    samples = draws.standard_normal((n, d)).astype(np.float32)
    labels = (samples @ draws.standard_normal(d) + 0.5 * draws.standard_normal(n) > 0).astype(np.int64)
    data = Dataset("made", samples, labels, samples[:10], labels[:10], 2)
    return LogisticWorkload(data, partition("iid", labels, workers, 1), regularisation=0.1, batch=batch, seed=1)


def test_with_one_worker_it_is_saga(identity):
    workload = quadratic(1, noise=0.3)
    schedule = Schedule(ADSAGA(), workload, lr=LR).run(60)
    x = workload.initial_parameters()
    table = torch.zeros(workload.components, workload.d, dtype=torch.float64)
    for t in range(60):
        i = int(generator(0, "component", t, 0).integers(workload.components))
        gradient = workload.component_gradient(0, x, i)[0]
        x = x - LR * (gradient - table[i] + table.mean(0))
        table[i] = gradient
    identity("    ADSAGA(K=1) = SAGA", difference(schedule.server.params, x))
    identity("    ADSAGA(K=1): table", difference(schedule.workers[0].table, table))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(1, 6), slow=st.sampled_from([0.0, 1.0]))
def test_the_servers_mean_is_that_of_all_tables(seed, workers, slow):
    """When all messages have arrived, in any order of events."""
    workload = quadratic(workers, noise=0.3)
    compute, latency = lambda k, n: times(seed, k, n), lambda i, j, n: slow * times(seed, 9, n)
    schedule = Schedule(ADSAGA(), workload, lr=LR, compute=compute, latency=latency).run(9)
    tables = torch.cat([worker.table for worker in schedule.workers])
    assert difference(schedule.server.mean, tables.mean(0)) < 1e-13
    assert len(schedule.staleness) == 9 * workers


def gaps(algorithm, workload, lr, rounds, seed=3, uneven=1.0):
    """Gap after every round of worker 0."""
    found = {}

    def after(schedule):
        rounds_done = schedule.all[0].rounds
        if rounds_done not in found:
            found[rounds_done] = workload.evaluate(schedule.server.params).others["gap"]

    speed = lambda k, n: times(seed, k, n) * (uneven if k == 0 else 1.0)
    Schedule(algorithm, workload, lr=lr, compute=speed, latency=lambda i, j, n: 0.1, after=after).run(rounds)
    return [found[t] for t in sorted(found)]


@pytest.mark.parametrize("workers, uneven", [(1, 1.0), (2, 1.0), (4, 1.0), (4, 4.0)])
def test_on_quadratics_it_converges_linearly_and_beats_the_floor_of_async_sgd(identity, workers, uneven):
    workload = quadratic(workers, noise=1.0)
    lr, rounds = 0.1 / workers, 1200
    found = gaps(ADSAGA(), workload, lr, rounds, uneven=uneven)
    floor = min(gaps(AsyncSGD(), workload, lr, 300, uneven=uneven))
    identity(f"    ADSAGA: gap on quadratics, K={workers}{', one slow' if uneven > 1 else ''}", found[-1], 1e-12)
    assert floor > 1e-6
    # Linear: a straight line in the logarithm, as steep in the second half of the way as in the first.
    logs = np.log10(np.maximum(found, 1e-25))
    levels = [int(np.argmax(logs < level)) for level in (-2, -6, -10)]
    assert 0 < levels[0] < levels[1] < levels[2]
    assert (levels[2] - levels[1]) < 2 * (levels[1] - levels[0]) + 40


def test_on_logistic_regression_it_converges_to_the_optimum(identity):
    workload = logistic(4)
    found = gaps(ADSAGA(), workload, 0.15, 600)
    identity("    ADSAGA: gap on logistic regression", abs(found[-1]), 1e-12)
    assert min(gaps(AsyncSGD(), workload, 0.15, 200)) > 1e-6


def test_batches_that_do_not_divide_the_samples_converge_to_the_same_optimum():
    assert abs(gaps(ADSAGA(), logistic(4, n=172, batch=9), 0.15, 600)[-1]) < 1e-12


def test_a_loss_that_is_no_finite_sum_is_refused():
    workload = quadratic(2)
    workload.components = 0
    with pytest.raises(SimgmcError, match="adsaga needs a loss that is a finite sum"):
        Schedule(ADSAGA(), workload)
