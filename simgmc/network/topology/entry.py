"""What a topology says of itself: its name, the options of its links, and how its hosts are joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from simgmc.core.registry import Entry, Option
from simgmc.core.units import BANDWIDTH, DURATION, QuantityOption


@dataclass(frozen=True)
class Topology(Entry):
    """One way to join hosts."""

    build: Callable[..., nx.DiGraph] = field(kw_only=True)
    """From the hosts and the options to the network."""


def links(bandwidth: str, latency: str, default: Any = None) -> dict[str, Option]:
    """Options of the links between switches."""
    return {
        "bandwidth": QuantityOption(bandwidth, default=default, units=BANDWIDTH, example="1 Gbit/s", positive=True),
        "latency": QuantityOption(latency, default=default, units=DURATION, example="5 ms"),
    }


LINKS = links(
    "of each link between switches, each direction; no limit unless given",
    "of each link between switches, one way; 0 unless given",
)
