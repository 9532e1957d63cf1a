"""Flows per CPU second: simgmc event by event, its fast path, and SimGrid's Python binding.

    python tests/benchmarks/network_flows.py [--simgrid-python /usr/bin/python3] [--repeat 3]

Lock-step ring all-reduces with 8, 64 and 256 hosts; 1,000 and 10,000 random flows over a
64-host star at 70 % load of every link. Everything in one run, best of the repeats, with
the ratio to SimGrid. SimGrid is optional (Debian: python3-simgrid) and runs with its exact
solver, ``network/optim:Full``; one actor starts each whole step, its fastest way.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import time
from pathlib import Path

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network import Flow, Host, completion_times, star, worker_names
from simgmc.network.collectives.lock_step_ring import lock_step_all_reduce
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.placement import Placement
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.shortcuts.solutions import RingLinks, RingNetworks
from simgmc.network.topology.routing import Links

BANDWIDTH, LATENCY = 125e6, 1e-4


def network(hosts: int):
    return star([Host(name, BANDWIDTH, BANDWIDTH, LATENCY / 2) for name in worker_names(hosts)])


def ring(hosts: int, chunk: int):
    up = np.full(hosts, chunk * hosts)
    schedule = lock_step_all_reduce(Average(up, int(up[0]), True, 4, up, 0), Duration(0.0), Options())
    links = Links(network(hosts))
    return schedule, Placement(schedule.structure, worker_names(hosts), links), links


def ring_events(schedule, placement, links) -> float:
    run = FluidNetwork(links)
    execution = Execution(run, schedule, placement)
    for rank in range(schedule.structure.participants):
        execution.ready(rank)
    run.run()
    return max(execution.landed)


def random_flows(count: int, hosts: int = 64, load: float = 0.7, mean: float = 1e6, seed: int = 0):
    """Poisson arrivals, exponential sizes, random pairs: (start, source, destination, bytes)."""
    draw = random.Random(seed)
    rate = load * hosts * BANDWIDTH / mean
    flows, now = [], 0.0
    for _ in range(count):
        now += draw.expovariate(rate)
        source, destination = draw.sample(range(hosts), 2)
        flows.append((now, source, destination, max(1, round(draw.expovariate(1 / mean)))))
    return flows


def best(repeat: int, work) -> tuple[float, float]:
    """(CPU seconds, result) of the fastest repeat."""
    times = []
    for _ in range(repeat):
        begun = time.process_time()
        result = work()
        times.append(time.process_time() - begun)
    return min(times), result


def simgrid(python: str, work: dict, repeat: int) -> tuple[float, float] | None:
    script = Path(__file__).with_name("network_flows_simgrid.py")
    found = []
    for _ in range(repeat):
        answer = subprocess.run([python, script], input=json.dumps(work), capture_output=True, text=True)
        if answer.returncode:
            return None
        result = json.loads(answer.stdout.strip().splitlines()[-1])
        found.append((result["seconds"], result["end"]))
    return min(found)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--simgrid-python", default="/usr/bin/python3")
    arguments.add_argument("--repeat", type=int, default=3)
    chosen = arguments.parse_args()
    print(
        f"{'workload':28}{'flows':>8}{'events, k/s':>13}{'fast, k/s':>12}{'SimGrid, k/s':>14}"
        f"{'events/SimGrid':>16}{'fast/SimGrid':>14}  agreement"
    )

    def line(name, flows, events, fast, peer):
        rate = [flows / t[0] / 1e3 if t else None for t in (events, fast, peer)]
        cells = [f"{r:,.1f}" if r else "-" for r in rate]
        ratios = [f"{r / rate[2]:.1f}x" if r and rate[2] else "-" for r in rate[:2]]
        differ = [abs(t[1] / events[1] - 1) for t in (fast, peer) if t]
        shown = f"{max(differ):.0e}" if differ else "-"
        print(
            f"{name:28}{flows:>8}{cells[0]:>13}{cells[1]:>12}{cells[2]:>14}{ratios[0]:>16}{ratios[1]:>14}  {shown}",
            flush=True,
        )

    chunk = 4000
    for hosts in (8, 64, 256):
        schedule, placement, links = ring(hosts, chunk)
        way = RingNetworks([RingLinks(worker_names(hosts), links)])
        flows = 2 * (hosts - 1) * hosts
        events = best(chosen.repeat, lambda: ring_events(schedule, placement, links))
        fast = best(chosen.repeat, lambda: float(way.solve(schedule.ring, np.zeros((1, hosts))).finish.max()))
        work = {"hosts": hosts, "bandwidth": BANDWIDTH, "latency": LATENCY, "chunk": chunk}
        line(f"lock-step ring, {hosts} hosts", flows, events, fast, simgrid(chosen.simgrid_python, work, chosen.repeat))
    graph = network(64)
    for count in (1_000, 10_000):
        listed = random_flows(count)
        flows = [Flow(f"worker{a}", f"worker{b}", n, start=t) for t, a, b, n in listed]
        events = best(chosen.repeat, lambda: max(completion_times(graph, flows, latency="first")))
        work = {"hosts": 64, "bandwidth": BANDWIDTH, "latency": LATENCY, "flows": listed}
        line("random flows, 64-host star", count, events, None, simgrid(chosen.simgrid_python, work, chosen.repeat))


if __name__ == "__main__":
    main()
