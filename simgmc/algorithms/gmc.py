"""Global Momentum Compression.

Source: Zhao, Xie, Li et al., "Global Momentum Compression for Sparse Communication
in Distributed Learning".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.worker import Algorithm, Program, Worker


@dataclass(frozen=True)
class GMC(Algorithm):
    """GMC, Algorithm 1: the global momentum is compressed together with the gradient.

    With ``a_t`` the mean message of the round before, ``(w_{t-1} - w_t) / lr = a_t``,
    so the momentum term of eq. (7) is the last sparse broadcast and no dense
    momentum is kept anywhere::

        v = g + momentum * a + u;  send c = C(v);  u = v - c;  a = mean c;  w = w - lr * a

    ``momentum_lr`` matters only while the learning rate changes: ``"previous"``
    divides the last step by the rate it was taken with (uncompressed: PyTorch's
    momentum form; the default, as it needs no rescaling of the broadcast),
    ``"current"`` by today's (uncompressed: ``w - lr g + momentum (w_t - w_{t-1})``).
    The paper's text leaves this open.

    State: residual u (d, gradient units), last update a (sparse). Message: C(v).
    """

    source: ClassVar[str] = "Zhao et al., GMC paper, Algorithm 1"

    compressor: Any
    momentum: float = 0.9
    momentum_lr: Literal["previous", "current"] = "previous"

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()
        worker.update = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        momentum = self.momentum
        if self.momentum_lr == "current":
            momentum *= worker.previous_lr / worker.lr
        wanted = gradient + momentum * worker.update + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.update = yield Average(message)
        worker.params = worker.params - worker.lr * worker.update
