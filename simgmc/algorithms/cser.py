"""CSER: communication-efficient SGD with error reset.

Source: Xie, Zheng, Koyejo, Gupta, Li, Lin, "CSER: Communication-efficient SGD with
Error Reset", NeurIPS 2020.
"""

from __future__ import annotations

import typing
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

from simgmc.algorithms.algorithm import Program, momentum
from simgmc.algorithms.effects import Average, Effect
from simgmc.algorithms.optimizers import WithOptimizer
from simgmc.algorithms.worker import Worker
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import option
from simgmc.core.errors import SimgmcError

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class CSER(WithOptimizer):
    """CSER: partial synchronisation of every step, and every ``period`` rounds of the errors.

    PSync(v, C): ``c = C(v); r = v - c; v' = mean c + r``. Algorithm 2::

        p = lr * g(x);  (p', r) = PSync(p, C1);  x = x - p';  e = e - r
        every period:   (e', r) = PSync(e, C2);  x = x - e + e';  e = r

    ``variant = "paper"`` (default) is this; ``x - e`` is the same on all workers at all
    times. ``"block"`` is what the authors' code does instead: a whole local step, then the
    models are averaged on a shared-seed block (C1's in ordinary rounds, C2's every
    ``period``): the accumulated error of that block is reset each time. It needs compressors
    that select the same coordinates on all workers, and keeps no e.

    p is the step of any ``optimizer``, plain SGD's unless given. Without ``compressor`` (C1) nothing is sent in
    ordinary rounds: with ``period = 1`` that is CSEA, otherwise CSER-PL. Evaluated at the mean of the workers' models.
    State: model x, error e (d each). Messages: C1(p), and every ``period`` rounds C2(e).
    """

    source = "Xie et al., NeurIPS 2020, Algorithm 2"
    needs_everybody = "its workers' own models would never get what they missed"

    error_compressor: Compressor = option("C2, of the errors in every period")
    compressor: Compressor | None = option("C1, of ordinary rounds; unless given nothing is sent in them", None)
    period: int = option("rounds between synchronisations of the errors", 256)
    variant: Literal["paper", "block"] = option("the paper's, or the authors' code's, by blocks of the models", "paper")

    @property
    def same_coordinates(self) -> bool:
        return self.variant == "block"

    def start(self, worker: Worker) -> None:
        super().start(worker)
        if self.variant == "paper":
            worker.error = worker.zeros()

    def round(self, worker: Worker) -> Program:
        step = self.rule.displacement(worker, (yield self.rule.gradient(worker)))
        reset = (worker.round + 1) % self.period == 0
        if self.variant == "block":
            worker.params = worker.params - step
            compressor = self.error_compressor if reset else self.compressor
            if compressor is not None:
                worker.params, _ = yield from self._partial_sync(worker, worker.params, compressor, of_models=True)
            return
        if self.compressor is None:
            worker.params = worker.params - step
            worker.error = worker.error - step
        else:
            synced, rest = yield from self._partial_sync(worker, step, self.compressor)
            worker.params = worker.params - synced
            worker.error = worker.error - rest
        if reset:
            synced, rest = yield from self._partial_sync(worker, worker.error, self.error_compressor)
            worker.params = worker.params - worker.error + synced
            worker.error = rest

    @staticmethod
    def _partial_sync(
        worker: Worker, vector: Vector, compressor: Compressor, of_models: bool = False
    ) -> Generator[Effect, Any, tuple[Vector, Vector]]:
        """PSync: the synchronised vector, and what was not sent of the worker's own."""
        message = compressor(vector, worker.randomness())
        if of_models and not message.summable:
            raise SimgmcError(
                "variant = 'block' needs compressors that select the same coordinates on all workers "
                f"(rbgs, grbs, random-k with a shared seed), not {message.wire}"
            )
        rest = message.subtract_from(vector)
        return (yield Average(message)) + rest, rest


@dataclass(frozen=True)
class MCSER(CSER):
    """M-CSER: CSER with a local momentum that is never synchronised.

    ``m = momentum * m + g; p = lr * m``, or with ``nesterov``
    ``p = lr * (momentum * m + g)``, which the paper's experiments and the authors' code
    use. The default is the heavy ball, as in the DEF authors' implementation and in all
    methods here: uncompressed it is DMSGD, so a comparison shows the compression alone.
    State: x, e, m (d each). Messages as CSER.
    """

    source = "Xie et al., NeurIPS 2020, Algorithm 4"

    momentum: float = momentum()
    nesterov: bool = option("Nesterov's form of the momentum", False)
