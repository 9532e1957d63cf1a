"""Whole runs in which workers are left out of averages: the first k of n, and crashes that the others go on after."""

from __future__ import annotations

import csv
import json
from io import StringIO

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from simgmc.cli import main
from simgmc.commands.replay import replay
from simgmc.commands.timeline import timeline
from simgmc.commands.why import why
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average
from simgmc.results.directory.run_directory import open_run
from simgmc.scenario import ScenarioFile
from tests.end_to_end.stopping import scenario as resumable
from tests.end_to_end.stopping import stopped_after_every_round_equals_never_stopped
from tests.small_runs import SMALL, metrics, rows, run
from tests.small_runs import method as chosen

FIRST = ("cluster.collective", "first-k-parameter-server")
METHODS = [
    {"name": "DMSGD", "algorithm": "dmsgd"},
    {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.02}},
]
BASE = {**SMALL, "methods": METHODS, "cluster": {**SMALL["cluster"], "hosts": {"worker1": {"slowdown": 2.0}}}}


SHORT = ("workload.rounds", 10), ("workload.evaluate_every", "5 rounds")


def scenario(*settings, base=BASE):
    return ScenarioFile(base, "small.toml", settings)


def crashes(*gone, policy="without"):
    return (
        "cluster.crashes",
        {"workers": [dict(zip(("worker", "at", "back"), one)) for one in gone], "policy": policy},
    )


def k(number, late="dropped"):
    return (FIRST, ("cluster.collective_options", {"k": number, "late": late}))


def table(out, name):
    return list(csv.DictReader((out / name).open()))


def without_collective(rows_):
    return [{key: value for key, value in row.items() if key != "collective"} for row in rows_]


def test_with_k_equal_to_n_a_run_is_that_of_the_parameter_server(tmp_path):
    first, _ = run(scenario(*k(4), *SHORT), tmp_path / "first")
    plain, _ = run(scenario(*SHORT), tmp_path / "plain")
    for name in ("metrics.csv", "breakdown.csv", "workers.csv", "links.csv"):
        assert without_collective(table(first, name)) == without_collective(table(plain, name))
    assert not (first / "participation.csv").exists()
    again = replay(
        first, settings=[("cluster.bandwidth", "1 Mbit/s")], out=tmp_path / "again", console=Console(file=StringIO())
    )
    assert len(rows(again)) == len(rows(first))


@pytest.mark.parametrize("late", ["dropped", "carried"])
def test_bytes_and_rcc_are_those_of_the_messages_taken(tmp_path, late):
    out, _ = run(scenario(*k(3, late)), tmp_path / "run")
    d, rounds, workers = 64 * 24 + 24 + 24 * 10 + 10, 30, 4
    final = {row["method"]: row for row in rows(out)}
    counted = {(row["method"], int(row["worker"])): row for row in table(out, "participation.csv")}
    directory = open_run(out)
    for name in ("DMSGD", "GMC"):
        (training,) = [
            key
            for key in (f"{name}, collective first-k-parameter-server, seed 3", f"{name}, seed 3")
            if directory.has_costs(key)
        ]
        steps = [step for costs in directory.read_costs(training) for step in costs if isinstance(step, Average)]
        assert len(steps) == rounds and all(
            step.participants.sum() == 3 and step.receivers == workers for step in steps
        )
        taken = [int(step.up[step.participants].sum()) for step in steps]
        sizes = 4 if name == "DMSGD" else 8
        floats = sum(taken) // sizes * (1 if name == "DMSGD" else 2) + sum(
            workers * step.down // sizes * (1 if name == "DMSGD" else 2) for step in steps
        )
        assert float(final[name]["rcc"]) == pytest.approx(floats / (2 * workers * d * rounds), rel=1e-14)
        assert int(final[name]["bytes_down"]) == workers * sum(step.down for step in steps)
        lost = sum(int(counted[name, worker]["messages_lost"]) for worker in range(workers))
        thrown_away = int(final[name]["bytes_up"]) - sum(taken)
        assert 0 <= thrown_away <= lost * max(int(step.up.max()) for step in steps)
        left_out = rounds - np.sum([step.participants for step in steps], axis=0)
        for worker in range(workers):
            missed, gone, carried = (
                int(counted[name, worker][key]) for key in ("rounds_missed", "messages_lost", "messages_carried")
            )
            if late == "dropped":
                assert missed + gone == left_out[worker] and not carried
            else:
                assert not gone and carried <= missed
        assert {int(row["gradients"]) for row in table(out, "workers.csv")} != {rounds}


