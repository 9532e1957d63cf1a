"""Grids too large to be read point by point: planes of two quantities, and where the answer flips.

A *plane* is all grid points that share a collective and the values of every other key, laid
out along two numeric keys of the grid. What is asked at each of its points is which method
meets the target first, and how many times sooner than the baseline the others do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simgmc.core.units import grid_number
from simgmc.results.directory.records import RUN_KEY
from simgmc.results.series.curves import numeric_keys
from simgmc.results.series.reach import Ratio, Reach, advantage, too_close
from simgmc.results.series.read import ComparisonPoint, Results, transport_text

MAX_POINTS = 12
"""Up to this many grid points every point is printed and gets its own panels."""

NOBODY, SOME_SEEDS, NOT_RUN = -1, -2, -3
"""In place of a winner: no seed of any method met the target; only some seeds did; no series there."""


def is_large(results: Results) -> bool:
    """Whether the grid is summarised rather than shown point by point."""
    return len(results.points) > MAX_POINTS


@dataclass(frozen=True)
class Key:
    """A numeric key of the grid and its values, ascending."""

    name: str
    texts: tuple[str, ...]
    """As the scenario writes them."""
    values: tuple[float, ...]
    unit: str
    """The base unit of the values; "" for bare numbers."""
    text: str = ""
    """What it is called, see :attr:`Results.key_labels`."""

    def shown(self, place: int) -> str:
        """A value with its unit, or with the key's name where it has none."""
        return self.texts[place] if self.unit else f"{self.text} {self.texts[place]}"


