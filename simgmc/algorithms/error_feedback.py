"""Error feedback with local momentum: EF-SGDM, SAEF, DEF and DEF-A.

Source: Xu and Huang, "Detached Error Feedback for Distributed SGD with Random
Sparsification", ICML 2022; Xu, Huo, Huang, "Step-Ahead Error Feedback", AAAI 2021.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.worker import Algorithm, Compressor, Program, Worker, momentum, option
from simgmc.compression import build

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector
    from simgmc.compression.message import Message


@dataclass(frozen=True)
class EFSGDM(Algorithm):
    """EF-SGDM: error feedback around the momentum step, gradient at the shared model.

    ::

        m = momentum * m + g;  v = lr * m + e;  send c = C(v);  e = v - c;  x = x - mean c

    e is in parameter units. The true trajectory ``x - mean e`` moves by exactly
    ``-lr * mean m`` for any compressor and schedule.
    State: momentum m, residual e (d each). Message: C(v).
    """

    source = "Karimireddy et al., ICML 2019; Zheng et al., NeurIPS 2019"

    compressor: Compressor = option("C, of what is sent")
    momentum: float = momentum()

    @property
    def coefficient(self) -> float:
        """How far along its residual a worker takes its gradient: at ``x - coefficient * e``."""
        return 0.0

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()
        worker.residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=self.gradient_point(worker))
        worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
        wanted = worker.lr * worker.momentum_buffer + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.params = worker.params - (yield Average(message))

    def gradient_point(self, worker: Worker) -> Vector:
        """Tensor ``(..., d)``: where the gradient is taken."""
        if self.coefficient == 0.0:
            return worker.params
        return worker.params - self.coefficient * worker.residual


@dataclass(frozen=True)
class SAEF(EFSGDM):
    """SAEF: step-ahead error feedback, gradient at ``x - e``.

    ``average_residual_every`` averages e over workers every so many rounds, which costs
    d dense values (error averaging, AAAI 2021; 0, the default: never, so that its traffic
    is the compressor's alone). State and message as EF-SGDM.
    """

    source = "Xu, Huo, Huang, AAAI 2021"

    average_residual_every: int = option("rounds between averagings of the residuals; 0: never", 0, at_least=0)

    @property
    def coefficient(self) -> float:
        return 1.0

    def round(self, worker: Worker) -> Program:
        yield from super().round(worker)
        if self.average_residual_every and (worker.round + 1) % self.average_residual_every == 0:
            worker.residual = yield Average(worker.residual)


@dataclass(frozen=True)
class DEF(EFSGDM):
    """DEF: detached error feedback, gradient (and weight decay) at ``x - detached * e``.

    ``detached`` is the paper's lambda; 0 is EF-SGDM, 1 is SAEF. Evaluated at x; the
    point ``x - mean e`` (DEF-A's) is recorded beside it. State and message as EF-SGDM.
    """

    source = "Xu and Huang, ICML 2022"

    detached: float = option("lambda: how far along the residual the gradient is taken, in residuals", 0.3, at_least=0)

    @property
    def coefficient(self) -> float:
        return self.detached

    def other_models(self, worker: Worker) -> dict[str, Vector]:
        return {"x - mean e": worker.params - worker.residual}


@dataclass(frozen=True)
class DEFA(DEF):
    """DEF-A: trains as DEF, reports the point ``x - mean e``.

    The two names differ in what is taken as the output: x is a lagged average of
    ``x - mean e``. The authors' code evaluates the latter, with lambda 0.3, which is
    the default here; the papers' text leaves the label open, so x is recorded too.
    """

    def model(self, worker: Worker) -> Vector:
        return worker.params - worker.residual

    def other_models(self, worker: Worker) -> dict[str, Vector]:
        return {"x": worker.params}


@dataclass(frozen=True)
class EFSignSGD(Algorithm):
    """EF-signSGD: scaled signs with error feedback, no momentum.

    ``p = lr * g + e;  send c = scaled sign of p;  e = p - c;  w = w - mean c``; the scale is
    the mean magnitude of each tensor (``per_tensor``, the authors' code) or of the vector.
    State: residual e (d, parameter units). Message: d bits and 32 bits a scale.
    """

    source = "Karimireddy et al., ICML 2019, Algorithm 1"
    summable = False

    per_tensor: bool = option("a scale for each tensor instead of one for the vector", True)

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        wanted = worker.lr * gradient + worker.residual
        message = build("sign", worker.layout, per_tensor=self.per_tensor)(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.params = worker.params - (yield Average(message))


@dataclass(frozen=True)
class DoubleSqueeze(Algorithm):
    """DoubleSqueeze: error feedback on the workers and on the server, both ways compressed.

    ::

        worker:  v = g + u;  send C(v);  u = v - C(v)
        server:  v = mean C(v_k) + s;  send back C(v);  s = v - C(v);   w = w - lr * C(v)

    State: residual u (d) per worker, s (d) on the server. Message: C(v) up and down.
    """

    source = "Tang et al., ICML 2019, Algorithm 1"

    compressor: Compressor = option("C, of what is sent")

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()
        worker.server_residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        wanted = gradient + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)

        def squeeze(mean: Vector) -> Message:
            wanted = mean + worker.server_residual
            answer = self.compressor(wanted, worker.server_randomness())
            worker.server_residual = answer.subtract_from(wanted)
            return answer

        worker.params = worker.params - worker.lr * (yield Average(message, reply=squeeze))
