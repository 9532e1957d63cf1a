"""Sweeps on Ray as they are started by hand: clusters that lose a node, that simgmc begins, that have GPUs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import tomli_w

from simgmc.results.directory.run_directory import open_run
from tests.end_to_end.killing import results
from tests.small_runs import SMALL

pytestmark = pytest.mark.ray

TRAININGS = 24
CONTENT = {
    **SMALL,
    "seeds": [1, 2, 3],
    "workload": {**SMALL["workload"], "rounds": 60, "evaluate_every": "20 rounds"},
    "methods": [
        {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.02}},
        {"name": "server", "algorithm": "async-sgd"},
    ],
    "report": {"target": 0.3, "baseline": "GMC"},
    "sweep": {"methods.*.learning_rate": {"log": [0.01, 0.3], "points": 4}},
}


@pytest.fixture
def cluster():
    utilities = pytest.importorskip("ray.cluster_utils", reason="needs Ray, which the extra simgmc[ray] brings")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = utilities.Cluster()
    yield found
    found.shutdown()


def sweep(path, out, *more):
    command = [sys.executable, "-m", "simgmc", "sweep", str(path), "--out", str(out), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(printed):
    """How often each training was."""
    return Counter(re.findall(r"^\[\d+/\d+\] (.+?): epoch .* took ", printed, re.M))


def begun_by(process):
    """Live processes of Ray in the session that it leads, or below it."""
    listed = subprocess.run(["ps", "-eo", "sid=,pid=,ppid=,args="], capture_output=True, text=True).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()]
    return [args for sid, _, _, args in rows if int(sid) == process.pid and ("raylet" in args or "gcs_server" in args)]


def test_a_node_killed_in_the_middle_of_24_trainings_costs_what_it_had_under_way_alone(cluster, tmp_path):
    path, out = tmp_path / "small.toml", tmp_path / "ray"
    path.write_text(tomli_w.dumps(CONTENT))
    cluster.add_node(num_cpus=1, include_dashboard=False)
    node = cluster.add_node(num_cpus=1)
    process = sweep(path, out, "--device", "cpu", "--engine", "ray", "--address", cluster.address)
    end = time.monotonic() + 400

    def finished():
        return len(open_run(out).finished()) if (out / "scenario.toml").is_file() else 0

    while finished() < 6 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    before = finished()
    assert 6 <= before < TRAININGS
    cluster.remove_node(node, allow_graceful=False)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    times = ended(printed)
    assert len(times) == TRAININGS and set(times.values()) == {1}, printed
    assert len(open_run(out).finished()) == TRAININGS
    local = sweep(path, tmp_path / "local", "--device", "cpu", "--jobs", "2")
    assert local.communicate() and local.returncode == 0
    assert results(out) == results(tmp_path / "local")


def test_ctrl_c_on_a_cluster_of_its_own_saves_what_is_under_way_and_a_second_call_does_nothing_twice(tmp_path):
    """Without an address simgmc begins a cluster, and none of it is left when it ends, however that was."""
    pytest.importorskip("ray", reason="needs Ray, which the extra simgmc[ray] brings")
    content = {**CONTENT, "seeds": [1], "workload": {**CONTENT["workload"], "rounds": 300}}
    path, out = tmp_path / "small.toml", tmp_path / "ray"
    path.write_text(tomli_w.dumps(content))
    command = ["--device", "cpu", "--engine", "ray", "--jobs", "2"]
    process = sweep(path, out, *command)
    first = []
    for line in process.stdout:
        first.append(line)
        if sum(map(len, map(ended, first))) >= 2:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    first = "".join([*first, process.communicate()[0]])
    assert process.returncode == 130 and "the same command goes on from there" in first, first
    assert begun_by(process) == [] and not (out / "parts").exists()
    kept = set(ended(first))
    assert {str(key.method) for key in open_run(out).finished()} and len(open_run(out).finished()) == len(kept) < 8
    saved = {file.name.removesuffix(".state") for file in (out / "checkpoint").glob("*.state")}
    assert saved, first
    process = sweep(path, out, *command)
    second = process.communicate()[0]
    assert process.returncode == 0, second
    assert begun_by(process) == []
    assert len(re.findall("kept, it was finished before", second)) == len(kept)
    assert len(re.findall(r"^\[.* goes on after ", second, re.M)) == len(saved), second
    times = ended(first) + ended(second)
    assert len(times) == 8 and set(times.values()) == {1}, (first, second)
    local = sweep(path, tmp_path / "local", "--device", "cpu", "--jobs", "2")
    assert local.communicate() and local.returncode == 0
    assert results(out) == results(tmp_path / "local")


METHOD = """
import json, os
from dataclasses import dataclass
from simgmc import Algorithm, Average, Gradient

