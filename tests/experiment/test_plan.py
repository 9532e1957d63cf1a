"""What is trained: a method once for all that a grid varies beside what it computes."""

from __future__ import annotations

from collections import Counter

import pytest

from simgmc.commands.replay import replay
from simgmc.experiment.plan import trainings
from tests.small_runs import SMALL, rows, run, scenario

TOP_K = {"name": "top-k", "density": 0.02}
METHODS = [
    {"name": "DMSGD", "algorithm": "dmsgd"},
    {"name": "GMC", "algorithm": "gmc", "compressor": TOP_K},
    {"name": "DGC", "algorithm": "dgc", "compressor": TOP_K},
    {"name": "PD-SGDM", "algorithm": "pd-sgdm", "period": 2},
    {"name": "complete", "algorithm": "d-psgd", "gossip": {"graph": "complete"}},
    {"name": "Swarm", "algorithm": "swarm-sgd"},
    {"name": "server", "algorithm": "async-sgd"},
]
SHORT = {
    **SMALL,
    "workload": {**SMALL["workload"], "rounds": 4, "evaluate_every": "2 rounds"},
    "gossip": {"graph": "ring"},
    "methods": METHODS,
}
GRAPHS = ("gossip.graph", ["ring", "exponential"])
NETWORKS = ("cluster.bandwidth", ["5 Mbit/s", "300 kbit/s"])
FIRST = ("cluster.collective_options", {"k": 3}), ("cluster.collective", "first-k-parameter-server")
EACH_KIND = [METHODS[number] for number in (1, 3, 5, 6)]


def plan(*settings, base=SHORT):
    return trainings(scenario(*settings, base=base).points)


def counts(plan):
    return dict(Counter(training.method.name for training in plan))


def grid(*keys):
    return [(f"grid.{key}", values) for key, values in keys]


@pytest.mark.parametrize(
    ("keys", "several"),
    [
        ([NETWORKS], {"Swarm": 2, "server": 2}),
        ([GRAPHS], {"PD-SGDM": 2, "Swarm": 2}),
        ([GRAPHS, NETWORKS], {"PD-SGDM": 2, "Swarm": 4, "server": 2}),
        ([("methods.GMC.compressor.density", [0.1, 0.2, 0.3])], {"GMC": 3}),
        ([("methods.*.compressor.density", [0.1, 0.2, 0.3])], {"GMC": 3, "DGC": 3}),
        ([("methods.0.learning_rate", [0.1, 0.2]), GRAPHS], {"DMSGD": 2, "PD-SGDM": 2, "Swarm": 2}),
        ([("methods.complete.gossip.graph", ["ring", "complete"])], {"complete": 2}),
        ([("optimizer.learning_rate", [0.1, 0.2])], dict.fromkeys([one["name"] for one in METHODS], 2)),
        ([("cluster", [SMALL["cluster"], {**SMALL["cluster"], "latency": "1 ms"}])], {"Swarm": 2, "server": 2}),
        ([("methods", [METHODS, METHODS[:3]])], {}),
        ([("methods", [METHODS, METHODS[::-1]])], {one["name"]: 2 for one in METHODS if one["name"] != "PD-SGDM"}),
        ([("cluster.collective", ["ring", "parameter-server"])], {}),
    ],
)
def test_a_grid_trains_a_method_as_often_as_it_computes_something_else(keys, several):
    found = plan(*grid(*keys))
    assert counts(found) == {one["name"]: several.get(one["name"], 1) for one in METHODS}
    assert len({training.key for training in found}) == len(found)


def test_every_point_of_the_grid_is_covered_once():
    file = scenario(*grid(GRAPHS, ("methods.*.compressor.density", [0.1, 0.2]), NETWORKS), base=SHORT)
    covered = Counter(training.series(point) for training in trainings(file.points) for point in training.points)
    assert len(covered) == len(METHODS) * len(file.points) and set(covered.values()) == {1}


def _half(file):
    """Points of a grid of two values a key, so that any two values of two keys meet in one of them."""
    return [point for number, point in enumerate(file.points) if number.bit_count() % 2 == 0]


TIMED = ("workload.evaluate_every", "50 ms")
BASELINE = ("report.baseline", "GMC")
DENSITIES = ("methods.GMC.compressor.density", [0.02, 0.1])


@pytest.mark.parametrize(
    ("fixed", "keys"),
    [
        ([BASELINE, ("methods", EACH_KIND)], (GRAPHS, DENSITIES, NETWORKS)),
        ([*FIRST, ("methods", METHODS[:2])], (GRAPHS, NETWORKS)),
        ([TIMED, BASELINE, ("methods", METHODS[1:4:2])], (GRAPHS, NETWORKS)),
    ],
    ids=["", "first k", "timed"],
)
def test_a_shared_training_gives_every_point_the_rows_of_a_run_of_its_own(tmp_path, fixed, keys):
    file = scenario(*fixed, *grid(*keys), base=SHORT)
    together, printed = run(file, tmp_path / "grid")
    assert "goes on" not in printed
    order = [one["name"] for one in METHODS]
    found = sorted(rows(together), key=lambda row: order.index(row["method"]))
    for number, point in enumerate(_half(file)):
        alone, _ = run(scenario(*fixed, *point.values.items(), base=SHORT), tmp_path / str(number))
        here = [row for row in found if all(row[key] == str(value) for key, value in point.values.items())]
        assert [{key: value for key, value in row.items() if key not in point.values} for row in here] == rows(alone)


def test_a_replay_takes_shared_trainings_to_another_network(tmp_path):
    file = scenario(*grid(GRAPHS), ("methods", METHODS[:5]), base=SHORT)
    source, _ = run(file, tmp_path / "source")
    expected, _ = run(
        scenario(*grid(GRAPHS), ("methods", METHODS[:5]), ("cluster.bandwidth", "1 Mbit/s"), base=SHORT),
        tmp_path / "expected",
    )
    found = replay(source, settings=[("cluster.bandwidth", "1 Mbit/s")], out=tmp_path / "found")
    assert rows(found) == rows(expected)


def test_a_table_that_two_methods_share_in_python_is_each_ones_own():
    file = scenario(("methods.GMC.compressor.density", 0.5), base=SHORT)
    densities = {method.name: method.compressor.options["density"] for method in file.points[0].scenario.methods[1:3]}
    assert densities == {"GMC": 0.5, "DGC": 0.02}
