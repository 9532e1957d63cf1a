"""Quantised gradients without memory: QSGD, TernGrad, signSGD, Signum; and PowerSGD."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal, cast

from simgmc.algorithms.algorithm import Algorithm, Program, momentum
from simgmc.algorithms.effects import Average, Gradient, Maximum
from simgmc.algorithms.optimizers import WithOptimizer
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector
    from simgmc.compression.low_rank import LowRank
    from simgmc.compression.quantisation.quantise import Ternary


@dataclass(frozen=True)
class QSGD(WithOptimizer):
    """QSGD: workers send unbiased quantised gradients; momentum after the mean.

    ``m = momentum * m + mean Q(g);  w = w - lr * m``. The way back from a server is
    dense; ``requantise`` sends ``Q(mean)`` instead (unbiased again, more variance).
    Any unbiased compressor serves as Q; the paper's is ``qsgd``.
    State: momentum m (d). Message: Q(g).
    """

    source = "Alistarh et al., NeurIPS 2017"
    steps_on = "mean"

    compressor: Compressor = option("Q, of the gradient; unbiased")
    momentum: float = momentum()
    requantise: bool = option("the server sends Q(mean) instead of the dense mean", False)

    def round(self, worker: Worker) -> Program:
        gradient = yield self.rule.gradient(worker)
        message = self.compressor(gradient, worker.randomness())
        again = (lambda mean: self.compressor(mean, worker.server_randomness())) if self.requantise else None
        worker.params = self.rule.step(worker, (yield Average(message, reply=again)))


@dataclass(frozen=True)
class TernGrad(WithOptimizer):
    """TernGrad: ternary gradients per tensor, clipped at ``clip`` standard deviations.

    Each tensor sends its largest magnitude s and ``sign(v) * Bernoulli(|v| / s)``;
    unbiased but for the clipping, no error feedback. With ``share_scale`` (default, as in
    the paper's distributed form) the workers first agree on the largest s (one float a
    tensor), so that the ternary vectors add up to small integers and the scales do not travel
    again; without it each keeps its own, with less variance, and the way back is dense.
    Momentum after the mean.
    State: momentum m (d).
    Message: trits, 5 in a byte; 32 bits a tensor, once.
    """

    source = "Wen et al., NeurIPS 2017, Algorithm 1"
    steps_on = "mean"
    summable = False

    momentum: float = momentum()
    clip: float = option("standard deviations at which gradients are clipped; 0: they are not", 2.5, at_least=0)
    share_scale: bool = option(
        "all workers use the largest of their scales, so that messages add up to whole numbers", True
    )

    def round(self, worker: Worker) -> Program:
        options = {"clip": self.clip, "share_scale": self.share_scale, "per_tensor": True}
        compressor = cast("Ternary", build("ternary", worker.layout, **options))
        gradient = yield self.rule.gradient(worker)
        scales = None
        if self.share_scale:
            scales = yield Maximum(compressor.scales(gradient))
        mean = yield Average(compressor(gradient, worker.randomness(), scales=scales))
        worker.params = self.rule.step(worker, mean)


@dataclass(frozen=True)
class SignSGD(Algorithm):
    """signSGD with majority vote: one bit a coordinate, both ways.

    ``w = w - lr * sign(sum_k sign g_k)``; a tie, and a gradient of 0, count as +1 (one
    bit has two symbols). With ``zeros = "masked"`` a gradient of exactly 0 has no vote, and parameters
    stay where they are at a tie: a third symbol, 1.6 bits both ways. Learning rates are about 1e-4.

    ``decoupled_weight_decay`` (default, the paper's Algorithm 1): every worker subtracts
    ``lr * weight_decay * w`` itself; otherwise the decay is part of g, under the sign.
    State: none. Message: d bits up and down.
    """

    source = "Bernstein et al., ICML 2018 and ICLR 2019"
    own_update = "its step is a vote, without the magnitudes that other optimizers need"
    summable = False

    decoupled_weight_decay: bool = option("weight decay beside the sign instead of under it", True)
    zeros: Literal["positive", "masked"] = option("a gradient of 0 votes for +, or has no vote", "positive")

    def round(self, worker: Worker) -> Program:
        vote = build("sign", worker.layout, scale="none", vote=True, zeros=self.zeros)
        gradient = yield Gradient(at=worker.params, weight_decay=not self.decoupled_weight_decay)
        step = yield Average(vote(self.direction(worker, gradient), worker.randomness()))
        if self.decoupled_weight_decay:
            step = step + worker.weight_decay * worker.params
        worker.params = worker.stepped(worker.params, worker.params - worker.lr * step)

    def direction(self, worker: Worker, gradient: Vector) -> Vector:
        """The vector whose signs are sent."""
        return gradient


@dataclass(frozen=True)
class Signum(SignSGD):
    """Signum: signSGD of each worker's momentum ``m = momentum * m + (1 - momentum) * g``.

    State: momentum m (d). Message as signSGD.
    """

    source = "Bernstein et al., ICLR 2019, Algorithm 1"

    momentum: float = momentum()

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()

    def direction(self, worker: Worker, gradient: Vector) -> Vector:
        before = worker.momentum_buffer
        worker.momentum_buffer = worker.stepped(before, self.momentum * before + (1 - self.momentum) * gradient)
        return worker.momentum_buffer


@dataclass(frozen=True)
class PowerSGD(WithOptimizer):
    """PowerSGD: low-rank gradients by one step of power iteration, all-reduced twice.

    ::

        M = g + e;  P = mean(M Q);  orthogonalise P;  Q = mean(M' P);  D = P Q';  e = M - D
        m = momentum * m + D;  x = x - lr * (D + m)

    Every tensor of two or more dimensions is a matrix [first, rest]; others, and those
    that the factors would not make smaller, travel dense and leave no residual.
    ``warm_start`` keeps Q for the next round. ``residual = "mean"`` subtracts the averaged
    D (the paper's algorithm, default), ``"own"`` each worker's ``P (M' P)'`` (the authors'
    later package): the two have the same mean over workers, hence the same trajectory
    but for rounding; the worker's own is smaller where workers' data differ. ``D + m`` is
    the paper's momentum form; another optimizer steps along D.

    State: residual e, momentum m (d each), Q. Messages: r (n + m) floats a matrix.
    """

    source = "Vogels, Karimireddy, Jaggi, NeurIPS 2019, Algorithms 1-2"
    steps_on = "mean"

    rank: int = option("rank of the factors", 2)
    momentum: float = momentum()
    warm_start: bool = option("keep Q for the next round", True)
    residual: Literal["mean", "own"] = option(
        "what the residual lacks: the averaged approximation, or the worker's own", "mean"
    )

    def start(self, worker: Worker) -> None:
        worker.residual = worker.zeros()
        if self.optimizer is None:
            worker.momentum_buffer = worker.zeros()
        else:
            self.optimizer.start(worker)
        worker.right = None

    def round(self, worker: Worker) -> Program:
        low_rank = cast("LowRank", build("low-rank", worker.layout, rank=self.rank))
        gradient = yield self.rule.gradient(worker)
        wanted = gradient + worker.residual
        right = worker.right
        if right is None or not self.warm_start:
            right = low_rank.start(worker.randomness().shared(), worker.params)
        left = low_rank.left(wanted, right)
        p, rest = low_rank.orthogonalise((yield Average(left)))
        own = low_rank.right(wanted, p)
        worker.right = yield Average(own)
        update = low_rank.expand(p, worker.right, rest)
        sent = update if self.residual == "mean" else low_rank.expand(p, own.dense(), rest)
        worker.residual = wanted - sent
        for start, end in low_rank.whole:
            worker.residual[..., start:end] = 0
        if self.optimizer is None:
            worker.momentum_buffer = self.momentum * worker.momentum_buffer + update
            worker.params = worker.params - worker.lr * (update + worker.momentum_buffer)
        else:
            worker.params = self.optimizer.step(worker, update)
