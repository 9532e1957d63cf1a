"""Gossip with compressed messages: what is sent are differences to copies that all neighbours keep.

Every worker has a public copy ``h_k`` that changes only by what was sent. Nobody stores its
neighbours' copies: the sum ``s_k = sum_j w_kj h_j`` is enough, and changes by the mix of the
messages. That needs the same mixing matrix in every round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from simgmc.algorithms.algorithm import Algorithm, Program
from simgmc.algorithms.effects import Gradient, Mix
from simgmc.algorithms.gossip import PDSGDM
from simgmc.algorithms.optimizers import SGD, Optimizer, WithOptimizer
from simgmc.algorithms.worker import Period, Worker, steps_in
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option

Order = Literal["hat_old", "hat_new"]
Start = Literal["zero", "initial"]


def step_of_gossip(default: float) -> Any:
    """The field ``gamma``."""
    return option("how far a step of gossip goes, less the coarser the compressor", default, above=0, at_most=1)


def order_of_gossip() -> Any:
    """The field ``order``."""
    return option("mix with the copies before this round's message, or after it", "hat_old")


def start_of_copies() -> Any:
    """The field ``copies_start``."""
    return option("where the public copies start", "zero")


def start_copies(worker: Worker, at: Start) -> None:
    """Public copies at zero or at the initial model, which all workers share."""
    worker.public = worker.zeros() if at == "zero" else worker.params
    worker.public_sum = worker.public


def publish(worker: Worker, compressor: Compressor) -> Program:
    """Send what the public copy lacks of the model, compressed; copies and sums take it in."""
    message = compressor(worker.params - worker.public, worker.randomness())
    mixed = yield Mix(message)
    worker.public = worker.public + message.dense()
    worker.public_sum = worker.public_sum + mixed


def consensus(worker: Worker, compressor: Compressor, gamma: float, order: Order) -> Program:
    """One step of CHOCO-Gossip: towards the neighbours' public copies, before or after they are brought up to date."""
    if order == "hat_new":
        yield from publish(worker, compressor)
    worker.params = worker.params + gamma * (worker.public_sum - worker.public)
    if order == "hat_old":
        yield from publish(worker, compressor)


@dataclass(frozen=True)
class ChocoSGD(WithOptimizer):
    """CHOCO-SGD: a gradient step, then one step of compressed gossip; any compressor, memory-light.

    ::

        x_k = x_k - lr * g_k                    (of a local momentum, if local_momentum > 0)
        x_k = x_k + gamma * (s_k - h_k)         after the next line for order = "hat_new"
        send q_k = Q(x_k - h_k);  h_k = h_k + q_k;  s_k = s_k + sum_j w_kj q_j

    ``order = "hat_old"`` (ICLR 2020) mixes with the copies before this round's message,
    "hat_new" (ICML 2019) with those after it. Copies start at "zero" or at the "initial" model.
    ``gamma`` must shrink with the compression: about 0.4 for signs, 0.04 for top 1 %.
    State: h, s (d each), momentum (d). Message: Q(.) to each neighbour.
    """

    source = "Koloskova, Stich, Jaggi, ICML 2019; Koloskova, Lin, Stich, Jaggi, ICLR 2020"
    usual_options = ("local_momentum",)
    mixing = "symmetric"

    compressor: Compressor = option("Q, of what is sent to neighbours")
    gamma: float = step_of_gossip(0.4)
    order: Order = order_of_gossip()
    copies_start: Start = start_of_copies()
    local_momentum: float = option("factor of a momentum of each worker's own; 0: none", 0.0, at_least=0, below=1)

    def usual_optimizer(self) -> Optimizer:
        return SGD(momentum=self.local_momentum)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        start_copies(worker, self.copies_start)

    def round(self, worker: Worker) -> Program:
        worker.params = self.rule.step(worker, (yield self.rule.gradient(worker)))
        yield from consensus(worker, self.compressor, self.gamma, self.order)


