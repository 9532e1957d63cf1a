"""Overheads fitted to measured exchanges, with the simulator itself as the model.

The three numbers are what a byte takes more than on the bare wire (1 / efficiency), the software of every message, and
the latencies lost at the start. In each of them the time of an exchange is piecewise linear, so that a few linear least
squares of the relative errors, each round the last one's answer, find the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.overheads import Overheads

ASSUMED_NOISE = 0.05
"""Relative error of one measurement, assumed where no row is left over to show it."""
_ROUNDS = 12
_STEPS = (1e-3, 1e-2, 1e-2)
"""Differences by which slopes are taken: of 1/efficiency; of software and of the startup as shares of a row's time."""
_MOST = (1e6, 1e6, 1e6)
NAMES = ("efficiency", "software", "startup")

Predict = Callable[[int, Overheads], float]
"""Seconds that the simulated network takes for the row of that number."""


@dataclass(frozen=True)
class Estimate:
    """One fitted number."""

    value: float
    low: float
    high: float
    """Between which it lies with 95 %, as far as the rows tell."""
    told: bool = True
    """False: the rows do not tell it, and it stands at what costs nothing."""


@dataclass(frozen=True)
class Fit:
    """Overheads, and how sure they are."""

    overheads: Overheads
    estimates: dict[str, Estimate]
    noise: float
    """Relative error of one row: what is left of the rows, or assumed."""
    assumed: bool
    """Whether there were no rows left over to show the noise."""
    before: np.ndarray
    """(rows,) seconds with nothing fitted."""
    after: np.ndarray
    """(rows,) seconds with the fitted overheads."""


def overheads_of(x: np.ndarray, rest: Overheads) -> Overheads:
    """From (1/efficiency, software, startup); ``rest``: what is not fitted (a window, a cap)."""
    stated = dict(rest.stated()) | {"efficiency": min(1.0, 1.0 / x[0]), "software": float(x[1]) if x[1] > 1e-9 else 0.0}
    return Overheads(**(stated | {"startup": float(x[2])}))


def fit(predict: Predict, measured: Sequence[float], *, latency: bool, rest: Overheads = Overheads()) -> Fit:
    """Overheads with which the simulation comes nearest to the measured seconds.

    Of two or three rows efficiency and software are fitted, from four on with a latency the startup too; what the rows
    do not tell apart stays at what costs nothing.

    Args:
        latency: whether the network has any, so that a startup could cost something.
        rest: keys of the transport that are known and not fitted.

    Raises:
        SimgmcError: there are fewer than two rows.
    """
    seconds = np.asarray(measured, dtype=float)
    if len(seconds) < 2:
        raise SimgmcError("a calibration needs at least two measured rows, best of sizes that lie far apart")
    rows = range(len(seconds))

    def times(x: np.ndarray) -> np.ndarray:
        overheads = overheads_of(x, rest)
        return np.array([predict(row, overheads) for row in rows])

    x = np.array([1.0, 0.0, 0.0])
    before = now = times(x)
    free = [0, 1, 2] if latency and len(seconds) > 3 else [0, 1]
    slopes = np.zeros((len(seconds), 3))
    for _ in range(_ROUNDS):
        free, slopes = _slopes(times, x, now, seconds, free)
        better = _better(times, x, now, seconds, free, slopes)
        if better is None:
            break
        moved = np.abs(better[0] - x).max() / max(1e-12, np.abs(x).max())
        (x, now) = better
        if moved < 1e-9:
            break
    left = len(seconds) - len(free)
    assumed = left < 1
    noise = ASSUMED_NOISE if assumed else float(np.sqrt(np.sum((now / seconds - 1.0) ** 2) / left))
    return Fit(overheads_of(x, rest), _estimates(x, slopes, free, noise, left), noise, assumed, before, now)


def _slopes(
    times: Callable[[np.ndarray], np.ndarray], x: np.ndarray, now: np.ndarray, seconds: np.ndarray, free: list[int]
) -> tuple[list[int], np.ndarray]:
    """The numbers that the rows tell apart, and (rows, 3) what each changes of the relative errors."""
    slopes = np.zeros((len(seconds), 3))
    for k in free:
        step = _STEPS[k]
        if k:  # in seconds, or in latencies: as much as changes the quickest row by a little
            probe = np.array(x)
            probe[k] += 1.0 if k == 2 else 1e-6
            grown = float(((times(probe) - now) / now).max())
            if grown <= 0:
                continue
            step *= (1.0 if k == 2 else 1e-6) / grown
        probe = np.array(x)
        probe[k] += step
        slopes[:, k] = (times(probe) - now) / step / seconds
    kept: list[int] = []
    for k in free:  # one that is a combination of those before it cannot be told
        columns = slopes[:, [*kept, k]]
        lengths = np.linalg.norm(columns, axis=0)
        if lengths.min() > 0 and np.linalg.svd(columns / lengths, compute_uv=False)[-1] > 1e-3:
            kept.append(k)
    return kept, slopes


def _better(
    times: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    now: np.ndarray,
    seconds: np.ndarray,
    free: list[int],
    slopes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray] | None:
    """A step that lowers the squared relative errors, with its times; None: there is none."""
    from scipy.optimize import lsq_linear  # takes half a second to load; only fits need it

    low = np.array([1.0, 0.0, 0.0])
    error = now / seconds - 1.0
    columns = slopes[:, free]
    lengths = np.linalg.norm(columns, axis=0)
    found = lsq_linear(
        columns / lengths, columns @ x[free] - error, (low[free] * lengths, np.array(_MOST)[free] * lengths)
    )
    target = np.array(x)
    target[free] = np.maximum(found.x / lengths, low[free])
    for share in (1.0, 0.5, 0.25, 0.125):
        there = x + share * (target - x)
        then = times(there)
        if np.sum((then / seconds - 1.0) ** 2) < np.sum(error**2) * (1 - 1e-12):
            return there, then
    return None


def _estimates(x: np.ndarray, slopes: np.ndarray, free: list[int], noise: float, left: int) -> dict[str, Estimate]:
    from scipy.stats import t  # as above

    columns = slopes[:, free]
    covariance = noise**2 * np.linalg.inv(columns.T @ columns)
    times = float(t.ppf(0.975, left)) if left > 0 else 1.96
    spread = dict(zip(free, times * np.sqrt(np.diag(covariance))))
    found = {}
    for k, name in enumerate(NAMES):
        if k not in spread:
            value = 1.0 if k == 0 else 0.0
            found[name] = Estimate(value, value, value, told=False)
            continue
        least = 1.0 if k == 0 else 0.0
        low, high = max(least, x[k] - spread[k]), x[k] + spread[k]
        if k == 0:
            found[name] = Estimate(1.0 / x[0], 1.0 / high, 1.0 / low)
        else:
            found[name] = Estimate(float(x[k]), float(low), float(high))
    return found
