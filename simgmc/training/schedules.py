"""Learning-rate schedules: the factor on the base rate as a function of training progress."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from simgmc.core.declared import Declared, declared
from simgmc.core.registry import Option, OptionError


@dataclass(frozen=True)
class _Milestones(Option):
    """A list of epochs; whole numbers are read as real ones."""

    def read(self, value: Any) -> tuple[float, ...]:
        return tuple(map(float, super().read(value)))


def _factor(summary: str, default: float, **limits: float) -> Any:
    return declared(Option(summary, float, default, **limits))


@dataclass(frozen=True)
class LearningRateSchedule(Declared):
    """The learning rate over a run of ``epochs`` epochs.

    ``cosine`` is ``(1 + cos(pi e / epochs)) / 2`` without restarts (GMC paper, section 5); ``polynomial`` is
    ``(1 - e / epochs) ** power``; ``multi-step`` multiplies by ``gamma`` at each milestone. Over the first
    ``warmup_epochs`` the rate rises linearly, round by round, from ``warmup_from`` times its value (Goyal et al. 2017).
    """

    kind: str = declared(Option("how it goes on", str, "constant", ("constant", "cosine", "multi-step", "polynomial")))
    milestones: tuple[float, ...] = declared(_Milestones("epochs", list[float], (), above=0, at_most=1e12))
    gamma: float = _factor("factor at each milestone", 0.1, above=0, at_most=1000)
    power: float = _factor("exponent of the polynomial", 1.0, above=0, at_most=1000)
    per: str = declared(
        Option(
            "whether the rate is constant within an epoch (e is rounded down), as in the papers, or not",
            str, "epoch", ("epoch", "round"),
        )
    )  # fmt: skip
    warmup_epochs: float = _factor("epochs over which the rate rises at the start", 0.0, at_least=0, at_most=1e12)
    warmup_from: float = _factor("share of the rate that it rises from", 0.1, at_least=0, at_most=1)

    def check_fields(self) -> None:
        """Milestones are those of one kind."""
        if (self.kind == "multi-step") != bool(self.milestones):
            raise OptionError(
                "",
                "milestones",
                list(self.milestones),
                "multi-step needs milestones, in epochs, and no other kind takes them",
            )

    def stretched(self, times: float) -> LearningRateSchedule:
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
            factor = math.prod([self.gamma] * sum(at >= milestone for milestone in self.milestones), start=1.0)
        else:
            factor = 1.0
        if epoch < self.warmup_epochs:
            factor *= self.warmup_from + (1 - self.warmup_from) * epoch / self.warmup_epochs
        return factor
