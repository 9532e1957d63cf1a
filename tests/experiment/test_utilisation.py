"""Compute utilisation and the bandwidth that it needs: closed forms, replays, published measurements."""

from __future__ import annotations

import csv
import math
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import simgmc
from simgmc.commands.replay import replay
from simgmc.commands.utilisation import utilisation
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings
from simgmc.network.cluster.many import simulate_many
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import star, worker_names
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.read import read_results
from simgmc.results.series.summary import summarize
from simgmc.results.series.utilisation import PRECISION, SHARES, all_needs
from tests import small_runs
from tests.network.exchanges import message, uniform


@settings(max_examples=40, deadline=None)
@given(half=st.floats(1e-6, 1e6), limit=st.floats(0.3, 1.0))
def test_bandwidths_are_found_to_the_stated_precision_and_never_told_too_small(half, limit):
    """Of utilisation limit / (1 + half / f) the share s needs f = half * s / (limit - s)."""
    asked = []

    def measured(wanted):
        asked.extend(wanted[0])
        return {0: [limit / (1 + half / factor) for factor in wanted[0]]}

    (found,) = all_needs(1, measured)
    assert len(asked) == len(set(asked)) <= 200
    for share in SHARES:
        if share > found.limit:
            assert found.needed[share] is None and share > limit * (1 - 1e-2)
        else:
            exact = half * share / (limit - share) if share < limit else math.inf
            if exact > 1e-9:  # what is less was not tried
                assert exact * (1 - 1e-9) <= found.needed[share] <= PRECISION * exact * (1 + 1e-9)
    assert found.now == limit / (1 + half) and (np.diff(found.factors) > 0).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two methods over a ring of four without latency, adding or compression times."""
    free = {"gradient": "10 ms", "compression": "0 s", "aggregation": "0 s"}
    cluster = {"bandwidth": "5 Mbit/s", "latency": "0 s", "collective": "ring", "compute": free}
    file = small_runs.scenario(("cluster", cluster), ("workload.rounds", 6)).only(["DMSGD", "GMC"])
    return small_runs.run(file, tmp_path_factory.mktemp("utilisation") / "run", plots=False)[0]


def tell(run, **options):
    console = Console(file=StringIO(), width=200)
    return utilisation(run, console=console, plots=False, **options), console.file.getvalue()


def test_a_dense_ring_needs_what_the_closed_form_says(run):
    """A round of 10 ms and of what each of K workers sends, 2 (K - 1) / K n bytes, at B bytes/s."""
    found, printed = tell(run)
    dense = next(one for one in found if one.method == "DMSGD")
    done = next(one.breakdown for one in read_results(open_run(run)).series if one.key.method == "DMSGD")
    sending = done.bytes_sent_by_workers / done.rounds / 4
    for share in SHARES:
        exact = sending * share / (1 - share) / 10e-3
        assert exact * (1 - 1e-9) <= dense.bandwidth * dense.needs.needed[share] <= PRECISION * exact
    assert dense.needs.now == pytest.approx(10e-3 / (10e-3 + sending / dense.bandwidth), rel=2e-3)  # whole pieces
    shares = {row.method: row.shares for row in summarize(read_results(open_run(run)))}
    for one in found:  # the same as the report's share of a worker's round
        assert one.needs.now == pytest.approx(shares[one.method]["compute"], rel=1e-12)
    assert "for 99 %" in printed and "at most" in printed
    rows = list(csv.DictReader((run / "utilisation.csv").open()))
    frame = simgmc.utilisation(run, backend="polars")
    assert frame.columns == list(rows[0]) and frame["method"].to_list() == [row["method"] for row in rows]
    told = [float(row["bandwidth_mbit_s"] or "nan") for row in rows]
    assert frame["bandwidth_mbit_s"].fill_null(np.nan).to_list() == pytest.approx(told, nan_ok=True)


def test_a_bandwidth_that_is_told_is_enough_in_a_run_of_its_own_and_one_percent_less_is_not(run, tmp_path):
    found, _ = tell(run)
    sparse = next(one for one in found if one.method == "GMC")
    enough = 8e-6 * sparse.bandwidth * sparse.needs.needed[0.9]
    for name, bandwidth, reached in (("enough", enough, True), ("less", enough / PRECISION / 1.001, False)):
        on = [("cluster.bandwidth", f"{bandwidth!r} Mbit/s")]
        replay(run, settings=on, out=tmp_path / name, console=Console(file=StringIO()), plots=False)
        (row,) = (row for row in summarize(read_results(open_run(tmp_path / name))) if row.method == "GMC")
        assert (row.shares["compute"] >= 0.9) == reached
    rows = list(csv.DictReader((run / "utilisation.csv").open()))
    assert [row["utilisation"] for row in rows if row["method"] == "GMC"] == [str(share) for share in SHARES]
    assert float(next(csv.DictReader((run / "utilisation_curve.csv").open()))["utilisation"]) > 0


def test_networks_are_chosen_by_their_values_and_bandwidths_of_a_grid_are_one(run, tmp_path):
    grid = [("grid.cluster.bandwidth", ["5 Mbit/s", "50 Mbit/s"]), ("grid.cluster.latency", ["0 s", "100 ms"])]
    replay(run, settings=grid, out=tmp_path / "grid", console=Console(file=StringIO()), plots=False)
    both, _ = tell(tmp_path / "grid")
    assert [(one.method, one.network) for one in both] == [
        ("DMSGD", "ring, 0 s"), ("GMC", "ring, 0 s"), ("DMSGD", "ring, 100 ms"), ("GMC", "ring, 100 ms"),
    ]  # fmt: skip
    assert all(one.needs.needed[0.5] is None and one.needs.limit < 0.05 for one in both[2:])
    far, _ = tell(tmp_path / "grid", at=[("cluster.latency", "100 ms"), ("cluster.bandwidth", "50 Mbit/s")])
    assert [one.network for one in far] == ["ring, 100 ms"] * 2 and far[0].bandwidth == 50e6 / 8
    with pytest.raises(SimgmcError, match="no grid point has cluster.latency = 7 ms"):
        tell(tmp_path / "grid", at=[("cluster.latency", "7 ms")])
    with pytest.raises(SimgmcError, match='"cluster.latncy" does not vary; did you mean'):
        tell(tmp_path / "grid", at=[("cluster.latncy", "7 ms")])


MEASURED = [(8, 1e9, 0.0256, 0.120), (32, 1e9, 0.0260, 0.354), (8, 5e9, 0.0262, 0.397), (32, 5e9, 0.0261, 0.722)]
"""Local steps between averages, bit/s, seconds of a step, and compute utilisation of DiLoCo on four AWS nodes, 30.8 M
parameters (medians of github.com/Adnan082/diloco-measured)."""


@pytest.mark.parametrize(("local_steps", "bits", "step", "utilisation"), MEASURED)
def test_published_utilisations_of_diloco_are_met_to_three_points(local_steps, bits, step, utilisation):
    nbytes, workers = 123386880, 4
    graph = star(uniform(workers, bits / 8, 100e-6)[:workers])
    cluster = ClusterSettings(
        graph=graph, workers=worker_names(workers), server=None, collective="ring", compute=ComputeTime(step),
        compression=Duration(0.0), aggregation=Duration(0.0),
    )  # fmt: skip
    (timing,) = simulate_many([cluster], [RoundCosts([Compute(local_steps), message([nbytes] * workers)])] * 3)
    found = timing.breakdown[..., timing.categories.index("compute")].sum() / timing.breakdown.sum()
    assert found == pytest.approx(utilisation, abs=0.03)
