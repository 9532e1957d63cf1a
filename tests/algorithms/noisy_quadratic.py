"""A small noisy quadratic in float64: whole trajectories in milliseconds, to the last bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from simgmc.core.layout import Layout
from simgmc.core.randomness import generator

MINIBATCHES = 512


class Problem:
    """What both problems say of themselves as workloads."""

    device, dtype = torch.device("cpu"), torch.float64
    batches_per_epoch = 10.0
    shares, steps_per_pass = None, (10.0,)

    def absent(self, worker: int) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True)
class Quadratic(Problem):
    """F_k(w) = scale / 2 (w - c_k)' A_k (w - c_k) on K workers, with Gaussian gradient noise.

    The noise of a step is a pure function of (seed, step), as a minibatch is.
    """

    workers: int = 4
    shapes: tuple[tuple[int, ...], ...] = ((4, 2), (4,))
    noise: float = 0.3
    scale: float = 1.0
    seed: int = 0

    @cached_property
    def layout(self) -> Layout:
        return Layout(tuple(f"tensor {i}" for i in range(len(self.shapes))), self.shapes)

    @property
    def d(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    @cached_property
    def matrices(self) -> torch.Tensor:
        """(K, d, d): the A_k."""
        draws = generator(self.seed, "curvature").standard_normal((self.workers, self.d, self.d)) / np.sqrt(self.d)
        return torch.from_numpy(draws @ draws.transpose(0, 2, 1) + 0.1 * np.eye(self.d))

    @cached_property
    def centres(self) -> torch.Tensor:
        """(K, d): the c_k."""
        return torch.from_numpy(generator(self.seed, "centres").standard_normal((self.workers, self.d)))

    @cached_property
    def noises(self) -> torch.Tensor:
        """(MINIBATCHES, K, d)."""
        draws = generator(self.seed, "gradient noise").standard_normal((MINIBATCHES, self.workers, self.d))
        return self.noise * torch.from_numpy(draws)

    @property
    def optimum(self) -> torch.Tensor:
        """(d,): where the mean objective is smallest."""
        return torch.linalg.solve(
            self.matrices.mean(0), torch.einsum("kij,kj->i", self.matrices, self.centres) / self.workers
        )

    def initial_parameters(self) -> torch.Tensor:
        return torch.full((self.d,), 2.0, dtype=torch.float64)

    def gradients(self, at: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        offset = at - self.centres
        slope = (self.matrices @ offset[..., None])[..., 0]
        gradients = self.scale * (slope + self.noises[step % MINIBATCHES])
        return gradients, self.scale * (slope * offset).sum(1) / 2


@dataclass(frozen=True)
class RankOne(Problem):
    """F_k(W) = 1/2 (a' W b - c_k)^2 with a and b common to all: every gradient is a multiple of a b'."""

    workers: int = 4
    rows: int = 6
    columns: int = 5
    seed: int = 0

    @property
    def d(self) -> int:
        return self.rows * self.columns

    @cached_property
    def layout(self) -> Layout:
        return Layout(("matrix",), ((self.rows, self.columns),))

    @cached_property
    def direction(self) -> torch.Tensor:
        """(d,): a b' with a and b of length 1."""
        draws = generator(self.seed, "rank one")
        a, b = draws.standard_normal(self.rows), draws.standard_normal(self.columns)
        return torch.from_numpy(np.outer(a / np.linalg.norm(a), b / np.linalg.norm(b)).ravel())

    def initial_parameters(self) -> torch.Tensor:
        return torch.full((self.d,), 2.0, dtype=torch.float64)

    def gradients(self, at: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.from_numpy(generator(self.seed, "noise", step).standard_normal((self.workers, 1)))
        miss = (at @ self.direction)[:, None] - torch.arange(self.workers)[:, None] + noise
        return miss * self.direction, (miss**2)[:, 0] / 2
