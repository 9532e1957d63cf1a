"""How long simulated training rounds take to replay, by collective; nothing repeats.

    python tests/benchmarks/network_replay.py [--rounds 10000] [--workers 8]

Every round has its own straggler draws (log-normal, sigma 0.3) and its own message sizes.
Wall and CPU seconds, rounds per second.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from simgmc.costs.steps import Average, Compress, Compute, RoundCosts
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, simulate, star, worker_names
from simgmc.network.conditions.stragglers import Stragglers


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=10_000)
    arguments.add_argument("--workers", type=int, default=8)
    chosen = arguments.parse_args()
    names = worker_names(chosen.workers)
    graph = star([Host(name, 12.5e6, 12.5e6, 5e-4) for name in (*names, "server")])

    def rounds(summable: bool):
        draw = np.random.default_rng(0)
        for _ in range(chosen.rounds):
            up = draw.integers(40_000, 80_000, 1 if summable else chosen.workers) * np.ones(
                chosen.workers, dtype=np.int64
            )
            yield RoundCosts((Compute(1), Compress(1_000_000), Average(up, int(up.max()), summable, 4, up, 0)))

    for name, summable in (
        ("parameter-server", False),
        ("ring", True),
        ("ring", False),
        ("lock-step-ring", True),
        ("halving-doubling", True),
    ):
        settings = ClusterSettings(
            graph,
            names,
            "server",
            name,
            ComputeTime(0.05),
            Duration(0.002),
            Duration(0.001),
            conditions=(Stragglers(sigma=0.3),),
        )
        wall, cpu = time.perf_counter(), time.process_time()
        timing = simulate(settings, rounds(summable))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        kind = "equal messages" if summable else "unequal messages"
        print(
            f"{name:20}{kind:18}{chosen.rounds:>8} rounds{wall:>8.1f} s wall{cpu:>8.1f} s "
            f"CPU{chosen.rounds / cpu:>9,.0f} rounds/s   simulated {timing.total:,.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
