"""What a plot shows, as numbers and sentences: mean curves with bands, scales of axes, findings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.quantities import number, time_text
from simgmc.core.units import grid_number
from simgmc.results.directory.records import RUN_KEY
from simgmc.results.series.reach import Ratio, Reach, advantage, too_close
from simgmc.results.series.read import ComparisonPoint, Results, Series

LOG_FROM = 10.0
"""An axis of times or bytes is logarithmic when, at some grid point, the longest series ends at
10 times what the shortest does or later: on a linear axis the shortest would be squeezed into
less than a tenth of the width."""
LOG_BARS_FROM = 30.0
"""Bars are logarithmic only from a ratio of 30, since only linear bars can be compared by length."""
LOG_LOSS_FROM = 30.0
"""A loss axis is logarithmic when the largest mean loss is 30 times the smallest, all positive."""
MIN_HEIGHT = 2 / 3
"""The untrained start does not set the limits of a linear axis if it left the rest less of the height than this."""
LOWEST_SHARE = 1e-12
"""A logarithmic axis of a gap or distance ends at this part of its upper end: below is rounding."""


@dataclass(frozen=True)
class Curve:
    """A method's measure along an axis: mean and sample standard deviation over its seeds."""

    x: np.ndarray
    mean: np.ndarray
    std: np.ndarray | None
    """None for a single seed."""

    def same_as(self, other: Curve) -> bool:
        stds = (self.std is None) == (other.std is None)
        pairs = [
            (self.x, other.x),
            (self.mean, other.mean),
            *([(self.std, other.std)] if stds and self.std is not None else []),
        ]
        return stds and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def curve(results: Results, method: str, point: ComparisonPoint, along: str) -> Curve | None:
    """The mean over seeds along simulated time, bytes or epochs; None where the method has no series here.

    Seeds need not share their places on the axis (simulated times differ). The curve has one
    place per evaluation, where the last of the seeds gets there, and every seed counts there
    with its latest evaluation so far (previous-value, or step, interpolation), and after its end
    with its last. So no point shows what was not yet measured; plots join the points by lines.
    """
    seeds = results.at(method, point)
    return curve_of(seeds, results.measure.column, along) if seeds else None


def curve_of(seeds: Sequence[Series], column: str, along: str) -> Curve:
    """The same of these series, one or more."""
    longest = max(len(one[along]) for one in seeds)
    reached = np.full((len(seeds), longest), -math.inf)
    for row, one in zip(reached, seeds, strict=True):
        row[: len(one[along])] = one[along]
    x = np.unique(reached.max(axis=0))
    x = x[x >= max(one[along][0] for one in seeds)]
    values = np.stack([one.previous_value(column, along, x) for one in seeds])
    std = values.std(axis=0, ddof=1) if len(seeds) > 1 else None
    return Curve(x, values.mean(axis=0), std)


def without_start(
    lines: Sequence[Curve], scale: float, target: float | None, limits: tuple[float, float]
) -> tuple[float, float]:
    """Limits of a measure's axis (``limits``: with the start) in which the start does not squeeze what comes later."""
    parts = [np.array([] if target is None else [target])]
    for line in lines:
        after, spread = line.x > 0, 0.0 if line.std is None else line.std
        parts += [(line.mean - spread)[after], (line.mean + spread)[after]]
    later = scale * np.concatenate(parts)
    later = later[np.isfinite(later)]
    if len(later) < 2:
        return limits
    low, high = later.min(), later.max()
    margin = 0.05 * (high - low)
    if not 0 < high - low + 2 * margin < MIN_HEIGHT * (limits[1] - limits[0]):
        return limits
    return low - margin, high + margin


def wide(ends: Iterable[float], ratio: float) -> bool:
    """Whether positive numbers span at least this ratio."""
    positive = [end for end in ends if end > 0 and math.isfinite(end)]
    return bool(positive) and max(positive) >= ratio * min(positive)


def numeric_keys(results: Results, least: int = 3) -> list[str]:
    """The grid's keys whose values are quantities of one kind, at least ``least`` different ones."""
    keys = []
    for index, (key, _) in enumerate(results.points[0].grid if results.points else ()):
        if key == RUN_KEY:
            continue
        parsed = [grid_number(text) for text in {point.grid[index][1] for point in results.points}]
        if all(parsed) and len({unit for _, unit in parsed}) == 1 and len({value for value, _ in parsed}) >= least:
            keys.append(key)
    return keys


def first(results: Results, point: ComparisonPoint, target: float, column: str) -> tuple[str | None, dict[str, Reach]]:
    """The method whose every seed meets the target with least of ``column`` (None if none does), and all reaches."""
    reaches = {
        method: results.reach(method, point, target, column) for method in results.methods if results.at(method, point)
    }
    whole = {method: reach.spread.mean for method, reach in reaches.items() if reach.needed and not reach.spent}
    return (min(whole, key=whole.get) if whole else None), reaches


