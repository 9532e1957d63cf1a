"""Global Momentum Compression and its variants.

Source: Zhao, Xie, Li et al., "Global Momentum Compression for Sparse Communication
in Distributed Learning".
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from simgmc.algorithms.algorithm import Algorithm, Program, momentum
from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.worker import Worker
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class GMC(Algorithm):
    """GMC: the global momentum is compressed together with the gradient.

    Algorithm 1: ``v = g - (momentum / lr) (w_t - w_{t-1}) + u``. With ``a`` the mean
    message of the round before, ``w_{t-1} - w_t = lr * a``, so the momentum term is the
    last sparse broadcast and no dense momentum is kept anywhere::

        v = g + momentum * a + u;  send c = C(v);  u = v - c;  a = mean c;  w = w - lr * a

    ``momentum_lr``: which rate divides the last step, open in the paper's text and of
    matter only while the rate changes. ``"previous"``: the one it was taken with
    (uncompressed: PyTorch's momentum form; the default, as DMSGD and the other methods
    here use that form and the broadcast needs no rescaling). ``"current"``: today's
    (uncompressed: eq. (3), ``w - lr * g + momentum * (w_t - w_{t-1})``).

    State: residual u (d, gradient units), last update a (sparse). Message: C(v).
    """

    source = "Zhao et al., GMC paper, Algorithm 1"
    own_update = "its global momentum is compressed with the gradient, which is its method"

    compressor: Compressor = option("C, of what is sent")
    momentum: float = momentum()
    momentum_lr: Literal["previous", "current"] = option("which learning rate divides the last step", "previous")

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()
        worker.update = worker.zeros()

    def gradient_point(self, worker: Worker) -> Vector:
        """Tensor ``(..., d)``: where the gradient is taken."""
        return worker.params

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=self.gradient_point(worker))
        momentum = self.momentum
        if self.momentum_lr == "current" and worker.lr > 0:  # at a rate of 0 nothing moves
            momentum *= worker.previous_lr / worker.lr
        wanted = gradient + momentum * worker.update + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.update = yield Average(message)
        worker.params = worker.params - worker.lr * worker.update


@dataclass(frozen=True)
class GMCPlus(GMC):
    """GMC+: GMC with the gradient taken at a point detached along the worker's residual.

    Algorithm 2: ``g = grad f(w - detached * lr * u)``, weight decay at that point too.
    ``detached`` is the paper's lambda (0.3 to 1 work, best 0.5; 0 is GMC, which fails
    with index-free blocks, Table 3). State and message as GMC.
    """

    source = "Zhao et al., GMC paper, Algorithm 2"

    detached: float = option("lambda: how far along the residual the gradient is taken, in residuals", 0.5, at_least=0)

    def gradient_point(self, worker: Worker) -> Vector:
        return worker.params - self.detached * worker.lr * worker.residual


@dataclass(frozen=True)
class GMCServerMomentum(Algorithm):
    """GMC's first alternative: the momentum is kept on the server, after compression.

    GMC paper, Appendix A, Algorithm 3::

        v = g + u;  send c = C(v);  u = v - c;  m = momentum * m + mean c;  w = w - lr * m

    ``broadcast = "mean"`` (default): the server sends the sparse mean and every worker
    keeps m, at GMC's cost. ``"update"``: it sends the step, which is dense (d values).
    The paper speaks of accuracy only, so the cheaper form is the default.

    State: residual u (d), momentum m (d). Message: C(v).
    """

    source = "Zhao et al., GMC paper, Appendix A, Algorithm 3"
    own_update = "its global momentum is the server's, which is its method"

    compressor: Compressor = option("C, of what is sent")
    momentum: float = momentum()
    broadcast: Literal["mean", "update"] = option("what the server sends: the sparse mean, or the dense step", "mean")

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()
        worker.momentum_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        wanted = gradient + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        if self.broadcast == "mean":
            worker.momentum_buffer = self.momentum * worker.momentum_buffer + (yield Average(message))
        else:
            before = self.momentum * worker.momentum_buffer
            worker.momentum_buffer = yield Average(message, reply=lambda mean: before + mean)
        worker.params = worker.params - worker.lr * worker.momentum_buffer


@dataclass(frozen=True)
class GMCScaledResidual(Algorithm):
    """GMC's second alternative: the learning rate lies inside the residual.

    GMC paper, Appendix A, Algorithm 4, u in parameter units::

        v = lr * g - momentum * (w_t - w_{t-1}) + u;  send c = C(v);  u = v - c;  w = w - mean c

    Equals GMC at a constant rate; with a decaying one, old residuals weigh more.
    State: residual u (d), last update (sparse). Message: C(v).
    """

    source = "Zhao et al., GMC paper, Appendix A, Algorithm 4"
    own_update = "its global momentum is compressed with the gradient, which is its method"

    compressor: Compressor = option("C, of what is sent")
    momentum: float = momentum()

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()
        worker.update = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        wanted = worker.lr * gradient + self.momentum * worker.update + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.update = yield Average(message)
        worker.params = worker.params - worker.update
