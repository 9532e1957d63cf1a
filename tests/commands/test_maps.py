"""Maps of many networks: evaluations kept together, and where the answer flips."""

from __future__ import annotations

import csv
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from simgmc.commands.replay import replay
from simgmc.core.errors import SimgmcError
from simgmc.experiment import series as writing
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.read import read_results
from simgmc.results.series.verdict import Verdict
from tests import small_runs

BANDWIDTHS = [f"{2**power} Mbit/s" for power in range(7)]
GRID = [("grid.cluster.bandwidth", BANDWIDTHS), ("grid.cluster.latency", ["1 ms", "20 ms"])]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two methods on one network, no workers that straggle."""
    settings = [("cluster.stragglers", None), ("workload.rounds", 20), ("workload.evaluate_every", "1 rounds")]
    file = small_runs.scenario(*settings).only(["DMSGD", "GMC"])
    return small_runs.run(file, tmp_path_factory.mktemp("map") / "trained")[0]


def put(run, out, *settings, grid=GRID, **options):
    console = Console(file=StringIO(), width=120)
    replay(run, settings=[*grid, *settings], out=out, console=console, **options)
    return out, console.file.getvalue()


@pytest.fixture(scope="module")
def mapped(trained, tmp_path_factory):
    return put(trained, tmp_path_factory.mktemp("map") / "mapped")[0]


def test_a_map_keeps_what_its_metrics_would_say(trained, mapped, tmp_path):
    whole, _ = put(trained, tmp_path / "whole", ("report.full_metrics", True))
    assert (mapped / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    without = [
        [{**row, "rows": ""} for row in csv.DictReader((run / "breakdown.csv").open())] for run in (mapped, whole)
    ]
    assert without[0] == without[1], "but for how many rows the other files have"
    assert not (mapped / "links.csv").exists() and (whole / "links.csv").exists(), "a map keeps nothing of single links"
    kept, full = open_run(mapped).evaluations(), open_run(whole).evaluations()
    assert kept.keys() == full.keys() and len(full) == 2 * len(BANDWIDTHS) * 2
    assert all(list(kept[key]) == list(full[key]) for key in full)
    together, apart = ({one.key: one.columns for one in read_results(open_run(run)).series} for run in (mapped, whole))
    for key, columns in apart.items():
        for name, column in columns.items():
            assert np.array_equal(together[key][name], column, equal_nan=True), (key, name)


def test_a_map_can_be_replayed_itself(trained, mapped, tmp_path):
    point = [("cluster.bandwidth", "3 Mbit/s"), ("cluster.latency", "2 ms")]
    point += [(f"grid.cluster.{key}", None) for key in ("bandwidth", "latency")]
    again, once = (put(run, tmp_path / run.name, *point, grid=[])[0] for run in (mapped, trained))
    assert (again / "metrics.csv").read_bytes() == (once / "metrics.csv").read_bytes()


def test_a_map_that_was_stopped_goes_on_with_the_same_bytes(trained, mapped, tmp_path, monkeypatch):
    """Stopped after a batch of series was kept, before the second method began."""

    class Stopped(Exception):
        pass

    written = []

    def stop(directory, keys, *rest):
        for pair in original(directory, keys, *rest):
            written.append(pair)
            if len(written) == 5:
                raise Stopped
            yield pair

    original = writing.write_all
    monkeypatch.setattr(writing, "WRITTEN_TOGETHER", 3)
    monkeypatch.setattr("simgmc.commands.replay.write_all", stop)
    with pytest.raises(Stopped):
        put(trained, tmp_path / "map")
    monkeypatch.undo()
    assert 0 < len(open_run(tmp_path / "map").finished()) < 2 * len(BANDWIDTHS) * 2
    put(trained, tmp_path / "map")
    for file in ("breakdown.csv", "summary.csv", "metrics.csv"):
        assert (tmp_path / "map" / file).read_bytes() == (mapped / file).read_bytes(), file
    for file in sorted((mapped / "evaluations").iterdir()):
        assert (tmp_path / "map" / "evaluations" / file.name).read_bytes() == file.read_bytes()


def test_refined_flips_are_within_5_percent_and_replays_on_both_sides_agree(trained, tmp_path):
    slow = [("cluster.compute.compression", "30 ms"), ("cluster.hosts", {})]  # it pays on a slow network alone
    grid = [("grid.cluster.bandwidth", ["1 Mbit/s", "100 Mbit/s"])]
    out, told = put(trained, tmp_path / "map", *slow, grid=grid, refined=True)
    flips = list(csv.DictReader((out / "flips.csv").open()))
    assert flips and "Refined by" in told
    for flip in flips:
        below, above = flip["first_up_to"], flip["then_from"]
        assert 1 < float(above.split()[0]) / float(below.split()[0]) <= 1.05
        sides, _ = put(trained, tmp_path / below, *slow, grid=[("grid.cluster.bandwidth", [below, above])])
        verdict = Verdict(read_results(open_run(sides), ["DMSGD", "GMC"]), 0.3, "DMSGD")
        assert [verdict.first(network).text for network in verdict.best] == [flip["first"], flip["then"]]


def test_flips_along_bare_numbers_whole_ones_and_from_zero_on_are_refined_on_the_lines_of_the_grid_alone(
    trained, tmp_path
):
    """Servers are whole numbers, sigma is none, latency begins at 0; a middle of one axis is no line of the other."""
    quick, servers = [("cluster.bandwidth", "8 Mbit/s"), ("cluster.hosts", {})], "cluster.collective_options.servers"
    shards = [("cluster.collective", "sharded-parameter-server"), (f"grid.{servers}", [1, 4])]
    sigmas = [("cluster.collective", "ring"), ("grid.cluster.stragglers.sigma", [0, 3])]
    latencies = ("grid.cluster.latency", ["0 s", "3 ms"])
    known = {"cluster.stragglers.sigma": {"0", "3"}, servers: {"1", "4"}, "cluster.latency": set(latencies[1])}
    seen = set()
    for place, settings in enumerate([shards, sigmas]):
        out, _ = put(trained, tmp_path / str(place), *quick, *settings, grid=[latencies], refined=True, plots=False)
        for flip in csv.DictReader((out / "flips.csv").open()):
            along, (below, above) = flip["along"], (flip[name].split(" ")[0] for name in ("first_up_to", "then_from"))
            seen.add(along)
            assert all(flip[key] in known[key] for key in flip.keys() & known if key != along)
            if along == servers:
                assert int(above) == int(below) + 1
            else:
                assert float(above) <= 1.05 * float(below) or (float(below) == 0 and float(above) <= 3e-3)
    assert seen == {servers, "cluster.stragglers.sigma", "cluster.latency"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([("report.target", None)], "report.target is not stated"),
        ([("grid.cluster.bandwidth", None)], "no key of the cluster has several numbers"),
    ],
)
def test_what_cannot_be_refined_is_refused_before_anything_is_replayed(trained, tmp_path, settings, says):
    with pytest.raises(SimgmcError, match=says):
        put(
            trained,
            tmp_path / "map",
            *settings,
            grid=[("grid.cluster.bandwidth", ["1 Mbit/s", "9 Mbit/s"])],
            refined=True,
        )


def test_auto_says_what_it_picked_in_the_table_and_under_a_map(trained, tmp_path):
    alone = [("grid.cluster.collective", None), ("cluster.collective", "auto")]
    out, told = put(trained, tmp_path / "one", *alone, grid=[])
    row = next(csv.DictReader((out / "breakdown.csv").open()))
    name, count = row["picked"].split("; ")[0].rsplit(" ", 1)
    assert "picked" in told and name in told and int(count) > 0
    _, told = put(trained, tmp_path / "many", *alone)
    assert "auto picked: DMSGD" in told and "points, for most of its messages" in told
    assert "Simulated event by event from some round on, as messages meet on a link: 28 of 28 series" in told
