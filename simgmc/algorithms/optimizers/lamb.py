"""LAMB: Adam's direction, with a rate of each tensor's own."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.optimizers.adam import Moments, eps
from simgmc.algorithms.optimizers.optimizer import Decay, tensors
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import declared
from simgmc.core.registry import Option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class LAMB(Moments):
    """LAMB: for each tensor ``w = w - lr * |w| / |r + weight_decay w| * (r + weight_decay w)``, r Adam's direction.

    ``r = m' / (sqrt(v') + eps)``. The ratio is 1 where either norm is zero, and for tensors of one dimension
    with ``exempt_vectors``. For large batches. State: m, v (d each).
    """

    source = "You et al., ICLR 2020, Algorithm 2"

    eps: float = eps(1e-6)
    exempt_vectors: bool = declared(Option("tensors of one dimension have Adam's rate, a ratio of 1", bool, False))

    @property
    def decay(self) -> Decay:
        return "update"

    def rule(self, worker: Worker, gradient: Vector) -> Vector:
        first, denominator = self.advance(worker, gradient)
        direction = first / denominator + worker.weight_decay * worker.params
        ratio = direction.new_ones(direction.shape)
        for place, shape in tensors(worker.layout):
            if self.exempt_vectors and len(shape) < 2:
                continue
            own = worker.params[..., place].norm(dim=-1, keepdim=True)
            moved = direction[..., place].norm(dim=-1, keepdim=True)
            zero = (own == 0) | (moved == 0)
            ratio[..., place] = (own / (moved + zero)).masked_fill(zero, 1.0)
        return self.rate(worker) * ratio * direction
