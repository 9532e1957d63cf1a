import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.transport import Transport
from simgmc.results.directory.records import SeriesKey
from simgmc.results.figures import panels
from simgmc.results.figures.bars import target_bars
from simgmc.results.series.curves import curve, finding, sweep_finding
from simgmc.results.series.measures import ACCURACY, LOSS, MEASURES
from simgmc.results.series.reach import Reach, Spread, advantage, too_close
from simgmc.results.series.read import ComparisonPoint, Results, Series, read_results, value_text
from tests.results.synthetic_runs import accuracy_curve, write_run

RING = Transport("collective", "ring")
POINT = ComparisonPoint(RING)


def series(times, accuracies, *, method="GMC", seed=0, losses=None) -> Series:
    times = np.array(times, dtype=float)
    columns = {
        "sim_time_s": times,
        "epoch": np.arange(len(times), dtype=float),
        "bytes_up": 100 * times,
        "test_accuracy": np.array(accuracies, dtype=float),
        "test_loss": np.array(losses if losses is not None else accuracies, dtype=float),
    }
    return Series(SeriesKey(method, RING, seed), columns, None)


def results(*many: Series, measure=ACCURACY) -> Results:
    return Results(many, tuple(dict.fromkeys(one.key.method for one in many)), (POINT,), measure)


def test_the_target_is_met_at_the_first_evaluation_at_or_above_it():
    one = series([0, 10, 20, 30], [0.1, 0.8, 0.79, 0.9])
    assert one.first_reaching(ACCURACY, 0.8) == 1
    assert one.first_reaching(ACCURACY, 0.81) == 3
    assert one.first_reaching(ACCURACY, 0.95) is None


def test_a_target_loss_is_met_at_or_below_it():
    one = series([0, 10, 20], [math.nan] * 3, losses=[2.3, 0.5, 0.4])
    assert one.first_reaching(LOSS, 0.5) == 1
    assert one.first_reaching(LOSS, 0.1) is None


def test_a_diverged_model_never_meets_a_target():
    assert series([0, 10], [math.nan, math.nan]).first_reaching(ACCURACY, 0.0) is None


def test_between_evaluations_the_earlier_one_counts():
    one = series([0, 10, 20], [0.1, 0.5, 0.9])
    at = np.array([-1.0, 0.0, 9.99, 10.0, 19.0, 20.0, 99.0])
    assert np.array_equal(
        one.previous_value("test_accuracy", "sim_time_s", at), [math.nan, 0.1, 0.1, 0.5, 0.5, 0.9, 0.9], equal_nan=True
    )


def test_a_spread_is_a_mean_and_a_sample_deviation():
    assert Spread.of([1.0, 2.0, 3.0]) == Spread(2.0, 1.0, 3)
    assert Spread.of([5.0]) == Spread(5.0, None, 1)
    assert Spread.of([]) is None


def test_seeds_that_miss_the_target_are_counted_and_not_averaged():
    run = results(series([0, 10, 20], [0.1, 0.9, 0.9]), series([0, 12, 24], [0.1, 0.2, 0.3], seed=1))
    reach = run.reach("GMC", POINT, 0.8)
    assert (reach.needed, reach.spent) == ({0: 10.0}, {1: 24.0})
    assert reach.spread == Spread(10.0, None, 1)
    assert reach.at_least == 17.0
    assert run.reach("GMC", POINT, 0.8, "bytes_up").needed == {0: 1000.0}


