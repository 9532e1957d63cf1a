"""Adam and AdamW."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.optimizers.optimizer import Decay, Optimizer, counted, no_steps
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


def betas(second: float = 0.999) -> tuple[float, ...]:
    """The field of the two factors."""
    return declared(
        Option("factors of the first and the second moment", list[float], (0.9, second), at_least=0, below=1)
    )


def eps(default: float = 1e-8) -> float:
    """The field of what is added to the denominator."""
    return declared(Option("what is added to the denominator", float, default, at_least=0))


def no_decay_of_vectors() -> bool:
    """The field ``decay_vectors`` where it is off unless stated."""
    return declared(
        Option("weight decay of tensors of one dimension too: biases, normalisation", bool, False), kw_only=True
    )


def check_betas(given: tuple[float, ...]) -> None:
    """Refuse any number of factors but two."""
    if len(given) != 2:
        raise SimgmcError(f"betas = {list(given)}: must be two numbers, such as [0.9, 0.999]")


@dataclass(frozen=True)
class Moments(Optimizer):
    """What Adam and its kin have in common: running means of gradients and of their squares."""

    buffers = ("first_moment", "second_moment")

    betas: tuple[float, ...] = betas()
    eps: float = eps()
    amsgrad: bool = declared(Option("the largest second moment so far counts", bool, False))
    bias_correction: bool = declared(Option("moments are corrected for their start at zero", bool, True))
    decay_vectors: bool = no_decay_of_vectors()

    def check_fields(self) -> None:
        """Two factors."""
        check_betas(self.betas)

    def start(self, worker: Worker) -> None:
        worker.first_moment = worker.zeros()
        worker.second_moment = worker.zeros()
        worker.steps = no_steps(worker)
        if self.amsgrad:
            worker.largest_moment = worker.zeros()

    def advance(self, worker: Worker, gradient: Vector) -> tuple[Vector, Vector]:
        """Take a gradient in; the first moment and the denominator of the step, (..., d) each."""
        worker.first_moment = self.first(worker, gradient)
        self.take_square(worker, gradient)
        steps = counted(worker, gradient)
        first, second = (self._of_steps(beta, steps, gradient) for beta in self.betas)
        return worker.first_moment / first, self.denominator(worker, second)

    def _of_steps(self, beta: float, steps: Vector, like: Vector) -> float | Vector:
        """The correction of every row, computed in float64."""
        return (1 - beta**steps).type_as(like) if self.bias_correction else 1.0

    def first(self, worker: Worker, gradient: Vector) -> Vector:
        """Tensor ``(..., d)``: what the first moment becomes."""
        beta, _ = self.betas
        return beta * worker.first_moment + (1 - beta) * gradient

    def take_square(self, worker: Worker, gradient: Vector) -> None:
        """Bring the second moment up to date."""
        _, beta = self.betas
        worker.second_moment = beta * worker.second_moment + (1 - beta) * gradient * gradient
        if self.amsgrad:
            worker.largest_moment = worker.largest_moment.maximum(worker.second_moment)

    def denominator(self, worker: Worker, correction: float | Vector) -> Vector:
        """Tensor ``(..., d)``: the root of the second moment, corrected for its start, and eps."""
        second = worker.largest_moment if self.amsgrad else worker.second_moment
        return (second / correction).sqrt() + self.eps

    def correction(self, beta: float, steps: int) -> float:
        """What a moment of this factor is divided by after so many steps."""
        return 1 - beta**steps if self.bias_correction else 1.0


@dataclass(frozen=True)
class Adam(Moments):
    """Adam: ``m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - lr * m' / (sqrt(v') + eps)``.

    ``m' = m / (1 - b1^t)`` and ``v' = v / (1 - b2^t)`` in step t, or with ``bias_correction = false`` m and v.
    Weight decay is part of g (``torch.optim.Adam``); ``adamw`` has it beside the step. ``amsgrad``: the largest
    v so far takes the place of v. State: m, v (d each), with ``amsgrad`` the largest v (d).
    """

    source = "Kingma, Ba, ICLR 2015, Algorithm 1; amsgrad: Reddi, Kale, Kumar, ICLR 2018"

    def rule(self, worker: Worker, gradient: Vector) -> Vector:
        first, denominator = self.advance(worker, gradient)
        return self.rate(worker) * first / denominator


@dataclass(frozen=True)
class AdamW(Adam):
    """AdamW: Adam whose weight decay is beside the step, ``w = w - lr * weight_decay * w``.

    As ``torch.optim.AdamW``; tensors of one dimension have no decay unless ``decay_vectors``.
    State: m, v (d each).
    """

    source = "Loshchilov, Hutter, ICLR 2019, Algorithm 2"

    @property
    def decay(self) -> Decay:
        return "parameters"
