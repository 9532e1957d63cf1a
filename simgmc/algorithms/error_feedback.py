"""Error feedback: of steps (EF-SGDM, SAEF, DEF, DEF-A, EF-signSGD), of gradients (EF, DoubleSqueeze), and EF21.

Source: Xu and Huang, "Detached Error Feedback for Distributed SGD with Random
Sparsification", ICML 2022; Xu, Huo, Huang, "Step-Ahead Error Feedback", AAAI 2021.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.algorithm import Algorithm, Program, momentum
from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.optimizers import WithOptimizer
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector
    from simgmc.compression.message import Message


@dataclass(frozen=True)
class EFSGDM(WithOptimizer):
    """EF-SGDM: error feedback around the momentum step, gradient at the shared model.

    ::

        m = momentum * m + g;  v = lr * m + e;  send c = C(v);  e = v - c;  x = x - mean c

    e is in parameter units. The true trajectory ``x - mean e`` moves by exactly
    ``-lr * mean m`` for any compressor and schedule, and for any optimizer whose steps take the place of
    ``lr * m`` (with ``adam``: Efficient-Adam, Chen et al. 2022). Decoupled decay does not travel.
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
        super().start(worker)
        worker.residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield self.rule.gradient(worker, at=self.gradient_point(worker))
        wanted = self.rule.update(worker, gradient) + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.params = self.rule.decayed(worker) - (yield Average(message))

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
    own_update = "where it takes its gradients is derived for momentum SGD; ef-sgdm takes any optimizer"

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
    own_update = SAEF.own_update

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
class EFSignSGD(WithOptimizer):
    """EF-signSGD: scaled signs with error feedback, no momentum.

    ``p = lr * g + e;  send c = scaled sign of p;  e = p - c;  w = w - mean c``; the scale is
    the mean magnitude of each tensor (``per_tensor``, the authors' code) or of the vector.
    State: residual e (d, parameter units). Message: d bits and 32 bits a scale.
    """

    source = "Karimireddy et al., ICML 2019, Algorithm 1"
    summable = False

    per_tensor: bool = option("a scale for each tensor instead of one for the vector", True)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield self.rule.gradient(worker)
        wanted = self.rule.update(worker, gradient) + worker.residual
        message = build("sign", worker.layout, per_tensor=self.per_tensor)(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.params = self.rule.decayed(worker) - (yield Average(message))


@dataclass(frozen=True)
class DoubleSqueeze(Algorithm):
    """DoubleSqueeze: error feedback on the workers and on the server, both ways compressed.

    ::

        worker:  v = g + u;  send C(v);  u = v - C(v)
        server:  v = mean C(v_k) + s;  send back C(v);  s = v - C(v);   w = w - lr * C(v)

    State: residual u (d) per worker, s (d) on the server. Message: C(v) up and down.
    """

    source = "Tang et al., ICML 2019, Algorithm 1"
    own_update = "its residuals on both ways cancel under linear updates alone"

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


@dataclass(frozen=True)
class EF(WithOptimizer):
    """EF: gradients are compressed with error feedback; any optimizer steps along their mean.

    ``v = g + e;  send c = C(v);  e = v - c``, in gradient units; then the optimizer's step along ``mean c``.
    With ``adam`` and ``amsgrad`` it is Comp-AMS; with a top-k compressor and ``adamw`` top-k AdamW with error
    feedback. Without compression it is data-parallel training.
    State: residual e (d), the optimizer's. Message: C(v).
    """

    source = "Li, Karimi, Li, ICLR 2022, Algorithm 2 (Comp-AMS); Stich, Cordonnier, Jaggi, NeurIPS 2018 (SGD)"
    steps_on = "mean"

    compressor: Compressor = option("C, of what is sent")
    momentum: float = momentum()

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield self.rule.gradient(worker)
        wanted = gradient + worker.residual
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.params = self.rule.step(worker, (yield Average(message)))


@dataclass(frozen=True)
class EF21(WithOptimizer):
    """EF21: every worker keeps an estimate of its gradient and sends the compressed difference to it.

    ::

        v = local_momentum * v + (1 - local_momentum) * g      (v = g in the first round, and without)
        send c = C(v - h);  h = h + c;  the optimizer steps along the mean of all h

    Without ``local_momentum`` it is EF21, with one EF21-SGDM. Estimates start at 0. The optimizer is plain SGD
    unless another is given; with ``adam`` it is EF21 with Adam's step. Without compression it is data-parallel
    training. State: estimate h, mean of the estimates (d each), v (d), the optimizer's. Message: C(.).
    """

    source = "Richtarik, Sokolov, Fatkhullin, NeurIPS 2021, Algorithm 2; momentum: Fatkhullin et al., NeurIPS 2023"
    steps_on = "mean"
    needs_everybody = "the mean of the estimates is kept by what everybody sends"

    compressor: Compressor = option("C, of the differences; contractive, such as top-k")
    local_momentum: float = option("factor of a momentum before compression; 0: none", 0.0, at_least=0, below=1)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.estimate = worker.zeros()
        worker.mean_estimate = worker.zeros()
        if self.local_momentum:
            worker.averaged = None

    def round(self, worker: Worker) -> Program:
        gradient = yield self.rule.gradient(worker)
        if self.local_momentum:
            before = gradient if worker.averaged is None else worker.averaged
            gradient = worker.averaged = self.local_momentum * before + (1 - self.local_momentum) * gradient
        message = self.compressor(gradient - worker.estimate, worker.randomness())
        worker.estimate = worker.estimate + message.dense()
        worker.mean_estimate = worker.mean_estimate + (yield Average(message))
        worker.params = self.rule.step(worker, worker.mean_estimate)
