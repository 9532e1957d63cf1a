"""What every worker, flow and link did in a window of rounds.

A worker's time is split into the parts of :data:`simgmc.network.exchanges.accounts.CATEGORIES`, one
after the other without gaps: the parts of a round add up to the row of the breakdown. What
hosts do meanwhile (send, add) and how loaded the links are is kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.network.exchanges.accounts import chain
from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.placement import shares_of
from simgmc.network.flows.fluid import FluidNetwork, Transfer

_UNDER_WAY = 2
"""Rounds after the window whose traffic may still meet that of the window."""


@dataclass(frozen=True)
class Span:
    """Something that took time on one track."""

    track: str
    """A worker's or server's host name, or a link as ``a -> b``."""
    what: str
    """A part of a worker's time; or what a host does: send, aggregate; or on a link: carry."""
    start: float
    end: float
    label: str = ""
    nbytes: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """A window of rounds."""

    begin: float
    """Simulated seconds at which the first worker began the window."""
    end: float
    """Simulated seconds at which the last worker finished it."""
    parts: tuple[Span, ...]
    """What each worker's time went into, by track and time; on one track they follow each other."""
    actions: tuple[Span, ...]
    """Messages as they left each host, and the adding of messages; several at once are possible."""
    carried: tuple[Span, ...]
    """The same messages on the links of their routes."""
    rounds: dict[str, tuple[tuple[int, float, float], ...]]
    """Per worker: number, begin and end of each round."""
    rates: dict[str, tuple[tuple[float, float], ...]]
    """Per link (``a -> b``): (time, bytes/s) whenever its load changed, from the beginning on."""
    bandwidth: dict[str, float]
    """Per link: bytes/s."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Everything, in the order in which it began."""
        every = (*self.parts, *self.actions, *self.carried)
        return tuple(sorted(every, key=lambda span: (span.start, span.track)))

    def mean_load(self, link: str) -> float:
        """The share of its bandwidth that a link used in the window, 0 to 1."""
        limit, seconds = self.bandwidth[link], self.end - self.begin
        if not 0 < limit < float("inf") or seconds <= 0:
            return 0.0
        changes = self.rates[link]
        stops = [time for time, _ in changes[1:]] + [self.end]
        return sum(rate * (stop - time) for (time, rate), stop in zip(changes, stops)) / limit / seconds


