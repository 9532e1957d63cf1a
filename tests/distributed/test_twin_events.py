"""A twin of asynchronous trainings, and what it says of the time to a target."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import simgmc
from simgmc.distributed import measured
from simgmc.distributed.events.again import write_order
from simgmc.distributed.events.order import GOES_ON, Event
from simgmc.distributed.measured import Step
from simgmc.distributed.twin.comparison import on_ranks
from simgmc.distributed.twin.events import Pair, compare_events
from simgmc.distributed.twin.laboratory import Laboratory
from simgmc.distributed.twin.targets import Curve, Trained, at_rounds, reached, targets_said
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.plan import trainings
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, star, worker_names
from simgmc.network.cluster.peers import Flight, Peers
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.measures import ACCURACY, GAP
from simgmc.results.series.read import read_results
from simgmc.scenario import ScenarioFile
from tests.distributed.test_twin import _ended, _space, _wait, hosts, needs_namespaces
from tests.places import ROOT

SCENARIO = """
seeds = [1]
[workload]
workers = 3
rounds = 12
evaluate_every = "3 rounds"
[workload.problem]
name = "quadratic"
start = [3.0, 1.0]
matrices = [[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]]
minimisers = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
noise = 0.2
[optimizer]
learning_rate = 0.05
[cluster]
bandwidth = "1 Mbit/s"
latency = "1 ms"
collective = "ring"
compute = { gradient = "3 ms", compression = "0 s", aggregation = "0 s" }
[report]
metric = "gap"
[[methods]]
name = "M"
algorithm = "async-sgd"
"""


def test_a_training_that_took_what_is_simulated_has_no_error(tmp_path):
    """Rates, times of evaluations, staleness."""
    (tmp_path / "run.toml").write_text(SCENARIO)
    simgmc.run(tmp_path / "run.toml", out=tmp_path / "run")
    directory = open_run(tmp_path / "run")
    (training,) = trainings(ScenarioFile.read(tmp_path / "run.toml").points)
    measured.append(measured.file_of(directory, training.key), [])
    write_order(directory, training.key, [Event(n, 0, GOES_ON, 0, (n,)) for n in range(50)])
    workload = WorkloadFactory("cpu", None, 1)(training.scenario, 1)
    (read,) = read_results(directory, measure=GAP).series
    found = compare_events(training, workload, training.settings(training.points[0]), directory, read, GAP)
    assert abs(found.gradients.error) < 1e-12 and len(found.errors) == 4 and found.errors.max() < 1e-12
    assert found.staleness_apart == 0 and found.mean_staleness.error == 0 and found.mean_staleness.measured > 0
    assert found.messages.measured * found.evaluations[-1][1].measured == pytest.approx(50)
    assert np.array_equal(found.measured.values, found.simulated.values)
    # Gradients of 3 ms that took 6 take that in the simulation too; nothing else takes time but the network.
    begins = 0.006 * np.arange(40)
    long = [Step(rank, 0, 0, "compute", "", begin, begin + 0.006, 0, 0, 0) for begin in begins for rank in range(3)]
    measured.append(measured.file_of(directory, training.key), long)
    later = compare_events(training, workload, training.settings(training.points[0]), directory, read, GAP)
    slower = dataclasses.replace(training.settings(training.points[0]), compute=ComputeTime(0.006))
    measured.file_of(directory, training.key).write_text("")
    same = compare_events(training, workload, slower, directory, read, GAP)
    assert later.gradients.simulated == pytest.approx(same.gradients.simulated) != found.gradients.simulated


def test_a_server_beside_a_worker_has_its_messages_at_once():
    names = worker_names(2)
    graph = star([Host(name, 1e6, 1e6, 0.0) for name in (*names, "server")])
    cluster = ClusterSettings(graph, names, "server", "ring", ComputeTime(1.0), Duration(0.0), Duration(0.0))
    peers = Peers(on_ranks(cluster, names, 0.0, True))
    landed: dict[int, Flight] = {}
    for worker in (0, 1):
        peers.send(worker, -1, 1_000_000, lambda flight, worker=worker: landed.update({worker: flight}))
    peers.clock.call_at(5.0, lambda _: peers.stop())
    peers.run()
    assert landed[0].landed == 0 and landed[0].segments() == [] and landed[1].landed == pytest.approx(1.0)
    assert peers.into_server == peers.link_bytes.max() == 1_000_000


def curve(*values):
    return Curve(np.arange(len(values), dtype=float), np.array(values))


def test_who_is_first_is_said_and_how_far_speed_ups_are_apart():
    trained = [
        Trained("slow", curve(0, 0, 0, 0, 1), curve(0, 0, 0, 0, 1)),
        Trained("fast", curve(0, 0, 1), curve(0, 1)),
        Trained("never", curve(0, 0), curve(0, 0)),
    ]
    found = reached(trained, ACCURACY, 0.5)
    assert [(one.measured, one.simulated) for one in found] == [(4, 4), (2, 1), (math.inf, math.inf)]
    lines = targets_said(found, ACCURACY, 0.5, "slow")
    assert lines == ["first to 50 %: fast, measured and simulated", "largest error of a speed-up over slow: 100.0%"]
    turned = [Trained("slow", curve(0, 1), curve(0, 0, 1)), trained[1]]
    assert targets_said(reached(turned, ACCURACY, 0.5), ACCURACY, 0.5, "slow")[:2] == [
        "first to 50 %: measured slow, simulated fast",
        "in order: measured slow, fast; simulated fast, slow",
    ]
    assert targets_said(found[2:], ACCURACY, 0.5, "never") == ["first to 50 %: no method reached it"]


def test_seeds_are_averaged_and_rounds_end_one_after_the_other():
    found = reached([Trained("m", curve(0, 1), curve(0, 1)), Trained("m", curve(0, 0, 0, 1), curve(1))], ACCURACY, 0.5)
    assert [(one.measured, one.simulated) for one in found] == [(2.0, 0.5)]
    read = {"round": np.array([0.0, 2.0, 3.0]), "test_accuracy": np.array([0.1, 0.2, 0.3])}
    assert at_rounds(read, [1.0, 2.0, 4.0], ACCURACY).times.tolist() == [0.0, 3.0, 7.0]
    assert math.isnan(Pair(0.0, 1.0).error)


@needs_namespaces
@pytest.mark.slow
def test_an_asynchronous_method_is_run_and_simulated(tmp_path):
    settings = ["workload.rounds=12", "workload.evaluate_every='4 rounds'", "report.target=0.2"]
    arguments = [text for setting in settings for text in ("--set", setting)]
    chosen = ["--method", "DMSGD", "--method", "async SGD", "--out", str(tmp_path / "twin"), *arguments]
    command = [sys.executable, "-m", "simgmc", "twin", "scenarios/twin_target.toml", *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "time to 20 %" in done.stdout and "first to 20 %" in done.stdout
    for name in ("twin.png", "twin_events.png"):
        assert (tmp_path / "twin" / name).stat().st_size > 10_000
    rows = [line.split(",") for line in (tmp_path / "twin" / "twin_events.csv").read_text().splitlines()]
    evaluations = [(float(row[4]), float(row[5])) for row in rows if row[2] == "seconds at gradients"]
    assert len(evaluations) == 4 and evaluations == sorted(evaluations)


CROSSING = """
import os, threading, time, torch
from simgmc.distributed.events.post import SEND, Letter, Post
from simgmc.distributed.group import Group
group, came = Group("gloo", torch.device("cpu"), 30.0, "crossing"), threading.Semaphore(0)
letters, other = Post(group, 2, lambda letter: came.release(), print), 1 - group.rank
letters.open()
def send(): letters.send(other, Letter(SEND, group.rank, other, counts=[0, 0], payload=bytes(300_000)))
seconds = []
for both in (True, False, True):  # the first makes the connections
    group.wait_for_all()
    begin = time.monotonic()
    if both or not group.rank:
        time.sleep(0.03 * group.rank)  # rank 0's is on its way by then
        send()
    if both or group.rank:
        came.acquire()
    seconds.append(time.monotonic() - begin)
