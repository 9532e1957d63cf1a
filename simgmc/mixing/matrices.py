"""Mixing matrices: the weights with which each worker adds its own model and those that it receives."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.files import read_bytes
from simgmc.core.registry import Entry, Numbers, Option, Registry
from simgmc.mixing.graphs import MAX_NODES, GossipGraph

_CLOSE = 1e-9
"""How far sums of stated weights may be from 1."""

_MAX_FILE = 128 * 2**20
"""Bytes of a file of weights: enough for as many workers as gossip takes, with every digit written."""


class _Stated(Entry):
    """The user's own weights."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if len(given) != 1:
            raise SimgmcError(
                "stated weights need either matrix, a list of rows, or file, the path of a .csv or .npy file: "
                '{ name = "stated", matrix = [[0.5, 0.5], [0.5, 0.5]] }'
            )
        return {key: value for key, value in super().resolve(given).items() if value is not None}


WEIGHTS: Registry[Entry] = Registry(
    "kind of weights",
    (
        Entry("auto", "metropolis-hastings; on a directed graph uniform; for push-sum methods push-sum", "-"),
        Entry(
            "metropolis-hastings",
            "1 / (1 + max(deg i, deg j)) on every edge, the rest on oneself (undirected graphs)",
            "Xiao, Boyd, Lall, IPSN 2005 (Metropolis weights)",
        ),
        Entry(
            "uniform",
            "1 / (1 + largest degree) on every edge, the rest on oneself",
            "Xiao, Boyd, Systems & Control Letters 2004 (maximum-degree weights)",
        ),
        Entry(
            "push-sum",
            "the sender divides by 1 + its out-degree (column-stochastic; any directed graph)",
            "Kempe, Dobra, Gehrke, FOCS 2003",
        ),
        _Stated(
            "stated",
            "a matrix of one's own, whose non-zeros are the graph; row k holds the weights with which k adds",
            "one's own",
            {
                "matrix": Numbers(
                    "the weights, a row for each worker; or file",
                    default=None,
                    depth=2,
                    shape="a list of rows of numbers",
                ),
                "file": Option("a .csv or .npy file of them; or matrix", Path, None),
            },
        ),
    ),
    listed="weights",
)
"""Kinds of weights by the name used in scenario files."""


