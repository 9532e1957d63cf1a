"""A small scenario for whole runs, how the tests run it, and the same with any one method."""

from __future__ import annotations

import csv
import dataclasses
from io import StringIO
from pathlib import Path

from rich.console import Console

from simgmc.algorithms import ALGORITHMS
from simgmc.experiment import run as running
from simgmc.scenario import ScenarioFile

SMALL = {
    "name": "small",
    "seeds": [3],
    "workload": {
        "dataset": "digits",
        "model": {"name": "mlp", "hidden": [24]},
        "partition": {"name": "dirichlet", "alpha": 0.1},
        "workers": 4,
        "batch_per_worker": 8,
        "rounds": 30,
        "evaluate_every": "10 rounds",
    },
    "optimizer": {"learning_rate": 0.1, "weight_decay": 1e-4, "schedule": "cosine"},
    "cluster": {
        "bandwidth": "5 Mbit/s",
        "latency": "3 ms",
        "collective": "parameter-server",
        "compute": {"gradient": "10 ms", "compression": "1 ms", "aggregation": "1 GB/s"},
        "stragglers": {"sigma": 0.4},
        "hosts": {"worker1": {"bandwidth": "1 Mbit/s", "slowdown": 2.0}},
    },
    "methods": [
        {"name": "DMSGD", "algorithm": "dmsgd"},
        {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "sampled-top-k", "density": 0.02}},
        {"name": "DGC", "algorithm": "dgc", "compressor": {"name": "random-k", "density": 0.05, "seed": "own"}},
        {"name": "GMC block", "algorithm": "gmc", "compressor": {"name": "rbgs", "density": 0.1}},
    ],
    "report": {"target": 0.3, "baseline": "DMSGD"},
}


ON_A_STAR = """
[cluster]
topology = "star"
bandwidth = "1 Mbit/s"
latency = "1 ms"
collective = "ring"
compute = { gradient = "1 ms", compression = "1 ms", aggregation = "1 ms" }
[[methods]]
algorithm = "dmsgd"
[report]
baseline = "dmsgd"
"""
"""The end of a scenario whose cluster and method do not matter."""


def scenario(*settings, base=SMALL):
    return ScenarioFile(base, "small.toml", settings)


def run(file, out, width=120, **options):
    console = Console(file=StringIO(), width=width)
    running.run(file, out=out, device="cpu", console=console, **options)
    return Path(out), console.file.getvalue()


def metrics(out):
    return (Path(out) / "metrics.csv").read_bytes()


def rows(out):
    return list(csv.DictReader((Path(out) / "metrics.csv").open()))


OPTIONS = {
    "diloco": {"beta1": 0.8},
    "dgc": {"density_warmup": [0.5], "weight_decay_at": "aggregate"},
    "saef": {"average_residual_every": 2},
    "cser": {"compressor": {"name": "rbgs", "density": 0.2}},
    "post-local-sgd": {"start_epoch": 0.1},
    "1-bit-adam": {"warmup_rounds": 3},
    "0-1-adam": {"variance_scaler": 1, "local_steps_from": 4, "local_steps_double_every": 3},
    "quantized-pr-sgd": {"compressor": {"name": "qsgd", "levels": 4}},
    "quantized-pr-sgd-gossip": {"compressor": {"name": "qsgd", "levels": 4}},
    "qsgd": {"compressor": {"name": "qsgd", "levels": 4}},
}
"""What some methods need, or only do, beside that."""


def method(name):
    """A method with a compressor wherever it takes one, and more than one local step."""
    fields = {field.name: field for field in dataclasses.fields(ALGORITHMS[name])}
    chosen = {"name": name, "algorithm": name}
    chosen |= {key: {"name": "top-k", "density": 0.2} for key in ("compressor", "error_compressor") if key in fields}
    chosen |= {key: 2 for key in ("period",) if key in fields}
    return chosen | OPTIONS.get(name, {})


FOUR_QUADRATICS = {
    "name": "quadratic", "start": [3.0, -3.0], "matrices": [[1.0, 2.0], [2.0, 1.0], [1.5, 0.5], [0.7, 1.1]],
    "minimisers": [[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0], [0.5, 0.5]],
}  # fmt: skip
STEADY = {"quantized-pr-sgd-gossip": {"compressor": {"name": "qsgd", "levels": 64}}}
"""Coarser differences of models make it diverge."""


def fifty_rounds_of(name):
    """A method on digits, or on quadratics where it needs a finite sum; a small step, so that none diverges."""
    content = {
        **SMALL,
        "workload": {**SMALL["workload"], "rounds": 50, "evaluate_every": "10 rounds"},
        "optimizer": {"learning_rate": 0.02, "weight_decay": 1e-4},
        "methods": [method(name) | STEADY.get(name, {})],
        "report": {"baseline": name},
    }
    algorithm = ALGORITHMS[name]
    if algorithm.finite_sum:
        content["workload"] = {"problem": FOUR_QUADRATICS, "workers": 4, "rounds": 50, "evaluate_every": "10 rounds"}
        content |= {"optimizer": {"learning_rate": 0.02}, "report": {"baseline": name, "metric": "gap"}}
    if algorithm.mixing != "none" or (algorithm.asynchronous and not algorithm.centralised):
        content["gossip"] = {"graph": "ring"}
    return ScenarioFile(content, "small.toml", ())
