"""The product's engine, which drives the network's simulation, against the tests' small scheduler."""

from __future__ import annotations

import pytest
import torch

from simgmc.network import ClusterSettings, ComputeTime, Duration, Host
from simgmc.network.topology.catalogue import build as build_topology
from tests.algorithms.small_scheduler import Schedule, complete, ring
from tests.algorithms.trajectories import difference
from tests.asynchronous_runs import GRADIENT, LATENCY, algorithm, quadratic, run

K = 5
SLOW = (1.0, 2**0.4, 3**-0.2, 5**0.8, 7**0.1)
"""Without common multiples: no two things happen at the same time."""

LATTICE = {"compressor": "lattice", "compressor_options": {"side": 1e-3, "bits": 14}}
FAILING = {"compressor": "lattice", "compressor_options": {"side": 0.05, "bits": 3, "dither": True}}
METHODS = {
    "swarm-sgd": {"period": 2},
    "swarm-sgd geometric, lattice": {"period": 3, "geometric": True, **LATTICE},
    "swarm-sgd-non-blocking": {},
    "swarm-sgd-non-blocking failing lattice": FAILING,
    "pop-sgd": {},
    "ad-psgd": {},
    "osgp": {"staleness": 1},
    "osgp two": {"staleness": 2},
    "async-sgd": {"server_momentum": 0.5},
    "async-sgd top-k": {"compressor": "top-k", "compressor_options": {"count": 3}},
    "staleness-aware-sgd": {},
    "stale-synchronous-sgd": {"bound": 1},
    "adsaga": {},
}


def fast_star() -> ClusterSettings:
    """A message takes the latency and about a ten-millionth of a second."""
    names = [f"worker{rank}" for rank in range(K)]
    graph = build_topology("star", [Host(name, 1e9, 1e9, LATENCY / 2) for name in (*names, "server")])
    compute = ComputeTime(GRADIENT, SLOW)
    return ClusterSettings(graph, tuple(names), "server", "parameter-server", compute, Duration(0.0), Duration(0.0))


@pytest.mark.parametrize("on_ring", [False, True], ids=["complete", "ring"])
@pytest.mark.parametrize("name", METHODS)
def test_two_schedulers_that_share_no_code_train_alike(identity, name, on_ring):
    """After 120 gradients: the same models, the same state of the server, the same staleness."""
    graph = (ring if on_ring else complete)(K)
    method = algorithm(name.partition(" ")[0], quadratic(K), **METHODS[name])
    product = run(method, quadratic(K), fast_star(), 120, graph=lambda round: graph)
    compute, latency = lambda k, n: GRADIENT * SLOW[k], lambda i, j, n: LATENCY
    schedule = Schedule(method, quadratic(K), graph=graph, seed=1, compute=compute, latency=latency)
    schedule.run(10**6, 120)
    assert product.loop.gradients == [len(one.gradients) for one in schedule.all]
    assert product.peers.now == pytest.approx(schedule.time, rel=1e-4)
    error = 0.0
    trained = [*(one.worker for one in product.trainer.runs), product.trainer.server]
    for mine, theirs in zip([*schedule.workers, schedule.server], trained, strict=True):
        assert mine.state().keys() == theirs.state().keys()
        for key, value in mine.state().items():
            if isinstance(value, torch.Tensor):
                error = max(error, difference(theirs.state()[key], value))
    identity(f"    the engine = a small scheduler, {name}", error)
    assert product.loop.staleness == {late: schedule.staleness.count(late) for late in set(schedule.staleness)}
    if "failing" in name:
        assert (
            product.trainer.metrics()["failed_decodings"]
            == sum(worker.failed_decodings for worker in schedule.workers)
            > 0
        )
