"""Gossip methods in whole runs: scenario tables, replay, headers, accounting, convergence."""

from __future__ import annotations

import copy
import csv
import functools
import json
import math
import tomllib
import types
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from simgmc.commands.replay import replay
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.plan import trainings
from simgmc.experiment.under_way.evaluations import Evaluations, Outcome
from simgmc.scenario import ScenarioFile
from simgmc.workloads.classification import Evaluation
from tests import small_runs

SMALL = {
    **small_runs.SMALL,
    "workload": {
        **small_runs.SMALL["workload"],
        "model": {"name": "mlp", "hidden": [16]},
        "workers": 8,
        "rounds": 12,
        "evaluate_every": "4 rounds",
    },
    "optimizer": {"learning_rate": 0.05},
    "cluster": {**small_runs.SMALL["cluster"], "hosts": {}},
    "gossip": {"graph": "ring"},
    "methods": [
        {"algorithm": "dmsgd"},
        {"algorithm": "d-psgd"},
        {
            "algorithm": "d-psgd",
            "name": "complete",
            "order": "atc",
            "gossip": {"graph": "complete", "weights": "uniform"},
        },
        {"algorithm": "pd-sgdm", "period": 3},
        {"algorithm": "sgp", "gossip": {"graph": "one-peer-exponential"}},
        {"algorithm": "cpd-sgdm", "compressor": "sign", "period": 2},
    ],
    "report": {"target": 0.3, "baseline": "dmsgd"},
}


scenario = functools.partial(small_runs.scenario, base=SMALL)
run = functools.partial(small_runs.run, width=160)


