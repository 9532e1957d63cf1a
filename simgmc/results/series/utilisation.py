"""Compute utilisation against bandwidth: how fast a network must be so that workers compute most of the time.

Compute utilisation is the time in which workers take gradients over all the time that they spend (Streaming DiLoCo,
Douillard et al. 2025, arXiv:2501.18512: of 0.8, "80 % of the time is spent in computation"); compressing, exchanging
and waiting are not computing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.transport import Transport

SHARES = (0.50, 0.75, 0.90, 0.95, 0.99)
"""Compute utilisations whose bandwidth is asked for, those of the papers' tables."""
PRECISION = 1.01
"""Ratio of the bandwidth that is told to the largest that was found too small, at most."""
_PER_DECADE = 4
_FIRST, _LAST = -2 * _PER_DECADE, 4 * _PER_DECADE
"""Steps of the first sweep, in powers of 10 over the steps of a decade."""
_LOWEST, _HIGHEST = -9 * _PER_DECADE, 9 * _PER_DECADE
"""How far it is widened."""
_BETWEEN = 8
"""Bandwidths tried at once within an interval."""

Search = Generator[Sequence[float], Sequence[float], "Needs"]
"""Asks for the utilisations at so many times the bandwidth of every link, several times, and ends with the answer."""
Measure = Callable[[Mapping[int, Sequence[float]]], Mapping[int, Sequence[float]]]
"""By number of search: its utilisations at the factors that it asks for."""


@dataclass(frozen=True, eq=False)
class Needs:
    """What a method needs on a network."""

    factors: np.ndarray
    """(n,) ascending: so many times the bandwidth that every link has."""
    utilisation: np.ndarray
    """(n,) there, each by a replay."""
    needed: Mapping[float, float | None]
    """By utilisation, the least factor with it, to :data:`PRECISION`; None: not with any bandwidth."""
    now: float
    """The utilisation as the links are."""
    limit: float
    """With so much bandwidth (1e9 times) that sending takes no time: what is left is latency and the like."""


@dataclass(frozen=True, eq=False)
class Utilisation:
    """A method on one network of a run, all bandwidths aside."""

    method: str
    transport: Transport
    network: str
    """What of the grid tells the network from others: the collective, then values."""
    bandwidth: float | None
    """Bytes/s, the cluster's stated one; None: links have their own, and factors are all there is."""
    needs: Needs


def all_needs(searches: int, measured: Measure) -> list[Needs]:
    """What so many series need, each searched for, all of a step measured at once."""
    under_way = {number: _search() for number in range(searches)}
    asked = {number: next(search) for number, search in under_way.items()}
    found: dict[int, Needs] = {}
    while asked:
        told, asked = measured(asked), {}
        for number, values in told.items():
            try:
                asked[number] = under_way[number].send(values)
            except StopIteration as end:
                found[number] = end.value
    return [found[number] for number in range(searches)]


def _search() -> Search:
    """Sweep the bandwidth until all shares lie between two of its values, then cut these intervals by more replays.

    A share's bandwidth is the least from which on all larger ones that were tried have it, too.
    """
    found: dict[float, float] = {}

    def measure(factors: Sequence[float]) -> Generator[Sequence[float], Sequence[float], None]:
        missing = [factor for factor in dict.fromkeys(factors) if factor not in found]
        found.update(zip(missing, (yield missing), strict=True))

    limit_at = _factor(_HIGHEST)
    low, high = _FIRST, _LAST
    yield from measure([*map(_factor, range(low, high + 1)), limit_at])
    limit = found[limit_at]
    within = [share for share in SHARES if share <= limit]
    while within and found[_factor(high)] < within[-1] and high < _HIGHEST:
        yield from measure([_factor(step) for step in range(high + 1, min(high + 2 * _PER_DECADE, _HIGHEST) + 1)])
        high = min(high + 2 * _PER_DECADE, _HIGHEST)
    while found[_factor(low)] >= SHARES[0] and low > _LOWEST:
        yield from measure([_factor(step) for step in range(low - 2 * _PER_DECADE, low)])
        low -= 2 * _PER_DECADE
    swept = [_factor(step) for step in range(low, high + 1)]
    now = found[1.0]
    curve = np.array(swept), np.array([found[factor] for factor in swept])

    def interval(share: float) -> tuple[float | None, float]:
        """The largest factor that was found too small, and the next that was tried."""
        tried = sorted(found)
        short = [place for place, factor in enumerate(tried) if found[factor] < share]
        return (tried[short[-1]], tried[short[-1] + 1]) if short else (None, tried[0])

    while wide := [ends for share in within if (ends := interval(share))[0] and ends[1] / ends[0] > PRECISION]:
        yield from measure(
            [factor for below, above in wide for factor in np.geomspace(below, above, _BETWEEN + 2)[1:-1].tolist()]
        )
    needed = {share: interval(share)[1] if share <= limit else None for share in SHARES}
    return Needs(*curve, needed, now, limit)


def _factor(step: int) -> float:
    return 10.0 ** (step / _PER_DECADE)