@dataclass(frozen=True, eq=False)
class Mixing:
    """The mixing matrices of one period of rounds; row k holds the weights with which worker k adds messages."""

    name: str
    """The graph and the weights, in words."""
    matrices: tuple[np.ndarray, ...]
    """(K, K) float64 each."""

    @property
    def workers(self) -> int:
        """K."""
        return len(self.matrices[0])

    @property
    def time_varying(self) -> bool:
        """Whether rounds differ."""
        return len(self.matrices) > 1

    def weights(self, round: int) -> np.ndarray:
        """(K, K): the matrix of a round."""
        return self.matrices[round % len(self.matrices)]

    def targets(self, round: int) -> tuple[tuple[int, ...], ...]:
        """Whom each worker sends to in a round, ascending."""
        return self._targets[round % len(self.matrices)]

    def neighbours(self, round: int, rank: int) -> tuple[int, ...]:
        """Whom one worker sends to in a round."""
        return self.targets(round)[rank]

    def row(self, round: int, rank: int) -> tuple[tuple[int, float], ...]:
        """What one worker adds in a round, in rank order: (sender, weight), itself among them."""
        return self._rows[round % len(self.matrices)][rank]

    @cached_property
    def _targets(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        return tuple(
            tuple(tuple(int(j) for j in np.flatnonzero(column) if j != rank) for rank, column in enumerate(matrix.T))
            for matrix in self.matrices
        )

    @cached_property
    def _rows(self) -> tuple[tuple[tuple[tuple[int, float], ...], ...], ...]:
        return tuple(
            tuple(tuple((int(j), float(row[j])) for j in np.flatnonzero(row)) for row in matrix)
            for matrix in self.matrices
        )

    @cached_property
    def edges(self) -> tuple[np.ndarray, ...]:
        """For each round of the period (edges, 2) int64: (sender, receiver), by sender."""
        pairs = ([(k, other) for k, targets in enumerate(one) for other in targets] for one in self._targets)
        return tuple(np.array(list(one), dtype=np.int64).reshape(-1, 2) for one in pairs)

    @cached_property
    def symmetric(self) -> bool:
        """Whether every matrix is."""
        return all(np.abs(matrix - matrix.T).max() <= _CLOSE for matrix in self.matrices)

    @cached_property
    def row_stochastic(self) -> bool:
        """Whether the weights with which each worker adds sum to 1."""
        return all(np.abs(matrix.sum(axis=1) - 1).max() <= _CLOSE for matrix in self.matrices)

    @cached_property
    def column_stochastic(self) -> bool:
        """Whether the weights with which each worker is added sum to 1."""
        return all(np.abs(matrix.sum(axis=0) - 1).max() <= _CLOSE for matrix in self.matrices)

    @cached_property
    def spectral_gap(self) -> float:
        """1 - |second largest eigenvalue| of the matrix, of the product over one period where it varies.

        1: one period is the exact average. 0: some workers never agree.
        """
        if self.workers == 1:
            return 1.0
        whole = self.matrices[0]
        for matrix in self.matrices[1:]:
            whole = matrix @ whole
        values = np.linalg.eigvalsh(whole) if self.symmetric and not self.time_varying else np.linalg.eigvals(whole)
        return float(1 - np.sort(np.abs(values))[-2])

    def problem(self, needs: str) -> str | None:
        """Why a method that needs such a matrix cannot use this one, or None.

        ``needs``: "doubly-stochastic"; "symmetric" (doubly stochastic as well, and the same in
        every round); or "push-sum" (column-stochastic).
        """
        if not self.column_stochastic:
            return f"columns of {self.name} do not add up to 1: what workers give away would get lost or grow"
        if needs == "push-sum":
            return None
        if not self.row_stochastic:
            return (
                f"{self.name} is not doubly stochastic, its rows do not add up to 1; use a push-sum method (sgp), "
                "or metropolis-hastings weights on an undirected graph"
            )
        if needs == "symmetric" and self.time_varying:
            return (
                f"{self.name} varies from round to round, but this method keeps copies of its neighbours' models "
                "and needs the same ones in every round"
            )
        if needs == "symmetric" and not self.symmetric:
            return f"{self.name} is not symmetric, which this method needs; use an undirected graph"
        return None


def mixing(graph: GossipGraph, weights: str = "auto", push_sum: bool = False) -> Mixing:
    """The matrices of a graph with one of :data:`WEIGHTS` (all but stated).

    ``push_sum``: whether the method is one, which decides what "auto" is.
    """
    if weights == "auto":
        weights = "push-sum" if push_sum else "uniform" if graph.directed else "metropolis-hastings"
    if weights == "metropolis-hastings" and graph.directed:
        a, b = min((a, b) for edges in graph.rounds for a, b in edges if (b, a) not in edges)
        raise SimgmcError(
            f"metropolis-hastings needs an undirected graph; in {graph.name} worker {a} sends to {b}, "
            "which does not send back: use uniform or push-sum"
        )
    matrices = tuple(_matrix(graph, round, weights) for round in range(len(graph.rounds)))
    return Mixing(f"{graph.name} with {weights} weights", matrices)


def _matrix(graph: GossipGraph, round: int, weights: str) -> np.ndarray:
    degrees = graph.degrees(round)
    largest = max(degrees, default=0)
    matrix = np.zeros((graph.workers, graph.workers))
    for a, b in graph.rounds[round]:
        share = {"uniform": largest, "push-sum": degrees[a], "metropolis-hastings": max(degrees[a], degrees[b])}[
            weights
        ]
        matrix[b, a] = 1 / (1 + share)
    # One's own weight is written as a fraction where it is one, so that a regular graph's
    # weights are all the same number and those of the complete graph exactly 1 / K.
    for k, degree in enumerate(degrees):
        if weights == "push-sum":
            matrix[k, k] = 1 / (1 + degree)
        elif weights == "uniform" or len(set(degrees)) == 1:
            matrix[k, k] = (1 + largest - degree) / (1 + largest)
        else:
            matrix[k, k] = 1 - math.fsum(matrix[k])
    return matrix


def everybody(workers: int) -> Mixing:
    """J: every worker gets the exact average."""
    return Mixing("everybody with equal weights", (np.full((workers, workers), 1 / workers),))


def stated_mixing(matrix: Sequence[Sequence[float]] | np.ndarray, name: str = "the stated matrix") -> Mixing:
    """The user's own matrix; its non-zeros are the graph.

    Raises:
        SimgmcError: it is not square, holds something else than numbers from 0 to 1, does not
            join all workers, or never brings them to agreement.
    """
    if len(matrix) > MAX_NODES:
        raise SimgmcError(f"{name}: {len(matrix)} workers: gossip takes at most {MAX_NODES:,}")
    if {len(row) for row in matrix} != {len(matrix)}:
        raise SimgmcError(f"{name}: must be square, a row for each worker and a number in it for each worker")
    held = np.array(matrix, dtype=float)
    if not (np.isfinite(held).all() and held.min() >= 0 and held.max() <= 1 + _CLOSE):
        raise SimgmcError(f"{name}: weights must be numbers from 0 to 1")
    edges = frozenset((int(a), int(b)) for b, a in zip(*np.nonzero(held), strict=True) if a != b)
    if not GossipGraph(name, len(held), (edges,)).connected:
        raise SimgmcError(f"{name}: what some workers have never reaches others; its non-zeros must join all workers")
    found = Mixing(name, (held,))
    # A weight on oneself is enough for agreement; without any, workers may swap their models for ever.
    if len(held) > 1 and not np.diagonal(held).any() and found.spectral_gap < _CLOSE:
        raise SimgmcError(
            f"{name}: workers swap what they have and never agree (spectral gap 0); give a weight on the diagonal"
        )
    return found


def read_matrix(file: str) -> np.ndarray:
    """The matrix in a ``.npy`` file, or in a text file with a row a line and commas between numbers."""
    content = read_bytes(file, "matrix", _MAX_FILE)
    try:
        if Path(file).suffix.lower() == ".npy":
            matrix = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            text = io.StringIO(content.decode("utf-8-sig"))
            matrix = np.loadtxt(text, delimiter=",", ndmin=2) if content else np.empty(0)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise SimgmcError(f"{file}: is not a matrix that can be read: {reason(error)}") from None
    if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise SimgmcError(f"{file}: must hold a square matrix of numbers")
    return matrix
