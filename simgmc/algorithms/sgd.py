"""Uncompressed distributed SGD, with and without momentum: what the others are measured against."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from simgmc.algorithms.algorithm import Algorithm, Program, momentum
from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.optimizers import WithOptimizer
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class DataParallel(WithOptimizer):
    """Data-parallel training: every worker sends its gradient, all take the optimizer's step along the mean.

    With ``adamw`` that is data-parallel AdamW, on K workers the same as one worker on the batches of all.
    State: the optimizer's. Message: d dense values.
    """

    source = "standard"
    steps_on = "mean"

    momentum: float = momentum()

    def round(self, worker: Worker) -> Program:
        gradient = yield self.rule.gradient(worker)
        worker.params = self.rule.step(worker, (yield Average(gradient)))


@dataclass(frozen=True)
class SGD(Algorithm):
    """Distributed SGD: every worker sends its gradient, all take the mean step.

    State: the parameters. Message: d dense values.
    """

    source = "standard"
    own_update = "it is plain SGD; data-parallel is the same with any optimizer"

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        mean = yield Average(gradient)
        worker.params = worker.params - worker.lr * mean


@dataclass(frozen=True)
class DMSGD(Algorithm):
    """Distributed momentum SGD.

    Source: GMC paper, equations (4)-(6), in PyTorch's form
    ``m = momentum * m + g; w = w - lr * m`` also when the learning rate varies.

    ``momentum_at = "local"``: each worker keeps the momentum of its own gradients
    and sends it (eq. 4-5). ``"global"``: workers send gradients, and the one
    momentum is that of their mean. Uncompressed the two are the same trajectory.
    State: momentum buffer (d). Message: d dense values.
    """

    source = "GMC paper, eq. 4-6"
    own_update = "it is momentum SGD; data-parallel is the same with any optimizer"

    momentum: float = momentum()
    momentum_at: Literal["local", "global"] = option("of a worker's own gradients, or of their mean", "local")

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        before = worker.momentum_buffer
        if self.momentum_at == "local":
            worker.momentum_buffer = worker.stepped(before, self.momentum * before + gradient)
            update = yield Average(worker.momentum_buffer)
        else:
            mean = yield Average(gradient)
            worker.momentum_buffer = update = worker.stepped(before, self.momentum * before + mean)
        worker.params = worker.stepped(worker.params, worker.params - worker.lr * update)


@dataclass(frozen=True)
class SNGM(Algorithm):
    """SNGM: momentum over normalised gradients, for large batches.

    ``u = momentum * u + g / |g|;  w = w - lr * u`` with g the mean gradient of all workers
    and its 2-norm over the whole vector (normalising each worker's own gradient is another
    method). Invariant to the loss's scale; ``|w_{t+1} - w_t| <= lr / (1 - momentum)``.
    A zero gradient adds nothing. State: momentum u (d). Message: d dense values.
    """

    source = "Zhao, Xie, Li, Stochastic normalized gradient descent with momentum"
    own_update = "its normalised momentum is an optimizer itself"

    momentum: float = momentum()

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        mean = yield Average(gradient)
        norm = mean.norm(dim=-1, keepdim=True)
        before = worker.momentum_buffer
        worker.momentum_buffer = worker.stepped(before, self.momentum * before + mean / (norm + (norm == 0)))
        worker.params = worker.stepped(worker.params, worker.params - worker.lr * worker.momentum_buffer)


@dataclass(frozen=True)
class LARS(Algorithm):
    """LARS: momentum SGD with a learning rate of each tensor's own, for large batches.

    For each tensor ``v = momentum * v + lr * r * (g + weight_decay * w);  w = w - v`` with g the
    mean gradient of all workers and ``r = trust_coefficient * |w| / (|g| + weight_decay * |w|)``,
    1 where |w| or |g| is zero. ``exempt_vectors``: tensors of one dimension (biases,
    normalisation) have r = 1 and no weight decay, as LARS is commonly run; False treats them as
    the others, as the paper writes it. State: v (d). Message: d dense values.
    """

    source = "You, Gitman, Ginsburg 2017, Algorithm 1"
    own_update = "it is an optimizer itself"

    momentum: float = momentum()
    trust_coefficient: float = option("how far a tensor may move, as a share of its norm", 0.001, above=0)
    exempt_vectors: bool = option("tensors of one dimension have the plain rate and no weight decay", True)

    def start(self, worker: Worker) -> None:
        worker.velocity = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params, weight_decay=False)
        mean = yield Average(gradient)
        step = mean + worker.weight_decay * worker.params
        offsets = worker.layout.offsets
        for start, end, shape in zip(offsets, offsets[1:], worker.layout.shapes):
            own, given = worker.params[..., start:end], mean[..., start:end]
            decay = worker.weight_decay
            if self.exempt_vectors and len(shape) < 2:
                step[..., start:end] = given
            else:
                step[..., start:end] *= self._ratio(
                    own.norm(dim=-1, keepdim=True),
                    given.norm(dim=-1, keepdim=True),
                    decay if isinstance(decay, float) else float(decay[start]),
                )
        worker.velocity = worker.stepped(worker.velocity, self.momentum * worker.velocity + worker.lr * step)
        worker.params = worker.stepped(worker.params, worker.params - worker.velocity)

    def _ratio(self, own: Vector, given: Vector, weight_decay: float) -> Vector:
        zero = (own == 0) | (given == 0)
        return (self.trust_coefficient * own / (given + weight_decay * own + zero)).masked_fill(zero, 1.0)
