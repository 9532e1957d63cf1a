"""What real transports cost beyond the wire: headers, software, start-up, a cap per connection."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from simgmc.core.errors import SimgmcError


@dataclass(frozen=True)
class Overheads:
    """Applied to every flow of a collective; the default is an ideal transport."""

    efficiency: float = 1.0
    """Share of a link's bandwidth left for payload; TCP over Ethernet: 1448/1502 = 0.964."""
    software: float = 0.0
    """Seconds of software at the sender for every message handed to the network."""
    startup: float = 0.0
    """Latencies of its route that the first message of a collective loses while an idle
    connection speeds up again (slow start, rendezvous)."""
    rate_cap: float | None = None
    """Bytes/s that one flow never exceeds (a single connection, an application limit)."""

    def __post_init__(self):
        if not 0 < self.efficiency <= 1:
            raise SimgmcError(f"protocol efficiency {self.efficiency!r}: must be above 0 and at most 1")
        if not 0 <= self.software < float("inf"):
            raise SimgmcError(f"software overhead {self.software!r}: must be a finite number of seconds, at least 0")
        if not 0 <= self.startup < float("inf"):
            raise SimgmcError(f"start-up {self.startup!r}: must be a finite number of latencies, at least 0")
        if self.rate_cap is not None and not self.rate_cap > 0:
            raise SimgmcError(f"rate cap {self.rate_cap!r}: must be above 0 bytes/s")

    def applied_to(self, graph: nx.DiGraph) -> nx.DiGraph:
        """The network as payload sees it: every bandwidth times the efficiency."""
        if self.efficiency == 1.0:
            return graph
        seen = graph.copy()
        for _, _, data in seen.edges(data=True):
            data["bandwidth"] *= self.efficiency
        return seen


IDEAL = Overheads()
"""No overheads at all."""
