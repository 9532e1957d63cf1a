"""How much each seed needed to meet a target, and how many times less one method needed than another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n − 1) over seeds; no deviation of a single seed."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None of no values."""
        if len(values) == 0:
            return None
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), std, len(values))


@dataclass(frozen=True)
class Reach:
    """How much of something (time, bytes, epochs) each seed needed to meet the target."""

    needed: Mapping[int, float]
    """By seed, of the seeds that met it: what they had used at the first evaluation that did."""
    spent: Mapping[int, float]
    """By seed, of the seeds that did not: what they had used at their last evaluation, a lower bound."""
    before: Mapping[int, float] = field(default_factory=dict)
    """By seed, of the seeds that met it: what they had used at the evaluation before, when they did not yet;
    a seed that is not here needed exactly what it is said to."""

    @cached_property
    def spread(self) -> Spread | None:
        """Over the seeds that met it; None if none did."""
        return Spread.of(list(self.needed.values()))

    @cached_property
    def at_least(self) -> float:
        """The mean over all seeds of what was needed or, where that is unknown, spent in vain."""
        return float(np.mean([*self.needed.values(), *self.spent.values()]))

    def between(self, seeds: Sequence[int]) -> tuple[float, float]:
        """The least and the most that these seeds may have needed together, by what their evaluations tell."""
        least = sum(
            self.before.get(seed, self.needed[seed]) if seed in self.needed else self.spent[seed] for seed in seeds
        )
        return least, sum(self.needed.get(seed, math.inf) for seed in seeds)


@dataclass(frozen=True)
class Ratio:
    """How many times less one needed than another: exactly ("="), more than (">") or less than ("<") this."""

    value: float
    bound: str
    least: float
    most: float
    """Between which two it lies, as between two evaluations nobody knows when the target was met."""

    @property
    def telling(self) -> bool:
        """Whether it says which of the two needed less: "more than 0.2 times less" leaves that open."""
        return {"=": True, ">": self.value >= 1, "<": self.value <= 1}[self.bound]

    @property
    def text(self) -> str:
        shown = f"{self.value:.3g}" if self.value < 1000 else f"{self.value:.0f}"
        return f"{'' if self.bound == '=' else self.bound + ' '}{shown}×"

    @property
    def between_text(self) -> str:
        """``9.4× to 10.1×``: its range."""
        if self.least <= 0:
            return f"anything up to {self.most:.3g}×" if math.isfinite(self.most) else "anything"
        return f"{self.least:.3g}× to {self.most:.3g}×" if math.isfinite(self.most) else f"{self.least:.3g}× or more"


def advantage(of: Reach, over: Reach) -> Ratio | None:
    """How many times less ``of`` needed than ``over``, of the means over the seeds both have.

    A seed of ``over`` that did not meet the target would have needed more than it spent, so the
    ratio is a lower bound (">"); one of ``of`` makes it an upper bound ("<"). None where both
    have such seeds, where no seed is shared, or where nothing was needed (target met at once).
    """
    seeds = sorted((of.needed.keys() | of.spent.keys()) & (over.needed.keys() | over.spent.keys()))
    if not seeds:
        return None
    in_vain = any(seed in of.spent for seed in seeds), any(seed in over.spent for seed in seeds)
    if all(in_vain):
        return None
    mine, theirs = (sum({**one.spent, **one.needed}[seed] for seed in seeds) for one in (of, over))
    if mine <= 0 or theirs <= 0:
        return None
    (my_least, my_most), (their_least, their_most) = of.between(seeds), over.between(seeds)
    bound = {(False, False): "=", (False, True): ">", (True, False): "<"}[in_vain]
    return Ratio(theirs / mine, bound, their_least / my_most, their_most / my_least if my_least > 0 else math.inf)


def sooner(first: Reach, later: Reach) -> Ratio | None:
    """How many times sooner the first was; None where nobody knows: the later stopped in vain before the first was."""
    ratio = advantage(first, later)
    return None if ratio is None or ratio.value < 1 else ratio


def too_close(one: Reach, other: Reach) -> bool:
    """Whether nobody can tell which of two needed less, so that neither is to be called sooner.

    Each may have met the target at any time since the evaluation before the one that shows it,
    and these times (means over seeds) leave both orders possible; or the means ± one standard
    deviation overlap; or seeds do not agree on who needed less. False where a seed missed the target.
    """
    if one.spent or other.spent or not one.needed or not other.needed:
        return False
    ranges = [[total / len(reach.needed) for total in reach.between(list(reach.needed))] for reach in (one, other)]
    if all(least < most for (least, _), (_, most) in (ranges, ranges[::-1])):
        return True
    if min(len(one.needed), len(other.needed)) < 2:
        return False
    mine, theirs = one.spread, other.spread
    assert mine is not None and theirs is not None and mine.std is not None and theirs.std is not None
    if abs(mine.mean - theirs.mean) <= mine.std + theirs.std:
        return True
    differences = [other.needed[seed] - one.needed[seed] for seed in one.needed.keys() & other.needed.keys()]
    return bool(differences) and min(differences) < 0 < max(differences)
