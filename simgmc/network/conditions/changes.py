"""Everything that changes about a network while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simgmc.core.declared import Tables, declared
from simgmc.network.conditions.changing import Change, ChangingNetwork
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.traces import BandwidthTrace
from simgmc.network.conditions.traffic import Traffic
from simgmc.network.conditions.wandering import Wandering
from simgmc.network.topology.routing import Links


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

    @property
    def static(self) -> bool:
        return not any(self._all())

    def _all(self) -> Iterator[tuple[int, Change]]:
        """Every change with its place among those of its kind."""
        for kind in self.options():
            yield from enumerate(getattr(self, kind))

    def check(self, links: Links, workers: int, hosts: int) -> None:
        for _, change in self._all():
            change.check(links, hosts)

    def begin(self, network: ChangingNetwork) -> None:
        for number, change in self._all():
            change.begin(network, number)
