"""Calls of the user's model: what fails in them, or does not fit the targets, is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.workloads.data.inputs import call, described
from simgmc.workloads.losses.functions import Loss

T = TypeVar("T")


class ModelCalls:
    """Calls a model on minibatches, and names it where they fail."""

    def __init__(self, model: nn.Module, loss: Loss, outputs: int):
        """``outputs``: values that the model is to give for each sample, as :meth:`Loss.outputs` says."""
        self.name = f"model {type(model).__name__}"
        self._loss, self.outputs = loss, outputs

    def guarded(self, failed: str, task: Callable[[], T]) -> T:
        """What a pass through the model gives; its errors, if they are not ours, in one line."""
        return guarded(self.name, failed, task)

    def __call__(self, module: nn.Module, x: Any, y: Any) -> Any:
        """The output for one batch. Raises SimgmcError where the module fails or does not fit the targets."""
        takes = f"a batch of {described(x)}"
        output = self.guarded(
            f"does not take {takes}{'' if module.training else ' in evaluation'}", lambda: call(module, x)
        )
        needed = self._loss.needed(output, y, self.outputs)
        if needed:
            gave = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise SimgmcError(f"{self.name} made of {takes} {gave}; needed are {needed}")
        return output
