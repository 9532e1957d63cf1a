"""What real transports cost beyond the wire: headers, software, start-up, a cap per connection."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from simgmc.core.declared import declared
from simgmc.core.registry import Option
from simgmc.core.units import BANDWIDTH, DURATION, QuantityOption
from simgmc.network.conditions.condition import Condition


@dataclass(frozen=True)
class Overheads(Condition):
    """What the transport adds to every message; by default nothing."""

    key = "transport"
    static = True
    whole = True
    random = False

    efficiency: float = declared(
        Option(
            "share of a link's bandwidth left for payload; TCP over Ethernet: 1448/1502 = 0.964",
            float, 1.0, at_least=1e-6, at_most=1,
        )
    )  # fmt: skip
    software: float = declared(
        QuantityOption(
            "software at the sender, for every message handed to the network",
            default="0 us", units=DURATION, example="20 us",
        )
    )  # fmt: skip
    startup: float = declared(
        Option(
            "latencies of its route that the first message of a collective loses while an idle connection speeds up "
            "again (slow start, rendezvous)",
            float, 0.0, at_least=0, at_most=1e6,
        )
    )  # fmt: skip
    rate_cap: float | None = declared(
        QuantityOption(
            "what one flow never exceeds (a single connection, an application limit)",
            default=None, units=BANDWIDTH, example="100 Mbit/s", positive=True,
        )
    )  # fmt: skip

    def seen(self, graph: nx.DiGraph) -> nx.DiGraph:
        """Every bandwidth times the efficiency."""
        if self.efficiency == 1.0:
            return graph
        payload = graph.copy()
        for _, _, data in payload.edges(data=True):
            data["bandwidth"] *= self.efficiency
        return payload


IDEAL = Overheads()
"""A transport that costs nothing."""
