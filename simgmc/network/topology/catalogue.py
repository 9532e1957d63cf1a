"""Topologies by name; each is declared in the file that draws it, in that file's ``TOPOLOGIES``.

A network is a directed graph, see :mod:`simgmc.network.topology.graph`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.core.files import state
from simgmc.core.registry import Registry
from simgmc.network.topology import (
    drawn,
    gpu_nodes,
    places,
    shapes,
)
from simgmc.network.topology.drawn import from_file
from simgmc.network.topology.entry import TopologyEntry, adopted
from simgmc.network.topology.graph import Host, add_link, add_wire, worker_names
from simgmc.network.topology.places import geo, home_broadband
from simgmc.network.topology.recent import Recent
from simgmc.network.topology.shapes import dumbbell, fat_tree, full_mesh, ring, star, torus, two_tier

TOPOLOGIES: Registry[TopologyEntry] = Registry(
    "topology",
    (
        *shapes.TOPOLOGIES,
        *gpu_nodes.TOPOLOGIES,
        *places.TOPOLOGIES,
        *drawn.TOPOLOGIES,
    ),
    adopted,
    "simgmc.topologies",
    listed="topologies",
)


def build(name: str, hosts: Sequence[Host], **options: Any) -> nx.DiGraph:
    """A network of that topology. Bandwidths in bytes/s, latencies in s.

    Raises:
        SimgmcError: unknown name or option, one that is missing, or a network that cannot be.
    """
    entry = TOPOLOGIES[name]
    return entry.build(hosts, **{key: value for key, value in entry.named(options).items() if value is not None})


def drawn_once(name: str, hosts: tuple[Host, ...], options: Mapping[str, Any]) -> nx.DiGraph:
    """As :func:`build`: the same graph for the same hosts, options and files, for as long as it is one of the last few.

    It is frozen, as nobody may change it, and so its routes are found once, too. One's own topology is asked each time.
    """
    entry = TOPOLOGIES[name]
    if not entry.repeatable:
        return build(name, hosts, **options)
    plain = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in sorted(options.items()))
    files = tuple(
        None if value is None else state(value)
        for key, value in options.items()
        if key in entry.options and entry.options[key].kind is Path
    )
    return _DRAWN.get((name, hosts, plain, files), len(hosts), lambda: nx.freeze(build(name, hosts, **options)))


_DRAWN: Recent[tuple[object, ...], nx.DiGraph] = Recent(40_000)
"""Networks, by all that they follow from, with so many hosts in all: of a grid's small ones thousands."""


def groups(graph: nx.DiGraph, hosts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The hosts' places in the sequence, by rack, pod or site; empty where the network has none."""
    found: dict[object, list[int]] = {}
    for number, host in enumerate(hosts):
        found.setdefault(graph.nodes[host].get("group"), []).append(number)
    return () if None in found else tuple(tuple(members) for members in found.values())


def access(graph: nx.DiGraph, hosts: Sequence[str]) -> tuple[float, ...]:
    """Bytes/s of each host's own links: the smaller of what it can send and what it can receive.

    Raises:
        SimgmcError: naming the host whose links have no limit, or no bandwidth.
    """
    found = []
    for host in hosts:
        both = (graph.out_edges(host, data="bandwidth"), graph.in_edges(host, data="bandwidth"))
        bandwidth = min(sum(bandwidth for _, _, bandwidth in links) for links in both)
        if not 0 < bandwidth < math.inf:
            problem = "no bandwidth" if not bandwidth else "no limit"
            raise SimgmcError(f"the links of {host} have {problem}, so that nothing can be in proportion to it")
        found.append(float(bandwidth))
    return tuple(found)


__all__ = [
    "Host", "TOPOLOGIES", "TopologyEntry", "access", "add_link", "add_wire", "build", "dumbbell", "fat_tree",
    "from_file",
    "full_mesh", "geo", "groups", "home_broadband", "ring", "star", "torus", "two_tier", "worker_names",
]  # fmt: skip
