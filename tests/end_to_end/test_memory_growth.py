"""Memory does not grow with the number of rounds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simgmc.core import heap

ROUNDS = 110
SCRIPT = """
import io, json, os, sys
from rich.console import Console
from simgmc.results import report as reporting
from simgmc.experiment import run as running
from simgmc.core.heap import held
from simgmc.scenario import ScenarioFile
from simgmc.workloads.classification import ClassificationWorkload

reporting.draw_plots = lambda *arguments, **options: {}
seen = []

def watched(name):
    compute = getattr(ClassificationWorkload, name)
    def wrapped(*arguments):
        seen.append(held())
        return compute(*arguments)
    setattr(ClassificationWorkload, name, wrapped)

watched("gradients")
watched("gradients_of")
for out, content in json.loads(sys.argv[1]).items():
    if not os.fork():  # each run starts with the memory of one that nothing ran before
        running.run(ScenarioFile(content, "rounds"), out=out, device="cpu", console=Console(file=io.StringIO()))
        print(json.dumps([len(seen), max(seen[40:]) / max(seen[:40]) - 1]), flush=True)
        os._exit(0)
    os.wait()
"""
METHODS = {
    "qsgd": {"compressor": {"name": "qsgd"}},  # small arrays in the costs of every round
    "sgp": {},  # small tensors in its own state
    "async-sgd": {},
}


def scenario(algorithm):
    content = {
        "name": "rounds", "seeds": [1],
        "workload": {
            "dataset": {"name": "synthetic", "features": 784, "train": 4000, "test": 100},
            "model": {"name": "mlp", "hidden": [256]},
            "workers": 4, "batch_per_worker": 4, "rounds": ROUNDS, "evaluate_every": f"{ROUNDS} rounds",
        },
        "optimizer": {"learning_rate": 1e-4},
        "cluster": {
            "topology": "star", "bandwidth": "1 Gbit/s", "latency": "1 ms", "collective": "parameter-server",
            "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [{"algorithm": algorithm, **METHODS[algorithm]}],
        "report": {"baseline": algorithm},
    }  # fmt: skip
    return content | ({"gossip": {"graph": "ring"}} if algorithm == "sgp" else {})


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Of every method: how many gradients it computed, and by what share it then held more than in the first 40."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {str(folder / name): scenario(name) for name in METHODS}
    ran = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(runs)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and len(ran.stdout.splitlines()) == len(METHODS), ran.stderr
    return dict(zip(METHODS, map(json.loads, ran.stdout.splitlines())))


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the system does not say how much memory is held")
@pytest.mark.parametrize("algorithm", METHODS)
def test_memory_does_not_grow_with_the_rounds(algorithm, grown):
    calls, growth = grown[algorithm]
    assert calls >= ROUNDS
    # it begins with about 0.4 GB; a vector of one worker in each of 70 rounds is 0.06 GB, one of all 4 is 0.22
    assert growth < 2 * heap.MAX_HOLES


def test_holes_are_given_back_only_where_memory_has_grown(monkeypatch):
    now, given = [0.0], []
    monkeypatch.setattr(heap, "held", lambda: now[0])
    monkeypatch.setattr(heap, "give_back", lambda: given.append(now[0]))
    holes = heap.Holes()
    for size in (100, 103, 104.9, 106, 102, 104, 107, 108, 102, 102):
        now[0] = size
        holes.look()
    assert given == [106, 108]


def test_a_round_that_needs_more_than_holes_may_take_is_given_back_once_at_most(monkeypatch):
    given, level = [], [1e9]
    monkeypatch.setattr(heap, "held", lambda: level[0])
    monkeypatch.setattr(heap, "give_back", lambda: given.append(level[0]))
    holes = heap.Holes()
    for _ in range(20):
        holes.look()
        level[0] = 3e9  # whatever is given back, the next round takes again
    assert len(given) == 1
