"""AD-PSGD: the two sides of a graph, and what an averaging does to models that go on changing."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.algorithms.pairwise import ADPSGD, active_side
from simgmc.mixing import gossip_graph
from tests.algorithms.small_scheduler import Schedule, complete, quadratic, ring, times
from tests.algorithms.trajectories import difference

LR = 0.05


def movement(schedule, momentum):
    """(d,): what the gradients of finished rounds have added to the sum of all models."""
    total = torch.zeros(schedule.workload.d, dtype=torch.float64)
    for one in schedule.all:
        buffer = torch.zeros_like(total)
        for gradient in one.gradients[: one.finished]:
            buffer = momentum * buffer + gradient
            total -= LR * buffer
    return total


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(2, 8),
    on_ring=st.booleans(),
    slow=st.sampled_from([0.0, 0.3, 3.0]),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_the_sum_of_the_models_changes_by_gradients_alone(seed, workers, on_ring, slow, momentum):
    """After every event, in any order of events, with gradients applied while averagings are under way."""
    workload = quadratic(workers, noise=0.3)
    start = workers * workload.initial_parameters()

    def conserved(schedule):
        assert difference(schedule.total(lambda worker: worker.params), start + movement(schedule, momentum)) < 1e-11

    schedule = Schedule(
        ADPSGD(momentum=momentum),
        workload,
        lr=LR,
        graph=(ring if on_ring else complete)(workers),
        compute=lambda k, n: times(seed, k, n),
        latency=lambda i, j, n: slow * times(seed, 99, n),
        after=conserved,
    ).run(8)
    assert all(one.rounds == 8 for one in schedule.all)
    assert len(schedule.staleness) == 8 * workers


def test_two_workers_in_step_by_hand(identity):
    """Both compute at what they have; the averaging comes before the gradients: x_k = (x_0 + x_1) / 2 - lr g_k(x_k)."""
    workload = quadratic(2, noise=0.3)
    schedule = Schedule(ADPSGD(momentum=0.0), workload, lr=LR).run(40)
    x = workload.initial_parameters().expand(2, -1)
    for t in range(40):
        x = x.mean(0) - LR * workload.gradients(x, t)[0]
    identity("    AD-PSGD(K=2, no latency) = D-PSGD(W=J, x = W x - lr g(x))", difference(schedule.models, x))
    # Everybody's model is averaged once while its gradient is computed.
    assert schedule.staleness == [1] * 80


def test_staleness_counts_the_averagings_since_the_model_was_read():
    """Passive worker 1 takes 3.5 s for a gradient, active worker 0 averages with it at 0, 1, 2, 3 ... s."""
    schedule = Schedule(ADPSGD(), quadratic(2), compute=lambda k, n: [1.0, 3.5][k])
    seen = {}

    def after(one):
        if one.all[1].rounds and not seen:
            seen["first of worker 1"] = one.staleness[-1]

    schedule.after = after
    schedule.run(5)
    assert seen == {"first of worker 1": 4}


def test_a_slow_worker_delays_nobody():
    ends = {}
    schedule = Schedule(ADPSGD(), quadratic(6), graph=ring(6), compute=lambda k, n: 50.0 if k == 1 else 1.0)
    schedule.after = lambda s: ends.update(
        {k: s.time for k, one in enumerate(s.all) if one.rounds == 20 and k not in ends}
    )
    schedule.run(20)
    assert ends == {k: 1000.0 if k == 1 else 20.0 for k in range(6)}


def as_graph(graph):
    return [tuple(sorted(graph[rank])) for rank in range(len(graph))]


@pytest.mark.parametrize(
    "graph",
    [
        nx.cycle_graph(6),
        nx.grid_2d_graph(4, 6, periodic=True),
        nx.star_graph(5),
        nx.hypercube_graph(3),
        nx.path_graph(2),
    ],
)
def test_a_graph_of_two_sides_keeps_every_edge(graph):
    given = as_graph(nx.convert_node_labels_to_integers(graph))
    partners = ADPSGD().partners(given)
    active = active_side(given)
    assert active[0]
    assert sum(map(len, partners)) == graph.number_of_edges()
    assert all(not others or active[rank] for rank, others in enumerate(partners))


@given(
    workers=st.integers(2, 12),
    seed=st.integers(0, 1000),
    density=st.sampled_from([0.1, 0.3, 0.6, 1.0]),
)
def test_any_graph_is_cut_into_two_sides_that_join_whom_it_joined(workers, seed, density):
    graph = nx.gnp_random_graph(workers, density, seed)
    active, partners = active_side(as_graph(graph)), ADPSGD().partners(as_graph(graph))
    used = nx.Graph()
    used.add_nodes_from(graph)
    for rank, others in enumerate(partners):
        assert set(others) <= set(graph[rank])
        used.add_edges_from((rank, other) for other in others)
    assert all(active[a] != active[b] for a, b in used.edges)
    assert sorted(map(sorted, nx.connected_components(used))) == sorted(map(sorted, nx.connected_components(graph)))


@pytest.mark.parametrize("workers", [4, 6, 7, 16])
@pytest.mark.parametrize("name", ["exponential", "one-peer-exponential"])
def test_edges_of_a_directed_graph_serve_in_either_direction(name, workers):
    """Over a period everybody is joined to everybody; one direction of the cut alone would leave pairs."""
    graph = gossip_graph(name, workers)
    used = nx.Graph()
    used.add_nodes_from(range(workers))
    for round in range(len(graph.rounds)):
        for rank, others in enumerate(ADPSGD().partners(graph.neighbours(round))):
            assert all({(rank, other), (other, rank)} & graph.rounds[round] for other in others)
            used.add_edges_from((rank, other) for other in others)
    assert nx.is_connected(used)


def test_in_a_complete_graph_every_second_worker_is_active():
    assert active_side(complete(6)) == [True, False] * 3


def test_one_worker_alone_is_sgd():
    workload = quadratic(1)
    schedule = Schedule(ADPSGD(momentum=0.0), workload, lr=LR).run(20)
    x = workload.initial_parameters()
    for t in range(20):
        x = x - LR * workload.gradient(0, x, t)[0]
    assert torch.equal(schedule.models[0], x)
