"""What a run prints first: the workload, the network and the wire formats, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import networkx as nx
from rich.console import Console

from simgmc.algorithms import ALGORITHMS
from simgmc.core.errors import show_value
from simgmc.core.quantities import time_text
from simgmc.core.terminal import print_line
from simgmc.core.units import Quantity, is_rate
from simgmc.experiment.training import Training
from simgmc.network.collectives import FIRST_K
from simgmc.network.conditions.overheads import IDEAL
from simgmc.results.directory.checkpoint import CHECKPOINTS, Checkpoints
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.scenario_changes import heading
from simgmc.scenario import Scenario, ScenarioFile
from simgmc.scenario.cluster.cluster import Cluster
from simgmc.scenario.updates import update_words
from simgmc.scenario.workload import Method

_LOOKED_AT = 2**16
"""Pairs of a node and a host whose distance is looked at, about."""


def line(console: Console, name: str, text: str) -> None:
    """One line of the header."""
    print_line(console, f"{name:<9}{text}", hang=9)


def print_start(console: Console, file: ScenarioFile) -> None:
    """What happens in the seconds before the other lines."""
    data = list(dict.fromkeys(name for point in file.points for name in point.scenario.workload.datasets))
    methods = len(file.points[0].scenario.methods)
    each = "the method" if methods == 1 else f"each of {methods} methods"
    doing = ["loading PyTorch", *([f"reading {', '.join(data)}"] if data else []), f"trying {each} for a round"]
    line(console, "starting", ", ".join(doing))


def print_cluster(console: Console, file: ScenarioFile) -> None:
    """The lines that need no training: scenario, network, times."""
    scenario = file.points[0].scenario
    counts = " x ".join(
        f"{len(of)} {name}{'' if len(of) == 1 else 's'}"
        for name, of in (("method", scenario.methods), ("seed", scenario.seeds), ("grid point", file.points))
    )
    line(console, "scenario", f"{file.place}: {counts}")
    for name, text in cluster_lines(file):
        line(console, name, text)
    for text in skipped_lines(file):
        line(console, "skipped", text)


def cluster_lines(file: ScenarioFile) -> Iterator[tuple[str, str]]:
    """What a scenario supposes: the network, what of it varies, how models are updated, and the times of computing."""
    scenario = file.points[0].scenario
    yield "network", describe(scenario)
    if file.grid:
        yield "grid", "; ".join(f"{key} over {', '.join(map(_plain, values))}" for key, values in file.grid.items())
    for text in _grouped((update_words(scenario.optimizer, method), method.name) for method in scenario.methods):
        yield "updates", text
    times = scenario.cluster.compute
    stated = (f"{name} {_short(getattr(times, name))}" for name in ("gradient", "compression", "aggregation"))
    yield "times", ", ".join(stated)


def skipped_lines(file: ScenarioFile) -> list[str]:
    """The grid's points that cannot be, those of one reason together: what they have in common, and the reason."""
    reasons: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for values, *reason in file.skipped:
        reasons.setdefault((reason[0], reason[1]), []).append(values)
    lines = []
    for (place, why), points in reasons.items():
        first, *others = points
        common = {
            key: value
            for key, value in first.items()
            if len(file.grid[key]) > 1 and all(point[key] == value for point in others)
        }
        where = ", ".join(f"{key} = {_plain(value)}" for key, value in common.items())
        many = f"{len(points)} grid point{'s' if others else ''}"
        said = "" if place in common else f"{place} "
        lines.append(f"{many}{f' with {where}' if where else ''}: {said}{why}")
    return lines


def print_resumed(console: Console, plan: list[Training], directory: RunDirectory, goes_on_with: str) -> None:
    """The lines on a run that goes on; ``goes_on_with``: the heading that its scenario would have now."""
    finished = directory.finished()
    whole = sum(all(training.series(point) in finished for point in training.points) for training in plan)
    parts = [f"{whole} of {len(plan)} trainings finished before"] if finished else []
    if (directory.path / CHECKPOINTS).is_dir():
        for training in plan:
            saved = Checkpoints(directory.path / CHECKPOINTS, training.key).load(arrays=False)
            if saved is not None:
                parts.append(f"{training.title} goes on after {saved[1]['at']}")
    if parts:
        line(console, "resumed", "; ".join(parts))
    before = heading(directory.scenario_text())
    if whole < len(plan) and before not in ("", goes_on_with):  # runs from before it was written have none
        was, now = (" and ".join(text.replace("# ", "").splitlines()) for text in (before, goes_on_with))
        line(console, "note", f"was begun with {was}; goes on with {now}, which need not round alike")


