"""What bound a run is named, and what would help is what a replay gives."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from io import StringIO

import pytest
from rich.console import Console

from simgmc.experiment import run as running
from simgmc.experiment.answers.explanation import explain
from simgmc.experiment.plan import trainings
from simgmc.results.directory.run_directory import open_run
from simgmc.results.tables.explanations import Explanation, print_explanations
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL

PLAIN = {**SMALL["cluster"], "hosts": {}, "stragglers": {"sigma": 0.0}}


def explanations(tmp_path, *settings):
    base = {
        **SMALL,
        "cluster": PLAIN,
        "methods": SMALL["methods"][:1],
        "workload": {**SMALL["workload"], "rounds": 4, "evaluate_every": "4 rounds"},
    }
    file = ScenarioFile(base, "small.toml", settings)
    out = running.run(file, out=tmp_path / "run", device="cpu", console=Console(file=StringIO()))
    return explain(open_run(out), trainings(file.points)).found


def test_a_slow_parameter_server_is_bound_by_its_link_and_twice_the_bandwidth_halves_the_transfer(tmp_path):
    (one,) = explanations(tmp_path)
    assert one.bound_by.startswith("link ") and "server" in one.bound_by
    d = 64 * 24 + 24 + 24 * 10 + 10
    transfer = 2 * 4 * 4 * d / (5e6 / 8)
    rest = 0.010 + 4 * 0.003 + 4 * 4 * d / 1e9
    assert one.twice_bandwidth == pytest.approx((transfer / 2 + rest) / (transfer + rest), rel=1e-9)
    assert one.half_latency == pytest.approx((transfer + rest - 2 * 0.003) / (transfer + rest), rel=1e-9)
    assert one.exposed == pytest.approx(1.0)


def test_on_a_fast_network_compute_is_named(tmp_path):
    (one,) = explanations(tmp_path, ("cluster.bandwidth", "100 Gbit/s"), ("cluster.latency", "1 us"))
    assert one.bound_by == "compute" and one.twice_bandwidth > 0.99


def test_auto_says_what_it_picked(tmp_path):
    (one,) = explanations(tmp_path, ("cluster.collective", "auto"))
    assert sum(one.chosen.values()) == 4


ASYNCHRONOUS = {
    "Swarm": {"name": "Swarm", "algorithm": "swarm-sgd"},
    "Gossip": {"name": "Gossip", "algorithm": "d-psgd"},
    "OSGP": {"name": "OSGP", "algorithm": "osgp"},
    "Async": {"name": "Async", "algorithm": "async-sgd", "learning_rate": 0.02},
}
FAST = [("cluster.bandwidth", "100 Gbit/s"), ("cluster.latency", "1 us")]
SLOW = ("cluster.hosts", {"worker0": {"slowdown": 20.0}})


@pytest.mark.parametrize(
    ("name", "settings", "on", "bound_by"),
    [
        (
            "Swarm",
            [("cluster.bandwidth", "1 Mbit/s")],
            "pairwise ring",
            r"link (worker\d -> switch|switch -> worker\d) \([5-9]\d% used\)",
        ),
        ("Swarm", FAST, "pairwise ring", "compute"),
        ("Swarm", [("cluster.latency", "1 s"), ("cluster.bandwidth", "100 Gbit/s")], "pairwise ring", "latency"),
        ("Swarm", [*FAST, SLOW, ("gossip.graph", "star")], "pairwise star", "waiting for a partner"),
        ("Gossip", [*FAST, SLOW], "gossip ring", "waiting for neighbours"),
        ("OSGP", [*FAST, SLOW], "asynchronous gossip ring", "waiting for neighbours"),
        ("Async", [*FAST, ("cluster.compute.aggregation", "1 s")], "asynchronous server", "waiting for the server"),
    ],
)
def test_what_bound_gossip_and_what_the_clock_drives_is_named(tmp_path, name, settings, on, bound_by):
    (one,) = explanations(
        tmp_path, ("methods", [ASYNCHRONOUS[name]]), ("report.baseline", name), ("gossip", {"graph": "ring"}), *settings
    )
    assert one.on == on
    assert re.fullmatch(bound_by, one.bound_by), one.bound_by
    assert (one.twice_bandwidth is None) == (name != "Gossip")


DOWN = {"source": "worker0", "destination": "switch", "down": "0 s", "up": "60 s"}


@pytest.mark.parametrize(
    ("method", "settings", "bound_by"),
    [
        (
            SMALL["methods"][0],
            [("cluster.latency", "100 ms"), ("cluster.transport", {"window": "100 B"})],
            r"transport.window = 100 B per round trip \(\d\d% of the time\)",
        ),
        (
            SMALL["methods"][0],
            [("cluster.transport", {"rate_cap": "10 kB/s", "streams": 2})],
            r"transport.rate_cap = 10 kB/s x 2 streams \(\d\d% of the time\)",
        ),
        (ASYNCHRONOUS["Swarm"], [("cluster.transport", {"rate_cap": "50 kB/s"})], r"transport.rate_cap = 50 kB/s .*"),
        (
            ASYNCHRONOUS["Swarm"],
            [("cluster.bandwidth", "1 Mbit/s"), ("cluster.changes", {"failures": [DOWN]})],
            r"link worker0 -> switch \(full \d\d% of the time, [\d.]+ s of it without bandwidth\)",
        ),
    ],
)
def test_what_is_named_is_what_held_messages_up_not_what_a_link_could_have_carried(
    tmp_path, method, settings, bound_by
):
    (one,) = explanations(
        tmp_path, ("methods", [method]), ("report.baseline", method["name"]), ("gossip", {"graph": "ring"}), *settings
    )
    assert re.fullmatch(bound_by, one.bound_by), one.bound_by


def test_a_crash_that_stops_the_run_is_reported_with_its_reason(tmp_path):
    (one,) = explanations(tmp_path, ("cluster.crashes", {"workers": [{"worker": 2, "at": "150 ms"}], "policy": "stop"}))
    assert "worker2" in one.stopped
    assert open_run(tmp_path / "run").breakdowns().popitem()[1].rounds < 4


def test_in_a_window_of_80_columns_words_are_folded_and_none_is_cut_off():
    long = Explanation(
        "DGC w/o masking", "parameter-server, learning rate 0.01", "link switch -> worker12", 1.0, 0.5, 0.9, {}, None
    )
    for on in (long.on, "parameter-server", "x" * 50):
        console = Console(file=StringIO(), width=80)
        print_explanations(console, [dataclasses.replace(long, on=on)])
        said = console.file.getvalue()
        assert "…" not in said and all(
            word in said for word in ("DGC", "masking", "worker12", "100%", "-50 %", "-10 %")
        )
        assert on != "parameter-server" or on in said
        assert Counter("".join(on.split())) <= Counter(said), "every letter is there"
