"""The answer of a run in sentences: which method, over what, by how much, and from where on it is another.

A *choice* is a method over a transport (GMC over a ring), with its own settings where a grid varies them. Choices are
compared at a *network*: the values of the grid's other keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from simgmc.core.quantities import time_text
from simgmc.core.transport import Transport
from simgmc.core.units import grid_number
from simgmc.results.series.reach import Ratio, Reach, Spread, advantage, too_close
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
class Found:
    """What a choice needed on a network."""

    choice: Choice
    reach: Reach | None
    """Of the target; None where there is none."""
    final: Spread | None
    """The last value of what the run is measured by; None where all seeds diverged."""


@dataclass(frozen=True)
class Flip:
    """Along a numeric key of the network: who is first at one value and at the next, where these differ."""

    key: str
    below: str
    above: str
    """The two values, as texts of the grid."""
    first: Choice | None
    then: Choice | None
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
        measure = self.results.measure
        last = [float(one[measure.column][-1]) for one in series if one.diverged is None]
        reach = None if self.target is None else self.results.reach_of(series, self.target)
        return Found(choice, reach, Spread.of(last))

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

    def _rank(self, one: Found) -> tuple[float, float]:
        """Who comes first: fewest seeds without the target, then least time; without a target the better end."""
        if one.reach is not None:
            return len(one.reach.spent), one.reach.at_least
        if one.final is None:
            return 1, 0.0
        return 0, -one.final.mean if self.results.measure.higher_is_better else one.final.mean

    def first(self, network: Pairs) -> Choice | None:
        """Whose every seed meets the target soonest, or ends best where there is none; None where nobody's does."""
        best = self.best[network][0]
        if best.reach is None:
            return best.choice if best.final is not None else None
        return None if best.reach.spent else best.choice

    # Sentences.

    def sentences(self) -> list[str]:
        """The verdict, a sentence or two for each question that the run can answer."""
        if not self.results.series:
            return []
        return [*self._overall(), *self._transports(), *self._flips(), *self._settings()]

    def _overall(self) -> list[str]:
        networks = list(self.best)
        if len(networks) == 1:
            return [self._at(networks[0])]
        firsts = [self.first(network) for network in networks]
        counts = Counter(None if one is None else replace(one, settings=()) for one in firsts)
        if set(counts) == {None}:
            return [f"No method reaches {self._goal} with every seed at any of {len(networks)} {self._places}."]
        ranking = ", ".join(f"{one.text if one else 'nobody'} at {many}" for one, many in counts.most_common())
        what = f"first at {self._goal}" if self.target is not None else "best at the end"
        said = [f"Of {len(networks)} {self._places}, {what}: {ranking}."]
        leader = next(one for one, _ in counts.most_common() if one is not None)
        led = [self._lead(network) for network in networks if self._leads(network, leader)]
        if known := sorted(value for value in led if value is not None):
            least, most = f"{known[0]:.3g}", f"{known[-1]:.3g}"
            times = f"{least} to {most} times" if least != most else f"{least} times"
            middle = f" (at half of these {known[len(known) // 2]:.3g} or more)" if len(known) > 2 else ""
            said.append(f"Where {leader.text} is first, it is {times} sooner than the next method{middle}.")
        return said

    @property
    def _places(self) -> str:
        """What choices are compared at, in the plural."""
        keys = [key for key in self.results.varying if key not in self.tuned]
        return "networks" if all(key.startswith("cluster.") for key in keys) else "points of the grid"

    def _leads(self, network: Pairs, leader: Choice) -> bool:
        first = self.first(network)
        return first is not None and (first.method, first.transport) == (leader.method, leader.transport)

    def _lead(self, network: Pairs) -> float | None:
        """How many times sooner the first is than the next of another method."""
        best, other = self._leader_and_next(network)
        if other is None or best.reach is None or other.reach is None:
            return None
        ratio = _sooner(best.reach, other.reach)
        return None if ratio is None else ratio.value

    def _leader_and_next(self, network: Pairs) -> tuple[Found, Found | None]:
        best, *rest = self.best[network]
        return best, next((one for one in rest if one.choice.method != best.choice.method), None)

    @property
    def _goal(self) -> str:
        assert self.target is not None
        return self.results.measure.value_text(self.target)

    def _at(self, network: Pairs) -> str:
        best, other = self._leader_and_next(network)
        if best.reach is None:
            if best.final is None:
                return "Every method diverged."
            value = self.results.measure.value_text(best.final.mean)
            end = f"{best.choice.text} ends best, at {value}"
            if other is not None and other.final is not None:
                end += f"; next {other.choice.text}, at {self.results.measure.value_text(other.final.mean)}"
            return f"{end}. No target is stated, so nothing is said on time to it."
        if best.reach.spent:
            return f"No method reaches {self._goal} with every seed."
        said = f"{best.choice.text} reaches {self._goal} first, in {time_text(best.reach.at_least)}"
        if other is None:
            return f"{said}."
        assert other.reach is not None
        return f"{said}: {self._compared(best.reach, other)}{self._over_baseline(network, best, other)}."

    def _compared(self, mine: Reach, other: Found) -> str:
        assert other.reach is not None
        ratio = _sooner(mine, other.reach)
        if too_close(mine, other.reach):
            return f"too close to tell from {other.choice.text} ({time_text(other.reach.at_least)})"
        where = "does not get there with every seed" if other.reach.spent else time_text(other.reach.at_least)
        if ratio is None:
            return f"{other.choice.text} comes next ({where})"
        return f"{ratio.text} sooner than the next method, {other.choice.text} ({where})"

    def _over_baseline(self, network: Pairs, best: Found, other: Found) -> str:
        base = next((one for one in self.best[network] if one.choice.method == self.baseline), None)
        if base is None or base.choice.method in (best.choice.method, other.choice.method):
            return ""
        assert best.reach is not None and base.reach is not None
        ratio = _sooner(best.reach, base.reach)
        return "" if ratio is None else f", {ratio.text} sooner than the baseline at its best, {base.choice.text}"

    def _transports(self) -> list[str]:
        """Every two collectives side by side: over which one each method is sooner."""
        names = list(dict.fromkeys(one.transport for one in self._choices if one.transport.is_collective))
        if self.target is None or len(names) < 2:
            return []
        said = []
        for place, one in enumerate(names):
            for other in names[place + 1 :]:
                parts = [text for method in self.results.methods if (text := self._between(method, one, other))]
                if parts:
                    said.append(f"{_title(one)} against {transport_text(other)}: {'; '.join(parts)}.")
        return said

    @property
    def _choices(self) -> list[Choice]:
        return [one.choice for found in self.best.values() for one in found]

    def _between(self, method: str, one: Transport, other: Transport) -> str:
        """Over which of two collectives a method is sooner."""
        wins: Counter[Transport | None] = Counter()
        ratios: list[float] = []
        for found in self.best.values():
            mine = {each.choice.transport: each.reach for each in found if each.choice.method == method}
            if one not in mine or other not in mine:
                continue
            first, second = mine[one], mine[other]
            assert first is not None and second is not None
            ratio = advantage(first, second)
            if ratio is None:  # it does not get there over either
                continue
            if too_close(first, second):
                wins[None] += 1
                continue
            ahead = ratio.bound == ">" or (ratio.bound == "=" and ratio.value >= 1)
            wins[one if ahead else other] += 1
            ratios += [times for times in [ratio.value if ahead else 1 / ratio.value] if times >= 1]
        total = sum(wins.values())
        if not total:
            return ""
        if total == 1:
            winner = next(iter(wins))
            if winner is None:
                return f"{method} the same, or too close to tell"
            times = f"{ratios[0]:.3g} times " if ratios else ""
            return f"{method} is {times}sooner over {transport_text(winner)}"
        counts = [f"{transport_text(name) if name else 'neither'} at {many}" for name, many in wins.most_common()]
        return f"{method} is sooner over {', '.join(counts)} of {total} {self._places}" + (
            f" (up to {max(ratios):.3g} times)" if ratios else ""
        )

    # Where the answer flips.

    @cached_property
    def flips(self) -> list[Flip]:
        """Everywhere along the numeric keys of the network where neighbours in the grid have another first."""
        return [flip for key in self.numeric for flip in self._along(key)]

    @property
    def numeric(self) -> list[str]:
        """The network's keys along which all its values are numbers, and several."""
        networks = list(self.best)
        keys = [key for key, _ in networks[0] if key in self.results.varying] if networks else []
        return [key for key in keys if all(grid_number(dict(network)[key]) is not None for network in networks)]

    def lines(self, key: str) -> dict[Pairs, list[Pairs]]:
        """Networks that differ in one numeric key alone, ascending in it, by the values of their other keys."""
        found: dict[Pairs, list[Pairs]] = {}
        for network in self.best:
            found.setdefault(tuple(pair for pair in network if pair[0] != key), []).append(network)
        return {rest: sorted(line, key=lambda network: _value(network, key)) for rest, line in found.items()}

    def spoken(self, key: str) -> list[Pairs]:
        """The lines along a key that are spoken of, those of more than one network: all, or the ends and the middle."""
        lines = [rest for rest, line in self.lines(key).items() if len(line) > 1]
        return lines if len(lines) <= MAX_LINES else [lines[0], lines[(len(lines) - 1) // 2], lines[-1]]

    def _along(self, key: str) -> list[Flip]:
        flips = []
        for rest, line in self.lines(key).items():
            for here, there in zip(line, line[1:]):
                one, other = self.first(here), self.first(there)
                if _pair(one) != _pair(other):
                    flips.append(Flip(key, dict(here)[key], dict(there)[key], one, other, rest))
        return flips

    def _flips(self) -> list[str]:
        said = []
        for key in self.numeric[:2]:
            for rest in self.spoken(key):
                here = [flip for flip in self.flips if flip.key == key and flip.rest == rest]
                where = self.place(rest)
                if here:
                    said.append(f"The answer flips{where}: " + "; ".join(map(self.flip_text, here)) + ".")
        return said

    def place(self, rest: Pairs) -> str:
        """`` at 10 ms, ring``: those of these values that vary."""
        values = [self.results.value(key, text) for key, text in rest if key in self.results.varying]
        return f" at {', '.join(values)}" if values else ""

    def flip_text(self, flip: Flip) -> str:
        """``between bandwidth 62 Mbit/s and 89 Mbit/s from GMC over ring to DMSGD over ring``."""
        one, other = (choice.text if choice else "nobody" for choice in (flip.first, flip.then))
        return f"between {self.results.key_labels[flip.key]} {flip.below} and {flip.above} from {one} to {other}"

    # Settings of methods.

    def _settings(self) -> list[str]:
        """Each method at the best of its own settings; settings that all share and that are best for none."""
        if not self.tuned:
            return []
        said = []
        bests: dict[str, Counter[Pairs]] = {}
        for found in self.best.values():
            for one in found:
                bests.setdefault(one.choice.method, Counter())[self._own(one.choice)] += 1
        texts = []
        for method, counts in sorted(bests.items(), key=lambda item: self.results.methods.index(item[0])):
            settings, many = counts.most_common(1)[0]
            if settings:
                share = "" if many == sum(counts.values()) else f" (at {many} of {sum(counts.values())})"
                texts.append(f"{method} {', '.join(self._setting(*pair) for pair in settings)}{share}")
        if texts:
            said.append(f"Compared at each method's best settings of the grid: {'; '.join(texts)}.")
        for key in self.tuned:
            if key.startswith("methods."):
                continue
            used = {dict(settings).get(key) for counts in bests.values() for settings in counts}
            values = dict.fromkeys(dict(one.choice.settings)[key] for found in self.found.values() for one in found)
            none = [value for value in values if value not in used]
            if none:
                label = self.results.key_labels[key]
                shared = f"a shared {label} of {' or '.join(none)}"
                said.append(f"Do not compare methods at {shared}: it is best for none of them.")
        return said

    def _own(self, choice: Choice) -> Pairs:
        """Those settings that are this method's: all but other methods'."""
        others = tuple(f"methods.{name}." for name in self.results.methods if name != choice.method)
        return tuple(pair for pair in choice.settings if not pair[0].startswith(others))

    def _setting(self, key: str, value: str) -> str:
        return f"{self.results.key_labels[key].removeprefix('methods ')} {value}"


def _pair(choice: Choice | None) -> tuple[str, Transport] | None:
    return None if choice is None else (choice.method, choice.transport)


def _value(network: Pairs, key: str) -> float:
    found = grid_number(dict(network)[key])
    assert found is not None
    return found[0]


def _title(transport: Transport) -> str:
    text = transport_text(transport)
    return text[:1].upper() + text[1:]


def _sooner(first: Reach, later: Reach) -> Ratio | None:
    """How many times sooner the first was; None where nobody knows: the later stopped in vain before the first was."""
    ratio = advantage(first, later)
    return None if ratio is None or ratio.value < 1 else ratio
