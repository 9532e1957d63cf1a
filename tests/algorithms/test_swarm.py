"""SwarmSGD, blocking, non-blocking and lattice-quantised, and PopSGD."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.algorithms.pairwise import NonBlockingSwarmSGD, PopSGD, SwarmSGD
from simgmc.compression import build
from tests.algorithms.small_scheduler import Schedule, complete, quadratic, ring, times
from tests.algorithms.trajectories import difference

LR = 0.05


def movement(schedule, momentum, under_way=False):
    """(d,): what the local steps of finished rounds (and of those under way) add to the sum of all models."""
    total = torch.zeros(schedule.workload.d, dtype=torch.float64)
    for one in schedule.all:
        buffer = torch.zeros_like(total)
        for gradient in one.gradients[: None if under_way else one.finished]:
            buffer = momentum * buffer + gradient
            total -= schedule.lr * buffer
    return total


def test_two_workers_of_one_step_are_d_psgd_with_the_mean(identity):
    """x_k = mean_j (x_j - lr g_j(x_j)), on two nodes, written out."""
    workload = quadratic(2, noise=0.3)
    schedule = Schedule(SwarmSGD(period=1, momentum=0.0), workload, lr=LR, compute=lambda k, n: times(1, k, n)).run(50)
    x = workload.initial_parameters().expand(2, -1)
    for t in range(50):
        x = (x - LR * workload.gradients(x, t)[0]).mean(0, keepdim=True).expand(2, -1)
    assert torch.equal(schedule.models[0], schedule.models[1])
    identity("    SwarmSGD(K=2, H=1, blocking) = D-PSGD(W=J)", difference(schedule.models, x))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), workers=st.integers(2, 6), momentum=st.sampled_from([0.0, 0.9]), geometric=st.booleans()
)
def test_a_meeting_preserves_the_sum_of_the_models(seed, workers, momentum, geometric):
    """After every event but between the two ends of an exchange: only local steps change it."""
    workload = quadratic(workers, noise=0.3)
    start = workers * workload.initial_parameters()
    rounds_met = set()

    def conserved(schedule):
        if not schedule.crossing:
            assert difference(schedule.models.sum(0), start + movement(schedule, momentum, under_way=True)) < 1e-12
            rounds_met.add(sum(one.rounds for one in schedule.all))

    algorithm = SwarmSGD(period=3, geometric=geometric, momentum=momentum)
    Schedule(algorithm, workload, lr=LR, compute=lambda k, n: times(seed, k, n), after=conserved).run(8)
    # All rounds end in pairs, and all but those of whoever is left over at the end do end.
    assert all(count % 2 == 0 for count in rounds_met) and max(rounds_met) >= 8 * 2


def test_who_meets_has_the_same_model_afterwards():
    lattices = [build("lattice", side=1e-4, bits=20, dither=dither) for dither in (False, True)]
    for compressor in (None, *lattices, build("qsgd")):
        schedule = Schedule(
            SwarmSGD(compressor=compressor), quadratic(2, noise=0.3), compute=lambda k, n: times(5, k, n)
        ).run(7)
        assert torch.equal(*schedule.models)


def test_workers_wait_only_for_the_one_they_exchange_with():
    """Worker 2 takes 100 times as long. Non-blocking it delays nobody; blocking, those that wait for it."""
    ends = {}
    for algorithm in (NonBlockingSwarmSGD(period=1), SwarmSGD(period=1)):
        ends[algorithm] = {}

        def after(s, found=ends[algorithm]):
            found.update({k: s.time for k, one in enumerate(s.all) if one.rounds == 10 and k not in found})

        Schedule(algorithm, quadratic(5), compute=lambda k, n: 100.0 if k == 2 else 1.0, after=after).run(10)
    free, waiting = ends.values()
    assert free == {k: 1000.0 if k == 2 else 10.0 for k in range(5)}
    assert max(waiting.values()) > 100.0 > min(waiting.values()) > 10.0


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(2, 8),
    on_ring=st.booleans(),
    slow=st.sampled_from([0.0, 0.3, 3.0]),
    quantised=st.booleans(),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_non_blocking_averagings_preserve_the_sum_of_the_shared_models(
    seed, workers, on_ring, slow, quantised, momentum
):
    """After every event, in any order of events: only finished local steps change it, also with a lattice
    that decodes.
    """
    workload = quadratic(workers, noise=0.3)
    compressor = build("lattice", side=1e-3, bits=24) if quantised else None
    start = workers * workload.initial_parameters()

    def conserved(schedule):
        assert difference(schedule.total(lambda worker: worker.shared), start + movement(schedule, momentum)) < 1e-11

    schedule = Schedule(
        NonBlockingSwarmSGD(period=2, momentum=momentum, compressor=compressor),
        workload,
        lr=LR,
        graph=(ring if on_ring else complete)(workers),
        compute=lambda k, n: times(seed, k, n),
        latency=lambda i, j, n: slow * times(seed, 99, n),
        after=conserved,
    ).run(8)
    assert all(one.rounds == 8 for one in schedule.all)
    assert sum(worker.averagings for worker in schedule.workers) == 8 * workers
    assert sum(getattr(worker, "failed_decodings", 0) for worker in schedule.workers) == 0


def test_a_partner_is_not_interrupted(identity):
    """One averaging in the middle of the partner's local phase: it changes the shared model, not the steps
    under way.
    """
    workload = quadratic(2)
    schedule = Schedule(
        NonBlockingSwarmSGD(period=2, momentum=0.0), workload, lr=LR, compute=lambda k, n: [1.0, 1.6][k]
    )
    seen = {}
    schedule.after = lambda s: seen.setdefault(s.time, [(w.shared, w.params) for w in s.workers])
    schedule.run(1)
    x = workload.initial_parameters()

    def step(k, at):
        return at - LR * workload.gradient(k, at, 0)[0]

    # t = 2: worker 0 has finished and averages x with the x that worker 1 shares, which has done one step of two.
    first, live = step(0, step(0, x)), step(1, x)
    shared, params = seen[2.0][1]
    assert torch.equal(shared, x) and torch.equal(params, live)
    # t = 3.2: worker 1 averages x with what worker 0 shares by now, then adds its two steps.
    mean = (x + first) / 2
    error = difference(schedule.workers[1].shared, mean + step(1, live) - x)
    identity("    SwarmSGD non-blocking, one averaging by hand", error)
    assert difference(schedule.workers[0].shared, mean) < 1e-15
    assert schedule.staleness == [0, 0, 1, 1]


@pytest.mark.parametrize("algorithm, most", [(SwarmSGD, 0.5), (NonBlockingSwarmSGD, 1.0)])
def test_a_fine_lattice_is_no_quantisation_to_half_its_side(identity, algorithm, most):
    side = 1e-6
    workload, methods = (
        quadratic(4, noise=0.3),
        [algorithm(compressor=one) for one in (None, build("lattice", side=side, bits=30))],
    )
    runs = [Schedule(method, workload, lr=LR, compute=lambda k, n: times(3, k, n)).run(1) for method in methods]
    error = float((runs[0].models - runs[1].models).abs().max())
    assert error > 0
    # Of means of two lattice points; in differences two more models are rounded, and again in the next averaging.
    identity(f"    {algorithm.__name__}(lattice) = unquantised, in sides of the lattice", error / side, most)


def test_models_too_far_apart_are_decoded_wrongly_and_counted():
    workload = quadratic(2)
    lattice = build("lattice", side=0.01, bits=2)  # reaches as far as 0.015
    algorithm = NonBlockingSwarmSGD(period=1, compressor=lattice)
    schedule = Schedule(algorithm, workload, lr=0.5, compute=lambda k, n: 1.0 + 0.1 * k).run(4)
    counts = [schedule.algorithm.metrics(worker) for worker in schedule.workers]
    assert sum(count["failed_decodings"] for count in counts) > 0
    for count in counts:
        assert count["failed_decodings"] <= count["wrapped_coordinates"] <= workload.d * count["failed_decodings"]
    fine = Schedule(
        NonBlockingSwarmSGD(period=1, compressor=build("lattice", side=0.01, bits=12)), workload, lr=0.5
    ).run(4)
    assert all(
        fine.algorithm.metrics(worker) == {"failed_decodings": 0, "wrapped_coordinates": 0} for worker in fine.workers
    )
    plain = Schedule(SwarmSGD(), workload)
    assert plain.algorithm.metrics(plain.workers[0]) == algorithm.metrics(schedule.server) == {}


def test_pop_sgd_averages_the_reader_alone():
    workload = quadratic(2)
    schedule = Schedule(PopSGD(momentum=0.0), workload, lr=LR, compute=lambda k, n: [1.0, 5.0][k]).run(1)
    x = workload.initial_parameters()
    first, second = (x - LR * workload.gradient(k, x, 0)[0] for k in range(2))
    first = (first + x) / 2  # worker 1 had not stepped yet
    assert difference(schedule.models[0], first) < 1e-15
    assert difference(schedule.models[1], (second + first) / 2) < 1e-15


def test_geometric_phases_have_the_stated_mean_and_fixed_ones_no_spread():
    def lengths(geometric):
        schedule = Schedule(SwarmSGD(period=4, geometric=geometric), quadratic(1))
        counts, before = [], 0

        def after(one):
            nonlocal before
            if one.all[0].finished > before:
                counts.append(one.all[0].finished - before)
                before = one.all[0].finished

        schedule.after = after
        schedule.run(400)
        return torch.tensor(counts, dtype=torch.float64)

    drawn = lengths(True)
    # Standard deviation sqrt(12) of a geometric number of mean 4: 5 standard errors.
    assert abs(float(drawn.mean()) - 4) < 5 * (12 / 400) ** 0.5 and float(drawn.min()) == 1
    assert lengths(False).unique().tolist() == [4.0]


def test_one_worker_alone_is_sgd():
    for algorithm in (SwarmSGD, NonBlockingSwarmSGD, PopSGD):
        workload = quadratic(1)
        schedule = Schedule(algorithm(period=1, momentum=0.0), workload, lr=LR).run(20)
        x = workload.initial_parameters()
        for t in range(20):
            x = x - LR * workload.gradient(0, x, t)[0]
        assert difference(schedule.models[0], x) < 1e-14