@pytest.mark.parametrize(
    "of, over, ratio",
    [
        (Reach({0: 10.0, 1: 20.0}, {}), Reach({0: 30.0, 1: 60.0}, {}), (3.0, "=")),
        (Reach({0: 10.0}, {}), Reach({}, {0: 50.0}), (5.0, ">")),
        (Reach({}, {0: 10.0}), Reach({0: 50.0}, {}), (5.0, "<")),
        (Reach({0: 10.0}, {1: 10.0}), Reach({0: 50.0}, {1: 50.0}), None),
        (Reach({0: 10.0}, {}), Reach({1: 10.0}, {}), None),
        (Reach({0: 10.0}, {}), Reach({0: 30.0, 1: 90.0}, {}), (3.0, "=")),
        (Reach({0: 0.0}, {}), Reach({0: 0.0}, {}), None),
    ],
)
def test_a_speed_up_is_exact_or_an_honest_bound_or_nothing(of, over, ratio):
    found = advantage(of, over)
    assert (found and (found.value, found.bound)) == ratio


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100), st.booleans(), st.booleans()), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=4, max_size=4),
)
def test_whatever_the_unmet_seeds_would_have_needed_the_bound_holds(seeds, more):
    of = Reach(
        {i: a for i, (a, _, met, _) in enumerate(seeds) if met},
        {i: a for i, (a, _, met, _) in enumerate(seeds) if not met},
    )
    over = Reach(
        {i: b for i, (_, b, _, met) in enumerate(seeds) if met},
        {i: b for i, (_, b, _, met) in enumerate(seeds) if not met},
    )
    ratio = advantage(of, over)
    mine = sum(a + (0 if met else more[i][0]) for i, (a, _, met, _) in enumerate(seeds))
    theirs = sum(b + (0 if met else more[i][1]) for i, (_, b, _, met) in enumerate(seeds))
    truth = theirs / mine
    if ratio is not None:
        slack = 1 + 1e-12
        assert ratio.bound != "=" or truth == pytest.approx(ratio.value)
        assert ratio.bound != ">" or truth * slack >= ratio.value
        assert ratio.bound != "<" or truth <= ratio.value * slack


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(1, 100)] * 2, *[st.floats(0, 0.99)] * 2, *[st.floats(0, 1)] * 2), min_size=1, max_size=4
    )
)
def test_whenever_between_two_evaluations_the_target_was_met_the_range_of_the_speed_up_holds_it(seeds):
    def reach(place):
        needed = {i: seed[place] for i, seed in enumerate(seeds)}
        return Reach(needed, {}, {i: needed[i] * seed[2 + place] for i, seed in enumerate(seeds)})

    def truth(place):
        return sum(seed[place] * (seed[2 + place] + (1 - seed[2 + place]) * seed[4 + place]) for seed in seeds)

    mine, theirs = reach(0), reach(1)
    ratio, slack = advantage(mine, theirs), 1 + 1e-9
    assert ratio.least <= ratio.value <= ratio.most
    assert (
        ratio.least <= truth(1) / max(truth(0), 1e-300) * slack
        and truth(1) / max(truth(0), 1e-300) <= ratio.most * slack
    )
    if not too_close(mine, theirs):
        assert (truth(0) <= truth(1) * slack) == (ratio.value >= 1) or truth(0) == pytest.approx(truth(1))


def test_of_seeds_that_missed_the_target_the_range_has_no_end():
    ratio = advantage(Reach({0: 10.0}, {}, {0: 8.0}), Reach({}, {0: 50.0}))
    assert (ratio.least, ratio.most, ratio.between_text) == (5.0, np.inf, "5× or more")
    ratio = advantage(Reach({}, {0: 10.0}), Reach({0: 50.0}, {}, {0: 40.0}))
    assert (ratio.least, ratio.most, ratio.between_text) == (0.0, 5.0, "anything up to 5×")
    assert advantage(Reach({0: 10.0}, {}, {0: 8.0}), Reach({0: 50.0}, {}, {0: 40.0})).between_text == "4× to 6.25×"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (([0, 9, 10]), ([0, 9.5, 10.5]), True),  # 9 to 10 s against 9.5 to 10.5 s
        (([0, 9, 10]), ([0, 8, 12]), True),
        (([0, 9, 10]), ([0, 10, 11]), False),  # the other had not met it at 10 s
        (([0, 0, 10]), ([0, 9.9, 10]), True),
        (([0, 9, 10]), ([0, 9, 10]), True),
    ],
)
def test_who_is_sooner_is_left_open_where_the_evaluations_leave_it_open(one, other, alike):
    found = results(series(one, [0.1, 0.5, 0.8]), series(other, [0.1, 0.5, 0.8], method="DMSGD"))
    reaches = [found.reach(method, POINT, 0.8) for method in ("GMC", "DMSGD")]
    assert too_close(*reaches) == too_close(*reversed(reaches)) == alike
    said = finding(found, POINT, "sim_time_s", 0.8, "DMSGD")
    assert ("sooner than" in said) == (not alike)


def test_at_equal_time_every_method_is_judged_by_what_it_had_by_then():
    fast = series([0, 1, 2, 3], [0.1, 0.5, 0.7, 0.8])
    slow = series([0, 10, 20], [0.1, 0.6, 0.9], method="DMSGD")
    run = results(fast, slow)
    assert run.equal_time(POINT) == 3.0
    assert run.at_equal_time("GMC", POINT).mean == 0.8
    assert run.at_equal_time("DMSGD", POINT).mean == 0.1