class Recorder:
    """Keeps what happens in rounds ``first`` to ``last`` (inclusive) of a simulation."""

    def __init__(self, first: int = 0, last: int = 9):
        self.first = first
        self.last = last
        self._work: list[tuple[int, str, float, float]] = []
        self._blocked: list[tuple[int, str, float, float]] = []
        self._exchanges: list[tuple[int, Execution]] = []
        self._trace: list[tuple[float, Transfer, float]] = []
        self._network: FluidNetwork | None = None
        self._opened = -1

    def work(self, worker: int, what: str, start: float, end: float) -> None:
        """A worker computed or compressed."""
        self._work.append((worker, what, start, end))

    def blocked(
        self, worker: int, number: int, execution: Execution, participant: int, ready: float, end: float
    ) -> None:
        """A worker had nothing to do from ``ready`` to ``end`` but wait for a participant of an
        exchange to be finished; what took that time is found by :func:`~simgmc.network.exchanges.accounts.chain`."""
        if not self.first <= number <= self.last:
            return
        segments: list[tuple[str, float, float]] = []
        chain(execution, execution.finisher[participant], ready, end, segments)
        merged: list[tuple[str, float, float]] = []
        for what, start, stop in reversed(segments):
            if merged and merged[-1][0] == what and merged[-1][2] == start:
                start = merged.pop()[1]
            merged.append((what, start, stop))
        self._blocked += ((worker, what, start, stop) for what, start, stop in merged)

    def exchange(self, number: int, execution: Execution) -> None:
        """An exchange of a round was opened."""
        if self.first <= number <= self.last:
            self._exchanges.append((number, execution))
        network = self._network = execution.network
        self._opened = max(self._opened, number)
        # The round before, because its traffic may reach into the window.
        if self.first - 1 <= self._opened <= self.last + _UNDER_WAY:
            if network.trace is None:
                self._trace += ((network.now, transfer, rate) for transfer, rate in network.rates())
                network.trace = self._trace
            elif any(other.aborted for _, other in self._exchanges):
                # What a crash takes off the network has no end of its own.
                gone = {transfer: None for _, transfer, _ in self._trace if getattr(transfer.run, "aborted", False)}
                self._trace += [(network.now, transfer, 0.0) for transfer in gone]
        else:
            network.trace = None

    def timeline(self, workers: Sequence[str], round_end: np.ndarray) -> Timeline:
        """Everything kept, once the simulation is over.

        ``workers``: their host names; ``round_end``: (R, K) seconds, as in a Timing.
        """
        last = min(self.last, len(round_end) - 1)
        starts = [float(time) for time in round_end[self.first - 1]] if self.first else [0.0] * len(workers)
        begin, end = min(starts), float(round_end[last].max())
        parts: list[Span] = []
        rounds = {}
        for worker, host in enumerate(workers):
            times = [starts[worker], *(float(round_end[number, worker]) for number in range(self.first, last + 1))]
            rounds[host] = tuple((self.first + place, *pair) for place, pair in enumerate(zip(times, times[1:])))
            parts += self._parts(worker, host, times[0], times[-1])
        actions, carried = self._messages()
        rates, bandwidth = self._link_rates(begin, end)
        return Timeline(begin, end, tuple(parts), tuple(actions), tuple(carried), rounds, rates, bandwidth)

    def _parts(self, worker: int, host: str, begin: float, end: float) -> list[Span]:
        """A worker's own work and what it was blocked by; whatever is left is waiting."""
        known = [(start, stop, what) for who, what, start, stop in (*self._work, *self._blocked) if who == worker]
        spans, time = [], begin
        for start, stop, what in sorted((max(start, begin), min(stop, end), what) for start, stop, what in known):
            if stop <= start:
                continue
            if start - time > 1e-12 * end:
                spans.append(Span(host, "wait", time, start))
            spans.append(Span(host, what, start, stop))
            time = max(time, stop)
        if end - time > 1e-12 * end:
            spans.append(Span(host, "wait", time, end))
        return spans

    def _messages(self) -> tuple[list[Span], list[Span]]:
        """What hosts sent and added, and the same messages on the links."""
        actions: dict[Span, None] = {}
        carried = []
        for number, execution in self._exchanges:
            structure, placement = execution.schedule.structure, execution.placement
            hosts = placement.hosts
            for flow in range(structure.flows):
                if execution.landed[flow] < 0:
                    continue
                source, destination = hosts[structure.source[flow]], hosts[structure.destination[flow]]
                adding = float(execution.schedule.delay[flow])
                if adding > 0:
                    since = execution.released[flow]
                    actions[Span(source, "aggregate", since, since + adding, f"round {number}")] = None
                start, stop = execution.begun[flow], execution.departed[flow]
                if source == destination or stop <= start:
                    continue
                label, nbytes = f"round {number}: {source} -> {destination}", float(execution.schedule.nbytes[flow])
                actions[Span(source, "send", start, stop, label, nbytes)] = None
                for link, share in shares_of(execution.rerouted.get(flow, placement.ways[flow])).items():
                    a, b = placement.links.names[link]
                    carried.append(Span(f"{a} -> {b}", "carry", start, stop, label, nbytes * share))
        return list(actions), carried

    def _link_rates(
        self, begin: float, end: float
    ) -> tuple[dict[str, tuple[tuple[float, float], ...]], dict[str, float]]:
        """Load over time, and bandwidth, of every link that carried something; see :class:`Timeline`."""
        if self._network is None:
            return {}, {}
        links = self._network.links
        now: dict[Transfer, float] = {}
        load: dict[int, float] = {}
        flows: dict[int, int] = {}
        changes: dict[int, dict[float, float]] = {}
        for time, transfer, rate in self._trace:
            if time > end:
                break
            rate = rate if rate < float("inf") else 0.0
            before = now.get(transfer, 0.0)
            now[transfer] = rate
            for link in transfer.route:
                flows[link] = flows.get(link, 0) + (rate > 0) - (before > 0)
                load[link] = load.get(link, 0.0) + rate - before if flows[link] else 0.0
                changes.setdefault(link, {})[max(time, begin)] = load[link]
        named = {f"{links.names[link][0]} -> {links.names[link][1]}": link for link in sorted(changes)}
        rates = {}
        for name, link in named.items():
            steps = changes[link] if begin in changes[link] else {begin: 0.0, **changes[link]}
            if any(steps.values()):
                rates[name] = tuple(steps.items())
        return rates, {name: links.bandwidth[named[name]] for name in rates}
