"""Other people's traffic on the same links."""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.core.registry import Option
from simgmc.core.units import DURATION, SIZE, QuantityOption
from simgmc.network.conditions.changing import INFINITY, Change, ChangingNetwork
from simgmc.network.flows.fluid import Transfer
from simgmc.network.topology.routing import Links


@dataclass(frozen=True)
class Traffic(Change):
    """Independent senders: each pauses (exponential, mean ``off``), then sends a flow between a random pair of
    hosts, over and over."""

    sources: int = declared(Option("senders", int, at_most=10_000))
    size: float = declared(QuantityOption("of a flow", units=SIZE, example="2.5 MiB", positive=True))
    off: float = declared(
        QuantityOption(
            "from one flow of a sender to its next, on average",
            units=DURATION,
            example="1 s",
            positive=True,
            least="1 ms",
        )
    )
    exponential: bool = declared(
        Option("whether sizes are drawn from an exponential distribution; all equal if not", bool, True)
    )

    def events_per_second(self, links: Links, hosts: int) -> tuple[float, str]:
        if hosts < 2:
            raise SimgmcError("background traffic needs at least two hosts")
        off = float(self.off)
        return self.sources / off, f"background traffic of {self.sources} sources {off:g} s apart"

    def steady(self, links: Links, hosts: int) -> tuple[float, str]:
        often, what = self.events_per_second(links, hosts)
        slowest = min((bandwidth for bandwidth in links.bandwidth if bandwidth > 0), default=INFINITY)
        # A sender goes on when its flow has arrived, which shares its links with those of others and with messages.
        sending = float(self.size) / slowest * (2 + self.sources / hosts)
        return often * float(self.off) / (float(self.off) + sending), what

    def begin(self, network: ChangingNetwork, number: int) -> None:
        for source in range(self.sources):
            _Sender(network, self, (number, source))


class _Sender:
    """One sender of other traffic: pause, flow, pause, flow."""

    background = True

    def __init__(self, network: ChangingNetwork, traffic: Traffic, key: tuple[int, int]):
        self._changing = network
        self._traffic = traffic
        self._key = key
        self._number = 0
        self._next()

    def _next(self) -> None:
        traffic, network, hosts = self._traffic, self._changing.network, self._changing.hosts
        draw = generator(self._changing.seed, "background", *self._key, self._number)
        pause = float(draw.exponential(traffic.off))
        a, b = draw.choice(len(hosts), 2, replace=False)
        self._nbytes = float(draw.exponential(traffic.size)) if traffic.exponential else float(traffic.size)
        self._pair = (hosts[int(a)], hosts[int(b)])
        route, latency = network.links.route(*self._pair), network.links.delay(*self._pair)
        number = self._number
        self._number += 1
        if route is not None:
            most = network.links.most(*self._pair)
            network.at(network.now + pause, network.start, Transfer(self, number, route, latency, self._nbytes, most))

    def reroute(self, transfer: Transfer) -> None:
        """Go on round the links that are down, where a way does."""
        links = self._changing.network.links
        route = links.route(*self._pair)
        if route is not None and links.avoided.isdisjoint(route):
            other = Transfer(self, transfer.index, route, links.delay(*self._pair), 0.0, links.most(*self._pair))
            self._changing.network.replace(transfer, other)

    def started(self, index: int, time: float) -> None:
        """It takes bandwidth."""

    def left(self, index: int, time: float) -> None:
        """Its last byte has left."""

    def arrived(self, index: int, time: float) -> None:
        """On to the next pause."""
        self._changing.background_bytes += self._nbytes
        self._changing.look_out()
        self._next()

    def describe(self, index: int) -> str:
        """The flow in words, for messages."""
        return f"background flow {index} ({self._pair[0]} -> {self._pair[1]}, {self._nbytes:.9g} bytes)"
