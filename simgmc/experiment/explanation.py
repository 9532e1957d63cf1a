"""Why a method took the time it took: what bound it, and what would help.

Everything comes from the stored costs: the first rounds of a series are put on the same
cluster again, and on one with twice the bandwidth, and on one with half the latency. Of a
training that the clock drove, which would be another one there, from what it left.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import networkx as nx
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.transport import Kind
from simgmc.experiment.plan import Training, cluster_settings, trainings
from simgmc.experiment.record import are_of
from simgmc.network import ClusterSettings, simulate
from simgmc.network.cluster.timing import bottleneck_of
from simgmc.results.directory.details import PARTS, LinkTraffic
from simgmc.results.directory.run_directory import COLLECTIVE_KEY, Breakdown, RunDirectory
from simgmc.scenario import GridPoint

ROUNDS = 30
"""Rounds of each series that are looked at."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What bound one method on one cluster."""

    method: str
    on: str
    """What carries its messages, and the grid's values."""
    bound_by: str
    """The compute, the busiest link, latency, or waiting."""
    exposed: float | None
    """Share of communication that compute did not hide, 0 to 1; None where nothing was sent, or it is not known."""
    twice_bandwidth: float | None
    """Time with twice the bandwidth on every link, as a share of the time without; None where that
    would be another training."""
    half_latency: float | None
    """Time with half the latency on every link, as a share; None likewise."""
    chosen: dict[str, int]
    """What ``collective = "auto"`` picked, and how often."""
    stopped: str | None
    """Why the cluster stopped before the training's last round, if it did."""


def explain(
    directory: RunDirectory, points: list[GridPoint], missing: list[str] | None = None
) -> Iterator[Explanation]:
    """One explanation per method and grid point, for the first seed of what is finished.

    What cannot be explained, and why, is added to ``missing``, a line each.
    """
    missing = [] if missing is None else missing
    finished = directory.breakdowns()
    again = "give the same simgmc run command again"
    seed = points[0].scenario.seeds[0]
    plan = trainings(points)
    details = directory.details() if any(training.asynchronous for training in plan) else {}
    for training in plan:
        if training.seed != seed:
            continue
        if not any(training.series(point) in finished for point in training.points):
            missing.append(f"{training.title}: not finished; {again}")
            continue
        if training.asynchronous:
            for point in training.points:
                if (key := training.series(point)) in finished:
                    yield _explain_asynchronous(
                        training, point, finished[key], details[key].links if key in details else ()
                    )
            continue
        if not directory.has_costs(training.key):
            missing.append(f"{training.title}: its costs are missing; to restore them, {again}")
            continue
        try:
            rounds = directory.read_costs(training.key)
        except SimgmcError as error:
            missing.append(f"{training.title}: {error}; to restore them, {again}")
            continue
        if not are_of(rounds, training.scenario.workload.workers):
            missing.append(f"{training.title}: its costs are of another number of workers; to restore them, {again}")
            continue
        for point in training.points:
            key = training.series(point)
            if key in finished and rounds:
                yield _explain(training, point, rounds, finished[key])


def _explain(training: Training, point: GridPoint, rounds: list, breakdown: Breakdown) -> Explanation:
    settings = cluster_settings(point.scenario, training.method, training.seed)
    some = list(itertools.islice(rounds, min(ROUNDS, breakdown.rounds)))
    timing = simulate(settings, some)
    changed = [] if settings.leaves_out else [_scaled(settings, bandwidth=2.0), _scaled(settings, latency=0.5)]
    shares = [simulate(other, some).total / timing.total if timing.total else 1.0 for other in changed]
    faster, nearer = shares or (None, None)
    sent = float(timing.communication.sum()) > 0
    return Explanation(
        training.method.name,
        _on(training, point),
        timing.bottleneck(_waiting(training, point)),
        timing.exposed if sent else None,
        faster,
        nearer,
        timing.chosen,
        breakdown.stopped,
    )


def _explain_asynchronous(
    training: Training, point: GridPoint, breakdown: Breakdown, links: Sequence[LinkTraffic]
) -> Explanation:
    """From the time of its workers and the bytes over its links."""
    settings = cluster_settings(point.scenario, training.method, training.seed)
    network = settings.payload_graph.edges
    used = {}
    for link in links:
        ends = link.source, link.destination
        room = network[ends]["bandwidth"] * breakdown.sim_time_s
        used[ends] = link.bytes / room if room else 0.0
    parts = {part: getattr(breakdown, f"{part}_s") for part in PARTS}
    bound_by = bottleneck_of(parts, used, _waiting(training, point))
    return Explanation(training.method.name, _on(training, point), bound_by, None, None, None, {}, breakdown.stopped)


def _waiting(training: Training, point: GridPoint) -> str:
    """What waiting is for."""
    return _WAITING[training.series(point).transport.kind]


_WAITING: dict[Kind, str] = {
    "collective": "waiting for slower workers",
    "gossip": "waiting for neighbours",
    "asynchronous gossip": "waiting for neighbours",
    "pairwise": "waiting for a partner",
    "asynchronous server": "waiting for the server",
}


def _on(training: Training, point: GridPoint) -> str:
    """What carries the messages, where the grid does not say it or says it wrongly, and the grid's values."""
    series = training.series(point)
    values = [value for key, value in point.values.items() if key != COLLECTIVE_KEY]
    values = [value if isinstance(value, str) else show_value(value) for value in values]
    said = COLLECTIVE_KEY in point.values or not series.transport.is_collective or not values
    return ", ".join([str(series.transport), *values] if said else values)


def _scaled(settings: ClusterSettings, bandwidth: float = 1.0, latency: float = 1.0) -> ClusterSettings:
    graph: nx.DiGraph = settings.graph.copy()
    for _, _, link in graph.edges(data=True):
        link["bandwidth"] *= bandwidth
        link["latency"] *= latency
    return dataclasses.replace(settings, graph=graph)


def print_explanations(console: Console, explanations: list[Explanation]) -> None:
    """A table, and notes on what was picked or stopped."""
    if not explanations:
        return
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    table = Table(
        title="What bound it, and what would help (change of the simulated time)",
        title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for column in ("method", "on", "bound by"):
        table.add_column(column)
    for column in ("exposed", "2x bandwidth", "half latency"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in explanations:
        exposed = "-" if one.exposed is None else f"{one.exposed:.0%}"
        changes = _change(one.twice_bandwidth), _change(one.half_latency)
        table.add_row(Text(one.method), Text(one.on), one.bound_by, exposed, *changes)
    console.print(table)
    if any(one.exposed is not None for one in explanations):
        say("exposed: share of the communication's time that compute did not hide (100%: workers waited for all of it)")
    if any(one.twice_bandwidth is None for one in explanations):
        say(
            "-: would be another training on another network, as the clock drives it or says who takes part: "
            "try it there with simgmc run"
        )
    for one in explanations:
        if one.chosen:
            picked = ", ".join(
                f"{name} ({times}x)" for name, times in sorted(one.chosen.items(), key=lambda item: -item[1])
            )
            say(f"{one.method}, {one.on}: auto picked {picked}")
        if one.stopped:
            say(f"{one.method}, {one.on}: ended early: {one.stopped}")


def _change(share: float | None) -> str:
    if share is None:
        return "-"
    percent = 100 * (share - 1)
    return "0 %" if abs(percent) < 0.5 else f"{percent:+.0f} %"
