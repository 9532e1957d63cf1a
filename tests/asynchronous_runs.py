"""Runs under the clock for the tests: small problems, a star network, one call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from simgmc.algorithms import ALGORITHMS
from simgmc.compression import build as build_compressor
from simgmc.experiment.under_way.event_loop import EventLoop
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, Throughput
from simgmc.network.cluster.peers import Peers
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.topology.catalogue import build as build_topology
from simgmc.training.journal import Journal
from simgmc.training.per_worker import PerWorkerTrainer
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload

BANDWIDTH, LATENCY, GRADIENT = 1e6, 1e-3, 0.01


def quadratic(workers: int = 4, d: int = 12, noise: float = 0.1) -> QuadraticWorkload:
    """Diagonal quadratics that the workers disagree on."""
    draw = np.random.default_rng(3)
    problem = Quadratics(0.5 + draw.random((workers, d)), draw.standard_normal((workers, d)), np.ones(d), noise)
    return QuadraticWorkload(problem, 0)


def classification(workers: int = 4, batch_norm: bool = False, threads: int | None = None) -> ClassificationWorkload:
    """A small network on random samples, in float64; with batch norm it has running statistics."""
    draw = np.random.default_rng(1)
    samples = draw.standard_normal((160, 6)).astype(np.float32)
    labels = draw.integers(0, 3, 160)
    data = Dataset("drawn", samples[:120], labels[:120], samples[120:], labels[120:], 3, np.float32(0), np.float32(1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = [nn.BatchNorm1d(8)] if batch_norm else []
        model = nn.Sequential(nn.Linear(6, 8), *middle, nn.ReLU(), nn.Linear(8, 3))
    owned = np.arange(120).reshape(workers, -1)
    return ClassificationWorkload(model, data, list(owned), batch=5, seed=2, dtype=torch.float64, threads=threads)


def settings(workers: int = 4, slowdown: dict[int, float] | None = None, **given) -> ClusterSettings:
    """A star: every worker and the server on a link of its own."""
    names = [f"worker{rank}" for rank in range(workers)]
    graph = build_topology("star", [Host(name, BANDWIDTH, BANDWIDTH, LATENCY / 2) for name in (*names, "server")])
    slow = tuple((slowdown or {}).get(rank, 1.0) for rank in range(workers))
    conditions = (Stragglers(sigma=given.pop("sigma", 0.0)), *given.pop("conditions", ()))
    return ClusterSettings(
        graph,
        tuple(names),
        "server",
        "parameter-server",
        ComputeTime(GRADIENT, slow),
        Duration(0.0),
        given.pop("aggregation", Duration(0.0)),
        conditions=conditions,
        **given,
    )


def algorithm(name: str, workload, compressor: str | None = None, compressor_options=(), **parameters):
    """A registered algorithm."""
    if compressor:
        parameters["compressor"] = build_compressor(compressor, workload.layout, **dict(compressor_options))
    return ALGORITHMS[name](**parameters)


@dataclass
class Run:
    """What a run under the clock left."""

    trainer: PerWorkerTrainer
    loop: EventLoop
    peers: Peers
    journal: Journal

    @property
    def params(self) -> torch.Tensor:
        """(K + 1, d): every worker's and the server's."""
        return torch.stack([*(run.worker.params for run in self.trainer.runs), self.trainer.server.params])


def run(
    method,
    workload,
    cluster,
    gradients: int = 200,
    lr: float = 0.05,
    seed: int = 1,
    together: bool = True,
    journal=None,
    on_instant=None,
    graph=None,
    trainer=None,
) -> Run:
    """Train until so many gradients are finished."""
    trainer = trainer or PerWorkerTrainer(method, workload, lambda epoch: lr, seed=seed, together=together, graph=graph)
    peers = Peers(cluster)
    journal = journal or Journal(trainer)

    def after(loop: EventLoop) -> None:
        if on_instant is not None:
            on_instant(loop)
        if sum(loop.gradients) >= gradients:
            peers.stop()

    loop = EventLoop(peers, journal, after)
    loop.run()
    return Run(trainer, loop, peers, journal)


__all__ = [
    "BANDWIDTH",
    "GRADIENT",
    "LATENCY",
    "Run",
    "Throughput",
    "algorithm",
    "classification",
    "quadratic",
    "run",
    "settings",
]
