"""Deep Gradient Compression.

Source: Lin, Han, Mao, Wang, Dally, "Deep Gradient Compression: Reducing the
Communication Bandwidth for Distributed Training", ICLR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import Average, Gradient
from simgmc.algorithms.worker import Algorithm, Program, Worker


@dataclass(frozen=True)
class DGC(Algorithm):
    """DGC: momentum correction, local accumulation, momentum factor masking.

    ::

        u = momentum * u + g;  v = v + u;  send c = C(v);  v = v - c
        masking: u = 0 where sent;  w = w - lr * mean c   (plain SGD after aggregation)

    State: momentum u and accumulator v (d each). Message: C(v). The mask is the
    worker's own, not the union of all workers'.
    """

    source: ClassVar[str] = "Lin et al., ICLR 2018"

    compressor: Any
    momentum: float = 0.9
    momentum_factor_masking: bool = True

    def start(self, worker: Worker) -> None:
        worker.momentum_buffer = worker.zeros()
        worker.accumulator = worker.zeros()

    def round(self, worker: Worker) -> Program:
        gradient = yield Gradient(at=worker.params)
        worker.momentum_buffer = self.momentum * worker.momentum_buffer + gradient
        wanted = worker.accumulator + worker.momentum_buffer
        message = self.compressor(wanted, worker.randomness())
        worker.accumulator = message.subtract_from(wanted)
        if self.momentum_factor_masking:
            worker.momentum_buffer = message.unsent(worker.momentum_buffer)
        mean = yield Average(message)
        worker.params = worker.params - worker.lr * mean
