import csv
import io

import pytest
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.reach import Ratio
from simgmc.results.series.read import read_results
from simgmc.results.series.summary import summarize, write_summary
from simgmc.results.tables.tables import print_summary, reach_text
from tests.results.synthetic_runs import accuracy_curve, write_run

METHODS = {
    "DMSGD": lambda epoch: min(0.1 + 0.1 * epoch, 0.95),
    "DGC without masking": lambda epoch: min(0.1 + 0.05 * epoch, 0.7),
    "GMC": lambda epoch: min(0.1 + 0.08 * epoch, 0.94),
}
BYTES = {"DMSGD": 1_000_000, "DGC without masking": 20_000, "GMC": 20_000}
ROUND = {"DMSGD": 2.0, "DGC without masking": 0.05, "GMC": 0.05}
POINTS = [{"cluster.collective": c, "cluster.bandwidth": "10 Mbit/s"} for c in ("parameter_server", "ring")]


@pytest.fixture
def run(tmp_path):
    return write_run(
        tmp_path,
        METHODS,
        round_s=lambda m, p, s: ROUND[m],
        round_bytes=BYTES,
        points=POINTS,
        seeds=(0,),
        evaluations=12,
    )


def test_the_summary_of_a_known_run(run):
    rows = summarize(read_results(run), 0.8, "DMSGD")
    dmsgd, dgc, gmc = rows[:3]
    assert [row.method for row in rows] == 2 * list(METHODS)
    assert gmc.final.mean == pytest.approx(0.94) and gmc.final.std is None
    assert dmsgd.sim_time_s.mean == 240.0 and gmc.sim_time_s.mean == 6.0
    assert dmsgd.reach.spread.mean == 140.0  # 80 % after 7 evaluations, 10 rounds of 2 s apart
    assert gmc.reach.spread.mean == 4.5  # after 9
    assert gmc.speedup.value == pytest.approx(140 / 4.5) and gmc.speedup.bound == "="
    assert (gmc.speedup.least, gmc.speedup.most) == (pytest.approx(120 / 4.5), pytest.approx(140 / 4.0))
    assert (
        dgc.speedup == Ratio(pytest.approx(140 / 6), "<", 0.0, pytest.approx(140 / 6))
        and reach_text(dgc) == "not reached"
    )
    assert dmsgd.bytes_sent_by_workers.mean == 8 * 120 * 1_000_000
    assert dmsgd.bytes_through_server.mean == 2 * 8 * 120 * 1_000_000
    assert rows[3].bytes_through_server.mean == 0
    assert gmc.seconds_per_round.mean == 0.05
    assert gmc.shares["transfer"] == pytest.approx(0.7 / 0.99 * 0.99) and sum(gmc.shares.values()) == pytest.approx(1.0)
    assert dmsgd.equal_time_s == 6.0 and dmsgd.at_equal_time.mean == 0.1


def test_the_order_of_methods_is_the_scenarios(run):
    results = read_results(run, ["GMC", "DMSGD", "DGC without masking"])
    assert [row.method for row in summarize(results)][:3] == ["GMC", "DMSGD", "DGC without masking"]


def test_a_baseline_that_never_gets_there_bounds_the_speed_up_from_below(run):
    rows = summarize(read_results(run), 0.8, "DGC without masking")
    assert rows[2].speedup == Ratio(pytest.approx(6.0 / 4.5), ">", pytest.approx(6.0 / 4.5), float("inf"))
    assert rows[1].speedup is None


def test_an_unknown_baseline_is_a_clear_error(run):
    with pytest.raises(SimgmcError, match="'SGD' is none of the methods: DMSGD, DGC without masking, GMC"):
        summarize(read_results(run), 0.8, "SGD")


