"""Deep Gradient Compression.

Source: Lin, Han, Mao, Wang, Dally, "Deep Gradient Compression: Reducing the
Communication Bandwidth for Distributed Training", ICLR 2018.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.worker import Algorithm, Compressor, Program, Worker
from simgmc.errors import SimgmcError


@dataclass(frozen=True)
class DGC(Algorithm):
    """DGC: momentum correction, local accumulation, momentum factor masking.

    ::

        u = momentum * u + g;  v = v + u;  send c = C(v);  v = v - c
        masking: u = 0 where sent;  w = w - lr * mean c   (plain SGD after aggregation)

    The mask is the worker's own, not the union of all workers'. ``nesterov``:
    ``u = momentum * (u + g); v = v + u + g``. ``clip_norm``: each worker's gradient is
    clipped to ``clip_norm / sqrt(K)`` before it enters any buffer (section 3.2; off by
    default, as in the authors' vision experiments). ``density_warmup``: densities of
    the first epochs, one each (the paper's are 0.25, 0.0625, 0.015625, 0.004); then the
    compressor's own.

    State: momentum u and accumulator v (d each). Message: C(v).
    """

    source: ClassVar[str] = "Lin et al., ICLR 2018"

    compressor: Compressor
    momentum: float = 0.9
    momentum_factor_masking: bool = True
    nesterov: bool = False
    clip_norm: float | None = None
    density_warmup: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise SimgmcError(f"clip_norm = {self.clip_norm!r}: must be above 0")
        if any(not 0 < density <= 1 for density in self.density_warmup):
            raise SimgmcError(f"density_warmup = {list(self.density_warmup)}: every density must be above 0 and at most 1")
        if self.density_warmup and getattr(self.compressor, "density", None) is None:
            raise SimgmcError("density_warmup: needs a compressor with a density")

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()
        worker.accumulator = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        if self.clip_norm is not None:
            gradient = clipped(gradient, self.clip_norm / worker.workers**0.5)
        if self.nesterov:
            worker.momentum_buffer = self.momentum * (worker.momentum_buffer + gradient)
            wanted = worker.accumulator + worker.momentum_buffer + gradient
        else:
            worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
            wanted = worker.accumulator + worker.momentum_buffer
        message = self._compressor(worker.epoch)(wanted, worker.randomness())
        worker.accumulator = message.subtract_from(wanted)
        if self.momentum_factor_masking:
            worker.momentum_buffer = message.unsent(worker.momentum_buffer)
        mean = yield Average(message)
        worker.params = worker.params - worker.lr * mean

    def _compressor(self, epoch: float) -> Compressor:
        # A round that starts within rounding error of an epoch's boundary belongs to the new epoch.
        epoch = int(epoch + 1e-9)
        if epoch < len(self.density_warmup):
            return dataclasses.replace(self.compressor, density=self.density_warmup[epoch])
        return self.compressor


def clipped(gradient: Any, threshold: float) -> Any:
    """Each row of ``(..., d)`` scaled down to at most this 2-norm."""
    norm = gradient.norm(dim=-1, keepdim=True)
    return gradient * (threshold / norm).clamp(max=1.0)