def test_first_k_is_faster_with_a_slow_worker_and_still_learns(tmp_path):
    slow = ("cluster.hosts", {"worker1": {"slowdown": 5.0}})
    fast = (("cluster.bandwidth", "1 Gbit/s"), ("cluster.stragglers", {"sigma": 0.0}), ("workload.rounds", 40))
    waited, _ = run(scenario(slow, *fast), tmp_path / "waited")
    found, printed = run(scenario(slow, *fast, *k(3)), tmp_path / "first")
    equal, _ = run(scenario(("cluster.hosts", {}), *fast), tmp_path / "equal")
    for name in ("DMSGD", "GMC"):
        at = {
            label: [row for row in rows(out) if row["method"] == name][-1]
            for label, out in (("waited", waited), ("first", found), ("equal", equal))
        }
        seconds = {label: float(row["sim_time_s"]) for label, row in at.items()}
        assert (
            seconds["first"] == pytest.approx(seconds["equal"], rel=0.02) and seconds["waited"] > 2 * seconds["first"]
        )
        assert float(at["first"]["test_accuracy"]) > 0.3
    assert "DMSGD, first-k-parameter-server, seed 3: 40 rounds missed (most often worker1 40)" in printed


def test_a_crashed_worker_is_left_out_until_it_is_back(tmp_path):
    out, printed = run(scenario(crashes((2, "300 ms", "1 s"), (0, "1.2 s"))), tmp_path / "run")
    counted = {
        (row["method"], int(row["worker"])): int(row["rounds_missed"]) for row in table(out, "participation.csv")
    }
    directory = open_run(out)
    for name in ("DMSGD", "GMC"):
        steps = [
            step for costs in directory.read_costs(f"{name}, seed 3") for step in costs if isinstance(step, Average)
        ]
        there = np.array([np.ones(4, bool) if step.participants is None else step.participants for step in steps])
        assert [counted[name, worker] for worker in range(4)] == (~there).sum(axis=0).tolist()
        assert 0 < counted[name, 2] < 30 and there[:3].all()
        assert (~there[:, 0]).any() == (not there[-1, 0]) and there[:, [1, 3]].all()
    assert "rounds missed (most often worker" in printed


def test_runs_go_on_without_a_worker_on_every_kind_of_collective(tmp_path):
    collectives = ["ring", "sharded-parameter-server", "colocated-parameter-server", "doubling-all-gather"]
    collectives.append("lock-step-ring")
    file = scenario(crashes((2, "50 ms", "200 ms")), ("grid.cluster.collective", collectives), *SHORT)
    first, _ = run(file, tmp_path / "a")
    second, _ = run(file, tmp_path / "b")
    assert metrics(first) == metrics(second)
    missed = [row for row in table(first, "participation.csv") if row["worker"] == "2"]
    assert len(missed) == len(collectives) * len(METHODS) and all(int(row["rounds_missed"]) > 0 for row in missed)


def test_a_crash_without_effect_leaves_the_run_as_it_was(tmp_path):
    first, _ = run(scenario(crashes((2, "1000 s")), *SHORT), tmp_path / "a")
    plain, _ = run(scenario(*SHORT), tmp_path / "b")
    for one, other in zip(rows(first), rows(plain), strict=True):
        assert float(one.pop("sim_time_s")) == pytest.approx(float(other.pop("sim_time_s")), rel=1e-12)
        assert one == other


@pytest.mark.parametrize("name", ["dmsgd", "gmc", "dgc", "local-sgd", "signsgd"])
@pytest.mark.parametrize("late", ["dropped", "carried"])
def test_a_first_k_training_stopped_after_every_round_ends_with_the_same_bits(tmp_path, trainers, kill, name, late):
    file = resumable([chosen(name)], *k(3, late), ("cluster.hosts", {"worker2": {"slowdown": 2.0}}))
    stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill)


@pytest.mark.parametrize("name", ["dmsgd", "gmc", "doublesqueeze", "powersgd"])
def test_a_training_without_a_crashed_worker_goes_on_with_the_same_bits(tmp_path, trainers, kill, name):
    file = resumable([chosen(name)], crashes((1, "50 ms", "150 ms")))
    stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill)


def test_every_cluster_of_a_grid_has_a_training_of_its_own(tmp_path):
    grid = ("grid.cluster.collective", ["parameter-server", "ring", "first-k-parameter-server"])
    speeds = ("grid.cluster.bandwidth", ["5 Mbit/s", "200 kbit/s"])
    together, printed = run(scenario(grid, speeds, *SHORT), tmp_path / "grid")
    for bandwidth in ("5 Mbit/s", "200 kbit/s"):
        for collective in grid[1]:
            alone, _ = run(
                scenario(("cluster.collective", collective), ("cluster.bandwidth", bandwidth), *SHORT),
                tmp_path / f"{collective}{bandwidth[0]}",
            )
            found = [
                row
                for row in rows(together)
                if (row["collective"], row.pop("cluster.bandwidth", bandwidth)) == (collective, bandwidth)
            ]
            assert found == rows(alone)
    assert len(list((together / "costs").iterdir())) == 2 * (1 + 2)


