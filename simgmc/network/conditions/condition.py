"""What every condition of a cluster says of itself, and what it can do to the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import networkx as nx
import numpy as np

from simgmc.core.declared import Declared
from simgmc.network.conditions.changing import ChangingNetwork
from simgmc.network.topology.routing import Links


class Condition(Declared):
    """One thing that makes a cluster imperfect; a frozen dataclass of declared fields.

    A subclass overrides what it does. It states :attr:`static` and :attr:`whole` where they hold:
    only where all conditions of a cluster do are exchanges solved at once.
    """

    key: ClassVar[str]
    """Its name in the ``[cluster]`` table of a scenario."""

    def within(self, graph: nx.DiGraph) -> Self:
        """What of it concerns this network, of those that a scenario's methods have."""
        return self

    @property
    def static(self) -> bool:
        """Whether links keep their bandwidth and carry nothing but the workers' messages."""
        return False

    @property
    def whole(self) -> bool:
        """Whether all workers take part in every exchange, with whole messages, in one exchange at a time.

        Conditions of which this does not hold are not combined.
        """
        return False

    @property
    def random(self) -> bool:
        """Whether equal rounds may take different times to compute; if so, no solution is kept for the next round."""
        return True

    @property
    def seeded(self) -> bool:
        """Whether anything of it is told a seed."""
        told = ("factors", "done")
        return not self.static or any(getattr(type(self), name) is not getattr(Condition, name) for name in told)

    @property
    def heading(self) -> str:
        """What the heading of a run says of it."""
        return self.key

    def check(self, links: Links, workers: int, hosts: int) -> None:
        """Refuse what names workers or links that there are not; ``hosts`` counts the servers too."""

    def events(self, links: Links, hosts: int) -> Iterator[tuple[float, str]]:
        """What happens on the network whether or not anybody sends: how often per simulated second, and what makes it,
        in words. Nothing unless said.
        """
        return iter(())

    def widen(self, links: Links, bandwidth: list[float]) -> None:
        """Raise the links' bandwidths (bytes/s) to what they can be on average while the network changes, at most."""

    def factors(self, seed: int, round: int, step: int, workers: int) -> np.ndarray | None:
        """(workers,) how many times as long a gradient takes in one compute step of one round; None: once."""
        return None

    def done(self, seed: int, worker: int, start: float, seconds: float) -> float | None:
        """When work of ``seconds`` s begun at ``start`` is done; None: after ``seconds``."""
        return None

    def seen(self, graph: nx.DiGraph) -> nx.DiGraph:
        """The network as the payload of messages sees it. One's own condition may change the graph that it is given."""
        return graph

    def begin(self, network: ChangingNetwork) -> None:
        """Plan how the network changes, before anything happens on it. Never called where :attr:`static` holds."""