@dataclass(frozen=True)
class CPDSGDM(PDSGDM):
    """CPD-SGDM: PD-SGDM whose mixing is a step of compressed gossip, as in CHOCO-SGD.

    ``period`` local momentum steps, then ``x_k = x_k + gamma * (s_k - h_k)`` and the message
    ``Q(x_k - h_k)``; see ``choco-sgd`` for ``gamma``, ``order`` and ``copies_start``.
    State: momentum, h, s (d each). Message: Q(.) to each neighbour a round.
    """

    source = "Gao, Huang 2020, Periodic decentralized momentum SGD, Algorithm 2"
    mixing = "symmetric"

    compressor: Compressor = option("Q, of the models' differences to their copies", kw_only=True)
    gamma: float = step_of_gossip(0.4)
    order: Order = order_of_gossip()
    copies_start: Start = start_of_copies()

    def start(self, worker: Worker) -> None:
        super().start(worker)
        start_copies(worker, self.copies_start)

    def round(self, worker: Worker) -> Program:
        yield from self.local_steps(worker)
        yield from consensus(worker, self.compressor, self.gamma, self.order)


@dataclass(frozen=True)
class DCDPSGD(Algorithm):
    """DCD-PSGD: the difference of models is compressed; every model is what its copies say.

    ``q_k = Q(sum_j w_kj x_j - lr * g_k - x_k);  x_k = x_k + q_k``. Needs an unbiased and mild
    compressor (qsgd of at least 4 bits, say); diverges with top-k and signs.
    State: s = sum_j w_kj x_j (d). Message: Q(.) to each neighbour.
    """

    source = "Tang et al., NeurIPS 2018, Algorithm 1"
    own_update = "it is derived for plain gradient steps"
    mixing = "symmetric"

    compressor: Compressor = option("Q, of what is sent to neighbours")

    def start(self, worker: Worker) -> None:
        worker.public_sum = worker.params

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        wanted = worker.public_sum - worker.lr * gradient - worker.params
        message = self.compressor(wanted, worker.randomness())
        mixed = yield Mix(message)
        worker.params = worker.params + message.dense()
        worker.public_sum = worker.public_sum + mixed


@dataclass(frozen=True)
class ECDPSGD(Algorithm):
    """ECD-PSGD: an extrapolation of models is compressed, so that errors of the copies fade.

    With y_k the estimate of x_k that everybody has and a = 1, 2 ... in rounds 1, 2 ..., as the paper counts::

        x'_k = sum_j w_kj y_j - lr * g_k
        send Q(z_k),  z_k = (1 - a/2) x_k + (a/2) x'_k
        y_k = (1 - 2/a) y_k + (2/a) Q(z_k);  x_k = x'_k

    z grows with the number of rounds, and so do the errors of a compressor relative to it:
    needs an unbiased and fine one.
    State: sum_j w_kj y_j (d). Message: Q(z) to each neighbour.
    """

    source = "Tang et al., NeurIPS 2018, Algorithm 2"
    own_update = "it is derived for plain gradient steps"
    mixing = "symmetric"

    compressor: Compressor = option("Q, of what is sent to neighbours")

    def start(self, worker: Worker) -> None:
        worker.estimate_sum = worker.params

    def round(self, worker: Worker) -> Program:
        a = worker.round + 1.0
        gradient = yield Gradient(at=worker.params)
        after = worker.estimate_sum - worker.lr * gradient
        extrapolated = (1 - a / 2) * worker.params + (a / 2) * after
        mixed = yield Mix(self.compressor(extrapolated, worker.randomness()))
        worker.estimate_sum = (1 - 2 / a) * worker.estimate_sum + (2 / a) * mixed
        worker.params = after


