"""Gossip with whole models: every worker mixes with its neighbours, nobody sees all.

A round is the local steps from one mixing to the next. ``W`` is the mixing matrix of the
round, ``sum_j w_kj y_j`` what worker k makes of its own y and its neighbours'.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Literal

from simgmc.algorithms.algorithm import Algorithm, MixingKind, Program, momentum
from simgmc.algorithms.effects import Arrival, Collect, Gradient, Mix, Send, Start, Wait
from simgmc.algorithms.local import LocalSGD
from simgmc.algorithms.optimizers import WithOptimizer
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector

DOUBLY_STOCHASTIC: MixingKind = "doubly-stochastic"


@dataclass(frozen=True)
class DPSGD(WithOptimizer):
    """D-PSGD: mix the models, step along the own gradient.

    ``order = "cta"`` (combine then adapt, the paper's): ``x_k = sum_j w_kj x_j - lr * g_k(x_k)``;
    the models travel while the gradient is computed. ``"atc"`` (adapt then combine, what most
    code does): ``x_k = sum_j w_kj (x_j - lr * g_j(x_j))``, one after the other.
    State: the parameters. Message: d dense values to each neighbour.
    """

    source = "Lian et al., NeurIPS 2017, Algorithm 1"
    mixing = DOUBLY_STOCHASTIC

    order: Literal["cta", "atc"] = option("combine then adapt, while models travel, or adapt then combine", "cta")

    def round(self, worker: Worker) -> Program:
        if self.order == "cta":
            travelling = yield Start(Mix(worker.params))
            moved = self.rule.displacement(worker, (yield self.rule.gradient(worker)))
            worker.params = (yield Wait(travelling)) - moved
        else:
            worker.params = yield Mix(self.rule.step(worker, (yield self.rule.gradient(worker))))


@dataclass(frozen=True)
class DmSGD(WithOptimizer):
    """DmSGD: D-PSGD with a momentum of each worker's own, which is not mixed.

    ``m_k = momentum * m_k + g_k``; then ``x_k = sum_j w_kj (x_j - lr * m_j)`` (``order = "atc"``)
    or ``x_k = sum_j w_kj x_j - lr * m_k`` ("cta", the models travel while the gradient is
    computed). Momentum enlarges the bias from data that differ between workers.
    State: momentum m (d). Message: d dense values to each neighbour.
    """

    source = "Assran et al., ICML 2019; Yuan et al., ICCV 2021 (DmSGD)"
    mixing = DOUBLY_STOCHASTIC

    momentum: float = momentum()
    nesterov: bool = option("Nesterov's form of the momentum", False)
    order: Literal["cta", "atc"] = option("combine then adapt, while models travel, or adapt then combine", "atc")

    round = DPSGD.round


@dataclass(frozen=True)
class PDSGDM(LocalSGD):
    """PD-SGDM: ``period`` local momentum steps, then the models are mixed.

    The momentum is never communicated. ``period = 1`` is DmSGD (atc); with the exact average
    for W it is local SGD.
    State: momentum m (d). Message: d dense values to each neighbour a round.
    """

    source = "Gao, Huang 2020, Periodic decentralized momentum SGD, Algorithm 1"
    mixing = DOUBLY_STOCHASTIC

    def round(self, worker: Worker) -> Program:
        yield from self.local_steps(worker)
        worker.params = yield Mix(worker.params)


@dataclass(frozen=True)
class DecentLaM(Algorithm):
    """DecentLaM: momentum that takes in the mixing's displacement, so that it adds no bias.

    ``z_k = x_k - lr * g_k;  h_k = (x_k - sum_j w_kj z_j) / lr;  m_k = momentum * m_k + h_k;
    x_k = x_k - lr * m_k``.
    State: momentum m (d). Message: z, d dense values to each neighbour.
    """

    source = "Yuan et al., ICCV 2021, Algorithm 2"
    own_update = "its momentum takes in the mixing's displacement, which is its method"
    mixing = DOUBLY_STOCHASTIC

    momentum: float = momentum()

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        mixed = yield Mix(worker.params - worker.lr * gradient)
        if worker.lr:
            worker.momentum_buffer = self.momentum * worker.momentum_buffer + (worker.params - mixed) / worker.lr
            worker.params = worker.params - worker.lr * worker.momentum_buffer
        else:  # nothing steps, but models still mix
            worker.params = mixed


@dataclass(frozen=True)
class QGDSGDm(Algorithm):
    """Quasi-global momentum: the momentum follows the mixed model's displacement.

    ``step = momentum * m_k + g_k`` (``nesterov``: ``g_k + momentum * (momentum * m_k + g_k)``);
    ``x'_k = sum_j w_kj (x_j - lr * step_j)``;
    ``m_k = buffer_momentum * m_k + (1 - buffer_momentum) * (x_k - x'_k) / lr``.
    Unlike a local momentum it points where all go, at no further traffic.
    State: m (d). Message: d dense values to each neighbour.
    """

    source = "Lin, Karimireddy, Stich, Jaggi, ICML 2021, Algorithm 1"
    own_update = "its momentum follows the mixed model, which is its method"
    mixing = DOUBLY_STOCHASTIC

    momentum: float = momentum()
    buffer_momentum: float = option("factor with which the buffer is kept", 0.9, at_least=0, at_most=1)
    nesterov: bool = option("Nesterov's form of the momentum", False)

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        step = worker.stepped(worker.zeros(), self.momentum * worker.momentum_buffer + gradient)
        if self.nesterov:
            step = gradient + self.momentum * step
        mixed = yield Mix(worker.params - worker.lr * step)
        moved = (worker.params - mixed) / (worker.lr or 1.0)
        worker.momentum_buffer = self.buffer_momentum * worker.momentum_buffer + (1 - self.buffer_momentum) * moved
        worker.params = mixed


@dataclass(frozen=True)
class SGP(WithOptimizer):
    """Stochastic gradient push: push-sum over graphs that may be directed and vary with time.

    Worker k holds a numerator x_k and a weight omega_k, 1 at the start; its model is
    ``z_k = x_k / omega_k``. ``x_k = sum_j p_kj (x_j - lr * step_j);  omega_k = sum_j p_kj omega_j``
    with P column-stochastic and ``step`` the (Nesterov) momentum of gradients at z, which is
    not mixed. ``momentum = 0`` is the paper's Algorithm 1; its experiments use 0.9.
    The sum of all omega stays the number of workers.
    State: omega (1), momentum (d). Message: d + 1 dense values to each neighbour.
    """

    source = "Assran, Loizou, Ballas, Rabbat, ICML 2019, Algorithm 1"
    mixing = "push-sum"

    momentum: float = momentum()
    nesterov: bool = option("Nesterov's form of the momentum", True)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.omega = worker.params[..., :1] * 0 + 1

    def round(self, worker: Worker) -> Program:
        numerator, worker.params = worker.params, self.model(worker)  # the optimizer steps at z
        gradient = yield self.rule.gradient(worker)
        numerator = numerator - self.rule.displacement(worker, gradient)
        pushed = numerator.new_empty((*numerator.shape[:-1], numerator.shape[-1] + 1))
        pushed[..., :-1] = numerator
        pushed[..., -1:] = worker.omega
        mixed = yield Mix(pushed)
        worker.params, worker.omega = mixed[..., :-1].clone(), mixed[..., -1:].clone()

    def model(self, worker: Worker) -> Vector:
        return worker.params / worker.omega


@dataclass(frozen=True)
class OverlapSGP(Algorithm):
    """Overlap SGP: stochastic gradient push that does not wait for messages of the last ``staleness`` rounds.

    Every worker has a mass (x, omega), from (w, 1), and the model ``z = x / omega``::

        g = gradient at z;  m = momentum * m + g;  x = x - lr * m  (nesterov: g + momentum * m)
        send (x, omega) / (p + 1) to each of the round's p out-neighbours, keep as much
        add all masses that have arrived; first wait for those of ``staleness`` rounds ago

    What is stale is a message, by the rounds of the receiver since the one that it was sent in: a
    gradient is applied to the model that it was computed at, before anything is added.
    ``staleness = 0`` waits for all messages of the round: SGP, synchronous between neighbours.
    What a faster worker sent in a round that the receiver has not reached is kept until then.
    Masses are never lost: their sum, with those in flight and kept, changes by gradients alone,
    and that of the omegas is K. The local momentum is not exchanged. Evaluated at z.

    State: mass (d + 1), momentum m (d), what came early. Message: d + 1 values to each
    out-neighbour.
    """

    source = "Assran, Loizou, Ballas, Rabbat, ICML 2019, Algorithms 1-2"
    own_update = "its messages are stale, which is analysed for SGD"
    asynchronous = True
    exchange = "asynchronous gossip"
    neighbours_weigh = "1 / (1 + out-degree) to each and kept"
    stale = "messages"

    momentum: float = momentum()
    nesterov: bool = option("Nesterov's form of the momentum", True)
    staleness: int = option(
        "rounds whose messages are not waited for; 0: synchronous between neighbours", 1, at_least=0
    )

    def start(self, worker: Worker) -> None:
        *rows, d = worker.params.shape
        worker.mass = worker.params.new_ones((*rows, d + 1))
        worker.mass[..., :-1] = worker.params
        worker.momentum_buffer = worker.zeros()
        worker.collected = 0
        worker.awaited = []
        worker.early = []

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        before = worker.momentum_buffer
        worker.momentum_buffer = worker.stepped(before, self.momentum * before + gradient)
        step = gradient + self.momentum * worker.momentum_buffer if self.nesterov else worker.momentum_buffer
        mass = worker.mass.clone()
        mass[..., :-1] = worker.stepped(mass[..., :-1], mass[..., :-1] - worker.lr * step)
        worker.mass = mass / (len(worker.neighbours) + 1)
        share = worker.mass
        for neighbour in worker.neighbours:
            yield Send(neighbour, share)
        worker.awaited = [*worker.awaited, *((worker.round, source) for source in worker.sources)]
        yield from self._collect(worker)
        worker.params = worker.mass[..., :-1] / worker.mass[..., -1:]

    def _collect(self, worker: Worker) -> Program:
        """Add what has arrived, and wait for what would become too late."""
        self._add(worker, worker.early)
        late = True
        while late:
            late = any(round <= worker.round - self.staleness for round, _ in worker.awaited)
            arrivals = yield Collect(at_least=worker.collected + 1 if late else 0)
            worker.collected += len(arrivals)
            self._add(worker, [*worker.early, *arrivals])

    @staticmethod
    def _add(worker: Worker, arrivals: list[Arrival]) -> None:
        """Add the masses (round, sender, mass) of rounds up to the worker's own; keep the others."""
        due = [(round, sender) for round, sender, _ in arrivals if round <= worker.round]
        for round, _, mass in arrivals:
            if round <= worker.round:
                worker.mass = worker.mass + mass
                worker.applied(worker.round - round)
        worker.early = [(round, sender, mass) for round, sender, mass in arrivals if round > worker.round]
        worker.awaited = [message for message in worker.awaited if message not in due]