def last_rows(out):
    return {row["method"]: row for row in csv.DictReader((Path(out) / "metrics.csv").open())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The run of the scenario as it is, and what it printed."""
    return run(scenario(), tmp_path_factory.mktemp("gossip") / "run")


def test_the_same_run_twice_and_a_replay_have_the_metrics_of_a_full_run_to_the_last_digit(finished, tmp_path):
    changes = [
        ("cluster.topology", {"name": "ring", "latency": "7 ms"}),
        ("cluster.bandwidth", "0.7 Mbit/s"),
        ("cluster.stragglers.sigma", 0.1),
    ]
    trained, text = finished
    again, _ = run(scenario(), tmp_path / "again")
    expected, _ = run(scenario(*changes), tmp_path / "expected")
    replay(trained, settings=changes, out=tmp_path / "replayed", console=Console(file=StringIO()))
    assert (trained / "metrics.csv").read_bytes() == (again / "metrics.csv").read_bytes()
    assert (trained / "metrics.csv").read_bytes() != (expected / "metrics.csv").read_bytes()
    for file in ("metrics.csv", "breakdown.csv"):
        assert (tmp_path / "replayed" / file).read_bytes() == (expected / file).read_bytes()
    assert (
        "d-psgd, pd-sgdm, cpd-sgdm: ring with metropolis-hastings weights, 16 messages a round, spectral gap 0.1953"
        in text
    )
    assert "sgp: one-peer-exponential with push-sum weights, 8 messages a round, spectral gap 1 of one period" in text


def test_bytes_and_relative_cost_of_gossip_equal_their_formulas(finished):
    out, _ = finished
    d, rows = 64 * 16 + 16 + 16 * 10 + 10, last_rows(out)
    sent = {method: int(row["bytes_up"]) for method, row in rows.items()}
    assert sent["d-psgd"] == sent["pd-sgdm"] == 12 * 16 * 4 * d
    assert sent["complete"] == 12 * 8 * 7 * 4 * d
    assert sent["sgp"] == 12 * 8 * 4 * (d + 1)
    assert all(row["bytes_up"] == row["bytes_down"] for method, row in rows.items() if method != "dmsgd")
    assert float(rows["d-psgd"]["rcc"]) == pytest.approx(2) and float(rows["pd-sgdm"]["rcc"]) == pytest.approx(2 / 3)
    assert float(rows["sgp"]["rcc"]) == pytest.approx((d + 1) / d, rel=1e-6) and float(
        rows["complete"]["rcc"]
    ) == pytest.approx(7)


def test_a_grid_over_graphs_trains_on_each(tmp_path):
    file = scenario(
        ("methods", [{"algorithm": "d-psgd", "name": "d-psgd"}]),
        ("report.baseline", "d-psgd"),
        ("grid.gossip.graph", ["ring", "star"]),
    )
    out, _ = run(file, tmp_path / "run")
    with (out / "metrics.csv").open() as rows:
        assert {row["gossip.graph"] for row in csv.DictReader(rows)} == {"ring", "star"}


def test_everything_is_written_out_and_read_back():
    file = scenario(
        (
            "methods.0",
            {
                "algorithm": "lead",
                "compressor": "sign",
                "name": "LEAD",
                "gossip": {"weights": {"name": "stated", "matrix": [[0.125] * 8] * 8}},
            },
        ),
        ("report.baseline", "LEAD"),
    )
    content = tomllib.loads(file.resolved())
    assert content["gossip"] == {"graph": {"name": "ring"}, "weights": {"name": "auto"}}
    assert ScenarioFile(content, "again.toml").resolved() == file.resolved()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([("gossip", None)], "gossip: missing; method 'd-psgd' mixes with its neighbours"),
        ([("gossip.graph", "rign")], 'gossip.graph = "rign": unknown graph; did you mean "ring"?'),
        ([("gossip.graph", {"name": "torus", "columns": 3})], "columns = 3: 8 workers do not fill rows of 3"),
        ([("gossip.graph", {"name": "random-regular", "degree": 9})], "degree = 9"),
        ([("gossip.graph", {"name": "ring", "degree": 9})], 'ring has no option "degree"; it has none'),
        ([("gossip.weights", "metropolis")], 'did you mean "metropolis-hastings"?'),
        ([("gossip.weights", {"name": "stated", "matrix": [[1.0]]})], "stated weights bring their own graph"),
        (
            [("gossip", {"weights": {"name": "stated", "matrix": [[0.5, 0.5], [0.5, 0.5]]}})],
            "is of 2 workers, there are 8",
        ),
        ([("gossip", {"weights": {"name": "stated", "matrix": [["a"]]}})], "rows of numbers"),
        ([("gossip", {"weights": "uniform"})], 'gossip.graph: missing; give one such as graph = "ring"'),
        ([("gossip", {"weights": {"name": "stated", "file": "none.npy"}})], "none.npy: No such file or directory"),
        ([("gossip.graph", "exponential"), ("gossip.weights", "metropolis-hastings")], "needs an undirected graph"),
        ([("gossip.graph", "exponential")], "method 'cpd-sgdm': exponential with uniform weights is not symmetric"),
        ([("gossip.graph", "star"), ("gossip.weights", "push-sum")], "not doubly stochastic"),
        ([("methods.cpd-sgdm.gossip", {"graph": "one-peer-exponential"})], "methods.cpd-sgdm.gossip"),
        ([("methods.dmsgd.gossip", {"graph": "ring"})], "dmsgd does not mix with neighbours"),
        ([("gossip.grpah", "ring")], 'unknown key; did you mean "graph"?'),
    ],
)
def test_every_mistake_is_named_with_its_key_and_what_would_be_right(settings, says):
    with pytest.raises(SimgmcError) as error:
        file = copy.deepcopy(SMALL)
        if settings == [("gossip", None)]:
            del file["gossip"]
            settings = []
        ScenarioFile(file, "small.toml", settings)
    assert (
        says in str(error.value)
        and str(error.value).startswith("small.toml: ")
        and len(str(error.value).splitlines()) <= 2
    )


def test_what_only_averages_carry_does_not_hinder_gossip():
    """A ring all-reduce cannot carry top-k messages; gossip never asks it to."""
    methods = [{"algorithm": "choco-sgd", "name": "choco", "compressor": {"name": "top-k", "count": 10}}]
    scenario(("methods", methods), ("report.baseline", "choco"), ("cluster.collective", "ring-all-reduce"))


@pytest.mark.parametrize(
    "method", [{"algorithm": "d-psgd"}, {"algorithm": "pd-sgdm", "period": 3}, {"algorithm": "local-sgd", "period": 5}]
)
def test_a_rate_falls_over_all_rounds_however_many_gradients_these_take(method):
    """Along a cosine over all rounds; the last of a round's local steps is that share of the round further."""
    file = scenario(
        ("methods", [method]),
        ("report.baseline", method["algorithm"]),
        ("optimizer.schedule", {"kind": "cosine", "per": "round"}),
    )
    (training,) = trainings(file.points)
    trainer = training.trainer(WorkloadFactory("cpu", None, 1)(training.scenario, 3))
    rates = [(trainer.next_round().with_everybody(), trainer.worker.lr)[1] for _ in range(12)]
    last = 1 - 1 / method.get("period", 1)
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * (t + last) / 12)) / 2 for t in range(12)])


