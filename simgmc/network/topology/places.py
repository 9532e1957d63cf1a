"""Networks from tables and files: sites far apart, homes, and graphs drawn elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.core.files import drawn_graph, read_number, read_table, read_text
from simgmc.network.topology.graph import Host, add_host, add_link

_MEGABIT = 1e6 / 8
_MAX_HOMES = 1_000_000


def _table(file: str | None, shipped: str, columns: Sequence[str]) -> tuple[list[dict[str, str]], str]:
    """The rows of the user's table, or of the shipped one where none is named; and the table's name."""
    if file is None:
        name, text = shipped, resources.files("simgmc.network").joinpath("data", shipped).read_text(encoding="utf-8")
    else:
        name, text = str(file), read_text(file)
    return read_table(text, name, columns), name


def geo(hosts: Sequence[Host], sites: Sequence[str] = (), table: str | None = None) -> nx.DiGraph:
    """Sites joined pairwise by wide-area links with measured bandwidths and round-trip times.

    ``table``: a CSV file with columns sender, receiver, round_trip_ms, bandwidth_mbit_s;
    default: ten cloud regions. ``sites``: which of its sites to use, in order (default: all);
    hosts are dealt out to them in blocks, as equal as possible.
    """
    rows, name = _table(table, "wan_10_regions.csv", ("sender", "receiver", "round_trip_ms", "bandwidth_mbit_s"))
    known = list(dict.fromkeys(row["sender"] for row in rows))
    chosen = list(sites) or known
    for site in chosen:
        if site not in known:
            raise SimgmcError(f"site {site!r} is not in {name}: must be one of {', '.join(known)}")
    if len(set(chosen)) != len(chosen):
        raise SimgmcError(f"sites {chosen}: each may be named once")
    graph = nx.DiGraph(topology="geo")
    for site in chosen:
        graph.add_node(site, kind="switch")
    for row in rows:
        if row["sender"] in chosen and row["receiver"] in chosen:
            bandwidth = read_number(row, "bandwidth_mbit_s", name) * _MEGABIT
            add_link(graph, row["sender"], row["receiver"], bandwidth, read_number(row, "round_trip_ms", name) / 2e3)
    for number, host in enumerate(hosts):
        place = number * len(chosen) // len(hosts)
        add_host(graph, host, chosen[place], group=place)
    return graph


def home_broadband(hosts: Sequence[Host], table: str | None = None) -> nx.DiGraph:
    """A federation of homes: every worker behind an asymmetric line, dealt out from a table;
    the server keeps the access link it was given.

    ``table``: a CSV file with columns line, down_mbit_s, up_mbit_s, round_trip_ms, homes
    (how many hosts in a row get this line before the next); default: UK lines.
    """
    rows, name = _table(table, "home_broadband.csv", ("line", "down_mbit_s", "up_mbit_s", "round_trip_ms", "homes"))
    homes = [int(read_number(row, "homes", name)) for row in rows]
    if not 0 < sum(homes) <= _MAX_HOMES:
        raise SimgmcError(
            f"{name} gives {sum(homes):.6g} homes; the lines together need at least 1 and at most {_MAX_HOMES:,}"
        )
    deal = [row for row, count in zip(rows, homes) for _ in range(count)]
    # Neighbouring hosts get different lines: homes are dealt out with a stride coprime to the table.
    stride = next(step for step in (7, 11, 13, 1) if len(deal) % step or step == 1)
    graph = nx.DiGraph(topology="home-broadband")
    graph.add_node("internet", kind="switch")
    number = 0
    for host in hosts:
        if host.name.startswith("server"):
            add_host(graph, host, "internet")
            continue
        row = deal[number * stride % len(deal)]
        number += 1
        up, down = read_number(row, "up_mbit_s", name) * _MEGABIT, read_number(row, "down_mbit_s", name) * _MEGABIT
        add_host(graph, Host(host.name, up, down, read_number(row, "round_trip_ms", name) / 2e3), "internet")
        graph.nodes[host.name]["line"] = row["line"]
    return graph


def from_file(hosts: Sequence[Host], file: str) -> nx.DiGraph:
    """A network from a GraphML file or an edge list.

    Edges carry ``bandwidth`` (bytes/s) or ``bandwidth_mbit_s``, and ``latency`` (s) or
    ``latency_ms``. GraphML: undirected edges count in both directions. Edge list: a CSV file
    whose first line names the columns ``source, destination`` and those two. Hosts that are
    nodes of the file keep its links; the others are joined to the file's other nodes, in the
    file's order, by their own access links.
    """
    nodes, edges = drawn_graph(file)
    if not nodes:
        raise SimgmcError(f"{file} holds no links")
    graph = nx.DiGraph(topology=str(file))
    names = {host.name for host in hosts}
    for node in nodes:
        graph.add_node(node, kind="host" if node in names else "switch")
    for a, b, data in edges:
        add_link(
            graph,
            a,
            b,
            _quantity(data, "bandwidth", "bandwidth_mbit_s", _MEGABIT, file),
            _quantity(data, "latency", "latency_ms", 1e-3, file),
        )
    places = [node for node in nodes if node not in names]
    waiting = [host for host in hosts if host.name not in graph]
    if waiting and not places:
        raise SimgmcError(f"{file} has no node for host {waiting[0].name!r}, and none to join it to")
    for number, host in enumerate(waiting):
        add_host(graph, host, places[number % len(places)], group=number % len(places))
    return graph


def _quantity(data: dict, plain: str, scaled: str, factor: float, file: str) -> float:
    for column, scale in ((plain, 1.0), (scaled, factor)):
        if data.get(column) not in (None, ""):
            return read_number({column: str(data[column])}, column, str(file)) * scale
    raise SimgmcError(f"{file}: a link has neither {plain} nor {scaled}")