def test_a_target_that_some_seeds_miss_says_how_many_reached_it(tmp_path):
    def uneven(epoch):
        return 0.1 + 0.0797 * min(epoch, 10)  # ends at 89.7 %, ± the wiggle of each seed

    directory = write_run(tmp_path, {"GMC": uneven}, evaluations=10)
    finals = [one["test_accuracy"][-1] for one in read_results(directory).series]
    target = sorted(finals)[1]
    (row,) = summarize(read_results(directory), target)
    assert (row.seeds, len(row.reach.needed)) == (3, 2)
    assert reach_text(row).endswith("(2 of 3)")
    assert row.reach.at_least >= row.reach.spread.mean


def test_summary_csv_holds_raw_numbers(run):
    results = read_results(run)
    rows = summarize(results, 0.8, "DMSGD")
    file = write_summary(run, results, rows)
    read = list(csv.DictReader(io.StringIO(file.read_text())))
    assert len(read) == 6
    assert read[1]["method"] == "DGC without masking" and read[1]["cluster.bandwidth"] == "10 Mbit/s"
    assert float(read[2]["time_to_target_mean_s"]) == rows[2].reach.spread.mean
    assert read[1]["time_to_target_mean_s"] == "" and float(read[1]["time_to_target_at_least_s"]) == 6.0
    assert (read[1]["seeds_reached"], read[1]["speedup_bound"]) == ("0", "<")
    assert float(read[0]["bytes_through_server_mean"]) == 1.92e9
    assert float(read[0]["transfer_share"]) == rows[0].shares["transfer"]


def printed(results, rows, target=0.8, baseline="DMSGD", **options) -> str:
    console = Console(file=io.StringIO(), **options)
    print_summary(console, results, rows, target, baseline)
    return console.file.getvalue()


def test_off_a_terminal_the_tables_are_plain_unfolded_text_of_at_most_120_columns(run):
    results = read_results(run)
    text = printed(results, summarize(results, 0.8, "DMSGD"), width=40)
    lines = text.splitlines()
    assert "\x1b" not in text and max(map(len, lines)) <= 120
    assert all(line == line.rstrip() for line in lines)
    (line,) = [line for line in lines if line.startswith("  GMC") and "4.50 s" in line and "1.92" not in line][:1]
    assert line.split() == "GMC 94.00 6.00 s 4.50 s 31.1× 19.2 MB 38.4 MB 2.00 %".split()
    assert "not reached" in text and "< 23.3×" in text and "no server" in text
    assert "compute  compress  transfer  latency  aggregate  wait" in text
    assert text.count("RCC: floats to and from the server") == 1


def test_the_larger_part_of_a_round_stands_out_on_a_terminal(run):
    results = read_results(run)
    text = printed(results, summarize(results), None, None, force_terminal=True, width=110, color_system="standard")
    assert "\x1b[1m    70.0" in text


def test_a_console_without_the_signs_gets_others(run):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    results = read_results(run)
    print_summary(Console(file=stream), results, summarize(results, 0.8, "DMSGD"), 0.8, "DMSGD")
    stream.flush()
    assert "31.1x" in stream.buffer.getvalue().decode("ascii")


def test_a_killed_run_is_summarised_as_far_as_it_got(tmp_path):
    write_run(tmp_path, METHODS, finish=False, evaluations=3)
    results = read_results(open_run(tmp_path))
    rows = summarize(results, 0.8, "DMSGD")
    assert all(row.unfinished == 3 and row.shares is None for row in rows)
    assert "9 series unfinished" in printed(results, rows)


def test_a_task_with_only_a_loss_is_measured_by_it(tmp_path):
    directory = write_run(tmp_path, {"GMC": accuracy_curve(0.9, 1.0)}, loss_only=True, seeds=(0,), evaluations=5)
    results = read_results(directory)
    (row,) = summarize(results, 0.5)
    assert results.measure.column == "test_loss" and row.final.mean < 0.5 and row.reach.needed
    assert "final\n" not in printed(results, [row]) and "loss" in printed(results, [row], 0.5, None)


