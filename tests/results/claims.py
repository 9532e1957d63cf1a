"""What a verdict's sentences claim, read word by word and worked out anew from the series, with none of its code.

Every sentence has to be one of those that are known here, and every number, name and range in it has to be true.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from simgmc.core.quantities import number, time_text
from simgmc.core.units import grid_number
from simgmc.results.series.read import Results, Series


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


class Case(NamedTuple):
    """A method over a transport with settings, on a network."""

    method: str
    over: str
    settings: tuple[tuple[str, str], ...]
    series: tuple[Series, ...]
    needed: dict[int, float]
    before: dict[int, float]
    spent: dict[int, float]
    ends: list[float]

    @property
    def text(self) -> str:
        return f"{self.method} over {self.over}"

    @property
    def whole(self) -> bool:
        return bool(self.needed) and not self.spent

    @property
    def time(self) -> float:
        return mean([*self.needed.values(), *self.spent.values()])


class Claims:
    """The truth about results, against which sentences are held."""

    def __init__(self, results: Results, target: float | None, baseline: str | None):
        self.results, self.target, self.baseline = results, target, baseline
        grids = [dict(one.key.grid) for one in results.series]
        self.varying = [key for key in grids[0] if len({grid[key] for grid in grids}) > 1]
        self.tuned = [key for key in self.varying if key.startswith(("methods.", "optimizer."))]
        self.goal = None if target is None else results.measure.value_text(target)
        groups: dict[tuple, dict[tuple, list[Series]]] = {}
        for one in results.series:
            network = tuple((key, value) for key, value in one.key.grid if key not in self.tuned)
            settings = tuple((key, value) for key, value in one.key.grid if key in self.tuned)
            who = one.key.method, str(one.key.transport), settings
            groups.setdefault(network, {}).setdefault(who, []).append(one)
        self.networks = {
            network: [self._case(*who, series) for who, series in cases.items()] for network, cases in groups.items()
        }
        only_clusters = all(key.startswith("cluster.") for key in self.varying if key not in self.tuned)
        self.places = "networks" if only_clusters else "points of the grid"
        self.best = {network: self._best(cases) for network, cases in self.networks.items()}

    def _case(self, method: str, over: str, settings: tuple, series: list[Series]) -> Case:
        needed, before, spent, ends = {}, {}, {}, []
        for one in series:
            values, times = one[self.results.measure.column].tolist(), one["sim_time_s"].tolist()
            hits = [place for place, value in enumerate(values) if self._met(value)]
            if hits:
                needed[one.key.seed] = times[hits[0]]
                before[one.key.seed] = times[max(hits[0] - 1, 0)]
            else:
                spent[one.key.seed] = times[-1]
            if one.diverged is None and math.isfinite(values[-1]):
                ends.append(values[-1])
        return Case(method, over, settings, tuple(series), needed, before, spent, ends)

    def _met(self, value: float) -> bool:
        if self.target is None:
            return False
        return value >= self.target if self.results.measure.higher_is_better else value <= self.target

    def rank(self, one: Case) -> tuple:
        if one.needed:
            return len(one.spent), 0, one.time
        vain = 0 if self.target is None else len(one.spent)
        end = -math.inf if not one.ends else mean(one.ends) * (1 if self.results.measure.higher_is_better else -1)
        return vain, 1 + len(one.series) - len(one.ends), -end

    def _best(self, cases: list[Case]) -> list[Case]:
        own: dict[str, list[Case]] = {}
        for one in cases:
            own.setdefault(one.text, []).append(one)
        return sorted((min(some, key=self.rank) for some in own.values()), key=self.rank)

    def close(self, one: Case, other: Case) -> bool:
        """Whether nobody can tell which of two was sooner."""
        if not (one.whole and other.whole):
            return False
        least = mean(one.before.values()), mean(other.before.values())
        most = mean(one.needed.values()), mean(other.needed.values())
        if least[0] < most[1] and least[1] < most[0]:
            return True
        if min(len(one.needed), len(other.needed)) < 2:
            return False
        spread = sum(float(np.std(list(each.needed.values()), ddof=1)) for each in (one, other))
        gaps = [other.needed[seed] - one.needed[seed] for seed in one.needed if seed in other.needed]
        return abs(most[0] - most[1]) <= spread or (bool(gaps) and min(gaps) < 0 < max(gaps))

    def times(self, first: Case, later: Case) -> float | None:
        """How many times as long the later needed; None where either did not get there, or it took no time."""
        if not (first.whole and later.whole and first.time and later.time):
            return None
        return later.time / first.time

    def first(self, network: tuple) -> str:
        best, *others = self.best[network]
        if self.target is not None:
            return best.text if best.whole else "nobody"
        if len(best.ends) < len(best.series):
            return "nobody"
        own = [one for one in others if one.method == best.method]
        return best.method if own and all(self.rank(one) == self.rank(best) for one in own) else best.text

    def next(self, network: tuple) -> Case | None:
        best, *others = self.best[network]
        return next((one for one in others if one.method != best.method), None)

    # Sentences.

    def check(self, told: Iterable[str]) -> None:
        """Every sentence is understood, and true; and those are there that have to be."""
        told = list(told)
        for sentence in told:
            found = [(rule, match) for pattern, rule in RULES if (match := re.fullmatch(pattern, sentence))]
            assert len(found) == 1, (sentence, found)
            rule, match = found[0]
            rule(self, *match.groups())
        self._nothing_missing(told)

    def _nothing_missing(self, told: list[str]) -> None:
        lines = [sentence for sentence in told if sentence.startswith("The answer flips")]
        assert sum(line.count("between ") for line in lines) == len(self.flips()), (lines, self.flips())
        none = [sentence for sentence in told if sentence.startswith("Do not compare")]
        assert len(none) == sum(bool(self.nobodys(key)) for key in self.tuned if key.startswith("optimizer."))

    def ranking(self, many: str, places: str, what: str, ranked: str) -> None:
        assert int(many) == len(self.networks) and places == self.places
        assert what == ("best at the end" if self.target is None else f"first at {self.goal}")
        said = {who: int(count) for who, count in (part.rsplit(" at ", 1) for part in ranked.split(", "))}
        assert said == Counter(map(self.first, self.networks))
        assert list(said.values()) == sorted(said.values(), reverse=True)

    def _led(self, leader: str) -> list[tuple]:
        counts = Counter(map(self.first, self.networks))
        assert counts[leader] == max(count for who, count in counts.items() if who != "nobody")
        return [network for network in self.networks if self.first(network) == leader]

    def lead(self, leader: str, least: str, most: str | None, middle: str | None, near: str | None) -> None:
        led = self._led(leader)
        pairs = [(self.best[network][0], other) for network in led if (other := self.next(network))]
        ratios = [ratio for pair in pairs if (ratio := self.times(*pair)) is not None]
        assert math.isclose(float(least), min(ratios), rel_tol=6e-3)
        assert math.isclose(float(most or least), max(ratios), rel_tol=6e-3)
        if middle is not None:
            assert sum(float(f"{ratio:.3g}") >= float(middle) for ratio in ratios) >= len(ratios) / 2
        close = sum(self.close(*pair) for pair in pairs)
        assert (near or "") == (f"; too close to tell at {close} of its {len(led)}" if close else "")

    def without_rival(self, where: str) -> None:
        leader = next(who for who, _ in Counter(map(self.first, self.networks)).most_common() if who != "nobody")
        led = self._led(leader)
        alone = sum((other := self.next(network)) is not None and bool(other.spent) for network in led)
        assert where == (f"At {alone} of its {len(led)}" if not alone == len(led) > 1 else "At all of these")

    def nobody(self, goal: str, many: str | None, places: str | None) -> None:
        assert goal == self.goal and not any(self.best[network][0].whole for network in self.networks)
        assert (int(many), places) == (len(self.networks), self.places) if many else len(self.networks) == 1

    def no_end(self, many: str, places: str) -> None:
        assert (int(many), places) == (len(self.networks), self.places)
        assert all(len(one.ends) < len(one.series) for cases in self.networks.values() for one in cases)

    def _one(self) -> tuple[Case, list[Case], Case | None]:
        (network,) = self.networks
        return self.best[network][0], self.best[network], self.next(network)

    def diverged(self) -> None:
        assert not any(one.ends for cases in self.networks.values() for one in cases)

    def ends(self, who: str, end: str, other: str | None, others_end: str | None) -> None:
        best, _, second = self._one()
        assert self.target is None and who in (best.text, self.first(next(iter(self.networks))))
        alike = who == best.method
        for one, text in ((best, end), *([(second, others_end)] if other else [])):
            lost = len(one.series) - len(one.ends)
            shown = self.results.measure.value_text(mean(one.ends))
            assert text == shown + (f" ({lost} of its {len(one.series)} seeds diverged)" if lost else "")
        assert other == (None if second is None or not second.ends else second.method if alike else second.text)

    def at_start(self, names: str, goal: str, many: str | None, places: str | None) -> None:
        assert goal == self.goal
        assert (int(many), places) == (len(self.networks), self.places) if many else len(self.networks) == 1
        there = [{one.text for one in found if one.whole and one.time == 0} for found in self.best.values()]
        assert set(names.split(", ")) == set.intersection(*there)

    def reaches(self, who: str, goal: str, need: str) -> None:
        best, _, second = self._one()
        assert second is None and (who, goal, need) == (best.text, self.goal, time_text(best.time))

    def only(self, who: str, goal: str, soonest: str | None, need: str, shorter: str | None) -> None:
        best, found, second = self._one()
        there = [one.text for one in found if one.whole]
        assert second is not None and goal == self.goal and need == time_text(best.time)
        assert all(text.startswith(f"{best.method} over ") for text in there)
        assert who == (best.method if len(there) > 1 else best.text)
        assert soonest == (best.over if len(there) > 1 else None)
        self._shorter(best, found, shorter)

    def _shorter(self, best: Case, found: list[Case], shorter: str | None) -> None:
        said = {} if shorter is None else dict(part.split(" after ") for part in shorter.split(", "))
        early = {}
        for one in found:
            if one.spent and all(time < best.time for time in one.spent.values()):
                alone = sum(other.method == one.method for other in found) == 1
                early[one.method if alone else one.text] = time_text(mean(one.spent.values()))
        assert said == early

    def first_of_several(self, who, goal, need, compared, base_times, base, shorter) -> None:
        best, found, second = self._one()
        assert second is not None and second.whole and best.time <= second.time
        assert (who, goal, need) == (best.text, self.goal, time_text(best.time))
        if close := re.fullmatch(r"too close to tell from (.+) \((.+)\)", compared):
            assert self.close(best, second) and close.groups() == (second.text, time_text(second.time))
        else:
            times, other, need = re.fullmatch(r"(\S+)× sooner than the next method, (.+) \((.+)\)", compared).groups()
            assert not self.close(best, second) and (other, need) == (second.text, time_text(second.time))
            assert math.isclose(float(times), second.time / best.time, rel_tol=6e-3)
        bases = [one for one in found if one.method == self.baseline]
        told = bases and self.baseline not in (best.method, second.method)
        if base is not None:
            assert told and base == bases[0].text
            bound = ">" if bases[0].spent else ""
            assert base_times.startswith(bound)
            assert math.isclose(float(base_times.lstrip("> ")), bases[0].time / best.time, rel_tol=6e-3)
        else:
            assert not told or bases[0].time < best.time or not bases[0].time
        self._shorter(best, found, shorter)

    def against(self, one: str, other: str, parts: str) -> None:
        names = {str(each.key.transport) for each in self.results.series if each.key.transport.is_collective}
        one = next(name for name in names if name[:1].upper() + name[1:] == one)
        assert other in names
        said = {}
        for part in parts.split("; "):
            method, text = re.fullmatch(r"(\S+) (.*)", part).groups()
            said[method] = text
        for method in self.results.methods:
            assert said.get(method) == self._between(method, one, other), (method, said)

    def _between(self, method: str, one: str, other: str) -> str | None:
        wins, alone, close, ratios = Counter(), Counter(), 0, []
        for best in self.best.values():
            here = {case.over: case for case in best if case.method == method}
            if not {one, other} <= set(here):
                continue
            mine, theirs = here[one], here[other]
            if mine.whole != theirs.whole:
                if mine.time and theirs.time:
                    alone[one if mine.whole else other] += 1
            elif mine.whole and mine.time and theirs.time:
                if self.close(mine, theirs):
                    close += 1
                else:
                    wins[one if mine.time <= theirs.time else other] += 1
                    ratios.append(max(mine.time, theirs.time) / min(mine.time, theirs.time))
        total = sum(wins.values()) + sum(alone.values()) + close
        if total == 0:
            return None
        if total == 1 and close:
            return "the same, or too close to tell"
        if total == 1 and alone:
            return f"gets there with every seed over {next(iter(alone))} alone"
        if total == 1:
            return f"is {ratios[0]:.3g} times sooner over {next(iter(wins))}"
        parts = [f"{name} at {count}" for name, count in wins.most_common()]
        parts = ["sooner over " + ", ".join(parts)] if parts else []
        parts += [f"there over {name} alone at {count}" for name, count in alone.most_common()]
        parts += [f"the same, or too close to tell, at {close}"] if close else []
        up_to = f" (up to {max(ratios):.3g} times)" if ratios else ""
        return f"is {', '.join(parts)} of {total} {self.places}{up_to}"

    def flips(self) -> list[tuple[str, dict[str, str], str, str, str, str]]:
        """Along which key, where, between which values, from whom to whom, on the lines that are spoken of."""
        found = []
        keys = [key for key in self.varying if key not in self.tuned and key != "run"]
        numeric = [key for key in keys if all(grid_number(dict(network)[key]) for network in self.networks)]
        for key in sorted(numeric, key=lambda key: not key.startswith("cluster."))[:3]:
            lines: dict[tuple, list[tuple[float, str, str]]] = {}
            for network in self.networks:
                rest = tuple(pair for pair in network if pair[0] != key)
                text = dict(network)[key]
                lines.setdefault(rest, []).append((grid_number(text)[0], text, self.first(network)))
            several = [rest for rest, line in lines.items() if len(line) > 1]
            spoken = several if len(several) <= 3 else [several[0], several[(len(several) - 1) // 2], several[-1]]
            for rest in spoken:
                line = sorted(lines[rest], key=lambda item: item[0])
                for (_, below, one), (_, above, other) in zip(line, line[1:]):
                    if one != other:
                        found.append((key, dict(rest), below, above, one, other))
        return found

    def flip(self, where: str | None, parts: str) -> None:
        for part in parts.split("; "):
            key, below, above, one, other = re.fullmatch(
                r"between (.+?) (\S+(?: \S+)?) and (\S+(?: \S+)?) from (.+) to (.+)", part
            ).groups()
            fitting = [
                flip for flip in self.flips()
                if (self.results.key_labels[flip[0]], *flip[2:]) == (key, below, above, one, other)
                and all(value in (where or "") for name, value in flip[1].items() if name in self.varying)
            ]  # fmt: skip
            assert fitting, part

    def _as_good(self, network: tuple, best: Case) -> list[Case]:
        own = [one for one in self.networks[network] if one.text == best.text]
        return [one for one in own if self.rank(one) == self.rank(best) or self.close(one, best)]

    def _values(self, method: str, key: str) -> list[set[str]]:
        """Of a key the values that are as good as any, wherever the method is compared."""
        return [
            {dict(one.settings)[key] for one in self._as_good(network, best)}
            for network, found in self.best.items() for best in found if best.method == method
        ]  # fmt: skip

    def nobodys(self, key: str) -> list[str]:
        every = list(dict.fromkeys(dict(one.key.grid)[key] for one in self.results.series))
        used = set().union(*(values for method in self.results.methods for values in self._values(method, key)))
        return [value for value in every if value not in used]

    def best_settings(self, parts: str) -> None:
        for part in parts.split("; "):
            method, settings, share, outcome = re.fullmatch(
                r"(\S+) (.+?)(?: \(at (\d+ of \d+)\)| \((.*)\))?", part
            ).groups()
            places = [best for found in self.best.values() for best in found if best.method == method]
            other_methods = tuple(f"methods.{name}." for name in self.results.methods if name != method)
            texts = Counter(
                ", ".join(
                    f"{self.results.key_labels[key]} {value}"
                    for key, value in best.settings if not key.startswith(other_methods)
                )
                for best in places
            )  # fmt: skip
            assert texts[settings] == max(texts.values())
            assert share == (f"{texts[settings]} of {len(places)}" if texts[settings] < len(places) else None)
            if outcome is not None:
                best = min(places, key=self.rank)
                if self.target is None:
                    assert outcome == self.results.measure.value_text(mean(best.ends))
                elif best.spent:
                    assert outcome == "not reached"
                else:
                    assert outcome == f"{self.goal} in {time_text(best.time)}"

    def too_soon(self, label: str, parts: str) -> None:
        (key,) = (key for key in self.tuned if self.results.key_labels[key] == label)
        every = {dict(one.key.grid)[key] for one in self.results.series}
        assert len(every) >= 3
        for part in parts.split(", "):
            method, value = re.fullmatch(r"(\S+) \((.+)\)", part).groups()
            numbers = [grid_number(text)[0] for text in every]
            assert grid_number(value)[0] in (min(numbers), max(numbers))
            values = self._values(method, key)
            assert 2 * sum(here == {value} for here in values) > len(values)

    def shared(self, label: str, values: str) -> None:
        (key,) = (key for key in self.tuned if self.results.key_labels[key] == label)
        assert values.split(" or ") == self.nobodys(key)

    def cheapest(self, what: str, goal: str, who: str, amount: str, unit: str) -> None:
        tariff = self.results.tariff
        of = tariff.money if what == "Cheapest" else tariff.energy_kwh
        assert goal == self.goal and unit == (tariff.currency if what == "Cheapest" else "kWh")
        (cases,) = self.networks.values()
        column = self.results.measure.column
        amounts = []
        for one in cases:
            if one.whole:
                hits = [next(i for i, v in enumerate(seed[column]) if self._met(v)) for seed in one.series]
                each = [of(seed, hit) for seed, hit in zip(one.series, hits)]
                if None not in each:
                    amounts.append((mean(each), one))
        least = min(cost for cost, _ in amounts)
        assert amount == number(least)
        assert any(who.startswith(one.text) for cost, one in amounts if math.isclose(cost, least))


RULES = [
    (r"Of (\d+) (networks|points of the grid), (.+?): (.+)\.", Claims.ranking),
    (
        r"Where (.+) is first, it is (\S+)(?: to (\S+))? times sooner than the next method"
        r"(?: \(at half of these (\S+) or more\))?(; .+)?\.",
        Claims.lead,
    ),
    (r"(At all of these|At \d+ of its \d+) no other method gets there with every seed\.", Claims.without_rival),
    (
        r"No method reaches (.+?) with every seed(?: at any of (\d+) (networks|points of the grid))?\.",
        Claims.nobody,
    ),
    (r"No method ends with every seed at any of (\d+) (networks|points of the grid)\.", Claims.no_end),
    (r"Every method diverged\.", Claims.diverged),
    (
        r"(.+?) ends best, at (.+?)(?:; next (.+), at (.+))?"
        r"\. No target is stated, so nothing is said on time to it\.",
        Claims.ends,
    ),
    (
        r"(.+?) meets? (.+?) at the start, untrained(?:, at each of (\d+) (networks|points of the grid))?\.",
        Claims.at_start,
    ),
    (r"([^O].+?) reaches (.+) in (\S+ \S+)\.", Claims.reaches),
    (
        r"Only (.+) reaches (.+) with every seed(?:, soonest over (.+))?, in (\S+ \S+?)"
        r"(?: \(trained for less time than that, so that nobody knows when they would: (.+)\))?\.",
        Claims.only,
    ),
    (
        r"(.+) reaches (.+) first, in (\S+ \S+): ((?:too close|\S+ sooner).+? \([^)]+\))"
        r"(?:, (.+)× sooner than the baseline at its best, (.+?))?"
        r"(?: \(trained for less time than that, so that nobody knows when they would: (.+)\))?\.",
        Claims.first_of_several,
    ),
    (r"(\S+) against (\S+): (.+)\.", Claims.against),
    (r"The answer flips( at .+?)?: (.+)\.", Claims.flip),
    (r"Compared at each method's best settings of the grid: (.+)\.", Claims.best_settings),
    (r"The grid may end too soon: its outermost (.+?) is the best of (.+)\.", Claims.too_soon),
    (r"Do not compare methods at a shared (.+) of (.+): it is best for none of them\.", Claims.shared),
    (r"(Cheapest|With the least energy) at (.+?): (.+), (\S+) (\S+)\.", Claims.cheapest),
]
"""Every sentence there is, and what checks the words in brackets."""
