"""Local steps between synchronisations: local SGD and what grew from it.

One round is the local steps from one synchronisation to the next.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

from simgmc.algorithms.algorithm import Program, momentum
from simgmc.algorithms.effects import Average, Start, Wait
from simgmc.algorithms.optimizers import SGD, AdamW, Aside, Optimizer, WithOptimizer
from simgmc.algorithms.worker import Period, Worker, steps_in
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option


@dataclass(frozen=True)
class LocalSGD(WithOptimizer):
    """Local SGD: ``period`` local steps on each worker, then the models are averaged.

    What travels is the difference to the last common model (numerically the same). The
    local momentum is not averaged. ``period = 1`` without momentum is SGD. With ``adamw`` it is local AdamW.
    State: the optimizer's, such as momentum m (d), per worker. Message: d dense values a round.
    """

    source = "Stich, ICLR 2019; Lin et al., ICLR 2020"

    period: Period = option("local steps in a round", 4)
    momentum: float = momentum()
    nesterov: bool = option("Nesterov's form of the momentum", False)

    def steps(self, worker: Worker) -> Period:
        """Local steps of this round."""
        return self.period

    def gradients(self, rounds: int, per_epoch: float) -> int:
        return round(rounds * steps_in(self.period, per_epoch))

    def local_steps(self, worker: Worker) -> Program:
        """Take the round's steps from the worker's parameters."""
        for _ in worker.local_steps(self.steps(worker)):
            gradient = yield self.rule.gradient(worker)
            worker.params = self.rule.step(worker, gradient)

    def round(self, worker: Worker) -> Program:
        common = worker.params
        yield from self.local_steps(worker)
        worker.params = common - (yield Average(common - worker.params))


@dataclass(frozen=True)
class PostLocalSGD(LocalSGD):
    """Post-local SGD: synchronises every step until ``start_epoch``, then every ``period`` steps.

    ``start_epoch`` is usually where the learning rate first decays. Otherwise as local SGD.
    """

    source = "Lin, Stich, Patel, Jaggi, ICLR 2020, section 3"

    period: Period = option("local steps in a round, from then on", 16)
    start_epoch: float = option("the epoch until which a round has one step", 150.0, at_least=0)

    def steps(self, worker: Worker) -> Period:
        # A round that starts within rounding error of the epoch counts as having reached it.
        return self.period if worker.epoch + 1e-9 >= self.start_epoch else 1

    def gradients(self, rounds: int, per_epoch: float) -> int:
        single = max(0, min(rounds, math.ceil((self.start_epoch - 1e-9) * per_epoch)))
        return single + round((rounds - single) * steps_in(self.period, per_epoch))


@dataclass(frozen=True)
class PRSGDMomentum(LocalSGD):
    """PR-SGD with momentum: local SGD that also averages (or resets) the momentum.

    ``momentum_sync = "average"`` (the paper's Algorithm 1, twice the traffic) or ``"reset"``
    to zero; of another optimizer likewise all of its moments.
    State: momentum (d). Messages: 2 d dense values a round, or d.
    """

    source = "Yu, Jin, Yang, ICML 2019, Algorithm 1"

    momentum_sync: Literal["average", "reset"] = option("what becomes of the local momentum after a round", "average")

    def round(self, worker: Worker) -> Program:
        yield from super().round(worker)
        yield from sync_momentum(worker, self.rule, self.momentum_sync)


def sync_momentum(worker: Worker, rule: Optimizer, how: Literal["keep", "average", "reset"]) -> Program:
    """What becomes of the local momentum (of all moments of another optimizer) at a synchronisation."""
    if how == "average":
        for name in rule.buffers:
            setattr(worker, name, (yield Average(getattr(worker, name))))
    elif how == "reset":
        rule.start(worker)


@dataclass(frozen=True)
class QsparseLocalSGD(LocalSGD):
    """Qsparse-local-SGD: local SGD whose model differences are compressed with error feedback.

    ``v = e + x - x_k;  send c = C(v);  e = v - c;  x = x - mean c``.
    State: residual e, momentum (d each). Message: C(v), usually composed (sparsify, quantise).
    """

    source = "Basu, Data, Karakus, Diggavi, NeurIPS 2019, Algorithm 1"

    compressor: Compressor = option("C, of the models' differences; usually composed", kw_only=True)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.residual = worker.zeros()

    def round(self, worker: Worker) -> Program:
        common = worker.params
        yield from self.local_steps(worker)
        wanted = worker.residual + common - worker.params
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        worker.params = common - (yield Average(message))


@dataclass(frozen=True)
class QuantizedPRSGD(WithOptimizer):
    """Quantized-PR-SGD, all-reduce form: local SGD with unbiasedly quantised differences, no memory.

    ``period`` plain SGD steps from the common model x, then ``q = Q(x - x_k);
    x = x - mean q``; every worker restarts at x. The paper does not say how the mean comes
    back: by default the messages are all-gathered (or the server's mean is dense), with no
    second error; ``requantise`` returns ``Q(mean)`` instead, unbiased again.
    State: none. Message: Q (Elias-coded ``qsgd`` in the paper), not summable in flight.
    """

    source = "Wu et al. 2020, Quantized-PR-SGD, all-reduce paradigm"

    compressor: Compressor = option("Q, of the models' differences; unbiased")
    period: Period = option("local steps in a round", 4)
    requantise: bool = option("the server sends Q(mean) instead of the dense mean", False)

    def gradients(self, rounds: int, per_epoch: float) -> int:
        return round(rounds * steps_in(self.period, per_epoch))

    def round(self, worker: Worker) -> Program:
        common = worker.params
        for _ in worker.local_steps(self.period):
            worker.params = self.rule.step(worker, (yield self.rule.gradient(worker)))
        message = self.compressor(common - worker.params, worker.randomness())
        again = (lambda mean: self.compressor(mean, worker.server_randomness())) if self.requantise else None
        worker.params = common - (yield Average(message, reply=again))


@dataclass(frozen=True)
class OverlapLocalSGD(LocalSGD):
    """Overlap-Local-SGD: the averaging of one round travels during the local steps of the next.

    ::

        while z' = mean of (z - lr * v) travels:  period local momentum steps on x
        z = z';  x = (1 - pull) x + pull z;  v = anchor_momentum * v + (z - x) / lr

    Without anchor momentum the anchor is the mean of the models of the round before.
    State: anchor z (shared), v, momentum m (d each). Message: d dense values a round.
    """

    source = "Wang, Liang, Joshi, ICASSP 2020, eq. (3)-(5) and (10)-(11)"
    needs_everybody = "its averages travel while everybody goes on"

    period: Period = option("local steps in a round", 2)
    pull: float = option("how far models are pulled to the anchor; 1: onto it", 0.6, at_least=0, at_most=1)
    anchor_momentum: float = option("factor of the anchor's momentum", 0.7, at_least=0, below=1)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.contribution = worker.params
        worker.anchor_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        travelling = yield Start(Average(worker.contribution))
        yield from self.local_steps(worker)
        anchor = yield Wait(travelling)
        worker.params = (1 - self.pull) * worker.params + self.pull * anchor
        moved = (anchor - worker.params) / (worker.lr or 1.0)  # nothing has moved at a rate of 0
        worker.anchor_buffer = self.anchor_momentum * worker.anchor_buffer + moved
        worker.contribution = anchor - worker.lr * worker.anchor_buffer


@dataclass(frozen=True)
class SlowMo(LocalSGD):
    """SlowMo: a slow momentum over the movement of the averaged model.

    ``x' = mean x_k after period local steps;  u = slow_momentum * u + (x - x') / lr;
    x = x - slow_lr * lr * u``. ``momentum_sync``: the local momentum is kept over rounds
    (default, as in local SGD), averaged (d more dense values a round) or reset to zero; the
    paper's Algorithm 1 allows all three.
    State: slow momentum u (shared), local momentum (d each). Message: d dense values.
    """

    source = "Wang, Tantia, Ballas, Rabbat, ICLR 2020, Algorithm 1"

    period: Period = option("local steps in a round", 12)
    slow_momentum: float = option("factor of the slow momentum", 0.7, at_least=0, below=1)
    slow_lr: float = option("factor of the slow step", 1.0, at_least=0)
    momentum_sync: Literal["keep", "average", "reset"] = option(
        "what becomes of the local momentum after a round", "keep"
    )

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.slow_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        common = worker.params
        yield from self.local_steps(worker)
        moved = yield Average(common - worker.params)
        worker.slow_buffer = self.slow_momentum * worker.slow_buffer + moved / (worker.lr or 1.0)
        worker.params = common - self.slow_lr * worker.lr * worker.slow_buffer
        yield from sync_momentum(worker, self.rule, self.momentum_sync)


@dataclass(frozen=True)
class DiLoCo(WithOptimizer):
    """DiLoCo: many local AdamW steps, then an outer Nesterov step on the averaged movement.

    Inner: AdamW with decoupled weight decay, its state kept over rounds, unless another ``optimizer`` is
    given. Outer: ``D = mean(x - x_k);  b = outer_momentum * b + D;  x = x - outer_lr * (D + outer_momentum * b)``,
    or a step of ``outer_optimizer`` along D at the rate ``outer_lr``.
    The method's ``learning_rate`` is the inner one (the paper: 4e-4).
    State: Adam's two moments, outer momentum (d each). Message: d dense values a round.
    """

    source = "Douillard et al. 2023, Algorithm 1"
    usual_options = ("beta1", "beta2", "epsilon")

    period: Period = option("local steps in a round", 500)
    outer_lr: float = option("learning rate of the outer step", 0.7, at_least=0)
    outer_momentum: float = option("factor of the outer momentum", 0.9, at_least=0, below=1)
    beta1: float = option("Adam's decay of the first moment", 0.9, at_least=0, below=1)
    beta2: float = option("Adam's decay of the second moment", 0.999, at_least=0, below=1)
    epsilon: float = option("what Adam adds to the denominator", 1e-8, at_least=0)
    outer_optimizer: Optimizer | None = option("of the outer step; Nesterov's momentum unless given", None)

    def usual_optimizer(self) -> Optimizer:
        return AdamW(betas=(self.beta1, self.beta2), eps=self.epsilon, decay_vectors=True)

    @functools.cached_property
    def outer(self) -> Optimizer:
        """The optimizer of the outer step."""
        return self.outer_optimizer or SGD(momentum=self.outer_momentum, nesterov=True)

    def gradients(self, rounds: int, per_epoch: float) -> int:
        return round(rounds * steps_in(self.period, per_epoch))

    def start(self, worker: Worker) -> None:
        super().start(worker)
        self.outer.start(self._outer_worker(worker))

    def round(self, worker: Worker) -> Program:
        common = worker.params
        for _ in worker.local_steps(self.period):
            worker.params = self.rule.step(worker, (yield self.rule.gradient(worker)))
        moved = yield Average(common - worker.params)
        worker.params = common
        worker.params = self.outer.step(self._outer_worker(worker), moved)

    def _outer_worker(self, worker: Worker) -> Aside:
        return Aside(worker, "outer_", self.outer_lr)
