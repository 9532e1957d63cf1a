"""The answer of a run: which method, over what, by how much, and from where on it is another.

In words it is :mod:`simgmc.results.series.sentences`.

A *choice* is a method over a transport (GMC over a ring), with its own settings where a grid varies them. Choices are
compared at a *network*: the values of the grid's other keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from simgmc.core.transport import Transport
from simgmc.core.units import grid_numbers
from simgmc.results.directory.records import RUN_KEY
from simgmc.results.series.reach import Reach, Spread, too_close
from simgmc.results.series.read import Results, Series, transport_text

Pairs = tuple[tuple[str, str], ...]
"""Keys of the grid with their values, as texts."""

TUNED = ("methods.", "optimizer.")
"""How the names of keys begin that are settings of methods, for each to be taken at its best."""
MAX_LINES = 3
"""Lines of a map along which it is said where the answer flips: its ends and its middle."""


@dataclass(frozen=True)
class Choice:
    """A method over a transport, with the settings of methods that a grid varies."""

    method: str
    transport: Transport
    settings: Pairs = ()

    @property
    def text(self) -> str:
        """``GMC over parameter server``."""
        return f"{self.method} over {transport_text(self.transport)}"


@dataclass(frozen=True)
class First:
    """Who is first on a network, whichever its settings."""

    method: str
    transport: Transport | None
    """None where nothing is said on time, and it ends as well over every transport that it was run over."""

    @property
    def text(self) -> str:
        """``GMC over parameter server``."""
        return self.method if self.transport is None else f"{self.method} over {transport_text(self.transport)}"


@dataclass(frozen=True, eq=False)
class Found:
    """What a choice needed on a network."""

    choice: Choice
    reach: Reach | None
    """Of the target; None where there is none."""
    final: Spread | None
    """The last value of what the run is measured by, over the seeds that end with one; None where none does."""
    series: tuple[Series, ...] = ()
    """A seed each."""

    @property
    def lost(self) -> int:
        """Seeds that diverged, or whose last value is no finite number."""
        return len(self.series) - (self.final.n if self.final else 0)


@dataclass(frozen=True)
class Flip:
    """Along a numeric key of the network: who is first at one value and at the next, where these differ."""

    key: str
    below: str
    above: str
    """The two values, as texts of the grid."""
    first: First | None
    then: First | None
    """Who is first at ``below`` and at ``above``; None: nobody."""
    rest: Pairs
    """The values of the network's other keys."""


