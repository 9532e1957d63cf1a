"""Gradients of quadratics, exact or noisy, in the shape that every trainer takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.rows import on_device
from simgmc.core.layout import Layout
from simgmc.core.randomness import generator
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.workload import Evaluation, PassBytes, named


class QuadraticWorkload:
    """Every worker's gradients of its own quadratic, in float64.

    A gradient is one pass over the data (``batches_per_epoch`` is 1): it is exact, or exact
    plus Gaussian noise that is a pure function of (seed, step, worker). Evaluations give F
    as the loss, the gap F - F*, the distance to the optimum and, for two parameters, the
    point itself (``w[0]``, ``w[1]``), so that its path can be drawn.
    """

    batches_per_epoch = 1.0
    components = 16
    """Fixed parts of every worker's objective, for methods of finite sums."""
    route, precision = "closed form", "float64"
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dtype = torch.float64
    threads = at_once = 1
    pass_bytes = PassBytes()
    shares = None

    as_begun = None

    def __init__(self, problem: Quadratics, seed: int, device: str | torch.device = "cpu"):
        self.problem, self.seed = problem, seed
        self.device = torch.device(device)
        self.workers, self.d = problem.workers, problem.d
        self.layout = Layout.flat(self.d)
        self.steps_per_pass = [1.0] * self.workers
        self._matrices, self._minimisers = (
            torch.from_numpy(numbers).to(self.device) for numbers in (problem.matrices, problem.minimisers)
        )

    @property
    def flops(self) -> int:
        """Floating-point operations of one worker's gradient: two per multiply-add."""
        return 2 * self._matrices[0].numel()

    def initial_parameters(self) -> Tensor:
        """(d,): the stated start."""
        return torch.from_numpy(self.problem.start.copy()).to(self.device)

    def gradients(self, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """A_k (w_k - c_k) and F_k(w_k) of every worker: (K, d) and (K,); ``at`` is (1, d) or (K, d)."""
        offsets = at.detach() - self._minimisers
        slopes = (
            offsets * self._matrices
            if self.problem.diagonal
            else torch.stack([A @ o for A, o in zip(self._matrices, offsets)])
        )
        losses = (slopes * offsets).sum(1) / 2
        if self.problem.noise:
            slopes = slopes + torch.stack([self._noise(step, worker) for worker in range(self.workers)])
        return slopes, losses

    def gradient(self, worker: int, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One worker's gradient (d,) and loss () at ``at`` (d,): the same bits as its row of :meth:`gradients`."""
        offset = at.detach() - self._minimisers[worker]
        slope = self._matrices[worker] * offset if self.problem.diagonal else self._matrices[worker] @ offset
        loss = (slope * offset).sum() / 2
        return (slope + self._noise(step, worker) if self.problem.noise else slope), loss

    def absent(self, worker: int) -> tuple[int, ...]:
        """None: every parameter has a gradient."""
        return ()

    def component_gradient(self, worker: int, at: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Gradient (d,) and loss () at ``at`` (d,) of one of a worker's :attr:`components`, whose mean is its own loss.

        f_i(w) = F_k(w) + n_i' (w - c_k), where the n_i are fixed Gaussian vectors of the noise's
        standard deviation whose mean was subtracted.
        """
        offset = at.detach() - self._minimisers[worker]
        slope = self._matrices[worker] * offset if self.problem.diagonal else self._matrices[worker] @ offset
        shift = self._shifts[worker, index]
        return slope + shift, (slope * offset).sum() / 2 + shift @ offset

    def gradients_of(self, ranks: Sequence[int], at: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gradients (n, d) and losses (n,) of some workers, each at its own point of ``at`` (n, d) and step."""
        found = [self.gradient(*one) for one in zip(ranks, at, steps, strict=True)]
        return torch.stack([gradient for gradient, _ in found]), torch.stack([loss for _, loss in found])

    def evaluate(self, point: Tensor, worker: int | None = None) -> Evaluation:
        """F at ``point`` (d,), and beside it gap, distance and, for d = 2, where the point is."""
        w = point.detach().double().cpu().numpy()
        gap = float(self.problem.gap(w))
        others = {"gap": gap, "distance": float(np.linalg.norm(w - self.problem.optimum))}
        if self.d == 2:
            others |= {"w[0]": float(w[0]), "w[1]": float(w[1])}
        return Evaluation(gap + self.problem.least, None, others)

    def minibatch_loss(self, point: Tensor, steps: Sequence[int]) -> float:
        """F at ``point`` (d,): noise is in the gradients alone."""
        return float(self.gradients(point[None], 0)[1].mean())

    def model_state(self, point: Tensor) -> dict[str, Tensor]:
        """The point itself."""
        return named(self.layout, point)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing changes besides the parameters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to go back to."""

    @cached_property
    def _shifts(self) -> Tensor:
        """(K, components, d): the slopes by which the components differ from their worker's objective."""
        draws = generator(self.seed, "components").standard_normal((self.workers, self.components, self.d))
        return torch.from_numpy(self.problem.noise * (draws - draws.mean(axis=1, keepdims=True))).to(self.device)

    def _noise(self, step: int, worker: int) -> Tensor:
        draws = generator(self.seed, "gradient noise", step, worker).standard_normal(self.d)
        return on_device(self.problem.noise * draws, self.device)
