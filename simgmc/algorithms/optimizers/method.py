"""The base of methods that are about what is sent, and take any optimizer."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal

from simgmc.algorithms.algorithm import Algorithm
from simgmc.algorithms.optimizers.optimizer import Optimizer
from simgmc.algorithms.optimizers.sgd import SGD
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import option


@dataclass(frozen=True)
class WithOptimizer(Algorithm):
    """A method whose programs leave the update to :attr:`rule`, whatever optimizer that is."""

    own_update = ""
    usual_options: ClassVar[tuple[str, ...]] = ("momentum", "nesterov")
    """The method's options that are of its usual optimizer, and not of another in its place."""

    optimizer: Optimizer | None = option(
        "how parameters follow from gradients; unless given the scenario's, where that is not SGD", None, kw_only=True
    )

    @functools.cached_property
    def rule(self) -> Optimizer:
        """The optimizer of the method's steps."""
        return self.optimizer or self.usual_optimizer()

    def usual_optimizer(self) -> Optimizer:
        """The one of the paper: SGD, with the method's momentum if it has one."""
        return SGD(momentum=getattr(self, "momentum", 0.0), nesterov=getattr(self, "nesterov", False))

    @property
    def decays_vectors(self) -> bool:
        return self.rule.decay_vectors

    @property
    def skips(self) -> Literal["own", "mean"]:
        return self.steps_on

    def start(self, worker: Worker) -> None:
        self.rule.start(worker)
