"""A small noisy quadratic in float64: whole trajectories in milliseconds, to the last bits."""

from __future__ import annotations

import numpy as np
import torch

from simgmc.layout import Layout
from simgmc.randomness import generator


class Quadratic:
    """F_k(w) = 1/2 (w - c_k)' A_k (w - c_k) on K workers, with Gaussian gradient noise."""

    def __init__(self, workers: int = 4, d: int = 12, noise: float = 0.3, seed: int = 0):
        draw = generator(seed, "quadratic")
        factors = draw.standard_normal((workers, d, d)) / np.sqrt(d)
        self.matrices = torch.from_numpy(factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(d))
        self.centres = torch.from_numpy(draw.standard_normal((workers, d)))
        self.workers, self.d, self.noise, self.seed = workers, d, noise, seed
        self.layout = Layout(("matrix", "vector"), ((d // 3, 2), (d - 2 * (d // 3),)))
        self.device = torch.device("cpu")
        self.batches_per_epoch = 10.0
        self.seen: list[torch.Tensor] = []
        """Every (K, d) of gradients handed out, in order."""

    def initial_parameters(self) -> torch.Tensor:
        return torch.full((self.d,), 2.0, dtype=torch.float64)

    def gradients(self, at: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        offset = at - self.centres
        slope = torch.einsum("kij,kj->ki", self.matrices, offset)
        noise = generator(self.seed, "gradient noise", step).standard_normal((self.workers, self.d))
        gradients = slope + self.noise * torch.from_numpy(noise)
        self.seen.append(gradients.clone())
        return gradients, (slope * offset).sum(1) / 2
