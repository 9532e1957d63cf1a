"""Microseconds per (network, round): rounds walked on many networks at once, and the same by events.

    python tests/benchmarks/many_networks.py [--rounds 40]

Workers compute, compress and exchange a megabyte, densely or 1 % of it, over a star whose bandwidth and latency differ
from network to network. "alone" is one network at a time by the same code, "events" is the event simulation. SimGrid's
figure for one network is that of tests/benchmarks/network_flows.py, which counts flows: a dense ring of 8 workers and 8
slices has 896 of them a round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simgmc.costs.steps import Average, Compress, Compute, RoundCosts
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, simulate, simulate_many, star, worker_names
from simgmc.network.conditions.stragglers import Stragglers

NETWORKS = (1, 10, 100, 1000)
KINDS = {
    "ring, dense": ("ring", True),
    "ring, all-gather": ("ring", False),
    "parameter server": ("parameter-server", True),
}
SIZE = 1_000_000
"""Bytes of a dense message."""


def networks(collective: str, workers: int, count: int, sigma: float) -> list[ClusterSettings]:
    """Stars with bandwidths from 1 to 1,000 Mbit/s and latencies from 0.1 to 10 ms."""
    rng = np.random.default_rng(count)
    names = [*worker_names(workers), "server"]
    found = []
    for bandwidth, latency in zip(10 ** rng.uniform(5.1, 8.1, count), 10 ** rng.uniform(-4, -2, count)):
        graph = star([Host(name, bandwidth, bandwidth, latency) for name in names])
        conditions = (Stragglers(sigma=sigma),) if sigma else ()
        found.append(
            ClusterSettings(
                graph, tuple(names[:-1]), "server", collective, ComputeTime(0.02), Duration(0.001), Duration(0.001),
                conditions=conditions,
            )
        )  # fmt: skip
    return found


def costs(workers: int, dense: bool, rounds: int) -> list[RoundCosts]:
    """Rounds whose sparse messages differ a little, as real ones do."""
    rng = np.random.default_rng(workers)
    found = []
    for _ in range(rounds):
        up = np.full(workers, SIZE) if dense else rng.integers(SIZE // 120, SIZE // 80, workers)
        average = Average(up, int(up.sum() if not dense else SIZE), dense, 4, up, 0)
        found.append(RoundCosts((Compute(1), Compress(SIZE), average)))
    return found


def seconds(work: Callable[[], object]) -> float:
    """The best of two."""
    taken = []
    for _ in range(2):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def main() -> None:
    """Print a table: a row for each kind, number of workers and stragglers, a column for each number of networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    chosen = parser.parse_args()
    columns = "".join(f"{f'{count:,} at once':>14}" for count in NETWORKS)
    print(f"{'us per (network, round)':34}{'events':>10}{columns}{'events / 1,000 at once':>24}{'differ':>9}")
    for workers in (8, 64):
        for sigma in (0.0, 0.3):
            for name, (collective, dense) in KINDS.items():
                rounds = costs(workers, dense, chosen.rounds)
                few = networks(collective, workers, 2, sigma)
                by_events = seconds(lambda: [simulate(replace(one, fast=False), rounds[:4]) for one in few]) / 8
                walked = [
                    seconds(lambda: list(simulate_many(networks(collective, workers, count, sigma), rounds)))
                    / (count * chosen.rounds)
                    for count in NETWORKS
                ]
                one = few[0]
                differ = abs(simulate(one, rounds[:4]).total / simulate(replace(one, fast=False), rounds[:4]).total - 1)
                cells = "".join(f"{1e6 * each:14.1f}" for each in walked)
                label = f"{name}, {workers} workers" + (", stragglers" if sigma else "")
                ratio = by_events / walked[-1]
                print(f"{label:34}{1e6 * by_events:10.0f}{cells}{ratio:24.0f}{differ:9.0e}", flush=True)


if __name__ == "__main__":
    main()