def test_a_curve_of_one_seed_is_its_evaluations():
    drawn = curve(results(series([0, 10, 20], [0.1, 0.5, 0.9])), "GMC", POINT, "sim_time_s")
    assert np.array_equal(drawn.x, [0, 10, 20]) and np.array_equal(drawn.mean, [0.1, 0.5, 0.9]) and drawn.std is None


def test_a_curve_of_several_seeds_shows_nothing_before_the_last_of_them_got_there():
    run = results(series([0, 10, 20], [0.1, 0.5, 0.9]), series([0, 14, 28], [0.1, 0.3, 0.7], seed=1))
    drawn = curve(run, "GMC", POINT, "sim_time_s")
    assert np.array_equal(drawn.x, [0, 14, 28])
    assert drawn.mean == pytest.approx([0.1, 0.4, 0.8])
    assert drawn.std == pytest.approx([0.0, math.sqrt(0.02), math.sqrt(0.02)])


def test_a_much_faster_seed_counts_with_its_latest_evaluation_and_keeps_its_last():
    run = results(series([0, 1, 2], [0.1, 0.5, 0.9]), series([0, 10, 20], [0.1, 0.3, 0.7], seed=1))
    assert curve(run, "GMC", POINT, "sim_time_s").mean == pytest.approx([0.1, 0.6, 0.8])


def test_a_seed_with_fewer_evaluations_keeps_its_last():
    run = results(series([0, 10], [0.1, 0.5]), series([0, 10, 20], [0.1, 0.5, 0.7], seed=1))
    drawn = curve(run, "GMC", POINT, "sim_time_s")
    assert np.array_equal(drawn.x, [0, 10, 20]) and drawn.mean == pytest.approx([0.1, 0.5, 0.6])


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0.01, 5), min_size=1, max_size=6), min_size=1, max_size=4))
def test_a_curve_is_never_ahead_of_any_way_of_reading_the_evaluations(steps):
    """For accuracies that only grow, the mean of the latest evaluations is the most that can be known."""
    many = [series(np.cumsum(step), np.linspace(0, 0.9, len(step)), seed=i) for i, step in enumerate(steps)]
    drawn = curve(results(*many), "GMC", POINT, "sim_time_s")
    for x, mean in zip(drawn.x, drawn.mean, strict=True):
        known = [max(a for t, a in zip(one["sim_time_s"], one["test_accuracy"], strict=True) if t <= x) for one in many]
        assert mean == pytest.approx(np.mean(known))
    assert drawn.x[-1] == max(one["sim_time_s"][-1] for one in many)


def seeds_of(method, times):
    """One seed each, meeting 0.8 at the given time, evaluated shortly before."""
    return [
        series([0, time - 0.01, time], [0.1, 0.5, 0.8], method=method, seed=seed) for seed, time in enumerate(times)
    ]


ALIKE = [([10, 12, 14], [12, 14, 16]), ([10, 20, 30], [11, 21, 31]), ([10.0, 10.2, 15.0], [11.0, 11.2, 14.9])]
APART = [([10, 11, 12], [20, 21, 22]), ([10, 10, 10], [10.1, 10.1, 10.1])]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [(*pair, True) for pair in ALIKE] + [(*pair, False) for pair in APART] + [([10], [10.1], False)],
)
def test_a_difference_that_seeds_make_themselves_is_too_close_to_tell(one, other, alike):
    found = results(*seeds_of("A", one), *seeds_of("B", other))
    reaches = [found.reach(method, POINT, 0.8) for method in "AB"]
    assert too_close(*reaches) == too_close(*reversed(reaches)) == alike


def test_seeds_that_missed_the_target_say_nothing_of_a_spread():
    assert not too_close(Reach({0: 10.0, 1: 12.0}, {}), Reach({0: 11.0}, {1: 5.0}))


@pytest.mark.parametrize("pair", ALIKE)
def test_a_lead_that_is_too_close_to_tell_is_not_headlined(pair):
    found = results(*seeds_of("GMC", pair[0]), *seeds_of("DMSGD", pair[1]))
    for baseline in ("DMSGD", "GMC", None):
        assert finding(found, POINT, "sim_time_s", 0.8, baseline) == "all reach 80 %, too close to tell who is first"
    slower = results(*found.series, *seeds_of("slow", [90, 91, 92]))
    assert (
        finding(slower, POINT, "sim_time_s", 0.8, "DMSGD")
        == "GMC and DMSGD need the least time to reach 80 %, too close to tell apart"
    )
    assert "sooner than slow" in finding(slower, POINT, "sim_time_s", 0.8, "slow")
    text = sweep_finding(slower, [POINT, POINT], ["1 ms", "2 ms"], 0.8, "DMSGD")
    assert text == "GMC and DMSGD reach 80 % too close to tell apart at both ends"


