"""Networks that change: bandwidth that varies, links that fail, other people's traffic."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.randomness import generator
from simgmc.network.flows.fluid import FluidNetwork, Transfer
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")
MAX_EVENTS = 1e7
"""Changes per simulated hour up to which a scenario is accepted: more would take hours to simulate."""


def _select(links: Links, source: str, destination: str) -> list[int]:
    """The links that a pair of node names means; ``*`` stands for any node."""
    chosen = [n for n, (a, b) in enumerate(links.names) if source in ("*", a) and destination in ("*", b)]
    if not chosen:
        raise SimgmcError(f"no link {source} -> {destination} in the network")
    return chosen


@dataclass(frozen=True)
class LinkFailure:
    """A link without bandwidth from ``down`` to ``up`` (s); ``*`` as a node means any."""

    source: str
    destination: str
    down: float
    up: float | None = None
    """None: it never comes back."""

    def __post_init__(self):
        if not 0 <= self.down < (_INFINITY if self.up is None else self.up):
            raise SimgmcError(
                f"link failure from {self.down!r} to {self.up!r} s: 'up' must come after 'down', both at least 0 s"
            )


@dataclass(frozen=True)
class BandwidthTrace:
    """Bandwidth that follows stated times and factors of the nominal value, over and over."""

    times: tuple[float, ...]
    """Seconds, rising, from 0."""
    factors: tuple[float, ...]
    """From each time on: this many times the nominal bandwidth."""
    period: float | None = None
    """Seconds after which the trace starts again; None: the last factor stays."""
    source: str = "*"
    destination: str = "*"

    def __post_init__(self):
        if not self.times or len(self.times) != len(self.factors) or self.times[0] != 0:
            raise SimgmcError("a bandwidth trace needs as many times as factors, the first time 0")
        if not all(a < b for a, b in zip(self.times, (*self.times[1:], _INFINITY))):
            raise SimgmcError("the times of a bandwidth trace must be finite and rise")
        if any(not 0 <= factor < _INFINITY for factor in self.factors) or not any(self.factors):
            raise SimgmcError("the factors of a bandwidth trace must be finite, at least 0, and not all 0")
        if self.period is not None and not self.times[-1] < self.period < _INFINITY:
            raise SimgmcError(
                f"period {self.period!r} s: must be finite and beyond the trace's last time, {self.times[-1]} s"
            )

    @classmethod
    def from_file(cls, path: str | Path, source: str = "*", destination: str = "*") -> BandwidthTrace:
        """A CSV file with columns time_s and factor; a last line may give the period as
        ``period,<seconds>``."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise SimgmcError(f"cannot read the bandwidth trace {path}: it must be text in UTF-8") from None
        except (OSError, ValueError) as error:
            raise SimgmcError(f"cannot read the bandwidth trace {str(path)!r}: {reason(error)}") from None
        try:
            rows = list(
                csv.reader((line for line in text.splitlines() if line.strip()[:1] not in ("", "#")), strict=True)
            )
        except csv.Error as error:
            raise SimgmcError(f"bandwidth trace {path}: not a CSV file of columns time_s and factor: {error}") from None
        times, factors, period = [], [], None
        for row in rows[1:] if rows and rows[0][0].strip() == "time_s" else rows:
            try:
                if row[0].strip() == "period":
                    period = float(row[1])
                else:
                    times.append(float(row[0]))
                    factors.append(float(row[1]))
            except (ValueError, IndexError):
                raise SimgmcError(f"{path}: the line {','.join(row)[:60]!r} is not a time and a factor") from None
        try:
            return cls(tuple(times), tuple(factors), period, source, destination)
        except SimgmcError as error:
            raise SimgmcError(f"{path}: {error}") from None

    def changes(self) -> Iterator[tuple[float, float]]:
        """(time, factor) for ever, or until the last."""
        start = 0.0
        while True:
            for time, factor in zip(self.times, self.factors):
                yield start + time, factor
            if self.period is None:
                return
            start += self.period


