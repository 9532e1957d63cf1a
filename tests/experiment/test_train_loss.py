"""What is told of every method is so: the training loss is the evaluated model's; a momentum has no effect where it is
said to have none.
"""

import csv

import pytest

from simgmc.algorithms import ALGORITHMS
from simgmc.experiment.preflight.checks import unused_momentum
from simgmc.scenario import ScenarioFile
from tests.small_runs import FOUR_QUADRATICS, STEADY, method, run

FAR = {"signum": {"learning_rate": 0.9}}
"""With small steps the signs of its momentum and of its gradients are the same all the time."""


def scenario(momentum):
    content = {
        "name": "small",
        "seeds": [1],
        "workload": {"problem": FOUR_QUADRATICS, "workers": 4, "rounds": 6, "evaluate_every": "2 rounds"},
        "optimizer": {"learning_rate": 0.02, "momentum": momentum},
        "cluster": {
            "bandwidth": "5 Mbit/s",
            "latency": "3 ms",
            "collective": "parameter-server",
            "compute": {"gradient": "10 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "gossip": {"graph": "ring"},
        "methods": [method(name) | STEADY.get(name, {}) | FAR.get(name, {}) for name in ALGORITHMS],
        "report": {"baseline": "sgd", "metric": "gap"},
    }
    return ScenarioFile(content, "small.toml", ())


def evaluations(momentum, out):
    found = {}
    for row in csv.DictReader((run(scenario(momentum), out)[0] / "metrics.csv").open()):
        found.setdefault(row["method"], []).append(row)
    assert found.keys() == ALGORITHMS.keys()
    return found


@pytest.fixture(scope="module")
def with_momentum(tmp_path_factory):
    return evaluations(0.8, tmp_path_factory.mktemp("momentum") / "run")


def test_where_minibatches_are_the_whole_data_the_training_loss_is_the_test_loss(with_momentum):
    for name, rows in with_momentum.items():
        assert rows[0]["train_loss"] == "" and len(rows) >= 3, name
        for row in rows[1:]:
            assert float(row["train_loss"]) == pytest.approx(float(row["test_loss"]), rel=1e-9), name


def test_the_shared_momentum_moves_those_methods_that_are_not_said_to_have_no_use_for_it(with_momentum, tmp_path):
    (line,) = unused_momentum(scenario(0.8))
    unused = line.partition(" is not used by ")[2].split(", ")
    for name, rows in evaluations(0.0, tmp_path / "run").items():
        same = [row["test_loss"] for row in rows] == [row["test_loss"] for row in with_momentum[name]]
        assert same == (name in unused), name
