"""Whether the conclusion carries over: which method is first at the target, and by how much, measured and simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.quantities import time_text
from simgmc.core.terminal import TextTable
from simgmc.results.series.measures import Measure
from simgmc.results.series.read import Series


@dataclass(frozen=True)
class Curve:
    """What a training was measured by over time."""

    times: np.ndarray
    """(E,) seconds"""
    values: np.ndarray
    """(E,)"""

    def reached(self, measure: Measure, target: float) -> float:
        """Seconds of the first evaluation that meets the target; infinite where none does."""
        hits = np.flatnonzero(measure.reached(self.values, target))
        return float(self.times[hits[0]]) if len(hits) else math.inf


def at_rounds(read: Series, seconds: Sequence[float], measure: Measure) -> Curve:
    """The evaluations of a measured training, at the times at which its rounds end if each takes so many seconds."""
    ends = np.concatenate([[0.0], np.cumsum(seconds)])
    return Curve(ends[read["round"].astype(int)], read[measure.column])


@dataclass(frozen=True)
class Trained:
    """One training, twice."""

    method: str
    measured: Curve
    simulated: Curve


@dataclass(frozen=True)
class Reached:
    """Seconds that a method took to the target, the mean over seeds; infinite where a seed did not reach it."""

    method: str
    measured: float
    simulated: float


def reached(trained: Sequence[Trained], measure: Measure, target: float) -> list[Reached]:
    """Of every method, in their order."""
    found = []
    for method in dict.fromkeys(one.method for one in trained):
        mine = [one for one in trained if one.method == method]
        found.append(
            Reached(
                method,
                float(np.mean([one.measured.reached(measure, target) for one in mine])),
                float(np.mean([one.simulated.reached(measure, target) for one in mine])),
            )
        )
    return found


def targets_table(found: Sequence[Reached], measure: Measure, target: float, baseline: str) -> TextTable:
    """Time to the target, and how many times faster than the baseline, of every method."""
    (base,) = (one for one in found if one.method == baseline)
    rows = []
    for one in found:
        times = [time_text(value) if value < math.inf else "not reached" for value in (one.measured, one.simulated)]
        ups = [_ratio(base.measured, one.measured), _ratio(base.simulated, one.simulated)]
        rows.append((
            one.method, *times, _error(one.measured, one.simulated),
            *("-" if math.isnan(up) else f"{up:.2f}x" for up in ups), "-" if one is base else _error(*ups),
        ))  # fmt: skip
    return TextTable(
        f"time to {measure.value_text(target)}, and how many times faster than {baseline}",
        ("method", "measured", "simulated", "error", "faster", "simulated", "error"),
        tuple(rows),
        names=1,
    )


def targets_said(found: Sequence[Reached], measure: Measure, target: float, baseline: str) -> list[str]:
    """Who is first, measured and simulated, and how far speed-ups are apart."""
    text = measure.value_text(target)
    firsts = [min(found, key=lambda one: getattr(one, way)) for way in ("measured", "simulated")]
    if any(getattr(one, way) == math.inf for one, way in zip(firsts, ("measured", "simulated"), strict=True)):
        return [f"first to {text}: no method reached it"]
    names = [one.method for one in firsts]
    if names[0] == names[1]:
        lines = [f"first to {text}: {names[0]}, measured and simulated"]
    else:
        lines = [f"first to {text}: measured {names[0]}, simulated {names[1]}"]
    orders = [
        [one.method for one in sorted(found, key=lambda one: getattr(one, way)) if getattr(one, way) < math.inf]
        for way in ("measured", "simulated")
    ]
    if orders[0] != orders[1]:
        lines.append(f"in order: measured {', '.join(orders[0])}; simulated {', '.join(orders[1])}")
    (base,) = (one for one in found if one.method == baseline)
    pairs = [
        (_ratio(base.measured, one.measured), _ratio(base.simulated, one.simulated)) for one in found if one is not base
    ]
    errors = [abs(simulated / measured - 1) for measured, simulated in pairs if measured > 0 and simulated > 0]
    if errors:
        lines.append(f"largest error of a speed-up over {baseline}: {max(errors):.1%}")
    return lines


def _ratio(base: float, own: float) -> float:
    return base / own if base < math.inf and own < math.inf and own > 0 else math.nan


def _error(measured: float, simulated: float) -> str:
    known = 0 < measured < math.inf and 0 < simulated < math.inf
    return f"{simulated / measured - 1:+.1%}" if known else "-"