@dataclass(frozen=True)
class LEAD(Algorithm):
    """LEAD: a primal-dual method; linear convergence with compressed messages, whatever the data.

    ::

        y_k = x_k - lr * g_k - lr * D_k
        send q_k = Q(y_k - h_k);  v_k = h_k + q_k;  v^w_k = s_k + sum_j w_kj q_j
        h_k = (1 - alpha) h_k + alpha v_k;  s_k = (1 - alpha) s_k + alpha v^w_k
        D_k = D_k + gamma / (2 lr) * (v_k - v^w_k);  x_k = x_k - lr * g_k - lr * D_k

    The dual D, whose sum over workers stays 0, takes the place of the difference between a
    worker's gradient and everybody's. Without compression and with gamma = 1 it is NIDS (D^2).
    Here x starts where all other methods do, without the paper's gradient step before the
    first round. The paper's Q is ``qsgd`` with norm "inf" in blocks of 512, 2 bits.
    State: D, h, s (d each). Message: Q(.) to each neighbour.
    """

    source = "Liu, Li, Wang, Tang, Yan, ICLR 2021, Algorithm 1"
    own_update = "its dual takes the place of differences between gradients, in units of plain steps"
    mixing = "symmetric"

    compressor: Compressor = option("Q, of what is sent to neighbours")
    gamma: float = step_of_gossip(1.0)
    alpha: float = option("how far the copies follow", 0.5, above=0, at_most=1)

    def start(self, worker: Worker) -> None:
        worker.dual = worker.zeros()
        start_copies(worker, "initial")

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        stepped = worker.params - worker.lr * gradient
        message = self.compressor(stepped - worker.lr * worker.dual - worker.public, worker.randomness())
        mixed = yield Mix(message)
        estimate = worker.public + message.dense()
        estimate_sum = worker.public_sum + mixed
        worker.public = (1 - self.alpha) * worker.public + self.alpha * estimate
        worker.public_sum = (1 - self.alpha) * worker.public_sum + self.alpha * estimate_sum
        apart = self.gamma / 2 * (estimate - estimate_sum)
        if worker.lr:
            worker.dual = worker.dual + apart / worker.lr
            worker.params = stepped - worker.lr * worker.dual
        else:  # the limit: nothing steps, but models still come together
            worker.params = stepped - apart


@dataclass(frozen=True)
class QuantizedPRSGDGossip(Algorithm):
    """Quantized-PR-SGD, gossip form: local SGD steps, then a quantised difference to the public model.

    ``period`` SGD steps move worker k by u_k; then ``q_k = Q(sum_j w_kj x_j + u_k - x_k);
    x_k = x_k + q_k``: quantisation errors do not pile up, since everybody knows x_k. The local
    steps start from the worker's own model (``steps_from = "own"``, so that period 1 is
    DCD-PSGD) or from the mixed one ("mixed"); the paper's listing is not at hand.
    State: sum_j w_kj x_j (d). Message: Q (Elias-coded ``qsgd`` in the paper) to each neighbour.
    """

    source = "Wu et al. 2020, Quantized-PR-SGD, gossip paradigm"
    own_update = "it is derived for plain gradient steps"
    mixing = "symmetric"

    compressor: Compressor = option("Q, of what is sent to neighbours")
    period: Period = option("local steps in a round", 4)
    steps_from: Literal["own", "mixed"] = option(
        "where local steps start: the worker's own model, or the mixed one", "own"
    )

    def start(self, worker: Worker) -> None:
        worker.public_sum = worker.params

    def gradients(self, rounds: int, per_epoch: float) -> int:
        return round(rounds * steps_in(self.period, per_epoch))

    def round(self, worker: Worker) -> Program:
        begin = worker.params if self.steps_from == "own" else worker.public_sum
        at = begin
        for _ in worker.local_steps(self.period):
            gradient = yield Gradient(at=at)  # it comes with the rate of its step
            at = at - worker.lr * gradient
        wanted = worker.public_sum + (at - begin) - worker.params
        message = self.compressor(wanted, worker.randomness())
        mixed = yield Mix(message)
        worker.params = worker.params + message.dense()
        worker.public_sum = worker.public_sum + mixed
