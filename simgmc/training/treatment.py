"""Weight decay, clipping and rates by parameter: what a training does to gradients beside the update rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simgmc.algorithms.algorithm import Algorithm
from simgmc.algorithms.optimizers import GradientSettings
from simgmc.algorithms.optimizers.optimizer import clipped
from simgmc.algorithms.worker import Worker
from simgmc.training.absent import Absent
from simgmc.workloads.workload import Workload


@dataclass(frozen=True)
class Treatment:
    """What becomes of the gradients of a training on their way to its programs."""

    weight_decay: float | Tensor
    """By parameter (d,) where they have their own."""
    clip_norm: float = 0.0
    """Of each worker's own gradient; 0: not clipped."""
    accumulate: int = 1
    """Minibatches whose mean is one gradient."""
    mean_clip_norm: float = 0.0
    """Of the mean gradient that an optimizer steps along; 0: not clipped."""
    rates: Tensor | None = None
    """(d,): factors on the learning rate, where parameters have their own."""

    @classmethod
    def of(cls, weight_decay: float, settings: GradientSettings, algorithm: Algorithm, workload: Workload) -> Treatment:
        """That of a method's gradients. Raises SimgmcError for a pattern that no parameter's name matches."""
        settings.check(workload.layout)
        decays = settings.decays(workload.layout, weight_decay, algorithm.decays_vectors)
        rates = settings.rates(workload.layout)
        at = settings.clip_at or algorithm.steps_on
        return cls(
            weight_decay if decays is None else _by_parameter(decays, workload),
            settings.clip_norm if at == "own" else 0.0,
            settings.accumulate,
            settings.clip_norm if at == "mean" else 0.0,
            None if rates is None else _by_parameter(rates, workload),
        )

    @property
    def decays(self) -> bool:
        """Whether there is any weight decay."""
        return isinstance(self.weight_decay, Tensor) or bool(self.weight_decay)

    def prepare(self, worker: Worker) -> None:
        """Tell a worker what its optimizer has to know."""
        worker.rates, worker.clip_norm = self.rates, self.mean_clip_norm

    def clip(self, gradients: Tensor) -> Tensor:
        """Workers' own gradients (..., d), each clipped if that is asked for."""
        return clipped(gradients, self.clip_norm) if self.clip_norm else gradients

    def add_decay(self, gradients: Tensor, at: Tensor, absent: Absent) -> None:
        """Add the L2 term at these points to gradients (n, d), in place, but where a parameter is skipped."""
        if not self.decays:
            return
        if isinstance(self.weight_decay, Tensor):
            gradients.addcmul_(self.weight_decay, at)
        else:
            gradients.add_(at, alpha=self.weight_decay)
        absent.clear(gradients)

    def tell(self, worker: Worker, absent: Absent) -> None:
        """Tell a worker what its next step skips, and the decay left to methods that decay by themselves: there
        parameters are skipped that got no gradient on any worker."""
        worker.without_gradient = absent.mask(worker.params) if absent else None
        worker.weight_decay = self.weight_decay
        everywhere = absent.everywhere()
        if everywhere and self.decays:
            each = worker.params.new_zeros(worker.params.shape[-1]) + self.weight_decay
            everywhere.clear(each[None])
            worker.weight_decay = each


def _by_parameter(numbers: Sequence[float], workload: Workload) -> Tensor:
    """(d,): one number for each of the model's tensors."""
    sizes = torch.tensor(workload.layout.sizes, device=workload.device)
    return torch.tensor(numbers, device=workload.device, dtype=workload.dtype).repeat_interleave(sizes)