@dataclass(frozen=True)
class RandomBandwidth:
    """Bandwidth that wanders: every ``interval`` s each link's factor is drawn anew, log-normal
    with median 1, remembering ``memory`` of its last logarithm (a first-order process)."""

    interval: float
    sigma: float
    """Standard deviation of the factor's logarithm."""
    memory: float = 0.0
    """0: independent draws; towards 1: slow wandering."""
    source: str = "*"
    destination: str = "*"

    def __post_init__(self):
        if not 0 < self.interval < _INFINITY or not 0 <= self.sigma < _INFINITY or not 0 <= self.memory < 1:
            raise SimgmcError("random bandwidth needs interval > 0 s, sigma >= 0 and memory in [0, 1)")


@dataclass(frozen=True)
class Background:
    """Other people's traffic: ``sources`` independent senders, each between one random pair of
    hosts after the other, a pause (exponential, mean ``off`` s), then a flow of ``nbytes``."""

    sources: int
    nbytes: float
    off: float
    exponential: bool = True
    """Sizes drawn from an exponential distribution with mean ``nbytes``; False: all equal."""

    def __post_init__(self):
        if self.sources < 1 or not 0 < self.nbytes < _INFINITY or not 0 < self.off < _INFINITY:
            raise SimgmcError("background traffic needs sources >= 1, nbytes > 0 and off > 0 s")


@dataclass(frozen=True)
class Dynamics:
    """Everything that changes about a network while it runs."""

    failures: tuple[LinkFailure, ...] = ()
    traces: tuple[BandwidthTrace, ...] = ()
    random: tuple[RandomBandwidth, ...] = ()
    background: tuple[Background, ...] = ()

    @property
    def static(self) -> bool:
        """Whether nothing changes."""
        return not (self.failures or self.traces or self.random or self.background)

    def check(self, links: Links, hosts: int) -> None:
        """Refuse what names links that there are not, and more events than can be simulated.

        ``hosts``: how many may send background traffic. Each bandwidth change, of one link,
        and each background flow counts as an event.
        """
        for failure in self.failures:
            _select(links, failure.source, failure.destination)
        events = {}
        for trace in self.traces:
            chosen = len(_select(links, trace.source, trace.destination))
            if trace.period is not None:
                events[f"a bandwidth trace of period {trace.period:g} s"] = chosen * len(trace.times) / trace.period
        for process in self.random:
            events[f"bandwidth that wanders every {process.interval:g} s"] = (
                len(_select(links, process.source, process.destination)) / process.interval
            )
        for traffic in self.background:
            if hosts < 2:
                raise SimgmcError("background traffic needs at least two hosts")
            events[f"background traffic of {traffic.sources} sources {traffic.off:g} s apart"] = (
                traffic.sources / traffic.off
            )
        for what, rate in events.items():
            if rate * 3600 > MAX_EVENTS:
                raise SimgmcError(
                    f"{what} makes {rate * 3600:.2g} events per simulated hour: must be at most {MAX_EVENTS:.0e}; make it rarer, or name fewer links"
                )