def finding(results: Results, point: ComparisonPoint, column: str, target: float | None, baseline: str | None) -> str:
    """What a panel shows, in a sentence: who is first at the target, and by how much."""
    if target is None:
        return best_at_end(results, point)
    goal = results.measure.value_text(target)
    winner, reaches = first(results, point, target, column)
    if winner is None:
        some = [method for method, reach in reaches.items() if reach.needed]
        return f"only some seeds reach {goal}" if some else f"no method reaches {goal}"
    best = reaches[winner].spread.mean
    ties = [
        m for m, reach in reaches.items() if not reach.spent and math.isclose(reach.spread.mean, best, rel_tol=5e-3)
    ]
    if len(ties) > 1 and len(ties) == len(reaches):
        return f"all reach {goal} {_TOGETHER[column]}"
    who, verb = (
        (winner, "needs")
        if len(ties) == 1
        else (" and ".join(ties) if len(ties) == 2 else f"{len(ties)} methods", "need")
    )
    if not any(reach.needed for method, reach in reaches.items() if method not in ties):
        return f"only {who} reach{'es' if len(ties) == 1 else ''} {goal}"
    near = [m for m, reach in reaches.items() if m not in ties and too_close(reach, reaches[winner])]
    if near and (baseline in near or baseline in ties or baseline not in reaches):
        alike = [method for method in reaches if method in (*ties, *near)]
        if len(alike) == len(reaches):
            return f"all reach {goal}, too close to tell who is first"
        names = f"{', '.join(alike[:-1])} and {alike[-1]}" if len(alike) < 4 else f"{len(alike)} methods"
        return f"{names} need {_LEAST[column]} to reach {goal}, too close to tell apart"
    compared = baseline if baseline in reaches and baseline not in ties else None
    ratio = advantage(reaches[winner], reaches[compared]) if compared else None
    if ratio is None or not ratio.telling:
        # Others that only some seeds of reach it may have spent less where they did: no claim about the least.
        if not any(reach.needed and not reach.spent for method, reach in reaches.items() if method not in ties):
            return f"only {who} reach{'es' if len(ties) == 1 else ''} {goal} on every seed"
        ended = any(reach.spent and reach.at_least < best for reach in reaches.values())
        among = f"of those that reach {goal}, " if ended else ""
        return f"{among}{who} {verb} {_LEAST[column]}{'' if ended else f' to reach {goal}'}"
    return _than(column, who, len(ties) == 1, goal, ratio, compared)


_LEAST = {"sim_time_s": "the least time", "bytes_up": "the fewest bytes", "epoch": "the fewest epochs"}
_TOGETHER = {"sim_time_s": "at the same time", "bytes_up": "with the same bytes", "epoch": "in the same epoch"}


def _than(column: str, who: str, singular: bool, goal: str, ratio: Ratio, other: str) -> str:
    times = f"{'over ' if ratio.bound == '>' else ''}{ratio.text.removeprefix('> ')}"
    how = {"sim_time_s": f"{times} sooner", "bytes_up": f"on {times} fewer bytes", "epoch": f"in {times} fewer epochs"}
    return f"{who} reach{'es' if singular else ''} {goal} {how[column]} than {other}"


def best_at_end(results: Results, point: ComparisonPoint) -> str:
    """Which method ends best, of those that did not diverge."""
    ends = {}
    for method in results.methods:
        seeds = results.at(method, point)
        if any(one.diverged is not None for one in seeds):
            continue
        values = [one[results.measure.column][-1] for one in seeds]
        if values and np.isfinite(values).all():
            ends[method] = float(np.mean(values))
    if not ends:
        return "no method ends with a finite value on every seed"
    best = (max if results.measure.higher_is_better else min)(ends, key=ends.get)
    shown = f"{100 * ends[best]:.1f} %" if results.measure.share else number(ends[best])
    return f"{best} ends best, at {results.measure.named(shown)}"


def sweep_finding(
    results: Results, points: Sequence[ComparisonPoint], texts: Sequence[str], target: float, baseline: str | None
) -> str:
    """Who is first along a sweep (points in ascending order), and where that changes hands."""
    goal = results.measure.value_text(target)
    winners = [first(results, point, target, "sim_time_s") for point in points]
    runs: list[list] = []
    for (winner, _), text in zip(winners, texts, strict=True):
        if runs and runs[-1][0] == winner:
            runs[-1][2] = text
        else:
            runs.append([winner, text, text])
    if len(runs) == 1:
        winner = runs[0][0]
        if winner is None:
            some = any(reach.needed for _, reaches in winners for reach in reaches.values())
            return f"no method reaches {goal}{' on every seed' if some else ''}"
        ratios = [
            advantage(reaches[winner], reaches[baseline]) if baseline in reaches else None for _, reaches in winners
        ]
        if not any(reach.needed for _, reaches in winners for method, reach in reaches.items() if method != winner):
            return f"only {winner} reaches {goal}"
        if winner == baseline or not all(ratio is not None and ratio.telling for ratio in (ratios[0], ratios[-1])):
            return f"{winner} reaches {goal} first throughout"
        ends = [reaches for _, reaches in (winners[0], winners[-1])]
        alike = [too_close(reaches[winner], reaches[baseline]) for reaches in ends]
        if all(alike):
            return f"{winner} and {baseline} reach {goal} too close to tell apart at both ends"
        how = [
            "too close to tell from" if same else f"{ratio.text} sooner than"
            for same, ratio in zip(alike, (ratios[0], ratios[-1]), strict=True)
        ]
        last = how[1].removesuffix(" than").removesuffix(" sooner").removesuffix(" from")
        return f"{winner} reaches {goal} first throughout: {how[0]} {baseline} at {texts[0]}, {last} at {texts[-1]}"
    if len(runs) == 2:
        (one, _, last), (other, begin, _) = runs
        return f"first at {goal}: {one or 'nobody'} up to {last}, {other or 'nobody'} from {begin}"
    return f"first at {goal}: " + ", ".join(
        f"{who or 'nobody'} at {a if a == b else f'{a} to {b}'}" for who, a, b in runs
    )


def reach_label(reach: Reach) -> str:
    """What stands at the end of a bar, whose length is the time or, where seeds missed the target, a lower bound."""
    if not reach.spent:
        return time_text(reach.spread.mean, reach.spread.std)
    bound = time_text(reach.at_least)
    if reach.needed:
        return f"over {bound} ({len(reach.needed)} of {len(reach.needed) + len(reach.spent)} seeds)"
    return f"not within {bound}" if reach.at_least > 0 else "not reached"
