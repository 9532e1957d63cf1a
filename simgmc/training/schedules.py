"""Learning-rate schedules: the factor on the base rate as a function of training progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run of ``epochs`` epochs.

    ``cosine`` is ``(1 + cos(pi e / epochs)) / 2`` without restarts (GMC paper, section 5);
    ``polynomial`` is ``(1 - e / epochs) ** power``; ``multi-step`` multiplies by ``gamma`` at
    each milestone (epochs). With ``per =
    "epoch"`` the rate is constant within an epoch (e is rounded down), as the papers do;
    ``"round"`` follows progress continuously. Over the first ``warmup_epochs`` the rate
    rises linearly, round by round, from ``warmup_from`` times its value (Goyal et al. 2017).
    """

    kind: Literal["constant", "cosine", "multi-step", "polynomial"] = "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    power: float = 1.0
    per: Literal["epoch", "round"] = "epoch"
    warmup_epochs: float = 0.0
    warmup_from: float = 0.1

    def stretched(self, times: float) -> Schedule:
        """The schedule of a run that is so many times as long."""
        return replace(
            self, milestones=tuple(times * one for one in self.milestones), warmup_epochs=times * self.warmup_epochs
        )

    def factor(self, epoch: float, epochs: float) -> float:
        """Factor on the base learning rate at ``epoch`` (a real number) of ``epochs``."""
        # Rounds per epoch need not be whole: a round that starts within rounding
        # error of a boundary belongs to the epoch that begins there.
        at = math.floor(epoch + 1e-9) if self.per == "epoch" else epoch
        if self.kind == "cosine":
            factor = (1 + math.cos(math.pi * min(at / epochs, 1.0))) / 2
        elif self.kind == "polynomial":
            factor = max(0.0, 1 - at / epochs) ** self.power
        elif self.kind == "multi-step":
            # A product overflows to infinity, where a power would raise.
            factor = math.prod([self.gamma] * sum(at >= milestone for milestone in self.milestones), start=1.0)
        else:
            factor = 1.0
        if epoch < self.warmup_epochs:
            factor *= self.warmup_from + (1 - self.warmup_from) * epoch / self.warmup_epochs
        return factor