@pytest.mark.parametrize("workers", [3, 5, 7, 11])
def test_workers_that_hold_the_same_float32_numbers_are_at_no_distance(workers):
    """The rounding of their mean is not a distance, whatever the number of workers."""
    workload, outcome = types.SimpleNamespace(evaluate=lambda point: Evaluation(1.0, None)), Outcome()
    model = torch.from_numpy(generator(0, "model").standard_normal(1000)).float()
    Evaluations(workload, outcome, 10.0, False, lambda state: None).add(0, 0.0, None, model, {}, [model] * workers)
    assert outcome.states[0].others == {"consensus distance": 0.0}


CONVEX = {
    "name": "convex",
    "seeds": [1],
    "workload": {
        "problem": {"name": "quadratic", "matrices": [], "minimisers": [], "start": [], "noise": 0.0},
        "workers": 6,
        "rounds": 400,
        "evaluate_every": "100 rounds",
    },
    "optimizer": {"learning_rate": 0.04, "momentum": 0.0},
    "cluster": {**SMALL["cluster"], "stragglers": {"sigma": 0.0}},
    "gossip": {"graph": "ring"},
    "methods": [
        {"algorithm": "sgd"},
        {"algorithm": "d-psgd"},
        {"algorithm": "lead", "compressor": {"name": "qsgd", "levels": 2, "norm": "inf", "bucket": 512}},
        {"algorithm": "dmsgd-gossip"},
        {"algorithm": "sgp", "nesterov": False, "gossip": {"graph": "one-peer-exponential"}},
    ],
    "report": {"metric": "gap", "baseline": "sgd"},
}


def test_decentralised_methods_reach_the_neighbourhood_and_lead_the_optimum(tmp_path):
    """On quadratics that differ between workers, with full gradients: a constant step leaves D-PSGD near the
    optimum, within a few thousandths of the start's gap; LEAD goes on to it, as SGD does."""
    problem = CONVEX["workload"]["problem"]
    problem["matrices"] = [[1.0 + 0.2 * k, 2.0 - 0.2 * k, 1.5] for k in range(6)]
    problem["minimisers"] = [[float(k), -float(k), 0.5 * k] for k in range(6)]
    problem["start"] = [10.0, 10.0, 10.0]
    out, _ = run(ScenarioFile(copy.deepcopy(CONVEX), "convex.toml"), tmp_path / "run")
    with (out / "other_metrics.csv").open() as content:
        gaps = {}
        for row in csv.DictReader(content):
            if row["name"] == "gap":
                gaps.setdefault(row["method"], []).append(float(row["value"]))
    assert gaps["sgd"][-1] < 1e-15 and gaps["lead"][-1] < 1e-12, json.dumps(gaps)
    assert all(1e-10 < gaps[name][-1] < 5e-3 * gaps[name][0] for name in ("d-psgd", "dmsgd-gossip", "sgp")), json.dumps(
        gaps
    )
