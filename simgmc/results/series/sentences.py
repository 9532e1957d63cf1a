"""A verdict in words: who is first and by how much, over what, where that flips, and at which settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from simgmc.core.quantities import number, time_text
from simgmc.core.transport import Transport
from simgmc.core.units import grid_number
from simgmc.results.series.reach import Reach, advantage, sooner, too_close
from simgmc.results.series.read import Series, transport_text
from simgmc.results.series.verdict import Choice, Found, Pairs, Verdict

MAX_KEYS = 3
"""Numeric keys of the grid along which it is said where the answer flips."""


def sentences(verdict: Verdict) -> list[str]:
    """A sentence or two for each question that the run can answer."""
    told = _Told(verdict)
    if not verdict.results.series:
        return []
    return [*told.overall(), *told.transports(), *told.flips(), *told.settings(), *told.bills()]


class _Told:
    """The sentences of one verdict."""

    def __init__(self, verdict: Verdict):
        self.verdict, self.results = verdict, verdict.results

    # Who is first, and by how much.

    def overall(self) -> list[str]:
        networks = list(self.verdict.best)
        if len(networks) == 1:
            return [self._at(networks[0])]
        firsts = [self.verdict.first(network) for network in networks]
        counts = Counter(None if one is None else replace(one, settings=()) for one in firsts)
        if set(counts) == {None}:
            return [f"No method reaches {self._goal} with every seed at any of {len(networks)} {self._places}."]
        ranking = ", ".join(f"{one.text if one else 'nobody'} at {many}" for one, many in counts.most_common())
        what = f"first at {self._goal}" if self.verdict.target is not None else "best at the end"
        said = [f"Of {len(networks)} {self._places}, {what}: {ranking}."]
        leader = next(one for one, _ in counts.most_common() if one is not None)
        led_at = [network for network in networks if self._leads(network, leader)]
        led = [self._lead(network) for network in led_at]
        if known := sorted(value for value in led if value is not None):
            least, most = f"{known[0]:.3g}", f"{known[-1]:.3g}"
            times = f"{least} to {most} times" if least != most else f"{least} times"
            middle = f" (at half of these {known[len(known) // 2]:.3g} or more)" if len(known) > 2 else ""
            near = sum(self._near(network) for network in led_at)
            close = f"; too close to tell at {near} of its {len(led_at)}" if near else ""
            said.append(f"Where {leader.text} is first, it is {times} sooner than the next method{middle}{close}.")
        rivals = [self._leader_and_next(network)[1] for network in led_at]
        if alone := sum(one is not None and one.reach is not None and bool(one.reach.spent) for one in rivals):
            where = "At all of these" if alone == len(led_at) > 1 else f"At {alone} of its {len(led_at)}"
            said.append(f"{where} no other method gets there with every seed.")
        return said

    @property
    def _places(self) -> str:
        """What choices are compared at, in the plural."""
        keys = [key for key in self.results.varying if key not in self.verdict.tuned]
        return "networks" if all(key.startswith("cluster.") for key in keys) else "points of the grid"

    def _leads(self, network: Pairs, leader: Choice) -> bool:
        first = self.verdict.first(network)
        return first is not None and (first.method, first.transport) == (leader.method, leader.transport)

    def _lead(self, network: Pairs) -> float | None:
        """How many times sooner the first is than the next of another method."""
        best, other = self._leader_and_next(network)
        if other is None or best.reach is None or other.reach is None:
            return None
        ratio = sooner(best.reach, other.reach)
        return None if ratio is None else ratio.value

    def _near(self, network: Pairs) -> bool:
        """Whether nobody can tell the first from the next."""
        best, other = self._leader_and_next(network)
        return bool(best.reach and other and other.reach and too_close(best.reach, other.reach))

    def _leader_and_next(self, network: Pairs) -> tuple[Found, Found | None]:
        best, *rest = self.verdict.best[network]
        return best, next((one for one in rest if one.choice.method != best.choice.method), None)

    @property
    def _goal(self) -> str:
        assert self.verdict.target is not None
        return self.results.measure.value_text(self.verdict.target)

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
        if not best.reach.at_least:
            found = self.verdict.best[network]
            there = [one.choice.text for one in found if one.reach is not None and not one.reach.at_least]
            return f"{', '.join(there)} meet{'' if len(there) > 1 else 's'} {self._goal} at the start, untrained."
        need = time_text(best.reach.at_least)
        if other is None:
            return f"{best.choice.text} reaches {self._goal} in {need}."
        assert other.reach is not None
        shorter = self._trained_shorter(network, best.reach)
        if other.reach.spent:  # it has no rival: that it came first would say nothing
            return f"Only {best.choice.text} reaches {self._goal} with every seed, in {need}{shorter}."
        compared = self._compared(best.reach, other)
        return (
            f"{best.choice.text} reaches {self._goal} first, in {need}: {compared}"
            f"{self._over_baseline(network, best, other)}{shorter}."
        )

    def _trained_shorter(self, network: Pairs, mine: Reach) -> str:
        """Who ended in vain before the first got there: with more training it might have been sooner."""
        ended = {}
        for one in self.verdict.best[network]:
            if one.reach is not None and one.reach.spent and one.reach.at_least < mine.at_least:
                ended.setdefault(one.choice.method, one.reach.at_least)
        if not ended:
            return ""
        names = ", ".join(f"{method} after {time_text(seconds)}" for method, seconds in ended.items())
        return f" (trained for less time than that, so that nobody knows when they would: {names})"

    def _compared(self, mine: Reach, other: Found) -> str:
        assert other.reach is not None
        their_time = time_text(other.reach.at_least)
        if too_close(mine, other.reach):
            return f"too close to tell from {other.choice.text} ({their_time})"
        ratio = sooner(mine, other.reach)
        assert ratio is not None  # both got there, and mine is first
        return f"{ratio.text} sooner than the next method, {other.choice.text} ({their_time})"

    def _over_baseline(self, network: Pairs, best: Found, other: Found) -> str:
        baseline = self.verdict.baseline
        base = next((one for one in self.verdict.best[network] if one.choice.method == baseline), None)
        if base is None or base.choice.method in (best.choice.method, other.choice.method):
            return ""
        assert best.reach is not None and base.reach is not None
        ratio = sooner(best.reach, base.reach)
        return "" if ratio is None else f", {ratio.text} sooner than the baseline at its best, {base.choice.text}"

    # One collective against another.

    def transports(self) -> list[str]:
        """Every two collectives side by side: over which one each method is sooner."""
        choices = [one.choice for found in self.verdict.best.values() for one in found]
        names = list(dict.fromkeys(one.transport for one in choices if one.transport.is_collective))
        if self.verdict.target is None or len(names) < 2:
            return []
        said = []
        for place, one in enumerate(names):
            for other in names[place + 1 :]:
                parts = [text for method in self.results.methods if (text := self._between(method, one, other))]
                if parts:
                    said.append(f"{_title(one)} against {transport_text(other)}: {'; '.join(parts)}.")
        return said

    def _between(self, method: str, one: Transport, other: Transport) -> str:
        """Over which of two collectives a method is sooner."""
        wins: Counter[Transport | None] = Counter()
        ratios: list[float] = []
        for found in self.verdict.best.values():
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

    def flips(self) -> list[str]:
        said = []
        for key in self.verdict.numeric[:MAX_KEYS]:
            for rest in self.verdict.spoken(key):
                here = [flip for flip in self.verdict.flips if flip.key == key and flip.rest == rest]
                where = self.verdict.place(rest)
                if here:
                    said.append(f"The answer flips{where}: " + "; ".join(map(self.verdict.flip_text, here)) + ".")
        return said

    # Settings of methods.

    def settings(self) -> list[str]:
        """Each method at the best of its own settings; settings that all share and that are best for none."""
        tuned = self.verdict.tuned
        if not tuned:
            return []
        said = []
        bests: dict[str, Counter[Pairs]] = {}
        for found in self.verdict.best.values():
            for one in found:
                bests.setdefault(one.choice.method, Counter())[self._own(one.choice)] += 1
        bests = {method: bests[method] for method in self.results.methods if method in bests}
        texts = []
        for method, counts in bests.items():
            settings, many = counts.most_common(1)[0]
            if settings:
                share = "" if many == sum(counts.values()) else f" (at {many} of {sum(counts.values())})"
                what = ", ".join(self._setting(*pair) for pair in settings)
                texts.append(f"{method} {what}{share or self._outcome(method)}")
        if texts:
            said.append(f"Compared at each method's best settings of the grid: {'; '.join(texts)}.")
        for key in tuned:
            values = list(dict.fromkeys(dict(one.choice.settings)[key] for one in self._all_found))
            label = self.results.key_labels[key]
            if at_end := self._at_ends(key, values, bests):
                said.append(f"The grid may end too soon: its outermost {label} is the best of {at_end}.")
            if key.startswith("methods."):
                continue
            used = {dict(settings).get(key) for counts in bests.values() for settings in counts}
            none = [value for value in values if value not in used]
            if none:
                shared = f"a shared {label} of {' or '.join(none)}"
                said.append(f"Do not compare methods at {shared}: it is best for none of them.")
        return said

    @property
    def _all_found(self) -> list[Found]:
        return [one for found in self.verdict.found.values() for one in found]

    def _outcome(self, method: str) -> str:
        """What it comes to at its best, where there is one network: `` (90 % in 12 s)``."""
        networks = list(self.verdict.best.values())
        if len(networks) > 1:
            return ""
        one = next(one for one in networks[0] if one.choice.method == method)
        if one.reach is None:
            return "" if one.final is None else f" ({self.results.measure.value_text(one.final.mean)})"
        return " (not reached)" if one.reach.spent else f" ({self._goal} in {time_text(one.reach.at_least)})"

    def _at_ends(self, key: str, values: Sequence[str], bests: dict[str, Counter[Pairs]]) -> str:
        """Methods whose best value is the least or the largest of three or more numbers."""
        known = {text: number for text in values if (number := grid_number(text)) is not None}
        if len(known) < max(3, len(values)):
            return ""
        ends = min(known, key=lambda text: known[text]), max(known, key=lambda text: known[text])
        found = {}
        for method, counts in bests.items():
            best = dict(counts.most_common(1)[0][0]).get(key)
            if best in ends:
                found[method] = best
        return ", ".join(f"{method} ({best})" for method, best in found.items())

    def _own(self, choice: Choice) -> Pairs:
        """Those settings that are this method's: all but other methods'."""
        others = tuple(f"methods.{name}." for name in self.results.methods if name != choice.method)
        return tuple(pair for pair in choice.settings if not pair[0].startswith(others))

    def _setting(self, key: str, value: str) -> str:
        return f"{self.results.key_labels[key].removeprefix('methods ')} {value}"

    # What it costs.

    def bills(self) -> list[str]:
        """Who gets to the target with the least money and the least energy, on one network where these are stated."""
        tariff, networks = self.results.tariff, list(self.verdict.best.values())
        if tariff is None or self.verdict.target is None or len(networks) != 1:
            return []
        there = [one for one in networks[0] if one.reach is not None and one.reach.needed and not one.reach.spent]
        said = []
        for what, unit, of in (
            ("Cheapest", tariff.currency, tariff.money),
            ("With the least energy", "kWh", tariff.energy_kwh),
        ):
            needed = {one: self._mean_to_target(one, of) for one in there}
            known = {one: amount for one, amount in needed.items() if amount is not None}
            if known:
                least = min(known, key=lambda one: known[one])
                said.append(f"{what} at {self._goal}: {least.choice.text}, {number(known[least])} {unit}.")
        return said

    def _mean_to_target(self, one: Found, of: Callable[[Series, int | None], float | None]) -> float | None:
        assert self.verdict.target is not None
        amounts = [of(seed, seed.first_reaching(self.results.measure, self.verdict.target)) for seed in one.series]
        known = [amount for amount in amounts if amount is not None]
        return sum(known) / len(known) if known and len(known) == len(amounts) else None


def _title(transport: Transport) -> str:
    text = transport_text(transport)
    return text[:1].upper() + text[1:]
