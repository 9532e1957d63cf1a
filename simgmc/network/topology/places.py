"""Networks from tables: sites far apart, and homes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import networkx as nx

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.files import read_text, shown
from simgmc.core.outside.link_measures import BANDWIDTH_OF_LINK, LATENCY_OF_LINK, OF_LINK, latency_of
from simgmc.core.outside.tables import Measure, Row, read_lines, read_number, read_rows
from simgmc.core.registry import Option
from simgmc.network.topology.entry import LINKS, TopologyEntry
from simgmc.network.topology.formats import GEO_TABLES, HOME_TABLES
from simgmc.network.topology.graph import Host, add_host, add_link

_SHARES = 1000
"""Homes that shares which are no whole numbers are dealt out of, to the nearest home."""
_MAX_HOMES = 1_000_000
_CORNERS = {"", *(key for measure in LATENCY_OF_LINK for key in measure.names)}
"""What may stand in the corner of a matrix: what it holds."""
_NOUGHT = re.compile(r"0(\.0*)?")
_UP, _DOWN = Measure("up", "bandwidth"), Measure("down", "bandwidth")


def _text(file: str | None, shipped: str) -> tuple[str, str]:
    """The text of the user's table, or of the shipped one where none is named; and the table's name."""
    if file is None:
        return resources.files("simgmc.network").joinpath("data", shipped).read_text(encoding="utf-8"), shipped
    return read_text(file, "network file"), shown(file)


Pairs = dict[tuple[str, str], tuple[float, float, str]]
"""Bytes/s, seconds one way and place in the file of every ordered pair of sites that was measured."""


def geo(
    hosts: Sequence[Host],
    sites: Sequence[str] = (),
    table: str | None = None,
    bandwidth: float | None = None,
    symmetric: bool = False,
    relay: bool = False,
) -> nx.DiGraph:
    """Sites joined pairwise by wide-area links with measured bandwidths and round-trip times.

    Two hosts use the row of their sites, within a site the row of that site and itself where there is one, and else
    their access links alone. Hosts are dealt out to the sites in blocks, as equal as possible.

    Args:
        sites: which of the table's, in order (all unless given).
        table: a CSV file with a row per ordered pair (sender, receiver, round trip, bandwidth), or a matrix of round
            trips; ten cloud regions unless given.
        bandwidth: bytes/s of pairs for which the table gives none.
        symmetric: a pair that is stated one way holds both ways.
        relay: traffic takes the quickest way, over third sites too.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    text, name = _text(table, "wan_10_regions.csv")
    pairs = _pairs(text, name, bandwidth)
    known = list(dict.fromkeys(site for pair in pairs for site in pair))
    chosen = list(sites) or known
    for site in chosen:
        if site not in known:
            raise SimgmcError(f"site {show_value(site)} is not in {name}; {suggestion(site, known)}")
    if len(set(chosen)) != len(chosen):
        raise SimgmcError(f"sites {chosen}: each may be named once")
    pairs = {pair: row for pair, row in pairs.items() if set(pair) <= set(chosen)}
    for (here, there), row in list(pairs.items()):
        if (there, here) not in pairs:
            if not symmetric:
                raise SimgmcError(
                    f"{row[2]}: there is a row {here},{there} and none {there},{here}; add it, "
                    "or say that rows hold both ways: symmetric = true"
                )
            pairs[there, here] = row
    graph = nx.DiGraph(topology="geo")
    into = {site: f"{site} (arrivals)" if (site, site) in pairs else site for site in chosen}
    for site in chosen:
        for node in dict.fromkeys((site, into[site])):
            graph.add_node(node, kind="switch", relays=relay)
        if relay and into[site] != site:
            add_link(graph, into[site], site, math.inf, 0.0)
    for (here, there), (rate, seconds, _) in pairs.items():
        add_link(graph, here, into[there], rate, seconds)
    for number, host in enumerate(hosts):
        site = chosen[number * len(chosen) // len(hosts)]
        add_host(graph, host, site, group=site)
        if into[site] != site:
            down = graph.edges[site, host.name]
            graph.remove_edge(site, host.name)
            graph.add_edge(into[site], host.name, **down)
    return graph


def _pairs(text: str, name: str, bandwidth: float | None) -> Pairs:
    """What a table of pairs or a matrix of round trips says."""
    lines = read_lines(text, name)
    if lines and "sender" not in lines[0][1] and (lines[0][1][0] in _CORNERS or len(lines[0][1]) == len(lines) > 1):
        return _matrix(lines, name, bandwidth)
    found: Pairs = {}
    for row in read_rows(text, name, ("sender", "receiver"), OF_LINK):
        pair = row.cells["sender"], row.cells["receiver"]
        if not all(pair):
            raise SimgmcError(f"{row.place}: a row needs both a sender and a receiver")
        if pair in found:
            raise SimgmcError(
                f"{row.place}: the pair {','.join(pair)} is there twice ({found[pair][2]} is the other); keep one of "
                "the rows"
            )
        rate, seconds = BANDWIDTH_OF_LINK.among(row.cells, row.place), latency_of(row.cells, row.place)
        if seconds is None:
            raise SimgmcError(
                f"{row.place}: gives no round trip; one of the columns {LATENCY_OF_LINK[1].words}, latency_ms"
            )
        found[pair] = _rate(rate, bandwidth, row.place), seconds, row.place
    return found


def _matrix(lines: list[tuple[int, list[str]]], name: str, bandwidth: float | None) -> Pairs:
    """Round trips between any two sites: their names in the first line and the first column."""
    (number, header), found = lines[0], {}
    corner, names = header[0], header[1:]
    if corner not in _CORNERS:
        raise SimgmcError(
            f"{name}, line {number}: {show_value(corner)} in the corner of a matrix must say what it holds and its "
            "unit, such as round_trip_ms"
        )
    if len(set(names)) < len(names) or "" in names:
        raise SimgmcError(f"{name}, line {number}: every site needs a name of its own: {show_value(','.join(names))}")
    if len(lines) - 1 != len(names):
        raise SimgmcError(
            f"{name}, line {lines[-1][0]}: the matrix has {len(lines) - 1} rows, and its first line {len(names)} sites"
        )
    for (number, cells), here in zip(lines[1:], names, strict=True):
        place = f"{name}, line {number}"
        if len(cells) != len(header) or cells[0] != here:
            raise SimgmcError(f"{place}: must be the row of {here}, with a cell for each of the {len(names)} sites")
        for there, cell in zip(names, cells[1:]):
            if cell in ("", "-") or (here == there and _NOUGHT.fullmatch(cell)):
                continue
            # Without a unit in the corner every cell has to have one.
            where = f"{place} ({here},{there})"
            seconds = latency_of({corner or "round_trip": cell}, where)
            if seconds or here != there:  # none from a site to itself says nothing of what lies within it
                found[here, there] = _rate(None, bandwidth, where), seconds or 0.0, where
    if not found:
        raise SimgmcError(f"{name}: the matrix holds no round trip")
    return found


def _rate(rate: float | None, fallback: float | None, place: str) -> float:
    found = fallback if rate is None else rate
    if found is None:
        raise SimgmcError(
            f"{place}: gives no bandwidth; add {BANDWIDTH_OF_LINK.words}, or state one for such pairs: "
            "topology.bandwidth"
        )
    return found


def home_broadband(hosts: Sequence[Host], table: str | None = None) -> nx.DiGraph:
    """A federation of homes: every worker behind an asymmetric line, dealt out from a table;
    the server keeps the access link it was given.

    ``table``: a CSV file with columns line, down and up (bandwidths), a round trip to the internet, and homes: how many
    hosts in a row get this line before the next, or its share of them; default: UK lines.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    text, name = _text(table, "home_broadband.csv")
    rows = read_rows(text, name, ("line", "homes"), (_DOWN, _UP, *LATENCY_OF_LINK))
    deal = [row for row, count in zip(rows, _homes(rows, name)) for _ in range(count)]
    # Neighbouring hosts get different lines: homes are dealt out with a stride coprime to the table.
    stride = next(step for step in (7, 11, 13, 1) if math.gcd(step, len(deal)) == 1)
    graph = nx.DiGraph(topology="home-broadband")
    graph.add_node("internet", kind="switch")
    number = 0
    for host in hosts:
        if host.name.startswith("server"):
            add_host(graph, host, "internet")
            continue
        row = deal[number * stride % len(deal)]
        number += 1
        line = [_DOWN.among(row.cells, row.place), _UP.among(row.cells, row.place), latency_of(row.cells, row.place)]
        for value, what in zip(line, (_DOWN.words, _UP.words, "round_trip_ms")):
            if value is None:
                raise SimgmcError(f"{row.place}: gives no {what}")
        down, up, latency = line
        add_host(graph, Host(host.name, up, down, latency), "internet")
        graph.nodes[host.name].update(
            line=row.cells["line"], drawn=f"{name} gives every worker its line; change it there"
        )
    return graph


def _homes(rows: Sequence[Row], name: str) -> list[int]:
    """How many homes have each line: as stated where all are whole numbers, else their shares of a number that fits
    them.
    """
    stated = [read_number(row, "homes") for row in rows]
    total = sum(stated)
    if all(one == int(one) for one in stated):
        if not 0 < total <= _MAX_HOMES:
            raise SimgmcError(
                f"{name} gives {total:.6g} homes; the lines together need at least 1 and at most {_MAX_HOMES:,}"
            )
        return [int(one) for one in stated]
    fitting = (
        of
        for of in range(1, _SHARES + 1)
        if all(abs(of * one / total - round(of * one / total)) < 1e-9 for one in stated)
    )
    of = next(fitting, _SHARES)
    counts = [round(of * one / total) for one in stated]
    for row, share, count in zip(rows, stated, counts):
        if share and not count:
            raise SimgmcError(
                f"{row.place}: homes = {row.cells['homes']}: is a share of less than one in {_SHARES:,}; give whole "
                "numbers of homes"
            )
    return counts


_TABLE = Option("a CSV file in place of the table that comes with simgmc", Path, None)

TOPOLOGIES = (
    TopologyEntry(
        "geo",
        "sites joined by links of measured bandwidth and round-trip time (ten cloud regions, or a table)",
        "github.com/BinhangYuan/tc_cluster_setting, results/p2p.md",
        {
            "sites": Option("which sites of the table, in order; all unless given", list[str], None),
            "table": _TABLE,
            "bandwidth": replace(LINKS["bandwidth"], summary="of pairs for which the table gives none"),
            "symmetric": Option("a pair that is stated one way holds both ways", bool, False),
            "relay": Option("traffic takes the quickest way, over third sites too", bool, False),
        },
        build=geo,
        details=GEO_TABLES,
    ),
    TopologyEntry(
        "home-broadband",
        "workers behind asymmetric home lines (UK, or a table), the server in the internet",
        "Ofcom, UK Home Broadband Performance, 2016 and 2023",
        {"table": _TABLE},
        build=home_broadband,
        details=HOME_TABLES,
    ),
)
