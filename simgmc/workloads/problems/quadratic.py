"""Quadratic objectives whose optimum is known exactly, one per worker. Plain numpy.

The gradients that workers take of them are in :mod:`simgmc.workloads.problems.quadratic_workload`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError


@dataclass(frozen=True, eq=False)
class Quadratics:
    """F_k(w) = 1/2 (w - c_k)' A_k (w - c_k) on K workers; the objective is their mean F.

    ``matrices`` holds the A_k, as (K, d, d) or, where all are diagonal, as their diagonals
    (K, d); ``minimisers`` the c_k, (K, d); ``start`` (d,); all float64. ``noise`` is the
    standard deviation of what is added to every coordinate of a gradient.
    """

    matrices: np.ndarray
    minimisers: np.ndarray
    start: np.ndarray
    noise: float = 0.0

    @property
    def workers(self) -> int:
        """K."""
        return len(self.minimisers)

    @property
    def d(self) -> int:
        """Number of parameters."""
        return len(self.start)

    @property
    def diagonal(self) -> bool:
        """Whether ``matrices`` are diagonals."""
        return self.matrices.ndim == 2

    @cached_property
    def mean_matrix(self) -> np.ndarray:
        """The curvature of F: (d,) for diagonals, else (d, d)."""
        return self.matrices.mean(axis=0)

    @cached_property
    def optimum(self) -> np.ndarray:
        """(d,): where F is least."""
        if self.diagonal:
            return (self.matrices * self.minimisers).mean(axis=0) / self.mean_matrix
        pull = np.einsum("kij,kj->i", self.matrices, self.minimisers) / self.workers
        return np.linalg.solve(self.mean_matrix, pull)

    @cached_property
    def least(self) -> float:
        """F at the optimum."""
        return float(
            np.mean(
                [self._half_square(A, self.optimum - c) for A, c in zip(self.matrices, self.minimisers, strict=True)]
            )
        )

    def gap(self, points: np.ndarray) -> np.ndarray:
        """F - F* at points (..., d), without the cancellation of a difference: 1/2 (w - w*)' A (w - w*)."""
        return self._half_square(self.mean_matrix, points - self.optimum)

    def value(self, points: np.ndarray) -> np.ndarray:
        """F at points (..., d)."""
        return self.gap(points) + self.least

    def _half_square(self, matrix: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        slopes = offsets * matrix if self.diagonal else offsets @ matrix
        return (slopes * offsets).sum(axis=-1) / 2


def from_numbers(
    matrices: Sequence[Any], minimisers: Sequence[Sequence[float]], start: Sequence[float], noise: float
) -> Quadratics:
    """Quadratics from the numbers of a scenario file.

    ``matrices`` has an entry per worker: d numbers, the diagonal, or d rows of d numbers.

    Raises:
        SimgmcError: sizes that do not fit each other, a matrix that is not symmetric, or a mean
            objective without a single optimum; the message names the key.
    """
    d = len(start)
    if len(matrices) != len(minimisers):
        raise SimgmcError(
            f"minimisers: {len(minimisers)} are given for {len(matrices)} matrices; each worker needs one of both"
        )
    for number, centre in enumerate(minimisers):
        if len(centre) != d:
            raise SimgmcError(f"minimisers: number {number} has {len(centre)} numbers, start has {d}")
    square = [_matrix(number, given, d) for number, given in enumerate(matrices)]
    diagonal = all(one.ndim == 1 for one in square)
    stacked = np.stack([one if diagonal or one.ndim == 2 else np.diag(one) for one in square])
    mean = stacked.mean(axis=0)
    smallest = float(mean.min() if diagonal else np.linalg.eigvalsh(mean).min())
    if not smallest > 0:
        raise SimgmcError(
            "matrices: their mean must be positive definite, so that there is one optimum; its smallest eigenvalue is "
            f"{smallest:g}"
        )
    return Quadratics(stacked, np.array(minimisers, float), np.array(start, float), float(noise))


def _matrix(number: int, given: Sequence[Any], d: int) -> np.ndarray:
    rows = [row for row in given if isinstance(row, (list, tuple))]
    if len(given) != d or any(len(row) != d for row in rows):
        raise SimgmcError(
            f"matrices: number {number} must be {d} numbers (its diagonal) or {d} rows of {d}, as start has {d} numbers"
        )
    matrix = np.array(given, float)
    if matrix.ndim == 2 and not np.array_equal(matrix, matrix.T):
        raise SimgmcError(f"matrices: number {number} is not symmetric")
    return matrix


def gmc_toy(variant: str, d: int, noise: float = 0.0) -> Quadratics:
    """Two workers' quadratics that reproduce Figures 1 and 2 of the GMC paper, whose formulas are lost.

    ``"A"``: F_1 = |w - c|^2 and F_2 = |w + c|^2 with c_i = i/d, from (3, 2) for d = 2 and
    from 3 in every coordinate otherwise; w* = 0. ``"B"``: curvatures 1, 10, 1, 10 ... around
    1 and 10, 1, 10, 1 ... around -1, from 5 in every coordinate; w* = -9/11, 9/11 ...
    """
    if variant == "A":
        centre = np.arange(1, d + 1) / d
        start = np.array([3.0, 2.0]) if d == 2 else np.full(d, 3.0)
        return Quadratics(np.full((2, d), 2.0), np.stack([centre, -centre]), start, noise)
    one = np.where(np.arange(d) % 2, 10.0, 1.0)
    return Quadratics(np.stack([one, 11.0 - one]), np.stack([np.ones(d), -np.ones(d)]), np.full(d, 5.0), noise)