def test_a_run_without_evaluations_says_so(tmp_path):
    directory = write_run(tmp_path, {})
    results = read_results(directory)
    assert summarize(results, 0.8, "DMSGD") == []
    assert printed(results, []) == "No evaluations yet.\n"


def test_a_speedup_that_is_too_close_to_tell_is_marked_and_explained(tmp_path):
    directory = write_run(
        tmp_path,
        {"DMSGD": accuracy_curve(0.9, 0.3), "GMC": accuracy_curve(0.9, 0.3)},
        round_s=lambda method, point, seed: (1 + seed) * (1 if method == "GMC" else 1.05),
    )
    results = read_results(directory)
    rows = summarize(results, 0.8, "DMSGD")
    assert [row.too_close for row in rows] == [False, True]
    text = printed(results, rows)
    assert "~ 1.05×" in text and "~: too close to tell who is sooner" in text
    table = write_summary(directory, results, rows).read_text().splitlines()
    column = table[0].split(",").index("speedup_too_close")
    assert [row.split(",")[column] for row in table[1:]] == ["false", "true"]


@pytest.mark.parametrize(
    ("transport", "said"),
    [("ring", False), ("gossip ring", False), ("pairwise ring", True), ("asynchronous server", True)],
)
def test_the_table_says_what_a_round_is_of_methods_that_the_clock_drives(tmp_path, transport, said):
    points = [{"cluster.collective": transport}]
    run = write_run(
        tmp_path, METHODS, round_s=lambda m, p, s: 1.0, round_bytes=BYTES, points=points, seeds=(0,), evaluations=3
    )
    results = read_results(run)
    assert ("one gradient of every worker" in printed(results, summarize(results))) == said


def test_the_table_says_how_well_times_to_the_target_are_known(tmp_path):
    directory = write_run(
        tmp_path, METHODS, round_s=lambda method, point, seed: 2.0 if method == "DMSGD" else 0.5, seeds=(0,)
    )
    results = read_results(directory)
    assert "time to target: of the first evaluation that meets it; the one before was 5.00 s (" in printed(
        results, summarize(results, 0.8, "DMSGD")
    )
    assert "20.0 s (DMSGD) earlier." in printed(results, summarize(results, 0.8, "DMSGD"))
    assert "the one before" not in printed(results, summarize(results), None, None)


def test_the_table_tells_between_which_two_the_least_certain_speed_up_lies(tmp_path):
    directory = write_run(
        tmp_path, METHODS, round_s=lambda method, point, seed: 2.0 if method == "DMSGD" else 0.5, seeds=(0,)
    )
    results = read_results(directory)
    rows = summarize(results, 0.8, "DMSGD")
    gmc = next(row.speedup for row in rows if row.method == "GMC")
    assert gmc.least < gmc.value < gmc.most
    assert next(row.speedup for row in rows if row.method == "DMSGD") == Ratio(1.0, "=", 1.0, 1.0)
    assert f"could be {gmc.least:.3g}× to {gmc.most:.3g}×." in printed(results, rows)


@pytest.mark.parametrize(
    ("evaluate_every", "says"),
    [
        ("1 epoch", '--set workload.evaluate_every="0.1 epochs"'),
        ("50 rounds", '--set workload.evaluate_every="5 rounds"'),
        ("10 s", '--set workload.evaluate_every="1 s"'),
        ("", "(workload.evaluate_every)"),
        ("1 round", None),
    ],
)
def test_a_speed_up_that_could_be_anything_says_how_to_evaluate_more_often(tmp_path, evaluate_every, says):
    directory = write_run(tmp_path, METHODS, seeds=(0,), evaluations=2)
    results = read_results(directory)
    rows = summarize(results, 0.2, "DMSGD")
    console = Console(file=io.StringIO(), width=300)
    print_summary(console, results, rows, 0.2, "DMSGD", evaluate_every)
    (note,) = (line for line in console.file.getvalue().splitlines() if "could be" in line)
    assert (says is None) == ("Evaluate more often" not in note) and (says is None or says in note)