def test_replays_are_refused_with_the_reason_in_both_directions(tmp_path):
    first, _ = run(scenario(*k(3), ("workload.rounds", 3)), tmp_path / "first")
    plain, _ = run(scenario(("workload.rounds", 3)), tmp_path / "plain")
    to_plain = [("cluster.collective", "ring"), ("cluster.collective_options", {})]
    for source, changes in (
        (first, [("cluster.bandwidth", "1 Mbit/s")]),
        (first, to_plain),
        (plain, [FIRST]),
        (plain, [crashes((0, "1 ms", "2 ms"))]),
    ):
        with pytest.raises(
            SimgmcError,
            match="DMSGD, GMC: cannot be replayed: the clock drives its training, or says who takes part in it",
        ):
            replay(source, settings=changes, out=tmp_path / "again", console=Console(file=StringIO()))
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("late", ["dropped", "carried"])
def test_timeline_and_why_come_from_the_stored_memberships(tmp_path, without_pictures, late):
    out, _ = run(scenario(*k(3, late), ("methods", METHODS[:1]), *SHORT), tmp_path / "run")
    console = Console(file=StringIO(), width=160)
    written = timeline(out, rounds="2:4", out=tmp_path / "timeline", console=console)
    trace = json.loads(next(file for file in written if file.name.endswith(".trace.json")).read_text())
    assert {event.get("name") for event in trace["traceEvents"]} >= {"compute", "transfer"}
    why(out, console)
    printed = console.file.getvalue()
    assert "-: would be another training on another network" in printed


def test_a_training_that_diverges_as_a_mean_is_formed_says_so(tmp_path):
    wild = [
        {
            "name": "wild",
            "algorithm": "doublesqueeze",
            "learning_rate": 1e30,
            "compressor": {"name": "top-k", "density": 0.5},
        }
    ]
    out, printed = run(scenario(*k(3), ("methods", wild), ("report.baseline", "wild")), tmp_path / "run")
    assert "wild, seed 3: diverged" in printed
    (row,) = table(out, "breakdown.csv")
    assert int(row["diverged"]) == int(row["rounds"]) + 1


OVERLAP = [{"name": "o", "algorithm": "overlap-local-sgd"}]
CSER = [{"name": "o", "algorithm": "cser", "error_compressor": {"name": "rbgs", "density": 0.1}}]
GOSSIP = [{"name": "o", "algorithm": "d-psgd"}]
RBGS = [{"name": "o", "algorithm": "gmc", "compressor": {"name": "rbgs", "density": 0.1}}]
POWER = [{"name": "o", "algorithm": "powersgd"}]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (k(5), "collective_options.k = 5: .*at most 4"),
        (k(0), "collective_options.k = 0"),
        (k(3, "later"), 'collective_options.late = "later"'),
        ([("cluster.collective_options.k", 3)], "parameter-server does not read it; .*first-k-parameter-server"),
        ([("cluster.collective_options.k", 1)], "parameter-server does not read it"),
        ([("cluster.collective_options.late", "dropped")], "parameter-server does not read it"),
        (
            [FIRST, ("cluster.overlap", {"buckets": 4})],
            "workers that are all there; leave overlap out",
        ),
        (
            [FIRST, crashes((0, "1 s", "2 s"), policy="wait")],
            "workers that are all there; leave crashes out",
        ),
        ([crashes((0, "1 s", "2 s")), ("cluster.collective", "auto")], "name the collective"),
        (
            [crashes((0, "1 s", "2 s")), ("cluster.collective", "sparse-reduce-scatter")],
            "supports of all workers' messages unite",
        ),
        ([crashes((0, "1 s", "2 s")), ("cluster.overlap", {"buckets": 4})], "overlap and crashes together"),
        (
            [FIRST, ("methods", OVERLAP)],
            "does not go with collective 'first-k-parameter-server'.*travel while everybody goes on",
        ),
        (
            [crashes((0, "1 s", "2 s")), ("methods", CSER)],
            'does not go with crashes.policy = "without".*what they missed',
        ),
        (
            [FIRST, ("methods", GOSSIP), ("gossip", {"graph": "ring"})],
            "gossip has no weights for some of the workers alone",
        ),
        ([crashes((0, "1 s", "2 s")), ("methods", GOSSIP), ("gossip", {"graph": "ring"})], "gossip has no weights"),
    ],
)
def test_every_mistake_is_named_with_its_place(settings, says):
    named = [("report.baseline", "o")] if any(key == "methods" for key, _ in settings) else []
    with pytest.raises(SimgmcError, match=says):
        scenario(*settings, *named)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([*k(3, "carried"), ("methods", RBGS)], 'use late = "dropped"'),
        ([*k(3), ("methods", POWER)], "several exchanges"),
    ],
)
def test_what_only_a_first_message_shows_is_said_before_anything_is_written(tmp_path, settings, says):
    with pytest.raises(SimgmcError, match=says):
        run(scenario(*settings, ("report.baseline", "o")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_runs_it_end_to_end(tmp_path):
    file = tmp_path / "first.toml"
    file.write_text(scenario(*k(3, "carried"), ("workload.rounds", 10)).resolved())
    result = CliRunner().invoke(main, ["run", str(file), "--out", str(tmp_path / "run"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "late messages carried into a later average" in result.output and "participation.csv" in result.output
    dry = CliRunner().invoke(main, ["run", str(file), "--dry-run", "--device", "cpu"])
    assert dry.exit_code == 0, dry.output
    refused = CliRunner().invoke(main, ["replay", str(tmp_path / "run"), "--set", "cluster.bandwidth=1 Mbit/s"])
    assert refused.exit_code != 0 and "says who takes part in it" in refused.output
