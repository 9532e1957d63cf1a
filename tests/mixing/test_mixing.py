"""Gossip graphs and mixing matrices against closed forms; and what is refused."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.mixing import GRAPHS, gossip_graph, mixing, read_matrix, stated_mixing

OPTIONS = {"random-regular": {"degree": 4}, "erdos-renyi": {"p": 0.6}}
NAMED = [name for name in GRAPHS if name != "file"]


def of(name, workers, weights="auto", **options):
    return mixing(gossip_graph(name, workers, **(options or OPTIONS.get(name, {}))), weights)


@pytest.mark.parametrize("workers", [3, 4, 5, 8, 16, 33])
def test_the_gap_of_a_ring(workers):
    assert of("ring", workers).spectral_gap == pytest.approx(
        1 - abs(1 / 3 + 2 / 3 * math.cos(2 * math.pi / workers)), abs=1e-12
    )
    assert np.allclose(of("ring", workers).matrices[0].max(axis=1), 1 / 3)


@pytest.mark.parametrize("workers", [2, 3, 7, 20])
def test_the_complete_graph_with_uniform_weights_is_the_exact_average(workers):
    for weights in ("uniform", "metropolis-hastings", "push-sum"):
        found = of("complete", workers, weights)
        assert np.array_equal(found.matrices[0], np.full((workers, workers), 1 / workers))
        assert found.spectral_gap == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("workers", [4, 6, 8, 10, 16, 32])
def test_the_gap_of_the_exponential_graph(workers):
    """Ying et al., NeurIPS 2021, Proposition 1: 2 / (1 + ceil(log2 K)) for even K."""
    assert of("exponential", workers).spectral_gap == pytest.approx(2 / (1 + math.ceil(math.log2(workers))), abs=1e-12)


@pytest.mark.parametrize("workers", [2, 4, 8, 16])
def test_one_period_of_the_one_peer_exponential_graph_is_the_exact_average(workers):
    found = of("one-peer-exponential", workers)
    assert len(found.matrices) == math.log2(workers) and found.spectral_gap == pytest.approx(1, abs=1e-12)
    whole = np.linalg.multi_dot([*found.matrices[::-1], np.eye(workers)])
    assert np.array_equal(whole, np.full((workers, workers), 1 / workers))
    assert all(
        found.neighbours(t, rank) == ((rank + 2 ** (t % len(found.matrices))) % workers,)
        for t in range(9)
        for rank in range(workers)
    )


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 5), (4, 4), (5, 6)])
def test_the_gap_of_a_torus(rows, columns):
    """Eigenvalues (1 + 2 cos(2 pi a / rows) + 2 cos(2 pi b / columns)) / 5."""
    values = sorted(
        abs(1 + 2 * math.cos(2 * math.pi * a / rows) + 2 * math.cos(2 * math.pi * b / columns)) / 5
        for a in range(rows)
        for b in range(columns)
    )
    assert of("torus", rows * columns, columns=columns).spectral_gap == pytest.approx(1 - values[-2], abs=1e-12)


def test_the_gap_of_a_star():
    """Every leaf keeps 1 - 1/K with Metropolis-Hastings weights: second eigenvalue 1 - 1/K."""
    assert of("star", 10).spectral_gap == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("workers", [6, 9, 12])
def test_every_graph_has_doubly_stochastic_weights(name, workers):
    found = of(name, workers)
    assert found.problem("doubly-stochastic") is None and 0 < found.spectral_gap <= 1 + 1e-12
    assert all(matrix.min() >= 0 for matrix in found.matrices)
    directed = name in ("exponential", "one-peer-exponential")
    assert (found.problem("symmetric") is None) == (not directed)
    assert of(name, workers, "push-sum").problem("push-sum") is None
    if not directed:
        assert of(name, workers, "uniform").problem("symmetric") is None


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 12), st.integers(0, 2**32), st.sampled_from(["metropolis-hastings", "uniform"]))
def test_weights_of_any_connected_graph_are_doubly_stochastic(workers, seed, weights):
    found = mixing(gossip_graph("erdos-renyi", workers, p=0.7, seed=seed), weights)
    matrix = found.matrices[0]
    assert found.problem("symmetric") is None
    degree = (matrix > 0).sum(axis=1) - np.diag(matrix > 0)
    for a, b in found.edges[0]:
        expected = max(degree[a], degree[b]) if weights == "metropolis-hastings" else degree.max()
        assert matrix[a, b] == 1 / (1 + expected)


def test_rows_and_targets_are_those_of_the_matrix():
    found = stated_mixing([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]])
    assert found.targets(0) == ((2,), (0,), (1,)) and found.row(0, 0) == ((0, 0.5), (1, 0.5))
    assert found.edges[0].tolist() == [[0, 2], [1, 0], [2, 1]]


def test_a_single_worker_mixes_with_itself():
    for name in ("ring", "complete", "star", "exponential", "one-peer-exponential"):
        found = of(name, 1)
        assert found.matrices[0].tolist() == [[1.0]] and found.edges[0].shape == (0, 2) and found.spectral_gap == 1


def test_random_graphs_follow_their_seed():
    edges = [gossip_graph("random-regular", 12, degree=3, seed=seed).rounds[0] for seed in (1, 1, 2)]
    assert edges[0] == edges[1] != edges[2]
    assert set(gossip_graph("random-regular", 12, degree=3).degrees(0)) == {3}
    sparse = gossip_graph("erdos-renyi", 20, p=0.12, seed=3)
    assert sparse.connected and sparse.rounds == gossip_graph("erdos-renyi", 20, p=0.12, seed=3).rounds


def test_a_graph_from_a_file(tmp_path):
    nx.write_graphml(nx.relabel_nodes(nx.path_graph(4), lambda k: f"worker{k}"), tmp_path / "path.graphml")
    found = mixing(gossip_graph("file", 4, file=str(tmp_path / "path.graphml")))
    assert found.targets(0) == ((1,), (0, 2), (1, 3), (2,)) and found.problem("symmetric") is None
    (tmp_path / "circle.csv").write_text("source,destination\n0,1\n1,2\n2,0\n")
    circle = gossip_graph("file", 3, file=str(tmp_path / "circle.csv"))
    assert circle.directed and mixing(circle).problem("doubly-stochastic") is None
    with pytest.raises(SimgmcError, match="undirected"):
        mixing(circle, "metropolis-hastings")
    with pytest.raises(SimgmcError, match="'3': must be a worker, worker0 to worker2"):
        (tmp_path / "circle.csv").write_text("source,destination\n0,3\n")
        gossip_graph("file", 3, file=str(tmp_path / "circle.csv"))
    with pytest.raises(SimgmcError, match="connected"):
        (tmp_path / "circle.csv").write_text("source,destination\n0,1\n1,2\n")
        gossip_graph("file", 3, file=str(tmp_path / "circle.csv"))


def test_a_directed_graph_whose_degrees_differ_is_for_push_sum_alone(tmp_path):
    (tmp_path / "hub.csv").write_text("source,destination\n0,1\n0,2\n1,2\n2,0\n")
    graph = gossip_graph("file", 3, file=str(tmp_path / "hub.csv"))
    assert "not doubly stochastic" in mixing(graph, "push-sum").problem("doubly-stochastic")
    assert mixing(graph, push_sum=True).problem("push-sum") is None
    assert mixing(graph, push_sum=True).weights(0)[:, 0] == pytest.approx([1 / 3] * 3)


def test_a_matrix_from_a_file(tmp_path):
    matrix = np.array([[0.5, 0.5], [0.5, 0.5]])
    np.save(tmp_path / "w.npy", matrix)
    np.savetxt(tmp_path / "w.csv", matrix, delimiter=",")
    assert all(np.array_equal(read_matrix(str(tmp_path / name)), matrix) for name in ("w.npy", "w.csv"))
    (tmp_path / "w.csv").write_text("a,b\n")
    for name in ("w.csv", "none.npy"):
        with pytest.raises(SimgmcError, match=name):
            read_matrix(str(tmp_path / name))


@pytest.mark.filterwarnings("error")
def test_a_file_that_holds_no_matrix_is_named_and_a_byte_order_mark_is_no_number(tmp_path):
    (tmp_path / "mark.csv").write_text("\ufeff0.5,0.5\n0.5,0.5\n")
    assert np.array_equal(read_matrix(str(tmp_path / "mark.csv")), np.full((2, 2), 0.5))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with open(tmp_path / "claims.npy", "wb") as stream:  # of more numbers than any machine holds
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**7)})
    with open(tmp_path / "huge.csv", "wb") as stream:
        stream.truncate(2**31)
    for name in ("empty.csv", "folder.csv", "claims.npy", "huge.csv"):
        with pytest.raises(SimgmcError, match=name):
            read_matrix(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "workers", "options", "words"),
    [
        ("torus", 7, {}, "7 workers make no rectangle"),
        ("torus", 12, {"columns": 5}, "columns = 5"),
        ("random-regular", 7, {"degree": 3}, "must be even"),
        ("random-regular", 4, {"degree": 4}, "below the number of workers"),
        ("random-regular", 8, {}, 'needs the option "degree"'),
        ("random-regular", 8, {"degree": 1}, "none of .* is connected"),
        ("erdos-renyi", 40, {"p": 0.001}, "none of the graphs .* is connected"),
        ("erdos-renyi", 4, {"p": 1.5}, "p = 1.5"),
        ("ring", 3000, {}, "at most 2,048"),
        ("circle", 3, {}, 'unknown graph "circle"'),
    ],
)
def test_what_joins_no_workers_is_refused(name, workers, options, words):
    with pytest.raises(SimgmcError, match=words):
        gossip_graph(name, workers, **options)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[0.5, 0.5]], "must be square"),
        ([[0.5, 0.5], [1.0]], "must be square"),
        ([[1.5, -0.5], [-0.5, 1.5]], "from 0 to 1"),
        ([[1.0, 0.0], [0.0, 1.0]], "must join all workers"),
        ([[0.0, 1.0], [1.0, 0.0]], "never agree"),
        ([[0.0, 0.5, 0.0, 0.5], [0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5], [0.5, 0.0, 0.5, 0.0]], "never agree"),
        ([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], "never agree"),
    ],
)
def test_a_stated_matrix_that_mixes_nothing_is_refused(matrix, words):
    with pytest.raises(SimgmcError, match=words):
        stated_mixing(matrix)


def test_a_stated_matrix_without_a_diagonal_may_mix_all_the_same():
    """Three workers, each the mean of the two others: 1/2 of every disagreement is left after a round."""
    assert stated_mixing([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]).spectral_gap == pytest.approx(0.5)


def test_what_a_matrix_lacks_is_said():
    rows_only = stated_mixing([[0.5, 0.5], [0.9, 0.1]])
    columns_only = stated_mixing([[0.5, 0.9], [0.5, 0.1]])
    assert "lost or grow" in rows_only.problem("push-sum")
    assert columns_only.problem("push-sum") is None and "rows do not add up" in columns_only.problem(
        "doubly-stochastic"
    )
    circle = stated_mixing([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]])
    assert circle.problem("doubly-stochastic") is None and "not symmetric" in circle.problem("symmetric")
