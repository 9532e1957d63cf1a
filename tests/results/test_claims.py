"""Every sentence of every verdict is true of the results that it is about; see :mod:`tests.results.claims`."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.transport import Transport
from simgmc.results.directory.records import RUN_KEY, SeriesKey
from simgmc.results.series.curves import best_at_end, sweep_finding
from simgmc.results.series.measures import ACCURACY, LOSS, Measure
from simgmc.results.series.read import Results, Series, compared_at
from simgmc.results.series.sentences import sentences
from simgmc.results.series.tariff import Power, Tariff
from simgmc.results.series.verdict import Verdict
from tests.results.claims import Claims
from tests.results.synthetic_runs import breakdown

AXES = {
    "cluster.bandwidth": ["10 Mbit/s", "1 Mbit/s", "1 Gbit/s"],
    "cluster.latency": ["0 s", "20 ms"],
    "cluster.topology": ["star", "fat-tree"],
    "optimizer.learning_rate": ["0.4", "0.1", "0.2"],
    "methods.GMC.density": ["0.1", "0.01", "0.001"],
    "workload.workers": ["4", "8"],
}
TARIFF = Tariff(4, "USD", 1.0, 2.0, Power(100, 50, 10))


@dataclass(frozen=True)
class Outcome:
    """What became of a series: a value every so many seconds, of a loss what is missing to 1."""

    step: float
    values: tuple[float, ...]
    diverged: int | None = None

    def series(self, key: SeriesKey, measure: Measure) -> Series:
        values = np.array(self.values) if measure.higher_is_better else 1 - np.array(self.values)
        times = self.step * np.arange(len(values))
        columns = {"sim_time_s": times, measure.column: values, "bytes_up": times * 1e9, "bytes_down": times * 1e9}
        done = replace(breakdown(10, float(times[-1]), 1000, "ring"), diverged=self.diverged)
        return Series(key, columns, done)


VALUES = st.sampled_from(
    [
        (0.1, 0.9),
        (0.1, 0.3, 0.9),
        (0.1, 0.3, 0.4, 0.8),
        (0.1, 0.4),
        (0.1, 0.2, 0.3),
        (0.1, math.nan),
        (0.9, 0.95),
        (0.1,),
    ]
)
OUTCOMES = st.builds(Outcome, st.sampled_from([1.0, 1.1, 2.0, 7.0]), VALUES, st.sampled_from([None] * 9 + [3]))
SOME = {"min_size": 1, "unique": True}


@st.composite
def found(draw):
    """Results over up to three axes, descending and unsorted ones too, with outcomes that come again and so tie."""
    methods = draw(st.lists(st.sampled_from(["DMSGD", "GMC", "DGC"]), **SOME))
    over = draw(st.lists(st.sampled_from(["parameter-server", "ring", "tree"]), **SOME))
    keys = draw(st.lists(st.sampled_from(list(AXES)), max_size=3, unique=True))
    seeds, measure = range(draw(st.integers(1, 2))), draw(st.sampled_from([ACCURACY, LOSS]))
    outcomes = draw(st.lists(OUTCOMES, min_size=1, max_size=11))
    series = [
        (method, Transport("collective", name), seed, dict(zip(keys, values)))
        for values in itertools.product(*(AXES[key] for key in keys))
        for name in over for method in methods for seed in seeds
    ]  # fmt: skip
    made = (outcomes[place % len(outcomes)].series(SeriesKey(*one), measure) for place, one in enumerate(series))
    return results_of(made, methods, measure, draw(st.sampled_from([None, TARIFF])))


def results_of(series, methods, measure=ACCURACY, tariff=None):
    series = tuple(series)
    return Results(series, tuple(methods), compared_at(series), measure, tariff)


def hold(results, target, with_baseline):
    baseline = results.methods[0] if with_baseline else None
    Claims(results, target, baseline).check(sentences(Verdict(results, target, baseline)))


TARGETS = st.sampled_from([0.5, 0.5, None])


@given(found(), TARGETS, st.booleans())
def test_every_sentence_is_true(results, target, with_baseline):
    hold(results, target, with_baseline)


@pytest.mark.slow
@settings(max_examples=500)
@given(found(), TARGETS, st.booleans())
def test_every_sentence_of_many_is_true(results, target, with_baseline):
    hold(results, target, with_baseline)


def meets_after(seconds: float) -> Outcome:
    return Outcome(seconds / 10, (0.1,) * 10 + (0.9,))


GOOD, EARLY, VAIN = meets_after(1.0), Outcome(0.2, (0.1, 0.3)), Outcome(1.0, (0.1, 0.3))
BLOWN = Outcome(0.1, (0.1, 0.1), diverged=1)


def told_of(by, key=None, target=0.5, seeds=(0,)):
    """What is told of outcomes by (method, collective), or by (method, value of the key) over a ring."""
    series = [
        outcome.series(SeriesKey(method, Transport("collective", "ring" if key else where), seed,
                                 {key: where} if key else {}), ACCURACY)
        for (method, where), several in by.items()
        for seed, outcome in zip(seeds, several if isinstance(several, list) else [several])
    ]  # fmt: skip
    return sentences(Verdict(results_of(series, dict.fromkeys(method for method, _ in by)), target, None))


def test_a_setting_that_ends_soon_because_it_diverges_is_not_the_best_one():
    rates = {"0.1": Outcome(1.0, (0.1, 0.4)), "0.2": VAIN, "10": BLOWN}
    told = told_of({("SGD", rate): outcome for rate, outcome in rates.items()}, "optimizer.learning_rate")
    assert told[1] == "Compared at each method's best settings of the grid: SGD learning rate 0.1 (not reached)."


def test_a_shared_rate_as_good_as_the_best_is_not_said_to_be_best_for_none():
    by = {("SGD", rate): GOOD for rate in ("0.1", "0.2", "0.4")}
    assert not [text for text in told_of(by, "optimizer.learning_rate") if text.startswith(("The grid", "Do not"))]


def test_who_gets_there_over_several_collectives_is_not_said_to_do_so_over_one_alone():
    (told, _) = told_of({("GMC", "ring"): GOOD, ("GMC", "tree"): meets_after(2.0), ("SGD", "ring"): EARLY})
    assert told.startswith("Only GMC reaches 50 % with every seed, soonest over ring, in 1.00 s (trained for less time")


def test_a_seed_that_trained_longer_than_the_first_needed_is_not_said_to_have_trained_for_less():
    by = {("GMC", "ring"): [GOOD, GOOD], ("SGD", "ring"): [meets_after(0.1), Outcome(1.5, (0.1, 0.3))]}
    assert told_of(by, seeds=(0, 1)) == ["Only GMC over ring reaches 50 % with every seed, in 1.00 s."]


def test_how_many_times_sooner_is_told_of_those_alone_that_got_there():
    by = {("GMC", "1 ms"): GOOD, ("SGD", "1 ms"): meets_after(3.0), ("GMC", "9 ms"): GOOD}
    by |= {("SGD", "9 ms"): Outcome(50.0, (0.1, 0.3))}
    assert told_of(by, "cluster.latency")[1:] == [
        "Where GMC over ring is first, it is 3 times sooner than the next method.",
        "At 1 of its 2 no other method gets there with every seed.",
    ]


def test_without_a_target_the_network_is_not_praised_for_what_it_has_no_part_in():
    by = {
        (method, over): outcome for method, outcome in {"GMC": GOOD, "SGD": VAIN}.items() for over in ("ring", "tree")
    }
    assert told_of(by, target=None)[0].startswith("GMC ends best, at 90 %; next SGD, at 30 %.")
    by |= {("GMC", over): BLOWN for over in ("ring", "tree")} | {("SGD", over): BLOWN for over in ("ring", "tree")}
    assert told_of(by, target=None) == ["Every method diverged."]
    latencies = {("GMC", "1 ms"): BLOWN, ("GMC", "9 ms"): BLOWN}
    assert told_of(latencies, "cluster.latency", None) == ["No method ends with every seed at any of 2 networks."]


def test_an_unfinished_run_may_have_other_seeds_of_either_method():
    series = [GOOD.series(SeriesKey("GMC", Transport("collective", "ring"), 0, {}), ACCURACY)]
    series += [meets_after(7.0).series(SeriesKey("SGD", Transport("collective", "ring"), 1, {}), ACCURACY)]
    (told,) = sentences(Verdict(results_of(series, ["GMC", "SGD"]), 0.5, None))
    assert "the next method is SGD over ring (7.00 s), with other seeds so far" in told


def test_runs_whose_names_are_numbers_are_no_axis_along_which_the_answer_flips():
    told = told_of({("GMC", "1"): GOOD, ("SGD", "1"): VAIN, ("GMC", "2"): VAIN, ("SGD", "2"): GOOD}, RUN_KEY)
    assert not [text for text in told if "flips" in text]


def test_titles_do_not_say_of_no_seed_what_holds_of_some():
    some = {0: GOOD, 1: BLOWN}
    series = [
        outcome.series(SeriesKey("SGD", Transport("collective", "ring"), seed, {"cluster.latency": latency}), ACCURACY)
        for latency in ("1 ms", "9 ms") for seed, outcome in some.items()
    ]  # fmt: skip
    results = results_of(series, ["SGD"])
    assert sweep_finding(results, results.points, ["1 ms", "9 ms"], 0.5, None) == "no method reaches 50 % on every seed"
    assert best_at_end(results, results.points[0]) == "no method ends with a finite value on every seed"


def test_values_in_bits_and_bytes_are_one_axis_in_its_order():
    by = {("GMC", text): VAIN if text == "10 Mbit/s" else GOOD for text in ("10 Mbit/s", "1 MB/s", "2 Mbit/s")}
    assert told_of(by, "cluster.bandwidth")[-1] == (
        "The answer flips: between bandwidth 1 MB/s and 10 Mbit/s from GMC over ring to nobody."
    )