class Verdict:
    """The answers that a run's results give."""

    def __init__(self, results: Results, target: float | None, baseline: str | None):
        self.results, self.target, self.baseline = results, target, baseline
        keys = [key for key, _ in results.points[0].grid] if results.points else []
        self.tuned = [key for key in keys if key.startswith(TUNED) and key in results.varying]
        """Keys whose values are settings of methods."""
        self._numbers: dict[str, tuple[dict[str, float], str] | None] = {}

    @cached_property
    def found(self) -> dict[Pairs, list[Found]]:
        """Every choice at every network, in the order of the run."""
        groups: dict[Pairs, dict[Choice, list[Series]]] = {}
        for one in self.results.series:
            network = tuple(pair for pair in one.key.grid if pair[0] not in self.tuned)
            settings = tuple(pair for pair in one.key.grid if pair[0] in self.tuned)
            choice = Choice(one.key.method, one.key.transport, settings)
            groups.setdefault(network, {}).setdefault(choice, []).append(one)
        return {
            network: [self._found(choice, series) for choice, series in choices.items()]
            for network, choices in groups.items()
        }

    def _found(self, choice: Choice, series: Sequence[Series]) -> Found:
        last = [float(one[self.results.measure.column][-1]) for one in series if one.diverged is None]
        last = [value for value in last if math.isfinite(value)]
        reach = None if self.target is None else self.results.reach_of(series, self.target)
        return Found(choice, reach, Spread.of(last), tuple(series))

    @cached_property
    def best(self) -> dict[Pairs, list[Found]]:
        """At every network each method over each transport, at the best of its settings; the first comes first."""
        chosen = {}
        for network, found in self.found.items():
            by_pair: dict[tuple[str, Transport], list[Found]] = {}
            for one in found:
                by_pair.setdefault((one.choice.method, one.choice.transport), []).append(one)
            chosen[network] = sorted((min(own, key=self._rank) for own in by_pair.values()), key=self._rank)
        return chosen

    def _rank(self, one: Found) -> tuple[float, int, float]:
        """Who comes first: fewest seeds without the target, then least time; where no seed met it, or there is none,
        fewest seeds that were lost, then the better end."""
        if one.reach is not None and one.reach.needed:
            return len(one.reach.spent), 0, one.reach.at_least
        vain = 0 if one.reach is None else len(one.reach.spent)
        if one.final is None:
            return vain, 1 + one.lost, math.inf
        return vain, 1 + one.lost, -one.final.mean if self.results.measure.higher_is_better else one.final.mean

    def as_good(self, network: Pairs, best: Found) -> list[Found]:
        """The settings of the best's method over its transport of which nobody can tell that they are worse."""
        own = (one for one in self.found[network] if _place(one) == _place(best))
        return [
            one
            for one in own
            if self._rank(one) == self._rank(best) or (one.reach and best.reach and too_close(one.reach, best.reach))
        ]

    def first(self, network: Pairs) -> First | None:
        """Whose every seed meets the target soonest, or ends best where there is none; None where nobody's does."""
        best = self.best[network][0]
        if best.reach is None:
            return self._ends_best(network) if not best.lost else None
        return None if best.reach.spent else First(*_place(best))

    def _ends_best(self, network: Pairs) -> First:
        best, *others = self.best[network]
        own = [one for one in others if one.choice.method == best.choice.method]
        alike = own and all(self._rank(one) == self._rank(best) for one in own)
        return First(best.choice.method, None if alike else best.choice.transport)

    # Where the answer flips.

    @cached_property
    def flips(self) -> list[Flip]:
        """Everywhere along the numeric keys of the network where neighbours in the grid have another first."""
        return [flip for key in self.numeric for flip in self._along(key)]

    @property
    def numeric(self) -> list[str]:
        """The network's keys along which all its values are numbers, and several; those of the cluster first."""
        networks = list(self.best)
        names = [key for key, _ in networks[0] if key != RUN_KEY] if networks else []
        keys = [key for key in names if key in self.results.varying]
        keys.sort(key=lambda key: not key.startswith("cluster."))
        return [key for key in keys if self.numbers(key) is not None]

    def numbers(self, key: str) -> tuple[dict[str, float], str] | None:
        """A key's values as numbers by text, and their unit; None where they are not all numbers of one kind."""
        if key not in self._numbers:
            self._numbers[key] = grid_numbers(dict.fromkeys(dict(network)[key] for network in self.best))
        return self._numbers[key]

    def lines(self, key: str) -> dict[Pairs, list[Pairs]]:
        """Networks that differ in one numeric key alone, ascending in it, by the values of their other keys."""
        found: dict[Pairs, list[Pairs]] = {}
        for network in self.best:
            found.setdefault(tuple(pair for pair in network if pair[0] != key), []).append(network)
        known = self.numbers(key)
        assert known is not None  # it is numeric
        return {rest: sorted(line, key=lambda network: known[0][dict(network)[key]]) for rest, line in found.items()}

    def spoken(self, key: str) -> list[Pairs]:
        """The lines along a key that are spoken of, those of more than one network: all, or the ends and the middle."""
        lines = [rest for rest, line in self.lines(key).items() if len(line) > 1]
        return lines if len(lines) <= MAX_LINES else [lines[0], lines[(len(lines) - 1) // 2], lines[-1]]

    def _along(self, key: str) -> list[Flip]:
        flips = []
        for rest, line in self.lines(key).items():
            for here, there in zip(line, line[1:]):
                one, other = self.first(here), self.first(there)
                if one != other:
                    flips.append(Flip(key, dict(here)[key], dict(there)[key], one, other, rest))
        return flips

    def place(self, rest: Pairs) -> str:
        """`` at 10 ms, ring``: those of these values that vary."""
        values = [self.results.value(key, text) for key, text in rest if key in self.results.varying]
        return f" at {', '.join(values)}" if values else ""

    def flip_text(self, flip: Flip) -> str:
        """``between bandwidth 62 Mbit/s and 89 Mbit/s from GMC over ring to DMSGD over ring``."""
        one, other = (who.text if who else "nobody" for who in (flip.first, flip.then))
        return f"between {self.results.key_labels[flip.key]} {flip.below} and {flip.above} from {one} to {other}"


def _place(one: Found) -> tuple[str, Transport]:
    return one.choice.method, one.choice.transport