def gossip_lines(scenario: Scenario, spectral_gap: bool = True) -> list[str]:
    """Who exchanges with whom and with which weights, a line for each way, with the names of the methods that use it.

    ``spectral_gap``: give it too (seconds, for thousands of workers).
    """
    return _grouped(
        (_gossip(scenario, method, spectral_gap), method.name)
        for method in scenario.methods
        if scenario.has_graph(method)
    )


def _grouped(found: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each text, with the names of the methods that it is about."""
    names: dict[str, list[str]] = {}
    for text, name in found:
        names.setdefault(text, []).append(name)
    return [f"{', '.join(of)}: {text}" for text, of in names.items()]


def _gossip(scenario: Scenario, method: Method, spectral_gap: bool) -> str:
    mixing = scenario.mixing(method)
    if mixing is None:
        algorithm, table = ALGORITHMS[method.algorithm], scenario.gossip_of(method)
        graph = "complete" if table is None else table.graph_text
        return f"{graph}; {algorithm.neighbours_weigh}: the graph alone is read, no weights"
    counts = sorted({len(edges) for edges in mixing.edges})
    messages = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    gap = (
        f", spectral gap {mixing.spectral_gap:.4g}{' of one period' if mixing.time_varying else ''}"
        if spectral_gap
        else ""
    )
    return f"{mixing.name}, {messages} messages a round{gap}"


def describe(scenario: Scenario) -> str:
    """The network in one line: what is where, how far hosts are apart, and what goes wrong."""
    cluster, workers = scenario.cluster, scenario.workload.workers
    options = {key: value for key, value in cluster.topology.options.items() if value is not None}
    name = cluster.topology.name + (
        f" ({', '.join(f'{k} {_plain(v)}' for k, v in options.items())})" if options else ""
    )
    parts = [name, f"{cluster.bandwidth} and {cluster.latency} one way per host's link", _distance(cluster, workers)]
    if any(scenario.transport(method).is_collective for method in scenario.methods):
        parts.append(cluster.collective + _first(cluster, workers) + _servers(cluster))
    for host, own in cluster.hosts.items():
        said = [
            f"{key} {_plain(value)}"
            for key, value in own
            if value is not None and value != type(own).model_fields[key].default
        ]
        if said:
            parts.append(f"{host}: {', '.join(said)}")
    also = [condition.heading for condition in cluster.conditions if condition != IDEAL]
    return "; ".join(parts) + (f"; with {', '.join(also)}" if also else "")


def _first(cluster: Cluster, workers: int) -> str:
    """How many messages the server waits for, and what becomes of the others, where it does not wait for all."""
    if cluster.collective != FIRST_K:
        return ""
    options = cluster.collective_options.network_options
    return f" (the first {options.first(workers)} of {workers} messages, late ones {options.late})"


def _servers(cluster: Cluster) -> str:
    """How many servers the parameters are cut among, where they are."""
    count = len(cluster.server_names())
    return f" on {count} servers" if count > 1 else ""


def _distance(cluster: Cluster, workers: int) -> str:
    """One-way latency between two hosts: from the shortest to the longest."""
    apart = _apart(cluster.graph(workers))
    if apart is None:
        return "one host"
    near, far = apart
    return f"{time_text(near)} host to host" if near == far else f"{time_text(near)} to {time_text(far)} host to host"


@lru_cache(maxsize=8)
def _apart(graph: nx.DiGraph) -> tuple[float, float] | None:
    """Seconds of latency between the nearest two hosts and between the farthest; None where there is one host."""
    hosts = [host for host, data in graph.nodes(data=True) if data.get("kind") == "host"]
    apart = []
    # Enough of them to see the spread; all pairs of a thousand hosts would take seconds.
    for host in hosts[: max(4, min(64, _LOOKED_AT // len(graph)))]:
        reach = nx.single_source_dijkstra_path_length(graph, host, weight="latency")
        apart += [reach[other] for other in hosts if other != host and other in reach]
    return (min(apart), max(apart)) if apart else None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else show_value(value)


def _short(quantity: Any) -> str:
    """A stated time as it was written, unless that has more digits than anyone reads."""
    text = str(quantity)
    if not isinstance(quantity, Quantity) or len(text) <= 12:
        return text
    return f"{quantity / 1e9:.3g} GB/s" if is_rate(quantity) else time_text(quantity)
