"""How public topologies fare: a folder of GraphML or GML files (the Internet Topology Zoo) in, a table out.

    python tests/benchmarks/public_topologies.py FOLDER [--out analysis/results/public_topologies.md]

Eight workers and a server hang on nodes spread over the largest part of each network. What the file draws is read once
more by networkx, and on some networks random flows are shared by a solver of exact rational arithmetic, too.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from pathlib import Path

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.network.cluster.reachability import check_reachable
from simgmc.network.flows.flows import Flow, completion_times
from simgmc.network.topology.catalogue import build
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.routing import Links
from tests.network import rational_solver

WORKERS, FLOWS, CHECKED = 8, 12, 20
FALLBACK = {"bandwidth": 125e6, "latency": 1e-3}
"""Of links for which the file gives none: 1 Gbit/s, 1 ms."""
ACCESS = 1.25e9
"""Of hosts' own links: 10 Gbit/s."""


def main() -> None:
    """Read every file of the folder, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("analysis/results/public_topologies.md"))
    asked = parser.parse_args()
    files = sorted(one for one in asked.folder.rglob("*") if one.suffix in (".graphml", ".gml"))
    loaded, count, why, largest = [], Counter(), [], {}
    for file in files:
        kind = file.suffix
        count[kind, "files"] += 1
        try:
            graph = joined(file)
        except SimgmcError as error:
            why.append(f"{file.name}: {error}".replace(str(file), file.name))
            continue
        count[kind, "loaded"] += 1
        loaded.append(file)
        count[kind, "parallel"] += has_parallel(file) if kind == ".graphml" else 0
        if kind == ".graphml" and not same_capacity(file):
            why.append(f"{file.name}: capacity differs from what networkx reads")
        for collective in ("ring", "parameter-server"):
            try:
                check_reachable(Links(graph), worker_names(WORKERS), ("server",), collective)
                count[kind, collective] += 1
            except SimgmcError as error:
                why.append(f"{file.name}: {error}")
    chosen = loaded[:: max(1, len(loaded) // CHECKED)][:CHECKED]
    for number, file in enumerate(chosen):
        largest[file.name] = difference(joined(file), number)
    asked.out.write_text(table(count, why, largest))
    print(asked.out.read_text())


def joined(file: Path) -> nx.DiGraph:
    """The file's network with the hosts on it, spread over its largest part."""
    names = [*worker_names(WORKERS), "server"]
    bare = build("file", [], file=str(file), **FALLBACK)
    part = max(nx.weakly_connected_components(bare), key=len)
    nodes = [node for node in bare if node in part]
    attach = [nodes[len(nodes) * k // len(names)] for k in range(len(names))]
    hosts = [Host(name, ACCESS, ACCESS, 0.0) for name in names]
    return build("file", hosts, file=str(file), attach=attach, **FALLBACK)


def has_parallel(file: Path) -> bool:
    """Whether two edges join the same two nodes."""
    ends = Counter(frozenset(edge[:2]) for edge in nx.read_graphml(file, force_multigraph=True).edges)
    return max(ends.values(), default=0) > 1


def same_capacity(file: Path) -> bool:
    """Whether the sum of all links' bandwidths is that of the edges as networkx reads them."""
    theirs = 2 * math.fsum(
        float(data.get("LinkSpeedRaw", 8 * FALLBACK["bandwidth"])) / 8
        for a, b, data in nx.read_graphml(file, force_multigraph=True).edges(data=True)
        if a != b
    )
    ours = build("file", [], file=str(file), **FALLBACK).edges(data="bandwidth")
    return math.isclose(theirs, math.fsum(rate for _, _, rate in ours), rel_tol=1e-12)


def difference(graph: nx.DiGraph, seed: int) -> float:
    """Largest relative difference of random flows' times from those of exact rational arithmetic."""
    draw, links = random.Random(seed), Links(graph)
    flows = []
    for _ in range(FLOWS):
        source, destination = draw.sample([*worker_names(WORKERS), "server"], 2)
        flows.append(Flow(source, destination, float(draw.randint(1, 10**9)), start=draw.random()))
    ours = completion_times(graph, flows)
    theirs = []
    for flow in flows:
        route = links.route(flow.source, flow.destination)
        stated = {"nbytes": flow.nbytes, "start": flow.start, "after": (), "delay": 0.0, "cap": None}
        theirs.append({"route": route, **stated})
    exact = rational_solver.completion_times(list(zip(links.bandwidth, links.latency)), theirs, "last")
    return max(abs(found / float(right) - 1) for found, right in zip(ours, exact))


def table(count: Counter, why: list[str], largest: dict[str, float]) -> str:
    """Markdown."""
    lines = [
        "Public topologies: how many files load, and how many carry a ring of 8 workers and a server's round. "
        "Bandwidth by",
        "LinkSpeedRaw, else 1 Gbit/s; latency by the distance of both ends at 2e8 m/s, else 1 ms. Workers and server "
        "hang on",
        "nodes spread over the network's largest part.",
        "",
        "    python tests/benchmarks/public_topologies.py FOLDER",
        "",
        "| format | files | load | carry a ring | carry a server | with parallel links |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in sorted({kind for kind, _ in count}):
        keys = ("files", "loaded", "ring", "parameter-server")
        parallel = count[kind, "parallel"] if kind == ".graphml" else "-"
        lines.append(f"| {kind} | " + " | ".join(str(count[kind, key]) for key in keys) + f" | {parallel} |")
    lines += [
        "",
        f"Random flows ({FLOWS} each) on {len(largest)} of them, against exact rational arithmetic: largest relative "
        f"difference {max(largest.values(), default=0.0):.1e}.",
        "The summed capacity of every GraphML file is that of its edges as networkx reads them, unless it is listed "
        "below.",
        "",
        "What did not: " + ("nothing." if not why else ""),
        *(f"- {one}" for one in why),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
