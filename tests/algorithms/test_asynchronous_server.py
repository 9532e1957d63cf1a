"""Asynchronous parameter servers: plain, staleness-aware, stale-synchronous."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.algorithms.asynchronous_server import AsyncSGD, StalenessAwareSGD, StaleSynchronousSGD
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from tests.algorithms.small_scheduler import Schedule, quadratic, times
from tests.algorithms.trajectories import difference

LR = 0.05


@pytest.mark.parametrize("algorithm", [AsyncSGD(), StalenessAwareSGD(), StaleSynchronousSGD(bound=0)])
def test_with_one_worker_it_is_sgd(identity, algorithm):
    workload = quadratic(1, noise=0.3)
    schedule = Schedule(algorithm, workload, lr=LR, latency=lambda i, j, n: 0.2).run(50)
    x = workload.initial_parameters()
    for t in range(50):
        x = x - LR * workload.gradient(0, x, t)[0]
    identity(f"    {type(algorithm).__name__}(K=1) = SGD", difference(schedule.server.params, x))
    assert torch.equal(schedule.models[0], schedule.server.params)
    assert schedule.staleness == [0] * 50


def test_with_one_worker_server_momentum_is_momentum_sgd(identity):
    workload = quadratic(1, noise=0.3)
    schedule = Schedule(AsyncSGD(server_momentum=0.9), workload, lr=LR).run(50)
    x, m = workload.initial_parameters(), 0
    for t in range(50):
        m = 0.9 * m + workload.gradient(0, x, t)[0]
        x = x - LR * m
    identity("    AsyncSGD(K=1, momentum) = MSGD", difference(schedule.server.params, x))


def test_staleness_of_a_schedule_made_by_hand():
    """Gradients of worker 0 take 1 s, of worker 1 2.5 s; nothing else takes time.

    They arrive at 1 (w0), 2 (w0), 2.5 (w1: two updates since it read), 3 (w0: one), 4, 5 (w0), ...
    """
    schedule = Schedule(AsyncSGD(), quadratic(2), compute=lambda k, n: [1.0, 2.5][k])
    noted = []
    schedule.after = lambda s: noted.append((s.time, tuple(s.staleness)))
    schedule.run(4)
    # w0 at 1, 2; w1 at 2.5; w0 at 3 (after w1's), 4 (its last); w1 at 5 (w0's of 3 and 4), 7.5, 10.
    assert noted[-1][1] == (0, 0, 2, 1, 0, 2, 0, 0)


def test_the_way_of_the_message_ages_it_too():
    """Both take 1 s; worker 0 is 0.1 s from the server, worker 1 0.6 s: its gradient passes two of worker 0's."""
    far = {0: 0.1, 1: 0.6, -1: 0.0}
    schedule = Schedule(AsyncSGD(), quadratic(2), latency=lambda i, j, n: far[i] + far[j])
    arrivals = []
    schedule.after = lambda s: arrivals.append((round(s.time, 6), len(s.staleness)))
    schedule.run(2)
    # At the server: w0 at 1.1, w1 at 1.6, w0 at 1.1 + 0.1 + 1 + 0.1 = 2.3, w1 at 1.6 + 0.6 + 1 + 0.6 = 3.8.
    assert schedule.staleness == [0, 1, 1, 1]


def test_a_stale_gradient_is_divided_by_its_staleness():
    workload = quadratic(3)
    schedule = Schedule(StalenessAwareSGD(), workload, lr=LR, compute=lambda k, n: 1.0 + 0.1 * k).run(1)
    x = workload.initial_parameters()
    g = [workload.gradient(k, x, 0)[0] for k in range(3)]
    assert schedule.staleness == [0, 1, 2]
    assert difference(schedule.server.params, x - LR * (g[0] + g[1] + g[2] / 2)) < 1e-15


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(1, 5), slow=st.sampled_from([0.0, 1.0]))
def test_every_gradient_is_applied_once_whatever_the_order(seed, workers, slow):
    """The server's model is the start less the rate times all gradients that it got; with error feedback less the
    residuals.
    """
    workload = quadratic(workers, noise=0.3)
    compute, latency = lambda k, n: times(seed, k, n), lambda i, j, n: slow * times(seed, 9, n)
    for compressor in (None, build("top-k", count=2)):
        schedule = Schedule(AsyncSGD(compressor=compressor), workload, lr=LR, compute=compute, latency=latency).run(6)
        applied = sum(sum(one.gradients) for one in schedule.all)
        if compressor is not None:
            applied = applied - sum(worker.residual for worker in schedule.workers)
        assert difference(schedule.server.params, workload.initial_parameters() - LR * applied) < 1e-12
        assert len(schedule.staleness) == 6 * workers


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(2, 6),
    bound=st.integers(0, 4),
    slow=st.sampled_from([0.0, 0.5, 2.0]),
    ties=st.booleans(),
)
def test_nobody_reads_more_than_the_bound_ahead_of_the_slowest(seed, workers, bound, slow, ties):
    schedule = Schedule(
        StaleSynchronousSGD(bound=bound),
        quadratic(workers),
        compute=(lambda k, n: 1.0) if ties else (lambda k, n: times(seed, k, n) * (1 + 4 * (k == 0))),
        latency=lambda i, j, n: slow * times(seed, 9, n),
        tie=lambda: times(seed, 7, schedule._made) if ties else 0.0,
    )
    ahead = []

    def after(one):
        # Whoever has begun round c has read the model at a moment when everybody was within the bound, or still is.
        for rank, clock in enumerate(one.server.clocks):
            if rank not in one.server.held:
                ahead.append(clock - min(one.server.clocks))

    schedule.after = after
    schedule.run(8)
    assert max(ahead) <= bound
    assert all(one.rounds == 8 or schedule.server.clocks[k] == 8 for k, one in enumerate(schedule.all))
    # Nobody is held back needlessly: a held worker is beyond the bound.
    assert all(schedule.server.clocks[rank] - min(schedule.server.clocks) > bound for rank in schedule.server.held)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(2, 5))
def test_a_bound_of_zero_is_synchronous_sgd_with_the_sum_of_gradients(seed, workers):
    workload = quadratic(workers, noise=0.3)
    schedule = Schedule(StaleSynchronousSGD(bound=0), workload, lr=LR, compute=lambda k, n: times(seed, k, n)).run(10)
    x = workload.initial_parameters()
    for t in range(10):
        x = x - LR * workload.gradients(x[None], t)[0].sum(0)
    assert difference(schedule.server.params, x) < 1e-12
    assert torch.equal(schedule.models, schedule.server.params.expand(workers, -1))


def test_a_fast_worker_runs_ahead_by_the_bound_and_then_waits():
    """Worker 1 takes 10 s; worker 0 does bound + 1 steps, waits for it, does one more, ..."""
    reads = []
    schedule = Schedule(StaleSynchronousSGD(bound=2), quadratic(2), compute=lambda k, n: [1.0, 10.0][k])
    schedule.after = lambda s: reads.append((s.time, s.all[0].rounds))
    schedule.run(5)
    finished = {rounds: time for time, rounds in reversed(reads)}
    assert [finished[rounds] for rounds in range(1, 6)] == [1.0, 2.0, 10.0, 20.0, 30.0]


def test_parameters_without_sense_are_refused():
    with pytest.raises(SimgmcError, match="bound = -1"):
        StaleSynchronousSGD(bound=-1)
    with pytest.raises(SimgmcError, match="server_momentum = 1.0"):
        AsyncSGD(server_momentum=1.0)
