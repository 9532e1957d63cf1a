"""SGD with a momentum, Nesterov's too."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from simgmc.algorithms.optimizers.optimizer import Decay, Optimizer, counted, no_steps
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclass(frozen=True)
class SGD(Optimizer):
    """SGD with momentum: ``m = momentum * m + g;  w = w - lr * m``, as ``torch.optim.SGD``.

    ``nesterov``: the step is ``g + momentum * m``. ``dampening``: g enters m times ``1 - dampening``,
    but for the first. Weight decay is part of g, or with ``decoupled_weight_decay`` beside the step:
    ``w = w - lr * weight_decay * w``. State: m (d), none without momentum.
    """

    source = "Polyak 1964; Sutskever et al. 2013, in PyTorch's form; decoupled decay: Loshchilov, Hutter, ICLR 2019"

    momentum: float = declared(Option("factor of the momentum", float, 0.9, at_least=0, below=1))
    nesterov: bool = declared(Option("Nesterov's form of the momentum", bool, False))
    dampening: float = declared(
        Option("share of a gradient that does not enter the momentum", float, 0.0, at_least=0, at_most=1)
    )
    decoupled_weight_decay: bool = declared(
        Option("weight decay beside the step instead of in the gradient", bool, False)
    )

    def check_fields(self) -> None:
        """As torch.optim.SGD refuses."""
        if self.nesterov and self.dampening:
            raise SimgmcError("nesterov needs a dampening of 0")

    @property
    def decay(self) -> Decay:
        return "parameters" if self.decoupled_weight_decay else "gradient"

    @property
    def is_momentum_sgd(self) -> bool:
        return self == SGD(momentum=self.momentum)

    @property
    def buffers(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("momentum_buffer",) if self.momentum else ()

    def start(self, worker: Worker) -> None:
        if self.momentum:
            worker.momentum_buffer = worker.zeros()
        if self.dampening:
            worker.steps = no_steps(worker)

    def rule(self, worker: Worker, gradient: Vector) -> Vector:
        step = gradient
        if self.momentum:
            entering = gradient
            if self.dampening:
                first = counted(worker, gradient) == 1
                entering = gradient * (1 - self.dampening * (~first).type_as(gradient))
            worker.momentum_buffer = self.momentum * worker.momentum_buffer + entering
            step = worker.momentum_buffer
            if self.nesterov:
                step = gradient + self.momentum * step
        return self.rate(worker) * step


@dataclass(frozen=True)
class NesterovSGD(SGD):
    """SGD with Nesterov's momentum: ``m = momentum * m + g;  w = w - lr * (g + momentum * m)``.

    ``sgd`` with ``nesterov = true``. State: m (d).
    """

    source = "Sutskever et al. 2013, in PyTorch's form"

    nesterov: bool = declared(Option("Nesterov's form of the momentum", bool, True))
