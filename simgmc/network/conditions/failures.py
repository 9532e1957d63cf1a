"""Links that fail, for a while or for good."""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.units import DURATION, QuantityOption
from simgmc.network.conditions.changing import INFINITY, ChangingNetwork, LinkChange
from simgmc.network.topology.routing import Links


@dataclass(frozen=True)
class LinkFailure(LinkChange):
    """Links without bandwidth from ``down`` to ``up``."""

    down: float = declared(QuantityOption("when they fail", units=DURATION, example="5 s"))
    up: float | None = declared(
        QuantityOption(
            "when they are back; never unless given", default=None, units=DURATION, example="20 s", positive=True
        )
    )

    def check_fields(self) -> None:
        """First down, then up."""
        if not self.down < (INFINITY if self.up is None else self.up):
            raise SimgmcError(
                f"link failure from {self.down!r} to {self.up!r} s: 'up' must come after 'down', both at least 0 s"
            )

    def events_per_second(self, links: Links, hosts: int) -> tuple[float, str]:
        self.chosen(links)
        return 0.0, "a link failure"

    def begin(self, network: ChangingNetwork, number: int) -> None:
        network.watch(self.chosen(network.network.links))
        for link in self.chosen(network.network.links):
            network.network.at(float(self.down), lambda link: network.fail(link, self.up is None), link)
            if self.up is not None:
                network.network.at(float(self.up), network.restore, link)