class DynamicNetwork:
    """Applies what changes to a network while it runs; counts what it did."""

    def __init__(self, network: FluidNetwork, dynamics: Dynamics, hosts: Sequence[str], seed: int):
        self.network = network
        self.seed = seed
        self.background_bytes = 0.0
        links = network.links
        self._nominal = list(links.bandwidth)
        self._factor = [[1.0] * (len(dynamics.traces) + len(dynamics.random)) for _ in self._nominal]
        self._down = [0] * len(self._nominal)
        self._forever: set[int] = {link for link, bandwidth in enumerate(self._nominal) if bandwidth == 0.0}
        for failure in dynamics.failures:
            for link in _select(links, failure.source, failure.destination):
                network.at(failure.down, self._fail, (link, 1, failure.up is None))
                if failure.up is not None:
                    network.at(failure.up, self._fail, (link, -1, False))
        for place, trace in enumerate(dynamics.traces):
            chosen = _select(links, trace.source, trace.destination)
            self._follow((trace.changes(), chosen, place))
        for place, process in enumerate(dynamics.random, len(dynamics.traces)):
            for link in _select(links, process.source, process.destination):
                self._wander((process, place, link, 0, 0.0))
        self._background(dynamics.background, hosts)

    def _apply(self, link: int) -> None:
        if self._nominal[link] == _INFINITY:
            return
        bandwidth = 0.0 if self._down[link] else self._nominal[link] * float(np.prod(self._factor[link]))
        self.network.set_bandwidth((link, bandwidth))

    def _fail(self, what: tuple[int, int, bool]) -> None:
        link, by, forever = what
        self._down[link] += by
        if forever:
            self._forever.add(link)
        self._apply(link)

    def _follow(self, what: tuple[Iterator[tuple[float, float]], list[int], int]) -> None:
        changes, links, place = what
        upcoming = next(changes, None)
        if upcoming is None:
            return
        time, factor = upcoming

        def change(_: object) -> None:
            for link in links:
                self._factor[link][place] = factor
                self._apply(link)
            self.look_out()
            self._follow(what)

        self.network.at(time, change)

    def _wander(self, what: tuple[RandomBandwidth, int, int, int, float]) -> None:
        process, place, link, number, level = what
        draw = float(generator(self.seed, "bandwidth", place, link, number).standard_normal())
        fresh = process.sigma * draw
        level = fresh if number == 0 else process.memory * level + (1 - process.memory**2) ** 0.5 * fresh

        def change(_: object) -> None:
            self._factor[link][place] = float(np.exp(level))
            self._apply(link)
            self.look_out()
            self._wander((process, place, link, number + 1, level))

        self.network.at(number * process.interval, change)

    def look_out(self) -> None:
        """Raise for a flow that can never move again, although the network goes on changing."""
        if self._forever:
            stuck = self.network.stalled(self._forever)
            if stuck is not None:
                raise stuck

    def _background(self, kinds: Sequence[Background], hosts: Sequence[str]) -> None:
        for kind, traffic in enumerate(kinds):
            if len(hosts) < 2:
                raise SimgmcError("background traffic needs at least two hosts")
            for source in range(traffic.sources):
                _BackgroundSource(self, traffic, hosts, (kind, source))


class _BackgroundSource:
    """One sender of background traffic: pause, flow, pause, flow."""

    background = True

    def __init__(self, dynamic: DynamicNetwork, traffic: Background, hosts: Sequence[str], key: tuple[int, int]):
        self._dynamic = dynamic
        self._network = dynamic.network
        self._traffic = traffic
        self._hosts = hosts
        self._key = key
        self._number = 0
        self._next()

    def _next(self) -> None:
        traffic, network = self._traffic, self._network
        draw = generator(self._dynamic.seed, "background", *self._key, self._number)
        pause = float(draw.exponential(traffic.off))
        a, b = draw.choice(len(self._hosts), 2, replace=False)
        self._nbytes = float(draw.exponential(traffic.nbytes)) if traffic.exponential else traffic.nbytes
        self._pair = (self._hosts[int(a)], self._hosts[int(b)])
        route, latency = network.links.route(*self._pair), network.links.delay(*self._pair)
        number = self._number
        self._number += 1
        if route is not None:
            network.at(
                network.now + pause, network.start, Transfer(self, number, route, latency, self._nbytes, _INFINITY)
            )

    def started(self, index: int, time: float) -> None:
        """It takes bandwidth."""

    def left(self, index: int, time: float) -> None:
        """Its last byte has left."""

    def arrived(self, index: int, time: float) -> None:
        """On to the next pause."""
        self._dynamic.background_bytes += self._nbytes
        self._dynamic.look_out()
        self._next()

    def describe(self, index: int) -> str:
        """The flow in words, for messages."""
        return f"background flow {index} ({self._pair[0]} -> {self._pair[1]}, {self._nbytes:.9g} bytes)"