def test_a_lead_beyond_the_spread_is():
    found = results(*seeds_of("GMC", [10, 11, 12]), *seeds_of("DMSGD", [20, 21, 22]))
    assert finding(found, POINT, "sim_time_s", 0.8, "DMSGD") == "GMC reaches 80 % 1.91× sooner than DMSGD"


def test_the_time_to_a_target_is_known_to_within_the_evaluations_around_it():
    found = results(
        series([0, 3, 10], [0.1, 0.5, 0.9]),
        series([0, 4, 8], [0.1, 0.8, 0.9], seed=1),
        series([0, 1], [0.1, 0.2], seed=2),
    )
    assert found.resolution("GMC", POINT, 0.8) == (7 + 4) / 2
    assert found.resolution("GMC", POINT, 0.05) is None  # met at the start
    assert found.resolution("GMC", POINT, 0.95) is None


def test_methods_evaluated_at_other_times_and_rounds_share_one_axis():
    often = [
        series(
            np.cumsum(np.random.default_rng(seed).uniform(0.1, 1, 60)),
            np.linspace(0.1, 0.9, 60),
            method="SwarmSGD",
            seed=seed,
        )
        for seed in (0, 1)
    ]
    rarely = [series([0, 10, 20], [0.1, 0.6, 0.95], method="all-reduce", seed=seed) for seed in (0, 1)]
    found = results(*often, *rarely)
    for method, runs in (("SwarmSGD", often), ("all-reduce", rarely)):
        line = curve(found, method, POINT, "sim_time_s")
        assert (np.diff(line.x) > 0).all() and np.isfinite(line.mean).all()
        assert line.x[-1] == max(one["sim_time_s"][-1] for one in runs)
        assert found.reach(method, POINT, 0.55).needed == {
            one.key.seed: one["sim_time_s"][one.first_reaching(ACCURACY, 0.55)] for one in runs
        }
    time = found.equal_time(POINT)
    assert time == min(20, *(one["sim_time_s"][-1] for one in often))
    assert found.at_equal_time("all-reduce", POINT).mean == (0.95 if time >= 20 else 0.6)


def test_several_evaluations_at_one_instant_count_with_the_last():
    one = series([0, 5, 5, 5, 9], [0.1, 0.2, 0.9, 0.3, 0.4])
    line = curve(results(one), "GMC", POINT, "sim_time_s")
    assert line.x.tolist() == [0, 5, 9] and line.mean.tolist() == [0.1, 0.3, 0.4]
    assert results(one).reach("GMC", POINT, 0.8).needed == {0: 5.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('{"name": "dirichlet", "alpha": 0.1}', "dirichlet (alpha 0.1)"),
        ('{"name": "mlp", "hidden": [64, 32]}', "mlp (hidden [64, 32])"),
        ('{"sigma": 0.3}', "(sigma 0.3)"),
        ('{"name": "ring"}', "ring"),
        ("{not a table", "{not a table"),
        ("10 Mbit/s", "10 Mbit/s"),
        ("5", "5"),
    ],
)
def test_a_table_among_a_grids_values_is_written_without_its_punctuation(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_sentences_and_axes_say_what_is_measured(tmp_path, measure):
    directory = write_run(tmp_path / "run", {"A": accuracy_curve(0.9, 0.3), "B": accuracy_curve(0.7, 0.1)}, seeds=(0,))
    read = read_results(directory)

    def values(one: Series) -> np.ndarray:
        return one["test_accuracy"] if measure.higher_is_better else 1 - one["test_accuracy"]

    measured = tuple(replace(one, columns={**one.columns, measure.column: values(one)}) for one in read.series)
    found = replace(read, series=measured, measure=measure)
    (point,) = found.points
    said = [
        finding(found, point, "sim_time_s", 0.5, "B"), finding(found, point, "epoch", 0.5, "B"),
        finding(found, point, "bytes_up", 2.0 if measure.higher_is_better else 0.01, "B"),
        finding(found, point, "sim_time_s", None, None), sweep_finding(found, [point], ["1"], 0.5, "B"),
    ]  # fmt: skip
    with panels.style():
        (figure,) = target_bars(found, 0.5, "B")
    said.append(figure.axes[0].get_xlabel())
    shown = "50 %" if measure.share else "0.5"
    for text in said:
        assert measure.name == "accuracy" or measure.name in text, text
    assert f"reaches {measure.named(shown)} " in said[0] and f"time to {measure.named(shown)} (" in said[-1]
