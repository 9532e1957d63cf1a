"""Microseconds of CPU per (network, round): rounds walked on many networks at once, and the same by events.

    python tests/benchmarks/many_networks.py [--rounds 40] [--workers 8 64] [--networks 1 10 100 1000] [--only TEXT ...]

Workers compute, compress and exchange a megabyte, densely or 1 % of it, over a star whose bandwidth and latency differ
from network to network (gossip also over wires between neighbours). "events" is the event simulation, "left" of how
many networks some rounds had to be simulated by events in the last column, "differ" how far the time is from that of
the events. SimGrid's is what its C++ needs for one network at 245,000 flows/s (SimGrid 4.1, a ring of 128 hosts, an
actor a node; its Python binding 54,000 at best), see tests/benchmarks/network_flows.py. All on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from simgmc.core.processes import side_by_side
from simgmc.costs.steps import Average, Compress, Compute, Mix, RoundCosts
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, collectives, simulate, simulate_many, star
from simgmc.network.collectives.gossip import gossip
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.topology.catalogue import build, worker_names

SIZE = 1_000_000
"""Bytes of a dense message."""
SIMGRID = 245_000
"""Flows per second."""


@dataclass(frozen=True)
class Kind:
    """What is exchanged in every round, and over what."""

    name: str
    collective: str = "ring"
    dense: bool = True
    steps: tuple[int, ...] = ()
    """Whom worker k sends to, k + step each; empty: an average instead."""
    wires: bool = False
    """Whether neighbours are joined directly."""

    def options(self, workers: int) -> collectives.Options:
        """Two sites for what needs them."""
        half = workers // 2
        groups = (tuple(range(half)), tuple(range(half, workers))) if self.collective == "two-level" else ()
        return collectives.Options(groups=groups)

    def networks(self, workers: int, count: int, sigma: float) -> list[ClusterSettings]:
        """Networks with bandwidths from 1 to 1,000 Mbit/s and latencies from 0.1 to 10 ms."""
        rng = np.random.default_rng(count)
        names = worker_names(workers)
        found = []
        for bandwidth, latency in zip(10 ** rng.uniform(5.1, 8.1, count), 10 ** rng.uniform(-4, -2, count)):
            if self.wires:
                hosts = [Host(name, np.inf, np.inf, 0.0) for name in names]
                graph = build("ring", hosts, bandwidth=float(bandwidth), latency=float(latency))
            else:
                graph = star([Host(name, bandwidth, bandwidth, latency) for name in (*names, "server")])
            found.append(
                ClusterSettings(
                    graph, names, None if self.wires else "server", self.collective, ComputeTime(0.02),
                    Duration(0.001), Duration(0.001), options=self.options(workers),
                    conditions=(Stragglers(sigma=sigma),) if sigma else (),
                )
            )  # fmt: skip
        return found

    def rounds(self, workers: int, count: int) -> list[RoundCosts]:
        """Rounds whose sparse messages differ a little, as real ones do."""
        rng = np.random.default_rng(workers)
        found = []
        for _ in range(count):
            up = np.full(workers, SIZE) if self.dense else rng.integers(SIZE // 120, SIZE // 80, workers)
            found.append(RoundCosts((Compute(1), Compress(SIZE), self.exchange(up))))
        return found

    def exchange(self, up: np.ndarray) -> Average | Mix:
        """Of messages of these sizes."""
        if self.steps:
            edges = [(one, (one + step) % len(up)) for one in range(len(up)) for step in self.steps]
            return Mix(up, np.array(edges), up)
        return Average(up, int(SIZE if self.dense else up.sum()), self.dense, 4, up, 0)

    def flows(self, workers: int) -> int:
        """Messages of a round, pieces counted singly."""
        (_, _, exchange) = self.rounds(workers, 1)[0]
        if isinstance(exchange, Mix):
            schedule = gossip([[(k + step) % workers for step in self.steps] for k in range(workers)], exchange.nbytes,
                              Duration(0.0))  # fmt: skip
        else:
            schedule = collectives.schedule(self.collective, exchange, Duration(0.0), self.options(workers))
        source, destination = schedule.structure.endpoints
        return int((source != destination).sum())


KINDS = (
    Kind("ring, dense"),
    Kind("ring, all-gather", dense=False),
    Kind("parameter server", "parameter-server"),
    Kind("halving-doubling", "halving-doubling"),
    Kind("doubling all-gather", "doubling-all-gather", dense=False),
    Kind("two-level", "two-level"),
    Kind("double binary tree", "double-binary-tree"),
    Kind("gossip, one neighbour", steps=(1,)),
    Kind("gossip, both, wires", steps=(1, -1), wires=True),
    Kind("gossip, both, star", steps=(1, -1)),
)


def seconds(work: Callable[[], object], times: int) -> float:
    """CPU time, the best of so many."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def main() -> None:
    """Print a table: a row for each kind, number of workers and stragglers, a column for each number of networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--networks", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--stragglers", type=float, nargs="+", default=[0.0, 0.3], help="sigma of each block of rows")
    parser.add_argument("--only", nargs="+", default=[""], help="kinds with one of these in their name")
    parser.add_argument("--times", type=int, default=2, help="the best of so many")
    chosen = parser.parse_args()
    side_by_side.WORTH = float("inf")
    columns = "".join(f"{f'{count:,} at once':>14}" for count in chosen.networks)
    print(f"{'us per (network, round)':43}{'SimGrid':>9}{'events':>10}{columns}{'left':>14}{'differ':>8}")
    for workers in chosen.workers:
        for sigma in chosen.stragglers:
            for kind in KINDS:
                if not any(text in kind.name for text in chosen.only):
                    continue
                rounds = kind.rounds(workers, chosen.rounds)
                few = kind.networks(workers, 2, sigma)
                by_events = seconds(
                    lambda: [simulate(replace(one, fast=False), rounds[:4]) for one in few], chosen.times
                )
                walked = []
                for count in chosen.networks:
                    timings: list = []

                    def walk(count: int = count, timings: list = timings) -> None:
                        timings[:] = simulate_many(kind.networks(workers, count, sigma), rounds)  # noqa: B023

                    walked.append(seconds(walk, chosen.times) / (count * chosen.rounds))
                left = sum(one.by_events is not None for one in timings)
                one = few[0]
                differ = abs(simulate(one, rounds[:4]).total / simulate(replace(one, fast=False), rounds[:4]).total - 1)
                cells = "".join(f"{1e6 * each:14.1f}" for each in walked)
                label = f"{kind.name}, {workers} workers" + (", stragglers" if sigma else "")
                grid = 1e6 * kind.flows(workers) / SIMGRID
                print(
                    f"{label:43}{grid:9.0f}{1e6 * by_events / 8:10.0f}{cells}{f'{left} of {len(timings)}':>14}"
                    f"{differ:8.0e}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
