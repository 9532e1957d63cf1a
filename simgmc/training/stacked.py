"""The stacked trainer: one program run serves all workers, on ``(workers, d)`` tensors.

Vectors that all workers share keep a leading dimension of 1 and broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from simgmc.core.errors import SimgmcError
from simgmc.training.rounds import StackedRound
from simgmc.training.stack import Stack
from simgmc.training.trainer import Progress
from simgmc.workloads.as_begun import BESIDE, beside, check_beside


class StackedTrainer(Stack):
    """Trains all workers with one algorithm, round by round."""

    def next_round(self) -> StackedRound:
        """The next round of all workers; it is to be finished before the one after it.

        Raises :class:`DivergenceError` when a message is no longer finite.
        """
        return StackedRound(self)

    def model(self) -> Tensor:
        """(d,): the mean over workers of the point at which the method is evaluated."""
        return self._mean_over_workers(self.algorithm.model(self.worker))

    def models(self) -> list[Tensor]:
        """Per worker (d,): its own point at which the method is evaluated; none where all hold the same model."""
        return list(self.algorithm.model(self.worker).unbind(0)) if len(self.worker.params) > 1 else []

    def other_models(self) -> dict[str, Tensor]:
        """Further points that the method reports, averaged likewise."""
        return {name: self._mean_over_workers(at) for name, at in self.algorithm.other_models(self.worker).items()}

    def _mean_over_workers(self, points: Tensor) -> Tensor:
        """(d,): workers weigh as in the method's averages; a mixing weighs them equally."""
        shares = self.shares_among(range(self.workload.workers)) if self.algorithm.mixing == "none" else None
        if shares is None or len(points) == 1:
            return points.mean(dim=0)
        return points.new_tensor(shares) @ points

    def metrics(self) -> dict[str, float]:
        """The method's own numbers since the start, by name, added over workers."""
        return self.algorithm.metrics(self.worker)

    def progress(self) -> Progress:
        """Where training stands."""
        latest = [max(0, one - 1) for one in self.taken] if self.gradients else None
        return Progress(self.rounds, self.epoch, latest)

    def state_dict(self) -> dict[str, Any]:
        """All that the next rounds depend on, between two rounds: tensors as they are, not copied."""
        return {
            "worker": self.worker.state(),
            "workload": self.workload.state_dict(),
            "rounds": self.rounds,
            "gradients": self.gradients,
            "taken": list(self.taken),
            "last_lr": self.last_lr,
            "held": self.held,
            BESIDE: beside(self.as_begun, self.workload.as_begun),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`; the trainer takes its tensors, which are
        on the workload's device.

        Raises SimgmcError for the state of another method or model.
        """
        saved, own = state["worker"], self.worker.state()
        if not saved.keys() >= own.keys() or saved["params"].shape[-1] != self.workload.d:
            raise SimgmcError(
                f"saved state holds {sorted(saved)} of d = {saved['params'].shape[-1]}, "
                f"not {sorted(own)} of d = {self.workload.d}"
            )
        for name, value in saved.items():
            setattr(self.worker, name, value)
        check_beside(self.workload.as_begun, state)
        self.workload.load_state_dict(state["workload"])
        self.rounds, self.gradients, self.last_lr = state["rounds"], state["gradients"], state["last_lr"]
        self.taken = list(state.get("taken", [self.gradients] * self.workload.workers))
        self.held = dict(state.get("held", {}))
