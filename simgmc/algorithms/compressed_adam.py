"""Adam with compressed momenta: 1-bit Adam and 0/1 Adam."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.algorithm import Program
from simgmc.algorithms.effects import Average
from simgmc.algorithms.optimizers import Adam, WithOptimizer
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector
    from simgmc.compression.message import Message


@dataclass(frozen=True)
class ErrorCompensatedAdam(WithOptimizer):
    """What the two have in common: Adam, and an average that is compressed with error feedback both ways."""

    summable = False
    needs_everybody = "its residuals on both ways are of everybody's messages"

    optimizer: Adam | None = option(
        "Adam or AdamW with their options; unless given the scenario's, else Adam without bias correction",
        None, kw_only=True,
    )  # fmt: skip
    compressor: Compressor | None = option(
        "C, both ways; unless given signs with a scale for each tensor, 1 bit a coordinate", None
    )

    def usual_optimizer(self) -> Adam:
        return Adam(bias_correction=False, decay_vectors=True)

    @property
    def adam(self) -> Adam:
        """The optimizer, which is one of Adam's family."""
        assert isinstance(self.rule, Adam)
        return self.rule

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.residual = worker.zeros()
        worker.server_residual = worker.zeros()

    def compressed_mean(self, worker: Worker, vector: Vector) -> typing.Generator[Average, Vector, Vector]:
        """``C(mean C(v_k + e_k) + s)``, ``(1, d)``; e and s keep what C leaves."""
        compressor = self.compressor or build("sign", worker.layout, per_tensor=True)
        wanted = vector + worker.residual
        message = compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)

        def squeeze(mean: Vector) -> Message:
            wanted = mean + worker.server_residual
            answer = compressor(wanted, worker.server_randomness())
            worker.server_residual = answer.subtract_from(wanted)
            return answer

        return (yield Average(message, reply=squeeze))


@dataclass(frozen=True)
class OneBitAdam(ErrorCompensatedAdam):
    """1-bit Adam: Adam for ``warmup_rounds``; then its variance is frozen and its momentum travels in signs.

    ::

        warm-up:  Adam along the mean gradient; v is that of its last step
        then:     m_k = b1 m + (1 - b1) g_k;  send c_k = C(m_k + e_k);  e_k = m_k + e_k - c_k
        server:   send back m = C(mean c_k + s);  s = mean c_k + s - m;   w = w - lr * m / (sqrt(v) + eps)

    With an optimizer that corrects its moments for their start the corrected v is frozen, and m corrected
    in every step. Decoupled weight decay is every worker's own. With no compression, it is Adam whose
    variance is frozen. State: m, v (d each), residuals e (d) and s (d). Message: in the warm-up d dense values
    each way, then C(.) each way: d bits and 32 bits a tensor.
    """

    source = "Tang et al., ICML 2021, Algorithm 1"

    warmup_rounds: int = option("rounds of Adam at the start; the paper's are 15 to 20 % of all", 100, at_least=1)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.denominator = None

    def changes(self, per_epoch: float) -> tuple[int, ...]:
        return (self.warmup_rounds,)

    def round(self, worker: Worker) -> Program:
        adam, gradient = self.adam, (yield self.rule.gradient(worker))
        if worker.round < self.warmup_rounds:
            mean = yield Average(gradient)
            worker.params = adam.step(worker, mean)
            return
        beta1, beta2 = adam.betas
        if worker.denominator is None:
            worker.denominator = adam.denominator(worker, adam.correction(beta2, self.warmup_rounds))
        worker.first_moment = yield from self.compressed_mean(worker, adam.first(worker, gradient))
        first = worker.first_moment / adam.correction(beta1, worker.round + 1)
        worker.params = adam.decayed(worker) - adam.rate(worker) * first / worker.denominator


@dataclass(frozen=True)
class ZeroOneAdam(ErrorCompensatedAdam):
    """0/1 Adam: signs from the start, a variance that is updated ever less often, and steps that are not sent.

    Every worker steps by itself, and what it has moved is sent in signs when a synchronisation is due::

        at update j of the variance:   v = b2 v + (1 - b2) (mean g_k)^2      (dense)
        m_k = b1 m_k + (1 - b1) g_k;   x_k = x_k - lr m_k / (sqrt(v) + eps);   u_k = u_k + lr m_k
        at a synchronisation:   u = C(mean C(u_k + e_k) + s);  m = u / sum of lr;  x = anchor - u / (sqrt(v) + eps)

    Between updates j and j + 1 of the variance lie ``2 ** (j // variance_scaler)`` rounds, until
    ``local_steps_from``: from then on it is frozen, and the rounds between synchronisations double every
    ``local_steps_double_every`` rounds, up to ``max_local_steps``. Here v is brought up to date before the
    step, as Adam does, so that without compression, with v in every round, this is Adam.
    State: m, u, x (d each) per worker, v, anchor, residuals e and s (d each). Message: at synchronisations
    C(.) each way, d bits and 32 bits a tensor; with an update of the variance d dense values more.
    """

    source = "Lu, Li, Zhang, De Sa, He, ICLR 2023, Algorithm 1"

    variance_scaler: int = option("updates of the variance after which the rounds between two double", 16)
    local_steps_from: int = option("rounds with a synchronisation each, before local steps", 1000)
    local_steps_double_every: int = option("rounds after which those between synchronisations double", 1000)
    max_local_steps: int = option("most rounds between synchronisations", 16)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.anchor = worker.params
        worker.moved = worker.zeros()
        worker.sum_of_rates = 0.0
        worker.variance_updates = worker.variance_due = worker.unsent = 0

    def local_steps(self, round: int) -> int:
        """Rounds from one synchronisation to the next, in this round."""
        if round < self.local_steps_from:
            return 1
        doublings = 1 + (round - self.local_steps_from) // self.local_steps_double_every
        return min(self.max_local_steps, 2 ** min(doublings, 30))

    def round(self, worker: Worker) -> Program:
        adam, gradient = self.adam, (yield self.rule.gradient(worker))
        beta1, beta2 = adam.betas
        if worker.variance_due <= worker.round < self.local_steps_from:
            adam.take_square(worker, (yield Average(gradient)))
            worker.variance_due = worker.round + 2 ** min(worker.variance_updates // self.variance_scaler, 30)
            worker.variance_updates += 1
        denominator = adam.denominator(worker, adam.correction(beta2, worker.variance_updates))
        if worker.rates is not None:
            denominator = denominator / worker.rates
        rate = worker.lr / adam.correction(beta1, worker.round + 1)
        worker.first_moment = adam.first(worker, gradient)
        worker.moved = worker.moved + rate * worker.first_moment
        worker.sum_of_rates += rate
        worker.unsent += 1
        worker.params = adam.decayed(worker) - rate * worker.first_moment / denominator
        worker.anchor = adam.decayed(worker, worker.anchor)
        if worker.unsent >= self.local_steps(worker.round):
            yield from self._synchronise(worker, denominator)

    def _synchronise(self, worker: Worker, denominator: Vector) -> Program:
        moved = yield from self.compressed_mean(worker, worker.moved)
        if worker.sum_of_rates:  # at a rate of 0 nothing is known of the momenta
            worker.first_moment = moved / worker.sum_of_rates
        worker.params = worker.anchor = worker.anchor - moved / denominator
        worker.moved = worker.zeros()
        worker.sum_of_rates, worker.unsent = 0.0, 0