@dataclass(frozen=True)
class Group:
    """The grid points that share a collective and the values of all but the numeric keys."""

    name: str
    results: Results
    keys: tuple[Key, ...]
    """Two for a plane: the first from left to right, the second upwards. One for a line, or none."""
    points: np.ndarray
    """Of ComparisonPoint or None where nothing was run: (up, across) of a plane; (places,) else."""
    target: float | None
    baseline: str | None

    @cached_property
    def reaches(self) -> np.ndarray:
        """At every point a dict from method to its :class:`Reach` of the target, in simulated time."""
        found = np.empty(self.points.shape, dtype=object)
        for place, point in np.ndenumerate(self.points):
            methods = self.results.methods if point is not None and self.target is not None else ()
            found[place] = {m: self.results.reach(m, point, self.target) for m in methods if self.results.at(m, point)}
        return found

    @cached_property
    def winner(self) -> np.ndarray:
        """Place of the method whose every seed meets the target soonest (mean over seeds), or why there is none."""
        return self._each(lambda reaches: self._first(reaches), int)

    @cached_property
    def undecided(self) -> np.ndarray:
        """Whether another method may be the first: too close to tell, or first for at least one of the seeds."""

        def undecided(reaches: dict[str, Reach]) -> bool:
            best = self._first(reaches)
            if best < 0:
                return False
            mine = reaches[self.results.methods[best]]
            others = [reach for reach in reaches.values() if reach is not mine]
            sooner = any(time < mine.needed.get(seed, 0) for other in others for seed, time in other.needed.items())
            return sooner or any(too_close(mine, other) for other in others)

        return self._each(undecided, bool)

    @cached_property
    def incomplete(self) -> np.ndarray:
        """Whether a series that ran elsewhere in the grid is missing here, or stopped short of the target."""
        expected = {(one.key.method, one.key.seed) for one in self.results.series}
        found = np.zeros(self.points.shape, dtype=bool)
        for place, point in np.ndenumerate(self.points):
            if point is not None:
                here = [one for method in self.results.methods for one in self.results.at(method, point)]
                stopped = any(
                    one.breakdown is None
                    and one.key.seed in self.reaches[place].get(one.key.method, Reach({}, {})).spent
                    for one in here
                )
                found[place] = stopped or len(here) < len(expected)
        return found

    def advantages(self, method: str | None = None) -> np.ndarray:
        """At every point the :class:`Ratio` of a method over the baseline, or None.

        Without a method it is that of whichever but the baseline is first there. None also where
        a bound leaves open which of the two is sooner: "at most 5 times sooner" says nothing.
        """

        def ratio(reaches: dict[str, Reach]) -> Ratio | None:
            of = method or self._best_other(reaches)
            if of not in reaches or self.baseline not in reaches:
                return None
            found = advantage(reaches[of], reaches[self.baseline])
            return found if found is not None and found.telling else None

        return self._each(ratio, object)

    def firsts(self) -> dict[str | None, int]:
        """How many points each method is first at, most first; None: nobody."""
        places = self.winner[self.winner != NOT_RUN]
        counts = {(self.results.methods[place] if place >= 0 else None): 0 for place in places.tolist()}
        for place in places.tolist():
            counts[self.results.methods[place] if place >= 0 else None] += 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def line(self, up: int | None = None) -> list[tuple[str | None, int, int]]:
        """Along the first key (at a place of the second): who is first from which place to which."""
        winners = self.winner if up is None else self.winner[up]
        runs: list[tuple[str | None, int, int]] = []
        for place, index in enumerate(winners.tolist()):
            if index == NOT_RUN:
                continue
            name = self.results.methods[index] if index >= 0 else None
            if runs and runs[-1][0] == name:
                runs[-1] = (name, runs[-1][1], place)
            else:
                runs.append((name, place, place))
        return runs

    def line_text(self, up: int | None = None) -> str:
        """``GMC up to 62 Mbit/s, DMSGD from 89 Mbit/s``: :meth:`line` in words."""
        runs, key = self.line(up), self.keys[0]
        if len(runs) <= 1:
            return f"{runs[0][0] or 'nobody'} throughout" if runs else "nothing was run"
        if len(runs) == 2:
            (one, _, last), (other, begin, _) = runs
            return f"{one or 'nobody'} up to {key.shown(last)}, {other or 'nobody'} from {key.shown(begin)}"
        return ", ".join(
            f"{name or 'nobody'} at {key.shown(a) if a == b else f'{key.shown(a)} to {key.shown(b)}'}"
            for name, a, b in runs
        )

    def _each(self, of, kind: type) -> np.ndarray:
        found = np.empty(self.points.shape, dtype=kind)
        for place, reaches in np.ndenumerate(self.reaches):
            found[place] = of(reaches)
        return found

    def _first(self, reaches: dict[str, Reach]) -> int:
        if not reaches:
            return NOT_RUN
        whole = {method: reach.at_least for method, reach in reaches.items() if not reach.spent}
        if whole:
            return self.results.methods.index(min(whole, key=whole.get))
        return SOME_SEEDS if any(reach.needed for reach in reaches.values()) else NOBODY

    def _best_other(self, reaches: dict[str, Reach]) -> str | None:
        """Fewest seeds without the target, then the least time."""
        others = {
            method: (len(r.spent), r.at_least) for method, r in reaches.items() if method != self.baseline and r.needed
        }
        return min(others, key=others.get) if others else None


def winner_finding(plane: Group) -> str:
    """Who is first at how many of the points, and how far along the first key at either end of the second."""
    goal = plane.results.measure.value_text(plane.target)
    counts = plane.firsts()
    total = sum(counts.values())
    if not total:
        return "nothing was run"
    if len(counts) == 1:
        (who,) = counts
        if who is None:
            return f"no method reaches {goal} with every seed"
        rivals = any(reach.needed for reaches in plane.reaches.flat for other, reach in reaches.items() if other != who)
        return f"{who} reaches {goal} first at every point" if rivals else f"only {who} reaches {goal}, at every point"
    said = ", ".join(f"{who or 'nobody'} at {count}" for who, count in counts.items())
    text = f"first at {goal}: {said} of {total} points"
    ends = {up: plane.line(up) for up in (0, plane.points.shape[0] - 1)}
    if not {None} & counts.keys() and any(len(line) == 2 for line in ends.values()):
        who = next(line[0][0] for line in ends.values() if len(line) == 2)
        if all(len(line) == 1 or (len(line) == 2 and line[0][0] == who) for line in ends.values()):
            text += f"; {who} " + ", ".join(
                f"{_extent(plane, line, who)} at {plane.keys[1].shown(up)}" for up, line in ends.items()
            )
    return text


