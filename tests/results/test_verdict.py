"""The verdict: whose time is least, by how much, over what, and where the answer flips."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simgmc.results.series.read import LOSS, compared_at, read_results
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
    first, between = verdict(tmp_path, points, seconds).sentences()
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
    told = found.sentences()
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
    first, *rest = found.sentences()
    assert "GMC over ring reaches 80 % first" in first and "2× sooner than the next method, DMSGD over ring" in first
    assert rest == [
        "Compared at each method's best settings of the grid: DMSGD learning rate 0.1; GMC learning rate 0.4.",
        "Do not compare methods at a shared learning rate of 0.2: it is best for none of them.",
    ]


def test_another_methods_setting_is_not_said_to_be_this_ones(tmp_path):
    points = [{"cluster.collective": "ring", "methods.GMC.density": value} for value in ("0.01", "0.1")]
    told = verdict(tmp_path, points, lambda method, point, seed: 1.0, ("DMSGD", "GMC")).sentences()
    assert told[-1] == "Compared at each method's best settings of the grid: GMC density 0.01."


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (0.95, "No method reaches 95 % with every seed."),
        (None, "No target is stated, so nothing is said on time to it."),
    ],
)
def test_nobody_is_called_first_who_did_not_get_there(tmp_path, target, says):
    (told,) = verdict(tmp_path, [{"cluster.collective": "ring"}], seconds, target=target).sentences()
    assert told.endswith(says)
    assert " first" not in told


def test_too_close_to_tell_is_said(tmp_path):
    told = verdict(tmp_path, [{"cluster.collective": "ring"}], lambda method, point, seed: 1.0).sentences()
    assert "too close to tell from" in told[0]


def test_who_stopped_early_and_in_vain_is_not_said_to_be_sooner(tmp_path):
    """DGC spends 0.01 s a round and never gets there; over a ring GMC does not either, as fast as that."""
    points = [{"cluster.collective": name} for name in ("parameter-server", "ring")]
    (told, *_) = verdict(tmp_path / "methods", points[:1], seconds, ("GMC", "DGC")).sentences()
    assert "DGC over parameter-server comes next (does not get there with every seed)." in told and "×" not in told
    directory = write_run(tmp_path / "collectives", {"GMC": CURVES["GMC"]}, points=points)
    results = read_results(directory, ("GMC",))
    server, ring = results.series[:3], results.series[3:]
    short = [replace(one, columns={name: values[:2] for name, values in one.columns.items()}) for one in ring]
    told = Verdict(replace(results, series=(*server, *short), points=compared_at((*server, *short))), TARGET, "GMC")
    assert told.sentences()[-1] == "Parameter-server against ring: GMC is sooner over parameter-server."


def test_of_a_loss_less_is_better(tmp_path):
    curves = ("DMSGD", "DGC")
    (told,) = verdict(
        tmp_path, [{"cluster.collective": "ring"}], seconds, curves, target=None, measure=LOSS
    ).sentences()
    assert told.startswith("DMSGD over ring ends best")
