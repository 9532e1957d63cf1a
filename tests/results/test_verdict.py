"""The verdict: whose time is least, by how much, over what, and where the answer flips."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.colors import to_hex

import simgmc
from simgmc.results.figures.looks import look
from simgmc.results.series.beside import side_by_side
from simgmc.results.series.curves import finding, sweep_finding
from simgmc.results.series.grids import axes_of, groups, winner_finding
from simgmc.results.series.measures import LOSS
from simgmc.results.series.read import compared_at, read_results
from simgmc.results.series.sentences import sentences
from simgmc.results.series.verdict import Verdict
from tests.results.synthetic_runs import accuracy_curve, write_run

CURVES = {"DMSGD": accuracy_curve(0.9, 0.5), "GMC": accuracy_curve(0.9, 0.5), "DGC": accuracy_curve(0.7, 0.5)}
"""DMSGD and GMC need as many rounds, DGC never gets there."""
TARGET = 0.8


def verdict(path, points, round_s, methods=("DMSGD", "GMC", "DGC"), target=TARGET, measure=None, seeds=(0, 1, 2)):
    directory = write_run(path, {name: CURVES[name] for name in methods}, points=points, round_s=round_s, seeds=seeds)
    return Verdict(read_results(directory, methods, measure), target, "DMSGD")


def seconds(method, point, seed):
    """GMC's rounds take a fifth of DMSGD's over a server, twice as long over a ring."""
    return {"DMSGD": 1.0, "GMC": 0.2 if point["cluster.collective"] == "parameter-server" else 2.0, "DGC": 0.01}[method]


def test_the_best_method_and_collective_the_margin_and_both_collectives_side_by_side(tmp_path):
    points = [{"cluster.collective": name} for name in ("parameter-server", "ring")]
    first, between = sentences(verdict(tmp_path, points, seconds))
    assert first.startswith("GMC over parameter-server reaches 80 % first, in ")
    assert "5× sooner than the next method, DMSGD over parameter-server" in first
    assert between == (
        "Parameter-server against ring: DMSGD the same, or too close to tell; GMC is 10 times sooner over "
        "parameter-server."
    )


def by_bandwidth(method, point, seed):
    bandwidth = float(point["cluster.bandwidth"].split()[0])
    return 100 / bandwidth if method == "DMSGD" else 10 / bandwidth + 1


def test_the_answer_flips_between_the_neighbours_where_another_is_first(tmp_path):
    """DMSGD's round of 100 / B s is longer than GMC's of 10 / B + 1 s up to B = 90."""
    points = [
        {"cluster.collective": "ring", "cluster.bandwidth": f"{value} Mbit/s"} for value in (1000, 10, 80, 100, 40)
    ]
    found = verdict(tmp_path, points, by_bandwidth, methods=("DMSGD", "GMC"))
    (flip,) = found.flips
    assert (flip.below, flip.above) == ("80 Mbit/s", "100 Mbit/s")
    assert (flip.first.method, flip.then.method) == ("GMC", "DMSGD")
    told = sentences(found)
    assert told[0] == "Of 5 networks, first at 80 %: GMC over ring at 3, DMSGD over ring at 2."
    assert told[-1] == (
        "The answer flips: between bandwidth 80 Mbit/s and 100 Mbit/s from GMC over ring to DMSGD over ring."
    )


def test_methods_are_compared_each_at_its_best_rate_and_a_shared_one_that_is_nobodys_is_named(tmp_path):
    rates = {"DMSGD": {"0.1": 1.0, "0.2": 2.0, "0.4": 3.0}, "GMC": {"0.1": 3.0, "0.2": 1.0, "0.4": 0.5}}
    points = [{"cluster.collective": "ring", "optimizer.learning_rate": rate} for rate in ("0.1", "0.2", "0.4")]
    found = verdict(
        tmp_path, points, lambda method, point, seed: rates[method][point["optimizer.learning_rate"]], ("DMSGD", "GMC")
    )
    first, *rest = sentences(found)
    assert "GMC over ring reaches 80 % first" in first and "2× sooner than the next method, DMSGD over ring" in first
    assert rest[0].startswith("Compared at each method's best settings of the grid: DMSGD learning rate 0.1 (80 % in ")
    assert "; GMC learning rate 0.4 (80 % in " in rest[0]
    assert rest[1:] == [
        "The grid may end too soon: its outermost learning rate is the best of DMSGD (0.1), GMC (0.4).",
        "Do not compare methods at a shared learning rate of 0.2: it is best for none of them.",
    ]


def test_another_methods_setting_is_not_said_to_be_this_ones(tmp_path):
    points = [{"cluster.collective": "ring", "methods.GMC.density": value} for value in ("0.01", "0.1")]
    told = sentences(verdict(tmp_path, points, lambda method, point, seed: 1.0, ("DMSGD", "GMC")))
    assert told[-1].startswith("Compared at each method's best settings of the grid: GMC density 0.01 (80 % in ")
    assert "DMSGD" not in told[-1]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (0.95, "No method reaches 95 % with every seed."),
        (None, "No target is stated, so nothing is said on time to it."),
    ],
)
def test_nobody_is_called_first_who_did_not_get_there(tmp_path, target, says):
    (told,) = sentences(verdict(tmp_path, [{"cluster.collective": "ring"}], seconds, target=target))
    assert told.endswith(says)
    assert " first" not in told


def test_too_close_to_tell_is_said(tmp_path):
    told = sentences(verdict(tmp_path, [{"cluster.collective": "ring"}], lambda method, point, seed: 1.0))
    assert "too close to tell from" in told[0]
    points = [{"cluster.collective": "ring", "cluster.bandwidth": f"{value} Mbit/s"} for value in (1, 2)]
    told = sentences(verdict(tmp_path / "grid", points, lambda method, point, seed: 1.0))
    assert told[1].endswith("sooner than the next method; too close to tell at 2 of its 2.")


def test_who_stopped_early_and_in_vain_is_not_said_to_be_sooner(tmp_path):
    """DGC spends 0.01 s a round and never gets there; over a ring GMC does not either, as fast as that."""
    points = [{"cluster.collective": name} for name in ("parameter-server", "ring")]
    (told, *_) = sentences(verdict(tmp_path / "methods", points[:1], seconds, ("GMC", "DGC")))
    assert told.startswith("Only GMC over parameter-server reaches 80 % with every seed, in ")
    assert "trained for less time than that" in told and "DGC after 2.00 s" in told and " first" not in told
    directory = write_run(tmp_path / "collectives", {"GMC": CURVES["GMC"]}, points=points)
    results = read_results(directory, ("GMC",))
    server, ring = results.series[:3], results.series[3:]
    short = [replace(one, columns={name: values[:2] for name, values in one.columns.items()}) for one in ring]
    told = Verdict(replace(results, series=(*server, *short), points=compared_at((*server, *short))), TARGET, "GMC")
    assert sentences(told)[-1] == (
        "Parameter-server against ring: GMC gets there with every seed over parameter-server alone."
    )


def test_of_a_loss_less_is_better(tmp_path):
    curves = ("DMSGD", "DGC")
    (told,) = sentences(verdict(tmp_path, [{"cluster.collective": "ring"}], seconds, curves, target=None, measure=LOSS))
    assert told.startswith("DMSGD over ring ends best")


def test_collectives_stand_side_by_side_in_one_panel_in_the_methods_colours(tmp_path):
    points = [{"cluster.collective": name} for name in ("parameter-server", "ring")]
    results = read_results(write_run(tmp_path, CURVES, points=points, round_s=seconds), tuple(CURVES))
    beside = side_by_side(results)
    assert beside.methods[:4] == (
        "DMSGD over parameter-server",
        "DMSGD over ring",
        "GMC over parameter-server",
        "GMC over ring",
    )
    (point,) = beside.points
    for place, where in enumerate(results.points):
        for number, method in enumerate(CURVES):
            mine, theirs = beside.at(beside.methods[2 * number + place], point), results.at(method, where)
            assert [one.columns for one in mine] == [one.columns for one in theirs]
    over_server, over_ring = (look(beside.methods, method) for method in beside.methods[2:4])
    assert over_server["color"].lower().lstrip("#") == to_hex(look(results.methods, "GMC")["color"]).lstrip("#")
    assert over_ring["color"] != over_server["color"] and over_ring["marker"] == over_server["marker"]
    assert len(simgmc.plot.collectives(tmp_path, target=TARGET).axes) == 1
    assert side_by_side(results.only({"cluster.collective": "ring"}, (), "here")) is None


def test_who_alone_gets_there_at_every_point_is_not_called_first(tmp_path):
    """DGC ends early and in vain everywhere; a title that calls GMC first would praise it for running on."""
    sizes = [
        {"cluster.collective": "ring", "cluster.bandwidth": f"{b} Mbit/s", "cluster.latency": f"{t} ms"}
        for b in (1, 10, 100)
        for t in (1, 10, 100)
    ]
    results = read_results(
        write_run(
            tmp_path, {name: CURVES[name] for name in ("GMC", "DGC")}, points=sizes, round_s=seconds_of, seeds=(0,)
        ),
        ("GMC", "DGC"),
    )
    (plane,) = groups(results, axes_of(results), TARGET, "DGC")
    assert winner_finding(plane) == "only GMC reaches 80 %, at every point"
    line = [point for point in results.points if dict(point.grid)["cluster.latency"] == "1 ms"]
    assert sweep_finding(results, line, ["1", "10", "100"], TARGET, "DGC") == "only GMC reaches 80 %"
    assert finding(results, line[0], "sim_time_s", TARGET, "DGC") == "only GMC reaches 80 %"


def seconds_of(method, point, seed):
    return {"GMC": 1.0, "DGC": 0.01}[method]
