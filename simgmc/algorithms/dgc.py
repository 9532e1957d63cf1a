"""Deep Gradient Compression.

Source: Lin, Han, Mao, Wang, Dally, "Deep Gradient Compression: Reducing the
Communication Bandwidth for Distributed Training", ICLR 2018.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from simgmc.algorithms.algorithm import Algorithm, Program, momentum
from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.worker import Worker
from simgmc.compression.compressor import Compressor, at_density, density_of
from simgmc.core.declared import option
from simgmc.core.errors import SimgmcError

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class DGC(Algorithm):
    """DGC: momentum correction, local accumulation, momentum factor masking.

    ::

        u = momentum * u + g;  v = v + u;  send c = C(v);  v = v - c
        masking: u = 0 where sent;  w = w - lr * mean c   (plain SGD after aggregation)

    The mask is the worker's own, not the union of all workers'. ``nesterov``:
    ``u = momentum * (u + g); v = v + u + g``. ``clip_norm``: a bound on the
    2-norm of the mean gradient, of which each worker takes its part before the gradient enters any
    buffer (section 3.2; off by default, as in the authors' vision experiments). The paper bounds
    the worker's summand g_k / K by ``clip_norm / sqrt(K)``, as K independent summands of that norm
    add up to ``clip_norm``; so g_k itself, a mean over the worker's batch, is clipped to
    ``clip_norm * sqrt(K)``. ``density_warmup``: densities of
    the first epochs, one each (the paper's are 0.25, 0.0625, 0.015625, 0.004; the authors'
    code has ``r ** ((e + 1) / (E + 1))`` in epoch e of E); then the compressor's own.

    ``weight_decay_at``: ``"gradient"`` (default: as all methods here, so that only the
    compression differs in a comparison) makes it part of g; ``"aggregate"`` is the
    authors' code: every worker adds it after aggregation, with a momentum b of its own
    that is the same everywhere, and v stays free of it. Uncompressed and without
    masking the two are the same.

    Tensors exempt from compression (the compressor's ``exempt_vectors``) are sent whole
    in every round; they keep their momentum, masking or not, as in the authors' code.

    State: momentum u and accumulator v (d each), b (d) with ``"aggregate"``. Message: C(v).
    """

    source = "Lin et al., ICLR 2018"
    own_update = "its momentum correction is derived for momentum SGD; ef accumulates likewise for any optimizer"

    compressor: Compressor = option("C, of the accumulated gradients")
    momentum: float = momentum()
    momentum_factor_masking: bool = option("zero a worker's momentum where it has sent", True)
    nesterov: bool = option("Nesterov's form of the momentum", False)
    clip_norm: float | None = option(
        "bound on the 2-norm of the mean gradient; each worker clips its own to sqrt(K) times it; not unless given",
        None,
        above=0,
    )
    density_warmup: tuple[float, ...] = option(
        "densities of the first epochs; then the compressor's", (), above=0, at_most=1
    )
    weight_decay_at: Literal["gradient", "aggregate"] = option(
        "a part of the gradient, or added after aggregation", "gradient"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.density_warmup and not has_density(self.compressor):
            raise SimgmcError("density_warmup: needs a compressor with a density")

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()
        worker.accumulator = worker.zeros()
        if self.weight_decay_at == "aggregate":
            worker.decay_buffer = worker.zeros()

    def changes(self, per_epoch: float) -> tuple[int, ...]:
        return tuple(math.ceil((one + 1 - 1e-9) * per_epoch) for one in range(len(self.density_warmup)))

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params, weight_decay=self.weight_decay_at == "gradient")
        if self.clip_norm is not None:
            gradient = clipped(gradient, self.clip_norm * worker.workers**0.5)
        if self.nesterov:
            worker.momentum_buffer = self.momentum * (worker.momentum_buffer + gradient)
            wanted = worker.accumulator + worker.momentum_buffer + gradient
        else:
            worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
            wanted = worker.accumulator + worker.momentum_buffer
        message = self._compressor(worker.epoch)(wanted, worker.randomness())
        worker.accumulator = message.subtract_from(wanted)
        if self.momentum_factor_masking:
            worker.momentum_buffer = message.masked(worker.momentum_buffer)
        step = yield Average(message)
        if self.weight_decay_at == "aggregate":
            step = step + self._decay(worker)
        worker.params = worker.params - worker.lr * step

    def _decay(self, worker: Worker) -> Vector:
        decay = worker.weight_decay * worker.params
        if self.nesterov:
            worker.decay_buffer = self.momentum * (worker.decay_buffer + decay)
            return worker.decay_buffer + decay
        worker.decay_buffer = self.momentum * worker.decay_buffer + decay
        return worker.decay_buffer

    def _compressor(self, epoch: float) -> Compressor:
        # A round that starts within rounding error of an epoch's boundary belongs to the new epoch.
        epoch = int(epoch + 1e-9)
        if epoch < len(self.density_warmup):
            return at_density(self.compressor, self.density_warmup[epoch])
        return self.compressor


def has_density(compressor: Compressor | Mapping[str, Any]) -> bool:
    """Whether the compressor, or the sparsifier inside it, is set by a density.

    A scenario is checked before compressors are built: then it is their parameters.
    """
    if isinstance(compressor, Mapping):
        return any(one.get("density") is not None for one in (compressor, compressor.get("sparsify", {})))
    return density_of(compressor) is not None


def clipped(gradient: Vector, threshold: float) -> Vector:
    """Each row of ``(..., d)`` scaled down to at most this 2-norm."""
    norm = gradient.norm(dim=-1, keepdim=True)
    return gradient * (threshold / norm).clamp(max=1.0)
