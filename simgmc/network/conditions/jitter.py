"""Jitter: latency that messages have beyond that of their route, at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simgmc.core.declared import declared
from simgmc.core.randomness import generator
from simgmc.core.units import DURATION, QuantityOption
from simgmc.network.conditions.changing import ChangingNetwork
from simgmc.network.conditions.condition import Condition
from simgmc.network.flows.sharing import Transfer


@dataclass(frozen=True)
class Jitter(Condition):
    """Extra latency from every host to every other, exponential, drawn anew every ``interval``.

    A message has the one of the moment at which its last byte leaves. None arrives before one that left earlier
    between the same two hosts.
    """

    key = "jitter"
    whole = True
    random = False

    mean: float = declared(
        QuantityOption("of the extra latency, one way", units=DURATION, example="5 ms", positive=True)
    )
    interval: float = declared(
        QuantityOption("from one draw to the next", units=DURATION, example="100 ms", positive=True, least="1 us")
    )

    def extra(self, seed: int, source: int, destination: int, time: float) -> float:
        """Seconds beyond its route's latency that a message has which leaves one host for another at a time."""
        draw = generator(seed, "jitter", source, destination, int(time // self.interval))
        return float(draw.exponential(self.mean))

    def begin(self, network: ChangingNetwork) -> None:
        places = {host: number for number, host in enumerate(network.hosts)}
        network.network.arrival = _Arrivals(self, network.seed, places).arrival


class _Arrivals:
    """When messages arrive, given when they have left."""

    def __init__(self, jitter: Jitter, seed: int, places: Mapping[str, int]):
        self._jitter = jitter
        self._seed = seed
        self._places = places
        self._last: dict[tuple[str, str], float] = {}
        """When the last message so far from one host to another arrives."""

    def arrival(self, transfer: Transfer, now: float) -> float:
        """When a message arrives whose last byte leaves now; other people's traffic has its route's latency."""
        if getattr(transfer.run, "background", False):
            return now + transfer.latency
        pair = transfer.run.pair(transfer.index)
        source, destination = (self._places[host] for host in pair)
        due = now + transfer.latency + self._jitter.extra(self._seed, source, destination, now)
        self._last[pair] = max(due, self._last.get(pair, due))
        return self._last[pair]
