"""How the cost of the network simulation grows.

    python tests/benchmarks/network_scaling.py [--largest 1024] [--flows 100000] [--picture FILE]

One ring all-reduce (event by event and as a recurrence) and one parameter-server round with
equal and with unequal messages at 8 ... 1024 hosts; random flows on a fat-tree of 128 hosts
at 30 % load, 1,000 to 100,000. CPU seconds and flows per second; a log-log picture.
"""

from __future__ import annotations

import argparse
import random
import time

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network import Flow, Host, collectives, completion_times, star, worker_names
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.placement import Placement
from simgmc.network.shortcuts.solutions import RingLinks, RingNetworks, solve_events
from simgmc.network.topology import catalogue as topology
from simgmc.network.topology.routing import Links

BANDWIDTH = 125e6


def exchange(name: str, up: np.ndarray):
    hosts = len(up)
    average = Average(up, int(up.max()), name != "ring-all-gather", 4, up, 0)
    schedule = collectives.schedule(name, average, Duration(0.0))
    names = [*worker_names(hosts), "server"]
    links = Links(star([Host(host, BANDWIDTH, BANDWIDTH, 5e-5) for host in names]))
    return schedule, names, links


def by_events(schedule, names, links) -> None:
    structure = schedule.structure
    solve_events(schedule, Placement(structure, names[: structure.hosts], links), np.zeros(structure.participants))


def by_recurrence(schedule, names, links) -> None:
    RingNetworks([RingLinks(names[:-1], links)]).solve(schedule.ring, np.zeros((1, len(names) - 1)))


def random_flows(count: int, hosts: int, load: float = 0.3, mean: float = 1e6):
    draw = random.Random(1)
    rate, now, flows = load * hosts * BANDWIDTH / mean, 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        a, b = draw.sample(range(hosts), 2)
        flows.append(Flow(f"worker{a}", f"worker{b}", draw.expovariate(1 / mean), start=now))
    return flows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--largest", type=int, default=1024)
    arguments.add_argument("--flows", type=int, default=100_000)
    arguments.add_argument("--picture", default="network_scaling.png")
    chosen = arguments.parse_args()
    curves: dict[str, list[tuple[int, float]]] = {}

    def measure(label: str, size: int, flows: int, work) -> None:
        begun = time.process_time()
        work()
        seconds = time.process_time() - begun
        curves.setdefault(label, []).append((size, seconds))
        print(
            f"{label:44}{size:>8}{flows:>10} flows{seconds:>10.4f} s{flows / seconds / 1e3:>12,.1f} k flows/s",
            flush=True,
        )

    sizes = [2**n for n in range(3, 11) if 2**n <= chosen.largest]
    for hosts in sizes:
        case = exchange("lock-step-ring", np.full(hosts, 4000 * hosts))
        measure("ring all-reduce, recurrence", hosts, 2 * hosts * (hosts - 1), lambda: by_recurrence(*case))
        if hosts <= 512:
            measure("ring all-reduce, events", hosts, 2 * hosts * (hosts - 1), lambda: by_events(*case))
    for hosts in sizes:
        case = exchange("parameter-server", np.full(hosts, 400_000))
        measure("parameter server, equal messages, events", hosts, 2 * hosts, lambda: by_events(*case))
        case = exchange("parameter-server", np.random.default_rng(0).integers(1, 800_000, hosts))
        measure("parameter server, unequal messages, events", hosts, 2 * hosts, lambda: by_events(*case))
    graph = topology.build(
        "fat-tree",
        [Host(name, BANDWIDTH, BANDWIDTH, 5e-5) for name in worker_names(128)],
        k=8,
        bandwidth=BANDWIDTH,
        latency=1e-5,
    )
    count = 1000
    while count <= chosen.flows:
        flows = random_flows(count, 128)
        measure("random flows on a fat-tree, events", count, count, lambda: completion_times(graph, flows))
        count *= 10
    draw(curves, chosen.picture)


def draw(curves: dict[str, list[tuple[int, float]]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    for label, points in curves.items():
        side = axes[1] if label.startswith("random") else axes[0]
        side.plot(*zip(*points), marker="o", markersize=3, linewidth=1, label=label)
    axes[0].set(xscale="log", yscale="log", xlabel="hosts", ylabel="CPU seconds", title="one exchange")
    axes[1].set(
        xscale="log", yscale="log", xlabel="flows", ylabel="CPU seconds", title="fat-tree, 128 hosts, 30 % load"
    )
    for side in axes:
        side.legend(fontsize=6, frameon=False)
        side.tick_params(labelsize=7)
        side.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=180)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
