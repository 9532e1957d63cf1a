"""Everything that changes about a network while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import networkx as nx

from simgmc.core.declared import Tables, declared
from simgmc.core.errors import SimgmcError
from simgmc.core.units import DURATION, QuantityOption
from simgmc.network.conditions.changing import Change, ChangingNetwork, LinkChange
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.traces import BandwidthTrace
from simgmc.network.conditions.traffic import Traffic
from simgmc.network.conditions.wandering import Wandering
from simgmc.network.topology.routing import Links

_SERVER = re.compile(r"(?:port of )?server\d*")
"""Nodes of a server."""


@dataclass(frozen=True)
class NetworkChanges(Condition):
    """Links that fail, bandwidth that varies, other people's traffic; any number of each."""

    key = "changes"
    whole = True
    random = False

    failures: tuple[LinkFailure, ...] = declared(Tables("links that fail", default=(), entries=LinkFailure))
    traces: tuple[BandwidthTrace, ...] = declared(
        Tables("bandwidth that follows a file", default=(), entries=BandwidthTrace)
    )
    wandering: tuple[Wandering, ...] = declared(
        Tables("bandwidth that changes at random", default=(), entries=Wandering)
    )
    traffic: tuple[Traffic, ...] = declared(Tables("flows of others", default=(), entries=Traffic))
    detection: float | None = declared(
        QuantityOption(
            "how long after a link has failed routes lead round it, the shortest that are left, also of what is under "
            "way on it; once it is back what begins uses it again; never unless given: messages wait",
            default=None, units=DURATION, example="200 ms", positive=True,
        )
    )  # fmt: skip

    def check_fields(self) -> None:
        """Only failures are detected."""
        if self.detection is not None and not self.failures:
            raise SimgmcError(f"detection = {self.detection!r}: nothing fails; state failures too, or leave it out")

    @property
    def static(self) -> bool:
        return not any(self._all())

    def _kinds(self) -> list[str]:
        return [name for name, option in self.options().items() if isinstance(option, Tables)]

    def _all(self) -> Iterator[tuple[int, Change]]:
        """Every change with its place among those of its kind."""
        for kind in self._kinds():
            yield from enumerate(getattr(self, kind))

    def within(self, graph: nx.DiGraph) -> NetworkChanges:
        """Without what befalls the links of a server, where the network has none."""

        def there(change: Change) -> bool:
            ends = (change.source, change.destination) if isinstance(change, LinkChange) else ()
            return all(end in graph for end in ends if _SERVER.fullmatch(end))

        kept = {kind: tuple(filter(there, getattr(self, kind))) for kind in self._kinds()}
        return replace(self, **kept, detection=self.detection if kept["failures"] else None)

    def check(self, links: Links, workers: int, hosts: int) -> None:
        if self.detection is not None and links.fixed:
            raise SimgmcError(
                "detection: the file of this network states every route, none leads round a failure; leave it out"
            )
        followed: set[int] = set()
        for trace in self.traces:
            chosen = trace.chosen(links) if trace.file.absolute else ()
            if twice := followed.intersection(chosen):
                ends = " -> ".join(links.names[min(twice)])
                raise SimgmcError(f"two traces say what bandwidth the link {ends} has; keep one of them")
            followed.update(chosen)
        for _, change in self._all():
            change.check(links, hosts)

    def events(self, links: Links, hosts: int) -> Iterator[tuple[float, str]]:
        for _, change in self._all():
            yield change.steady(links, hosts)

    def widen(self, links: Links, bandwidth: list[float]) -> None:
        for _, change in self._all():
            change.widen(links, bandwidth)

    def begin(self, network: ChangingNetwork) -> None:
        network.detection = self.detection
        for number, change in self._all():
            change.begin(network, number)
