"""The training loss of an evaluation is that of the evaluated model, whatever the method."""

import csv

import pytest

from simgmc.algorithms import ALGORITHMS
from simgmc.scenario import ScenarioFile
from tests.small_runs import FOUR_QUADRATICS, STEADY, method, run


def test_on_quadratics_whose_minibatches_are_the_whole_data_it_is_the_test_loss_for_every_method(tmp_path):
    content = {
        "name": "small",
        "seeds": [1],
        "workload": {"problem": FOUR_QUADRATICS, "workers": 4, "rounds": 6, "evaluate_every": "2 rounds"},
        "optimizer": {"learning_rate": 0.02},
        "cluster": {
            "bandwidth": "5 Mbit/s",
            "latency": "3 ms",
            "collective": "parameter-server",
            "compute": {"gradient": "10 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "gossip": {"graph": "ring"},
        "methods": [method(name) | STEADY.get(name, {}) for name in ALGORITHMS],
        "report": {"baseline": "sgd", "metric": "gap"},
    }
    out, _ = run(ScenarioFile(content, "small.toml", ()), tmp_path / "run")
    found = {}
    for row in csv.DictReader((out / "metrics.csv").open()):
        found.setdefault(row["method"], []).append(row)
    assert found.keys() == ALGORITHMS.keys()
    for name, rows in found.items():
        assert rows[0]["train_loss"] == "" and len(rows) >= 3, name
        for row in rows[1:]:
            assert float(row["train_loss"]) == pytest.approx(float(row["test_loss"]), rel=1e-9), name
