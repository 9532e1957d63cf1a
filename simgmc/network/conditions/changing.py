"""A network that changes while it runs: who may change it, and how changes of one link add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.declared import Declared, declared
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.topology.routing import Links

INFINITY = float("inf")
MAX_EVENTS = 1e7
"""Changes per simulated hour up to which a change is accepted: more would take hours to simulate."""


class ChangingNetwork:
    """A network and what changes it, now and to come."""

    def __init__(self, network: FluidNetwork, hosts: Sequence[str], seed: int, efficiency: float = 1.0):
        """``hosts``: those that may send other traffic; ``seed`` of all that is drawn; ``efficiency``: what of a
        stated bandwidth is left for payload."""
        self.network = network
        self.hosts = hosts
        self.seed = seed
        self._efficiency = efficiency
        self.background_bytes = 0.0
        """Bytes of other traffic delivered so far."""
        self._nominal = list(network.links.bandwidth)
        self._factors: list[list[float]] = [[] for _ in self._nominal]
        self._down = [0] * len(self._nominal)
        self._forever: set[int] = {link for link, bandwidth in enumerate(self._nominal) if bandwidth == 0.0}
        """Links that will not carry anything any more, and round which nothing will be led that is on them."""
        self.detection: float | None = None
        """Seconds after which routes lead round a link that is down; None: they never do."""
        self._for_good: set[int] = set()
        """Links that failed and will not be back."""
        self._spells = [0] * len(self._nominal)
        """How often each link has come back."""

    def new_factor(self) -> int:
        """The number of a factor, 1 so far, that every link's nominal bandwidth is multiplied by."""
        for factors in self._factors:
            factors.append(1.0)
        return len(self._factors[0]) - 1 if self._factors else 0

    def set_factor(self, number: int, links: Sequence[int], factor: float) -> None:
        """From now on these links have another factor."""
        for link in links:
            self._factors[link][number] = factor
            self._apply(link)
        self.look_out()

    def watch(self, links: Sequence[int]) -> None:
        """These links may change: their flows are held to them even where they have no limit of their own."""
        self.network.links.watch(links)

    def set_bandwidth(self, links: Sequence[int], bandwidth: float) -> None:
        """From now on these links have another bandwidth (bytes/s), before all factors."""
        for link in links:
            self._nominal[link] = bandwidth * self._efficiency
            # No bandwidth now is not for ever: another one may follow.
            self._forever.discard(link)
            self._apply(link)
        self.look_out()

    def fail(self, link: int, forever: bool) -> None:
        """A link is down from now on, once more if it is already."""
        self._down[link] += 1
        if forever:
            self._for_good.add(link)
        if self.detection is None or link in self.network.links.avoided:
            self._forever.update(self._for_good & {link})
        elif self._down[link] == 1:
            self.network.at(self.network.now + self.detection, self._found_down, (link, self._spells[link]))
        self._apply(link)

    def restore(self, link: int) -> None:
        """One failure of a link is over."""
        self._down[link] -= 1
        if not self._down[link]:
            self._spells[link] += 1
            avoided = self.network.links.avoided
            if link in avoided:
                self.network.links.avoid(avoided - {link})
        self._apply(link)

    def _found_down(self, what: tuple[int, int]) -> None:
        """A link has been down for the time of detection, unless it has come back meanwhile: routes lead round it."""
        link, spell = what
        if self._spells[link] != spell:
            return
        links = self.network.links
        links.avoid(links.avoided | {link})
        for transfer in self.network.over(link):
            transfer.run.reroute(transfer)
        self._forever.update(self._for_good & {link})
        self.look_out()

    def _apply(self, link: int) -> None:
        factor = float(np.prod(self._factors[link]))
        bandwidth = 0.0 if self._down[link] or not factor else self._nominal[link] * factor
        self.network.set_bandwidth((link, bandwidth))

    def look_out(self) -> None:
        """Raise for a flow that can never move again, although the network goes on changing."""
        if self._forever:
            stuck = self.network.stalled(self._forever)
            if stuck is not None:
                raise stuck


class Change(Declared):
    """One thing that changes about a network; a frozen dataclass of declared fields."""

    def events_per_second(self, links: Links, hosts: int) -> tuple[float, str]:
        """How many events it makes per simulated second, and what makes them, in words.

        Each bandwidth change, of one link, and each flow is an event. Raises SimgmcError for links
        that there are not.
        """
        raise NotImplementedError

    def steady(self, links: Links, hosts: int) -> tuple[float, str]:
        """The same where events wait for the network: how many it comes to on links as slow as these."""
        return self.events_per_second(links, hosts)

    def widen(self, links: Links, bandwidth: list[float]) -> None:
        """As :meth:`simgmc.network.conditions.condition.Condition.widen`."""

    def begin(self, network: ChangingNetwork, number: int) -> None:
        """Plan it; ``number``: its place among the changes of its kind."""
        raise NotImplementedError

    def check(self, links: Links, hosts: int) -> None:
        """Refuse links that there are not, and more events than can be simulated."""
        per_second, what = self.events_per_second(links, hosts)
        if per_second * 3600 > MAX_EVENTS:
            raise SimgmcError(
                f"{what} makes {per_second * 3600:.2g} events per simulated hour: must be at most {MAX_EVENTS:.0e}; "
                "make it rarer, or name fewer links"
            )


@dataclass(frozen=True)
class LinkChange(Change):
    """A change of the links between two nodes; ``*`` stands for any node."""

    source: str = declared(Option("the node that the links lead from", str, "*"), kw_only=True)
    destination: str = declared(Option("the node that the links lead to", str, "*"), kw_only=True)

    def chosen(self, links: Links) -> list[int]:
        """The links that it is about: those whose capacity changes. Raises SimgmcError where there are none."""
        named = (self.source, self.destination)
        found = {
            links.capacity_of[n]: None
            for n, own in enumerate(links.names)
            if any(all(a in ("*", b) for a, b in zip(named, ends, strict=True)) for ends in (own, links.ends(n)))
        }
        if not found:
            raise SimgmcError(f"no link {self.source} -> {self.destination} in the network")
        return list(found)

    def chosen_of_all(self, links: Links) -> list[int]:
        """The same, where what changes is the bandwidth that all flows have together. Raises SimgmcError for links that
        give every flow a bandwidth of its own.
        """
        found = self.chosen(links)
        for link in found:
            if links.per_flow[link] < INFINITY:
                source, destination = links.ends(link)
                raise SimgmcError(
                    f"link {source} -> {destination} gives every flow a bandwidth of its own (FATPIPE), which may fail "
                    "but not change; name other links by source and destination, or make it SHARED"
                )
        return found