letters.close()
group.leave()
print(*seconds[1:])
"""


@needs_namespaces
@pytest.mark.slow
def test_messages_that_cross_are_on_their_way_at_the_same_time():
    """Each way of a link has all of its bandwidth, for pairs that exchange too."""
    graph, names = hosts(2, 10.0)
    with Laboratory(graph, names) as laboratory:
        command = [sys.executable, "-c", CROSSING]
        done = laboratory.run(dict.fromkeys(names, command), {"PYTHONPATH": str(ROOT)}, 100.0)
    crossing = [float(done[name][1].split()[1]) for name in names]
    assert max(crossing) < 1.5 * float(done[names[1]][1].split()[0]), done


@needs_namespaces
@pytest.mark.slow
def test_a_killed_rank_ends_the_twin_with_all_ranks_and_namespaces(tmp_path):
    """In the middle of an asynchronous training; those that are left say which one is gone."""
    chosen = ["--method", "async SGD", "--set", "report.baseline='async SGD'", "--set", "workload.rounds=5000"]
    command = [sys.executable, "-m", "simgmc", "twin", "scenarios/twin_target.toml", *chosen]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "twin")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ranks: dict[int, int] = {}

        def under_way() -> list[int]:
            """The ranks, once several gradients have been sent."""
            ranks.update({number: pid for pid in _with(str(tmp_path)) if (number := _rank(pid)) is not None})
            return [pid for pid in ranks.values() if _sent(pid) > 2_000_000]

        _wait(under_way, 4)
        assert sorted(ranks) == [0, 1, 2, 3]
        spaces = {_space(Path(f"/proc/{pid}")) for pid in ranks.values()}
        assert len(spaces) == 4
        os.kill(ranks[2], signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 2 and "Traceback" not in said
    for number in (0, 1, 3):
        gone = rf"rank 2 \(process {ranks[2]} on .*\)"
        assert re.search(rf"worker{number}: rank {number}: .*{gone} ended", said), said
    _wait(lambda: [pid for pid in ranks.values() if _ended(pid)], 4)
    assert not spaces & {_space(one) for one in Path("/proc").iterdir() if one.name.isdecimal()}


def _with(text):
    """Processes in whose command line that stands."""
    for one in Path("/proc").iterdir():
        if one.name.isdecimal():
            with contextlib.suppress(OSError):
                if text in (one / "cmdline").read_text():
                    yield int(one.name)


def _rank(pid):
    """Which rank a process is; None: it is none."""
    with contextlib.suppress(OSError):
        found = re.search(r"(?:^|\0)RANK=(\d+)\0", Path(f"/proc/{pid}/environ").read_text())
        return int(found[1]) if found else None


def _sent(pid):
    """Bytes that have left the interface of its namespace."""
    with contextlib.suppress(OSError):
        found = re.search(r"eth0:(?:\s+\d+){8}\s+(\d+)", Path(f"/proc/{pid}/net/dev").read_text())
        return int(found[1]) if found else 0
    return 0
