"""Runs under the clock against their formulas in numpy, with a rate that follows the progress of all workers,
weight decay, random stragglers and directed graphs; nothing of the product's but its random draws is used."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from simgmc.core.randomness import generator
from simgmc.experiment.under_way.event_loop import EventLoop
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host
from simgmc.network.cluster.peers import Peers
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.topology.catalogue import build as build_topology
from simgmc.training.per_worker import PerWorkerTrainer
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload
from tests.asynchronous_runs import algorithm

K, D, NOISE, DECAY, SECONDS, LATENCY, SPREAD, GRADIENTS = 6, 9, 0.2, 3e-3, 0.01, 1e-3, 0.3, 240
SLOW = (1.0, 2**0.4, 3**-0.2, 5**0.8, 7**0.1, 11**0.3)
DRAWS = np.random.default_rng(8)
ROOTS = DRAWS.standard_normal((K, D, D))
MATRICES = ROOTS @ ROOTS.transpose(0, 2, 1) / D + 0.3 * np.eye(D)
CENTRES = DRAWS.standard_normal((K, D))
START = 1.5 + 0.0123 * np.sqrt(np.arange(2.0, D + 2))
UNDIRECTED = [(1, 2, 5), (0, 2, 3, 4), (0, 1, 3), (1, 2, 4), (1, 3, 5), (0, 4)]
DIRECTED = [
    [(1, 3, 4), (2,), (0, 3), (4,), (5,), (0,)],
    [(1,), (2, 5), (3,), (1, 4), (5,), (0,)],
    [(1,), (2,), (3,), (4,), (0, 5), (0, 2, 3)],
]


def rate(epoch: float) -> float:
    return 0.04 + 0.03 * math.cos(epoch / 2)


class Simulation:
    """A heap of moments; ``rate`` and the end go by the gradients that all have finished."""

    def __init__(self):
        self.time, self.made, self.counts, self.states, self.staleness = 0.0, 0, [0] * K, [], Counter()
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.x, self.m = np.tile(START, (K, 1)), np.zeros((K, D))

    @property
    def lr(self) -> float:
        return rate(sum(self.counts) / K)

    @property
    def state(self) -> np.ndarray:
        return self.x.copy()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.made += 1
        heapq.heappush(self.heap, (self.time + seconds, self.made, action))

    def gradient(self, k: int, at: np.ndarray, then: Callable[[np.ndarray], None]) -> None:
        number, at = self.counts[k], at.copy()
        factor = np.exp(SPREAD * generator(4, "straggler", number, 0).standard_normal(K))[k]
        noise = NOISE * generator(0, "gradient noise", number, k).standard_normal(D)

        def done() -> None:
            self.counts[k] += 1
            then(MATRICES[k] @ (at - CENTRES[k]) + noise + DECAY * at)
            self.states.append(self.state)

        self.later(SECONDS * SLOW[k] * factor, done)

    def run(self) -> Simulation:
        for k in range(K):
            self.begin(k)
        while sum(self.counts) < GRADIENTS:
            self.time, _, action = heapq.heappop(self.heap)
            action()
        return self


class Server(Simulation):
    """m = momentum m + g (over the staleness); w = w - lr m, with error feedback and a bound on who is ahead."""

    def __init__(self, momentum: float = 0.0, kept: int = D, aware: bool = False, bound: float = math.inf):
        super().__init__()
        self.momentum, self.kept, self.aware, self.bound = momentum, kept, aware, bound
        self.w, self.buffer, self.residual = START.copy(), np.zeros(D), np.zeros((K, D))
        self.updates, self.read, self.clocks, self.held = 0, [0] * K, [0] * K, []

    @property
    def state(self) -> np.ndarray:
        return self.w.copy()

    def begin(self, k: int) -> None:
        def computed(g: np.ndarray) -> None:
            wanted = self.residual[k] + g
            sent = np.where(np.abs(wanted) >= np.sort(np.abs(wanted))[-self.kept], wanted, 0.0)
            self.residual[k] = wanted - sent
            self.later(LATENCY, lambda: self.serve(k, sent))

        self.gradient(k, self.x[k], computed)

    def serve(self, k: int, sent: np.ndarray) -> None:
        late = self.updates - self.read[k]
        self.staleness[late] += 1
        self.buffer = self.momentum * self.buffer + sent / (max(late, 1) if self.aware else 1)
        self.w = self.w - self.lr * self.buffer
        self.updates, self.clocks[k], self.held = self.updates + 1, self.clocks[k] + 1, [*self.held, k]
        for reader in [one for one in self.held if self.clocks[one] - min(self.clocks) <= self.bound]:
            self.held.remove(reader)
            self.read[reader] = self.updates
            self.later(LATENCY, lambda reader=reader, model=self.w: self.back(reader, model))

    def back(self, k: int, model: np.ndarray) -> None:
        self.x[k] = model
        self.begin(k)


class Averaging(Simulation):
    """Even workers average with an odd neighbour while they compute; then x = x - lr m."""

    def __init__(self):
        super().__init__()
        self.averagings = [0] * K

    def begin(self, k: int) -> None:
        lr, snapshot, seen, found = self.lr, self.x[k].copy(), self.averagings[k], {}

        def finish() -> None:
            if k % 2 == 0:
                self.x[k] += (found["other"] - snapshot) / 2
                self.averagings[k] += 1
            self.staleness[self.averagings[k] - seen] += 1
            self.m[k] = 0.8 * self.m[k] + found["gradient"]
            self.x[k] = self.x[k] - lr * self.m[k]
            self.begin(k)

        def came(what: str, value: np.ndarray) -> None:
            found[what] = value
            if k % 2 or len(found) == 2:
                finish()

        def serve(other: int) -> None:
            before = self.x[other].copy()
            self.x[other] = (before + snapshot) / 2
            self.averagings[other] += 1
            self.later(LATENCY, lambda: came("other", before))

        if k % 2 == 0:
            others = [other for other in UNDIRECTED[k] if other % 2]
            other = others[int(generator(1, "partner", self.counts[k], k).integers(len(others)))]
            self.later(LATENCY, lambda: serve(other))
        self.gradient(k, snapshot, lambda g: came("gradient", g))


class Push(Simulation):
    """z = x / omega; shares (x - lr step, omega) / (p + 1), of which those of ``slack`` rounds ago are awaited."""

    def __init__(self, slack: int):
        super().__init__()
        self.slack, self.omega, self.z, self.rounds = slack, np.ones(K), self.x.copy(), [0] * K
        self.landed, self.added, self.waits = [[] for _ in range(K)], [set() for _ in range(K)], [False] * K
        self.taken = [set() for _ in range(K)]

    @property
    def state(self) -> np.ndarray:
        return self.z.copy()

    def begin(self, k: int) -> None:
        lr, round = self.lr, self.rounds[k]
        others = DIRECTED[round % 3][k]

        def computed(g: np.ndarray) -> None:
            self.m[k] = 0.8 * self.m[k] + g
            self.x[k] = (self.x[k] - lr * (g + 0.8 * self.m[k])) / (len(others) + 1)
            self.omega[k] /= len(others) + 1
            share = (round, k, self.x[k].copy(), self.omega[k])
            for other in others:
                self.later(LATENCY, lambda other=other: self.land(other, share))
            self.waits[k] = True
            self.go_on(k)

        self.gradient(k, self.z[k], computed)

    def land(self, k: int, share: tuple) -> None:
        self.landed[k].append(share)
        if self.waits[k]:
            self.go_on(k)

    def go_on(self, k: int) -> None:
        now = self.rounds[k]
        for t, i, *_ in self.landed[k]:
            if t <= now and (t, i) not in self.taken[k]:
                self.taken[k].add((t, i))
                self.staleness[now - t] += 1
        due = {(t, i) for t in range(now - self.slack + 1) for i in range(K) if k in DIRECTED[t % 3][i]}
        if due - self.added[k] - {share[:2] for share in self.landed[k]}:
            return
        for t, i, x, omega in sorted(self.landed[k], key=lambda share: share[:2]):
            if t <= now:
                self.x[k] += x
                self.omega[k] += omega
                self.added[k].add((t, i))
        self.landed[k] = [share for share in self.landed[k] if share[0] > now]
        self.z[k], self.waits[k], self.rounds[k] = self.x[k] / self.omega[k], False, now + 1
        self.begin(k)


CASES = {
    "async-sgd": (Server(0.6), {"server_momentum": 0.6}),
    "async-sgd top-k": (
        Server(0.3, 4),
        {"server_momentum": 0.3, "compressor": "top-k", "compressor_options": {"count": 4}},
    ),
    "staleness-aware-sgd": (Server(aware=True), {}),
    "stale-synchronous-sgd": (Server(bound=1), {"bound": 1}),
    "ad-psgd": (Averaging(), {"momentum": 0.8}),
    "osgp": (Push(1), {"momentum": 0.8, "staleness": 1}),
    "osgp without slack": (Push(0), {"momentum": 0.8, "staleness": 0}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_leaves_what_the_formulas_say(identity, name):
    formulas, parameters = CASES[name]
    workload = QuadraticWorkload(Quadratics(MATRICES, CENTRES, START, NOISE), 0)
    method = algorithm(name.partition(" ")[0], workload, **parameters)
    names = [f"worker{rank}" for rank in range(K)]
    graph = build_topology("star", [Host(host, 1e10, 1e10, LATENCY / 2) for host in (*names, "server")])
    free = Duration(0.0)
    peers = Peers(
        ClusterSettings(
            graph,
            tuple(names),
            "server",
            "parameter-server",
            ComputeTime(SECONDS, SLOW),
            free,
            free,
            seed=4,
            conditions=(Stragglers(sigma=SPREAD),),
        )  # fmt: skip
    )
    neighbours = (lambda round: DIRECTED[round % 3]) if name.startswith("osgp") else lambda round: UNDIRECTED
    trainer = PerWorkerTrainer(method, workload, rate, DECAY, seed=1, graph=neighbours)
    states = []

    def after(loop: EventLoop) -> None:
        models = trainer.model() if method.centralised else torch.stack(trainer.models())
        states.append(models.numpy())
        if sum(loop.gradients) == GRADIENTS:
            peers.stop()

    loop = EventLoop(peers, trainer, after)
    loop.run()
    expected = formulas.run().states
    error = max(float(np.abs(mine - theirs).max()) for mine, theirs in zip(states, expected, strict=True))
    identity(f"    {name} = formulas, varying rate, weight decay, stragglers", error)
    assert loop.staleness == formulas.staleness
