"""A verdict in words: who is first and by how much, over what, where that flips, and at which settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

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
        if at_once := self._at_start_of(networks):
            return [f"{self._met_at_start(at_once)}, at each of {len(networks)} {self._places}."]
        firsts = [self.verdict.first(network) for network in networks]
        counts = Counter(firsts)
        if set(counts) == {None}:
            if self.verdict.target is None:
                return [f"No method ends with every seed at any of {len(networks)} {self._places}."]
            return [f"No method reaches {self._goal} with every seed at any of {len(networks)} {self._places}."]
        ranking = ", ".join(f"{one.text if one else 'nobody'} at {many}" for one, many in counts.most_common())
        what = f"first at {self._goal}" if self.verdict.target is not None else "best at the end"
        said = [f"Of {len(networks)} {self._places}, {what}: {ranking}."]
        leader = next(one for one, _ in counts.most_common() if one is not None)
        led_at = [network for network, who in zip(networks, firsts, strict=True) if who == leader]
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

    def _lead(self, network: Pairs) -> float | None:
        """How many times sooner the first is than the next of another method; None also where that did not get there,
        so that nobody knows."""
        best, other = self._leader_and_next(network)
        if other is None or best.reach is None or other.reach is None:
            return None
        ratio = sooner(best.reach, other.reach)
        return ratio.value if ratio is not None and ratio.bound == "=" else None

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
            return self._ends(network, best, other)
        if best.reach.spent:
            return f"No method reaches {self._goal} with every seed."
        if not best.reach.at_least:
            return f"{self._met_at_start(self._at_start(network))}."
        need = time_text(best.reach.at_least)
        if other is None:
            return f"{best.choice.text} reaches {self._goal} in {need}."
        assert other.reach is not None
        shorter = self._trained_shorter(network, best.reach)
        if other.reach.spent:  # it has no rival: that it came first would say nothing
            return f"Only {self._alone(network, best)}, in {need}{shorter}."
        compared = self._compared(best.reach, other)
        return (
            f"{best.choice.text} reaches {self._goal} first, in {need}: {compared}"
            f"{self._over_baseline(network, best, other)}{shorter}."
        )

    def _at_start(self, network: Pairs) -> list[str]:
        """Who meets the target before the first round."""
        found = self.verdict.best[network]
        return [one.choice.text for one in found if one.reach and not one.reach.spent and not one.reach.at_least]

    def _at_start_of(self, networks: Sequence[Pairs]) -> list[str]:
        """Who does at all of these."""
        first, *others = (self._at_start(network) for network in networks)
        return [name for name in first if all(name in there for there in others)]

    def _met_at_start(self, names: Sequence[str]) -> str:
        return f"{', '.join(names)} meet{'' if len(names) > 1 else 's'} {self._goal} at the start, untrained"

    def _alone(self, network: Pairs, best: Found) -> str:
        """Who gets there with every seed when no other method does, perhaps over other transports, too."""
        own = [one for one in self.verdict.best[network] if one.choice.method == best.choice.method and one is not best]
        if any(one.reach is not None and not one.reach.spent for one in own):
            soonest = transport_text(best.choice.transport)
            return f"{best.choice.method} reaches {self._goal} with every seed, soonest over {soonest}"
        return f"{best.choice.text} reaches {self._goal} with every seed"

    def _ends(self, network: Pairs, best: Found, other: Found | None) -> str:
        """Whose last value is best, where there is no target."""
        if best.final is None:
            return "Every method diverged."
        first = self.verdict.first(network)
        who = best.choice.text if first is None else first.text
        text = f"{who} ends best, at {self._end(best)}"
        if other is not None and other.final is not None:
            next_one = other.choice.method if first and first.transport is None else other.choice.text
            text += f"; next {next_one}, at {self._end(other)}"
        return f"{text}. No target is stated, so nothing is said on time to it."

    def _end(self, one: Found) -> str:
        assert one.final is not None
        lost = f" ({one.lost} of its {len(one.series)} seeds diverged)" if one.lost else ""
        return self.results.measure.value_text(one.final.mean) + lost

    def _trained_shorter(self, network: Pairs, mine: Reach) -> str:
        """Who ended in vain before the first got there: with more training it might have been sooner."""
        ended = {}
        for one in self.verdict.best[network]:
            spent = [] if one.reach is None else list(one.reach.spent.values())
            if spent and max(spent) < mine.at_least:
                ended[one.choice] = sum(spent) / len(spent)
        if not ended:
            return ""
        counts = Counter(one.choice.method for one in self.verdict.best[network])
        names = ", ".join(
            f"{choice.method if counts[choice.method] == 1 else choice.text} after {time_text(seconds)}"
            for choice, seconds in ended.items()
        )
        return f" (trained for less time than that, so that nobody knows when they would: {names})"

    def _compared(self, mine: Reach, other: Found) -> str:
        assert other.reach is not None
        their_time = time_text(other.reach.at_least)
        if too_close(mine, other.reach):
            return f"too close to tell from {other.choice.text} ({their_time})"
        ratio = sooner(mine, other.reach)
        if ratio is None:  # of an unfinished run, which may have other seeds of either
            return f"the next method is {other.choice.text} ({their_time}), with other seeds so far"
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
        wins: Counter[Transport] = Counter()
        alone: Counter[Transport] = Counter()
        close = 0
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
            if ratio.bound != "=":
                alone[one if ratio.bound == ">" else other] += 1
            elif too_close(first, second):
                close += 1
            else:
                wins[one if ratio.value >= 1 else other] += 1
                ratios.append(max(ratio.value, 1 / ratio.value))
        total = wins.total() + alone.total() + close
        if not total:
            return ""
        if total == 1:
            if close:
                return f"{method} the same, or too close to tell"
            (name,) = wins or alone
            if alone:
                return f"{method} gets there with every seed over {transport_text(name)} alone"
            return f"{method} is {ratios[0]:.3g} times sooner over {transport_text(name)}"
        said = [f"{transport_text(name)} at {many}" for name, many in wins.most_common()]
        said[:1] = [f"sooner over {text}" for text in said[:1]]
        said += [f"there over {transport_text(name)} alone at {many}" for name, many in alone.most_common()]
        said += [f"the same, or too close to tell, at {close}"] if close else []
        times = f" (up to {max(ratios):.3g} times)" if ratios else ""
        return f"{method} is {', '.join(said)} of {total} {self._places}{times}"

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
        equals: dict[str, list[list[Choice]]] = {}
        for network, found in self.verdict.best.items():
            for one in found:
                bests.setdefault(one.choice.method, Counter())[self._own(one.choice)] += 1
                as_good = [each.choice for each in self.verdict.as_good(network, one)]
                equals.setdefault(one.choice.method, []).append(as_good)
        bests = {method: bests[method] for method in self.results.methods if method in bests}
        equals = {method: equals[method] for method in bests}
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
            if at_end := self._at_ends(key, values, equals):
                said.append(f"The grid may end too soon: its outermost {label} is the best of {at_end}.")
            if key.startswith("methods."):
                continue
            used = {dict(one.settings)[key] for every in equals.values() for as_good in every for one in as_good}
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

    def _at_ends(self, key: str, values: Sequence[str], equals: dict[str, list[list[Choice]]]) -> str:
        """Methods whose best value is the least or the largest of three or more numbers, with none as good within;
        where that differs, at most of the places where they are compared."""
        known = {text: number for text in values if (number := grid_number(text)) is not None}
        if len(known) < max(3, len(values)):
            return ""
        ends = min(known, key=lambda text: known[text]), max(known, key=lambda text: known[text])
        found = {}
        for method, every in equals.items():
            if not self._is_of(key, method):
                continue
            values_at = [{dict(one.settings)[key] for one in as_good} for as_good in every]
            for end in ends:
                if 2 * sum(here == {end} for here in values_at) > len(every):
                    found[method] = end
        return ", ".join(f"{method} ({best})" for method, best in found.items())

    def _own(self, choice: Choice) -> Pairs:
        """Those settings that are this method's: all but other methods'."""
        return tuple(pair for pair in choice.settings if self._is_of(pair[0], choice.method))

    def _is_of(self, key: str, method: str) -> bool:
        return not key.startswith(tuple(f"methods.{name}." for name in self.results.methods if name != method))

    def _setting(self, key: str, value: str) -> str:
        return f"{self.results.key_labels[key].removeprefix('methods ')} {value}"

    # What it costs.

    def bills(self) -> list[str]:
        """Who gets to the target with the least money and the least energy, on one network where these are stated."""
        tariff, networks = self.results.tariff, list(self.verdict.found.values())
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
                with_these = [self._setting(*pair) for pair in self._own(least.choice)]
                who = ", ".join([least.choice.text, *with_these])
                said.append(f"{what} at {self._goal}: {who}, {number(known[least])} {unit}.")
        return said

    def _mean_to_target(self, one: Found, of: Callable[[Series, int | None], float | None]) -> float | None:
        assert self.verdict.target is not None
        amounts = [of(seed, seed.first_reaching(self.results.measure, self.verdict.target)) for seed in one.series]
        known = [amount for amount in amounts if amount is not None]
        return sum(known) / len(known) if known and len(known) == len(amounts) else None


def _title(transport: Transport) -> str:
    text = transport_text(transport)
    return text[:1].upper() + text[1:]
