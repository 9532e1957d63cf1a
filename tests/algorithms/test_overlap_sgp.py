"""Overlap SGP: masses in flight, how late they may be, and SGP where nothing is late."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.algorithms.gossip import OverlapSGP
from simgmc.core.errors import SimgmcError
from tests.algorithms.small_scheduler import Schedule, complete, quadratic, ring, times
from tests.algorithms.trajectories import difference

LR = 0.05


def one_peer(workers):
    """Directed, to the peer at distance 1, 2, 4, ... in turn."""
    distances = [2**i for i in range((workers - 1).bit_length())]
    if workers == 1:
        return lambda round: [()]
    return lambda round: [((rank + distances[round % len(distances)]) % workers,) for rank in range(workers)]


def uneven(workers):
    """A directed ring with shortcuts from worker 0 to everybody: neither regular nor symmetric."""
    return lambda round: [tuple(range(1, workers)) if rank == 0 else ((rank + 1) % workers,) for rank in range(workers)]


def always(graph):
    return lambda workers: lambda round: graph(workers)


GRAPHS = {"one peer": one_peer, "ring": always(ring), "uneven": uneven, "complete": always(complete)}


def masses(schedule):
    """(d + 1,) each: kept by workers, in flight, in inboxes, come early."""
    kept = [worker.mass for worker in schedule.workers] + [mass for _, _, mass in schedule.flying.values()]
    kept += [arrival.content for one in schedule.all for arrival in one.inbox]
    return kept + [mass for worker in schedule.workers for _, _, mass in worker.early]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 8),
    graph=st.sampled_from(sorted(GRAPHS)),
    staleness=st.integers(0, 3),
    slow=st.sampled_from([0.0, 0.3, 3.0]),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_nothing_is_lost_on_the_way(seed, workers, graph, staleness, slow, momentum):
    """After every event: omegas sum to K, numerators to their start less the gradients, those in flight included."""
    workload = quadratic(workers, noise=0.3)
    start = workers * workload.initial_parameters()

    def conserved(schedule):
        total = sum(masses(schedule))
        assert abs(float(total[-1]) - workers) < 1e-12
        moved = torch.zeros(workload.d, dtype=torch.float64)
        for one in schedule.all:
            buffer = torch.zeros_like(moved)
            for gradient in one.gradients:
                buffer = momentum * buffer + gradient
                moved -= LR * buffer
        assert difference(total[:-1], start + moved) < 1e-11

    schedule = Schedule(
        OverlapSGP(momentum=momentum, nesterov=False, staleness=staleness),
        workload,
        lr=LR,
        graph=GRAPHS[graph](workers),
        compute=lambda k, n: times(seed, k, n),
        latency=lambda i, j, n: slow * times(seed, 9, n),
        after=conserved,
    ).run(6)
    assert all(one.rounds == 6 for one in schedule.all)


def test_halved_weights_sum_to_k_without_any_rounding():
    """To one peer at a time a mass is halved, which is exact: 8 workers, 12 rounds, no error at all."""
    exact = []
    Schedule(
        OverlapSGP(),
        quadratic(8),
        graph=one_peer(8),
        compute=lambda k, n: times(1, k, n),
        latency=lambda i, j, n: times(1, 9, n),
        after=lambda s: exact.append(sum(Fraction(float(mass[-1])) for mass in masses(s)) == 8),
    ).run(12)
    assert all(exact) and len(exact) > 12 * 8


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(2, 8),
    graph=st.sampled_from(sorted(GRAPHS)),
    staleness=st.integers(0, 3),
    slow=st.sampled_from([0.3, 3.0]),
)
def test_no_message_is_folded_in_later_than_the_staleness(seed, workers, graph, staleness, slow):
    """Who has finished round t has all that was sent to it in rounds up to t - staleness, however fast others are."""
    schedule = Schedule(
        OverlapSGP(staleness=staleness),
        quadratic(workers),
        lr=LR,
        graph=GRAPHS[graph](workers),
        compute=lambda k, n: times(seed, k, n) * (1 + 9 * (k == 0)),
        latency=lambda i, j, n: slow * times(seed, 9, n),
    )
    # Nothing lies between a round's end and the next one's beginning.
    begin = schedule._begin

    def in_time(rank):
        one = schedule.all[rank]
        assert all(round > one.rounds - 1 - staleness for round, _ in one.worker.awaited)

    schedule._begin = lambda rank, rounds: (in_time(rank), begin(rank, rounds))
    schedule.run(6)
    assert set(schedule.staleness) <= set(range(staleness + 1))
    for rank, one in enumerate(schedule.all):
        assert one.rounds == 6
        in_time(rank)


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_with_no_message_late_it_is_sgp(identity, name):
    """x' = P (x - lr m), omega' = P omega, z = x / omega, with P column-stochastic, written as matrices."""
    workers, rounds, momentum = 6, 40, 0.9
    workload, graph = quadratic(workers, noise=0.3), GRAPHS[name](workers)
    schedule = Schedule(
        OverlapSGP(momentum=momentum, nesterov=True, staleness=0),
        workload,
        lr=LR,
        graph=graph,
        compute=lambda k, n: times(2, k, n),
        latency=lambda i, j, n: times(2, 9, n),
    ).run(rounds)
    x = workload.initial_parameters().expand(workers, -1)
    omega, m = torch.ones(workers, 1, dtype=torch.float64), torch.zeros_like(x)
    for t in range(rounds):
        P = torch.zeros(workers, workers, dtype=torch.float64)
        for sender, receivers in enumerate(graph(t)):
            for receiver in (sender, *receivers):
                P[receiver, sender] = 1 / (len(receivers) + 1)
        gradients = workload.gradients(x / omega, t)[0]
        m = momentum * m + gradients
        x, omega = P @ (x - LR * (gradients + momentum * m)), P @ omega
    identity(f"    OSGP(staleness 0) = SGP, {name}", difference(schedule.models, x / omega))
    if name != "uneven":
        assert difference(omega, torch.ones_like(omega)) < 1e-14  # P doubly stochastic: D-PSGD, adapt then combine


def test_a_complete_graph_without_delay_is_all_reduce(identity):
    workload = quadratic(4, noise=0.3)
    schedule = Schedule(OverlapSGP(momentum=0.0, nesterov=False, staleness=0), workload, lr=LR).run(40)
    x = workload.initial_parameters()
    for t in range(40):
        x = x - LR * workload.gradients(x[None], t)[0].mean(0)
    identity("    OSGP(P=J, staleness 0) = DSGD", difference(schedule.models, x.expand(4, -1)))


def test_a_latency_shorter_than_a_gradient_costs_no_time():
    """One round of slack hides messages of 0.9 s behind gradients of 1 s; without it every round takes 1.9 s."""
    ends = {}
    for staleness in (0, 1):

        def after(s, staleness=staleness):
            if all(one.rounds == 10 for one in s.all):
                ends.setdefault(staleness, s.time)

        algorithm = OverlapSGP(staleness=staleness)
        Schedule(algorithm, quadratic(4), graph=one_peer(4), latency=lambda i, j, n: 0.9, after=after).run(10)
    assert ends == {0: pytest.approx(19.0), 1: pytest.approx(10.0)}


def test_a_negative_staleness_is_refused():
    with pytest.raises(SimgmcError, match="staleness = -1"):
        OverlapSGP(staleness=-1)