@dataclass(frozen=True)
class Telling(Algorithm):
    "SGD that writes down where it is trained."

    def start(self, worker):
        import ray
        if ray.is_initialized():
            context = ray.get_runtime_context()
            if context.get_task_id():
                row = [os.getpid(), context.get_task_id(), context.get_assigned_resources(), ray.get_gpu_ids()]
                with open(os.environ["TELLING"], "a") as file:
                    file.write(json.dumps(row) + chr(10))

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        mean = yield Average(gradient)
        worker.params = worker.params - worker.lr * mean
"""


def test_each_training_has_its_share_of_a_gpu_and_one_that_waits_for_the_judge_keeps_its_core(
    cluster, tmp_path, monkeypatch
):
    """By what Ray says within the tasks, on a node that claims to have a GPU; the one who asks has none."""
    monkeypatch.setenv("TELLING", str(tmp_path / "told"))
    (tmp_path / "telling.py").write_text(METHOD)
    cluster.add_node(num_cpus=2, num_gpus=1, include_dashboard=False)
    content = {
        **CONTENT, "seeds": [1], "methods": [{"name": "telling", "algorithm": "telling:Telling"}],
        "report": {"target": 0.3, "baseline": "telling"},
        "sweep": {"methods.*.learning_rate": {"log": [0.01, 0.3], "points": 8}, "halving": {"first": 0.2}},
    }  # fmt: skip
    path = tmp_path / "small.toml"
    path.write_text(tomli_w.dumps(content))
    process = sweep(path, tmp_path / "run", "--engine", "ray", "--address", cluster.address, "--gpus", "0.5")
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert "1 node, 2 cores, 1 GPU; 1 thread and 0.5 GPU for each training" in printed
    rows = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert len({task for _, task, _, _ in rows}) == 8 and {str(gpus) for _, _, _, gpus in rows} <= {"['0']", "[0]"}
    assert all((one["CPU"], one["GPU"]) == (1.0, 0.5) for _, _, one, _ in rows)
    assert len({process for process, _, _, _ in rows}) <= 2
    assert len(open_run(tmp_path / "run").finished()) == 8 and "given up" in printed


def test_what_no_machine_has_is_refused_in_one_line_before_anything_waits_for_it(tmp_path):
    pytest.importorskip("ray", reason="needs Ray, which the extra simgmc[ray] brings")
    path = tmp_path / "small.toml"
    path.write_text(tomli_w.dumps(CONTENT))
    process = sweep(path, tmp_path / "run", "--device", "cpu", "--engine", "ray", "--threads", "999")
    printed = process.communicate()[0]
    assert process.returncode == 2 and begun_by(process) == []
    assert re.search(
        r"^error: --threads 999: no machine of the cluster has so many \(\d+ cores, 0 GPUs\)$", printed, re.M
    )


def test_an_address_where_nobody_listens_is_said_in_one_line(tmp_path):
    pytest.importorskip("ray", reason="needs Ray, which the extra simgmc[ray] brings")
    path = tmp_path / "small.toml"
    path.write_text(tomli_w.dumps(CONTENT))
    process = sweep(path, tmp_path / "run", "--device", "cpu", "--engine", "ray", "--address", "127.0.0.1:1")
    printed = process.communicate()[0]
    assert process.returncode == 2
    assert re.search(r"^error: --address 127.0.0.1:1: no Ray cluster can be reached: .*refused$", printed, re.M)
