"""A sweep on a cluster of two nodes, of which one is killed: complete, nothing done twice, the bytes of a local one."""

from __future__ import annotations

import os
import re
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
    utilities = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield found
    found.shutdown()


def sweep(path, out, *more):
    command = [sys.executable, "-m", "simgmc", "sweep", str(path), "--device", "cpu", "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_node_killed_in_the_middle_of_24_trainings_costs_what_it_had_under_way_alone(cluster, tmp_path):
    path, out = tmp_path / "small.toml", tmp_path / "ray"
    path.write_text(tomli_w.dumps(CONTENT))
    node = cluster.add_node(num_cpus=1)
    process = sweep(path, out, "--engine", "ray", "--address", cluster.address)
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
    ended = Counter(re.findall(r"^\[\d+/24\] (.+?): epoch .* took ", printed, re.M))
    assert len(ended) == TRAININGS and set(ended.values()) == {1}, printed
    assert len(open_run(out).finished()) == TRAININGS
    local = sweep(path, tmp_path / "local", "--jobs", "2")
    assert local.communicate() and local.returncode == 0
    assert results(out) == results(tmp_path / "local")
