"""``simgmc time``: how long exchanges take on a network, without a model."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.core.quantities import bytes_text, time_text
from simgmc.core.terminal import print_line, print_table
from simgmc.core.units import Quantity
from simgmc.costs.steps import Average, Mix, RoundCosts
from simgmc.experiment.preflight.bare_cluster import bare_cluster, settings_of
from simgmc.mixing.graphs import gossip_graph
from simgmc.network.calibration.exchange import dense, sparse
from simgmc.network.cluster.cluster import simulate
from simgmc.network.cluster.timing import Timing
from simgmc.network.collectives import COLLECTIVES
from simgmc.network.conditions.overheads import IDEAL, Overheads

ALL, GOSSIP = "all", "gossip"


@dataclass(frozen=True)
class Asked:
    """What is to be timed."""

    collectives: Sequence[str]
    nodes: int
    sizes: Sequence[Quantity]
    """Bytes of the dense vector."""
    density: float | None
    """The share of its entries that every worker sends; None: all, without indices."""
    graph: str
    """Who sends to whom in ``gossip``."""
    keys: dict[str, Any]
    """Of the cluster: topology, bandwidth, latency."""
    settings: Sequence[tuple[str, Any]]
    """Its other keys."""


@dataclass(frozen=True)
class Timed:
    """One exchange, timed; or why it was not."""

    collective: str
    size: Quantity
    timing: Timing | None = None
    refusal: str = ""

    @property
    def most(self) -> float:
        """Bytes over the link that carried most."""
        assert self.timing is not None
        return float(self.timing.link_bytes.max(initial=0.0))


def run(asked: Asked, console: Console, as_csv: bool = False) -> None:
    """Time every collective with every size and print a table.

    Raises:
        SimgmcError: anything about the network, or a collective that was named and cannot be timed on it.
    """
    named = [*COLLECTIVES, GOSSIP] if ALL in asked.collectives else list(dict.fromkeys(asked.collectives))
    found = [_timed(asked, name, size) for name in named for size in asked.sizes]
    if as_csv:
        print(_csv(asked, found), end="")
        return
    _print(console, asked, found)
    for line in _said(asked, found):
        print_line(console, line)


def seconds(name: str, nodes: int, nbytes: float, keys: dict[str, Any], settings: Sequence[tuple[str, Any]]) -> float:
    """Of one dense exchange."""
    asked = Asked([name], nodes, [], None, "ring", keys, settings)
    return _simulated(asked, name, nbytes).total


def _timed(asked: Asked, name: str, size: Quantity) -> Timed:
    try:
        return Timed(name, size, _simulated(asked, name, size))
    except SimgmcError as error:
        if ALL not in asked.collectives:
            raise
        # What could be used in its place is in the table.
        return Timed(
            name, size, refusal=re.split(": |; ", re.sub(r"^(collective '.*?' |cluster.*?: )", "", str(error)))[0]
        )


def _simulated(asked: Asked, name: str, nbytes: float) -> Timing:
    average = dense(asked.nodes, nbytes) if asked.density is None else sparse(asked.nodes, nbytes, asked.density)
    if name == GOSSIP:
        cluster = bare_cluster({**asked.keys, "collective": "ring"}, asked.settings)
        return simulate(settings_of(cluster, asked.nodes, "neighbours"), [RoundCosts([_mix(asked, average)])])
    cluster = bare_cluster({**asked.keys, "collective": name}, asked.settings)
    if (refusal := cluster.refusal(average.summable, average.partial is not None)) is not None:
        raise SimgmcError(refusal)
    return simulate(settings_of(cluster, asked.nodes), [RoundCosts([average])])


def _mix(asked: Asked, average: Average) -> Mix:
    edges = np.array(sorted(gossip_graph(asked.graph, asked.nodes).rounds[0])).reshape(-1, 2)
    return Mix(average.up, edges, average.floats_up)


def _title(asked: Asked) -> str:
    cluster = bare_cluster({**asked.keys, "collective": "ring"}, asked.settings)
    network = [cluster.topology.title]
    network += [f"{cluster.bandwidth} links"] if cluster.bandwidth else []
    network += [f"{cluster.latency} of latency each"] if cluster.latency else []
    return f"one exchange of {asked.nodes} workers, ready at the same time: {', '.join(network)}"


def _print(console: Console, asked: Asked, found: Sequence[Timed]) -> None:
    rows = []
    for one in found:
        if one.timing is None:
            continue
        slowest = int(one.timing.round_end[-1].argmax())
        parts = dict(zip(one.timing.categories, one.timing.breakdown[0, slowest]))
        shown = [time_text(parts[part]) for part in ("transfer", "latency", "aggregate")]
        total, bound = time_text(one.timing.total), one.timing.bottleneck()
        rows.append((one.collective, bytes_text(one.size), total, *shown, bytes_text(one.most), bound))
    header = ("collective", "vector", "time", "transfer", "latency", "adding", "busiest link", "bound by")
    print_table(console, _title(asked), header, {"": rows}, words=[header.index("bound by")])


def _said(asked: Asked, found: Sequence[Timed]) -> list[str]:
    cluster = bare_cluster({**asked.keys, "collective": "ring"}, asked.settings)
    refused: dict[str, list[str]] = {}
    for one in found:
        if one.timing is None:
            refused.setdefault(one.refusal, []).append(one.collective)
    lines = [f"not here: {', '.join(dict.fromkeys(names))}: {why}" for why, names in refused.items()]
    lines.append(f"transport: {transport_words(cluster.transport)}")
    if asked.density is not None:
        kept = sparse(asked.nodes, asked.sizes[0], asked.density)
        lines.append(
            f"messages: sparse, {asked.density:g} of the entries, a 32-bit value and a 32-bit index each "
            f"({bytes_text(int(kept.up[0]))} of {bytes_text(asked.sizes[0])}); every worker's drawn independently"
        )
    else:
        lines.append("messages: dense, 32-bit floats")
    if any(one.collective == GOSSIP for one in found):
        lines.append(f"gossip: to the neighbours in the graph {asked.graph!r}")
    if float(cluster.compute.aggregation) == 0:
        lines.append("adding takes no time: --set compute.aggregation='10 GB/s' states it")
    return lines


def transport_words(overheads: Overheads) -> str:
    """The transport's keys that are not at their defaults, as a scenario states them."""
    stated = [f"{key} = {value}" for key, value in overheads.stated() if value != getattr(IDEAL, key)]
    return ", ".join(stated) if stated else "ideal (no headers, no software, no limit of a connection)"


def _csv(asked: Asked, found: Sequence[Timed]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("collective", "nodes", "bytes", "seconds", "busiest_link_bytes"))
    for one in found:
        if one.timing is not None:
            writer.writerow((one.collective, asked.nodes, round(one.size), repr(one.timing.total), round(one.most)))
    return out.getvalue()