def _extent(plane: Group, line: list, who: str) -> str:
    """How far along the first key somebody is first who is so from its lowest value on."""
    if len(line) == 2:
        return f"up to {plane.keys[0].shown(line[0][2])}"
    return "everywhere" if line[0][0] == who else "nowhere"


def speedup_finding(plane: Group, method: str | None = None) -> str:
    """The largest and the smallest speed-up over the baseline, and at how many points it is one."""
    ratios = plane.advantages(method)
    known = [(place, ratio) for place, ratio in np.ndenumerate(ratios) if ratio is not None]
    if not known:
        return f"no time to compare with {plane.baseline}'s"
    most, least = (pick(known, key=lambda item: item[1].value) for pick in (max, min))
    sooner = sum(ratio.value > 1 and ratio.bound != "<" for _, ratio in known)
    where = f"{most[1].text} at {_at(plane, most[0])}"
    if most[1].value != least[1].value:
        where = f"from {where} to {least[1].text} at {_at(plane, least[0])}"
    return f"{where}; sooner at {sooner} of {len(known)} points"


def _at(plane: Group, place: tuple[int, int]) -> str:
    up, across = place
    return f"{plane.keys[0].shown(across)}, {plane.keys[1].shown(up)}"


def axes_of(results: Results) -> list[str]:
    """The two numeric keys (each with three values or more) that make planes, those of the cluster first; or [].

    The grid's first key runs from left to right.
    """
    keys = lines_of(results)
    return keys[:2] if len(keys) >= 2 else []


def lines_of(results: Results) -> list[str]:
    """The numeric keys with three values or more, none written in two ways, those of the cluster first."""
    names = [key for key, _ in results.points[0].grid] if results.points else []
    keys = []
    for key in numeric_keys(results):
        texts = {point.grid[names.index(key)][1] for point in results.points}
        if len({grid_number(text) for text in texts}) == len(texts):
            keys.append(key)
    return sorted(keys, key=lambda key: not key.startswith("cluster."))


def groups(results: Results, keys: Sequence[str], target: float | None, baseline: str | None) -> list[Group]:
    """The grid cut into groups along none, one or two of its numeric keys, in the order of the run."""
    names = [key for key, _ in results.points[0].grid] if results.points else []
    places = [names.index(key) for key in keys]
    made_keys = tuple(_key(results, key, place) for key, place in zip(keys, places, strict=True))
    found: dict[tuple, list[ComparisonPoint]] = {}
    for point in results.points:
        rest = tuple(pair for place, pair in enumerate(point.grid) if place not in places)
        found.setdefault((point.transport, rest) if keys else (point.transport,), []).append(point)
    made = []
    for identity, points in found.items():
        laid = np.empty(len(points), dtype=object)
        laid[:] = points
        if keys:
            laid = np.full([len(key.texts) for key in reversed(made_keys)], None, dtype=object)
            for point in points:
                across_up = [
                    key.texts.index(point.grid[place][1]) for key, place in zip(made_keys, places, strict=True)
                ]
                laid[tuple(reversed(across_up))] = point
        made.append(Group(_name(results, identity), results, made_keys, laid, target, baseline))
    return made


def group_count(results: Results, keys: Sequence[str]) -> int:
    """How many groups :func:`groups` makes along these keys."""
    return len(
        {(point.transport, tuple(pair for pair in point.grid if pair[0] not in keys)) for point in results.points}
    )


def _key(results: Results, key: str, place: int) -> Key:
    parsed = {text: grid_number(text) for text in {point.grid[place][1] for point in results.points}}
    texts = sorted(parsed, key=lambda text: parsed[text][0])
    values = tuple(parsed[text][0] for text in texts)
    return Key(key, tuple(texts), values, parsed[texts[0]][1], results.key_labels[key])


def _name(results: Results, identity: tuple) -> str:
    """The collective and those of the other keys' values that vary."""
    rest = identity[1] if len(identity) > 1 else ()
    shown = [results.value(key, text) for key, text in rest if key in results.varying]
    first = shown[:1] if any(key == RUN_KEY for key, _ in rest) else []
    return ", ".join([*first, transport_text(identity[0]), *shown[len(first) :]])
