"""Logistic regression: a convex objective whose optimum is found once, so that the gap is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simgmc.compression.rows import on_device
from simgmc.compression.threads import one_intraop_thread
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.minibatches import Minibatches
from simgmc.workloads.workload import Evaluation, PassBytes, named

ACCURACY = 1e-13
"""How far above the true minimum the value taken for F* may be (guaranteed by strong convexity)."""


class LogisticObjective:
    """F(w) = mean log(1 + exp(-y x'w)) + regularisation / 2 |w|^2 over given samples, in float64.

    ``signed`` (n, d): every sample x times its label y, -1 or +1. There is no intercept, and
    the regularisation covers every coordinate.
    """

    def __init__(self, signed: Tensor, regularisation: float):
        self.signed, self.regularisation = signed, regularisation

    def value(self, w: Tensor) -> float:
        """F at (d,)."""
        one_intraop_thread()
        return float(F.softplus(-(self.signed @ w)).mean() + self.regularisation / 2 * (w @ w))

    def gradient(self, w: Tensor) -> Tensor:
        """(d,) at (d,)."""
        one_intraop_thread()
        weights = torch.sigmoid(-(self.signed @ w)) / len(self.signed)
        return self.regularisation * w - self.signed.T @ weights

    def hessian(self, w: Tensor) -> Tensor:
        """(d, d) at (d,)."""
        one_intraop_thread()
        right = torch.sigmoid(self.signed @ w)
        weights = right * (1 - right) / len(self.signed)
        return self.signed.T @ (self.signed * weights[:, None]) + self.regularisation * torch.eye(len(w), dtype=w.dtype)


@dataclass(frozen=True)
class Optimum:
    """Where a strongly convex objective is least, and how well that is known."""

    point: Tensor
    """(d,) float64."""
    value: float
    excess: float
    """F(point) - F* is at most this: |gradient|^2 / (2 * regularisation)."""


def minimise(objective: LogisticObjective) -> Optimum:
    """The optimum: L-BFGS to come near, then Newton steps as long as they shorten the gradient.

    Raises:
        SimgmcError: the value cannot be guaranteed to :data:`ACCURACY`, as the regularisation
            is too small.
    """
    from scipy.optimize import minimize  # takes half a second to load; an optimum that is kept needs none

    def both(w: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(w)
        return objective.value(at), objective.gradient(at).numpy()

    start = np.zeros(objective.signed.shape[1])
    point = torch.from_numpy(minimize(both, start, jac=True, method="L-BFGS-B", options={"maxiter": 30}).x.copy())
    gradient = objective.gradient(point)
    while (trial := _newton_step(objective, point, gradient)) is not None:
        point, gradient = trial
    excess = float(gradient @ gradient) / (2 * objective.regularisation)
    if not excess <= ACCURACY:
        raise SimgmcError(
            f"regularisation = {objective.regularisation:g}: too small for the optimum to be found; "
            f"F* is known to {excess:.0e} only, not to {ACCURACY:g}"
        )
    return Optimum(point, objective.value(point), excess)


def _newton_step(objective: LogisticObjective, point: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """A point with a shorter gradient, and that gradient; None where rounding allows none."""
    step = torch.linalg.solve(objective.hessian(point), gradient)
    for halvings in range(10):
        trial = point - step / 2**halvings
        there = objective.gradient(trial)
        if float(there.norm()) < float(gradient.norm()):
            return trial, there
    return None


_OPTIMA: dict[bytes, Optimum] = {}
"""Optima found by this process, by what they depend on: samples, labels, regularisation."""


def optimum(objective: LogisticObjective) -> Optimum:
    """:func:`minimise`, once for the same samples and regularisation."""
    digest = hashlib.sha256(objective.signed.numpy().tobytes())
    digest.update(repr(objective.regularisation).encode())
    if digest.digest() not in _OPTIMA:
        _OPTIMA[digest.digest()] = minimise(objective)
    return _OPTIMA[digest.digest()]


class LogisticWorkload:
    """Binary logistic regression with l2 regularisation, from zero, on minibatches of all workers.

    The regularisation is part of every gradient and of the objective F. F is the mean over
    the samples that the workers hold (equally many each), so it is what they minimise
    together. An evaluation gives the test set's mean logistic loss and accuracy, and beside
    them the ``objective`` F, the ``gap`` F - F* and the ``distance`` to the optimum, in
    float64; the gap is exact to about 1e-15, the rounding of F. On the boundary, as at the
    start, the answer is the first class.
    """

    route = "closed form"
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    threads = at_once = 1
    pass_bytes = PassBytes()
    shares = None

    as_begun = None

    def __init__(
        self,
        data: Dataset,
        owned: Sequence[np.ndarray],
        *,
        regularisation: float,
        batch: int,
        seed: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ):
        """
        Args:
            data: two classes, samples of one dimension.
            owned: K arrays of equally many indices into the training samples, from ``partition``.
            batch: samples per worker and gradient.
            seed: of the minibatches.
            dtype: of parameters and gradients.

        Raises:
            SimgmcError: more than two classes, or an optimum that cannot be found.
        """
        if data.classes != 2 or len(data.sample_shape or ()) != 1:
            raise SimgmcError(
                f"logistic-regression needs 2 classes and flat samples; {data.name} has {data.classes} of shape "
                f"{data.sample_shape}"
            )
        self.device, self.dtype = torch.device(device), dtype
        self.workers, self.batch, self.regularisation = len(owned), batch, regularisation
        self._minibatches = Minibatches(owned, batch, seed)
        train, test = map(_signed, data.arrays, (data.train_labels, data.test_labels))
        self.d = train.shape[1]
        self.layout = Layout.flat(self.d)
        self.batches_per_epoch = sum(map(len, owned)) / self._minibatches.taken
        self.steps_per_pass = [len(piece) / min(len(piece), batch) for piece in owned]
        held = torch.from_numpy(np.sort(np.concatenate(owned)))
        self._objective = LogisticObjective(train[held], regularisation)
        self.optimum = optimum(self._objective)
        self._test = LogisticObjective(test, 0.0)
        self._positive = torch.from_numpy(data.test_labels > 0)
        self._train = train.to(self.device, dtype)

    @property
    def precision(self) -> str:
        """That of its numbers."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def flops(self) -> int:
        """Floating-point operations of one worker's gradient: two per multiply-add."""
        return 4 * self.batch * self.d

    def initial_parameters(self) -> Tensor:
        """(d,) zeros."""
        return torch.zeros(self.d, dtype=self.dtype, device=self.device)

    def gradients(self, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Every worker's gradient (K, d) and loss (K,) on its step-th minibatch; ``at`` is (1, d) or (K, d)."""
        found = [self.gradient(worker, at[worker if len(at) > 1 else 0], step) for worker in range(self.workers)]
        return torch.stack([gradient for gradient, _ in found]), torch.stack([loss for _, loss in found])

    def gradient(self, worker: int, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One worker's gradient (d,) and regularised minibatch loss () at ``at`` (d,)."""
        one_intraop_thread()
        at = at.detach().clone()
        index = on_device(self._minibatches.indices(step, worker), self.device)
        signed = self._train.index_select(0, index)
        margins = signed @ at
        loss = F.softplus(-margins).mean() + self.regularisation / 2 * (at @ at)
        return self.regularisation * at - signed.T @ (torch.sigmoid(-margins) / len(index)), loss

    @property
    def components(self) -> int:
        """Into how many fixed minibatches of at most ``batch`` samples, as even as can be, every worker's own
        are cut.
        """
        return -(-len(self._minibatches.owned[0]) // self.batch)

    def absent(self, worker: int) -> tuple[int, ...]:
        """None: every parameter has a gradient."""
        return ()

    def component_gradient(self, worker: int, at: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Gradient (d,) and loss () at ``at`` (d,) of one of a worker's :attr:`components`, whose mean is its own loss.

        Weighted by its number of samples where they do not all have the same.
        """
        one_intraop_thread()
        at, owned, count = at.detach(), self._minibatches.owned[worker], self.components
        samples = owned[index * len(owned) // count : (index + 1) * len(owned) // count]
        share = count / len(owned)
        signed = self._train.index_select(0, on_device(samples, self.device))
        margins = signed @ at
        loss = share * F.softplus(-margins).sum() + self.regularisation / 2 * (at @ at)
        return self.regularisation * at - signed.T @ (share * torch.sigmoid(-margins)), loss

    def gradients_of(self, ranks: Sequence[int], at: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gradients (n, d) and losses (n,) of some workers, each at its own point of ``at`` (n, d) and step."""
        found = [self.gradient(*one) for one in zip(ranks, at, steps, strict=True)]
        return torch.stack([gradient for gradient, _ in found]), torch.stack([loss for _, loss in found])

    def evaluate(self, point: Tensor, worker: int | None = None) -> Evaluation:
        """Test loss and accuracy at ``point`` (d,); objective, gap and distance beside them."""
        w = point.detach().double().cpu()
        objective = self._objective.value(w)
        margins = self._test.signed @ w
        right = (margins > 0) | ((margins == 0) & ~self._positive)
        others = {
            "gap": objective - self.optimum.value,
            "distance": float((w - self.optimum.point).norm()),
            "objective": objective,
        }
        return Evaluation(self._test.value(w), float(right.double().mean()), others)

    def minibatch_loss(self, point: Tensor, steps: Sequence[int]) -> float:
        """Mean regularised loss at ``point`` (d,) of every worker's minibatch of a step of its own."""
        return float(self.gradients_of(range(self.workers), point.expand(self.workers, -1), steps)[1].mean())

    def model_state(self, point: Tensor) -> dict[str, Tensor]:
        """The point itself."""
        return named(self.layout, point)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing changes besides the parameters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to go back to."""


def _signed(samples: np.ndarray, labels: np.ndarray) -> Tensor:
    """(n, d) float64: every sample times its label, -1 or +1, which is all that the loss sees."""
    return torch.from_numpy(samples * (2.0 * labels - 1.0)[:, None])
