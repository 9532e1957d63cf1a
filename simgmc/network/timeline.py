"""What every worker, flow and link did in a window of rounds, and the same as a Chrome trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simgmc.network.fluid import FluidNetwork, Transfer
from simgmc.network.schedule import Execution


@dataclass(frozen=True)
class Span:
    """Something that took time on one track."""

    track: str
    """A worker's or server's host name, or a link as ``a -> b``."""
    what: str
    """compute, compress, send, aggregate, wait; on a link: carry."""
    start: float
    end: float
    label: str = ""
    nbytes: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """A window of rounds, as spans and as the rates of links."""

    spans: tuple[Span, ...]
    rates: dict[str, tuple[tuple[float, float], ...]]
    """Per link (``a -> b``): (time, bytes/s) whenever its load changed."""
    bandwidth: dict[str, float]
    """Per link: bytes/s."""

    def chrome_trace(self) -> dict:
        """The Chrome trace event format (opens in Perfetto): hosts as one process with a track
        each, links as another, with their load in percent as counters. Times in microseconds."""
        events: list[dict] = []
        tracks: dict[str, tuple[int, int]] = {}
        names = {1: "hosts", 2: "links"}
        for pid, name in names.items():
            events.append({"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}})
        for span in self.spans:
            pid = 2 if " -> " in span.track else 1
            if span.track not in tracks:
                tracks[span.track] = (pid, len(tracks) + 1)
                events.append(
                    {"ph": "M", "pid": pid, "tid": len(tracks), "name": "thread_name", "args": {"name": span.track}}
                )
            pid, tid = tracks[span.track]
            event = {"ph": "X", "pid": pid, "tid": tid, "name": span.label or span.what, "cat": span.what}
            event |= {"ts": span.start * 1e6, "dur": (span.end - span.start) * 1e6}
            if span.nbytes:
                event["args"] = {"bytes": span.nbytes}
            events.append(event)
        for link, changes in self.rates.items():
            limit = self.bandwidth[link]
            for time, rate in changes:
                load = 100 * rate / limit if limit else 0.0
                events.append({"ph": "C", "pid": 2, "name": f"load of {link}", "ts": time * 1e6, "args": {"percent": load}})
        return {"traceEvents": events, "displayTimeUnit": "ms"}


class Recorder:
    """Keeps what happens in rounds ``first`` to ``last`` (inclusive) of a simulation."""

    def __init__(self, first: int = 0, last: int = 9):
        self.first = first
        self.last = last
        self._work: list[tuple[int, str, float, float]] = []
        self._exchanges: list[tuple[int, str, Execution, tuple[int, ...]]] = []
        self._trace: list[tuple[float, Transfer, float]] = []
        self._network: FluidNetwork | None = None

    def work(self, worker: int, what: str, start: float, end: float) -> None:
        """A worker computed or compressed."""
        self._work.append((worker, what, start, end))

    def exchange(self, number: int, name: str, execution: Execution, members: tuple[int, ...]) -> None:
        """An exchange of a round was opened."""
        inside = self.first <= number <= self.last
        if inside:
            self._exchanges.append((number, name, execution, members))
        self._network = execution.network
        # Rates are followed while exchanges of the window may still be under way.
        following = inside or any(other.open for _, _, other, _ in self._exchanges)
        execution.network.trace = self._trace if following else None

    def timeline(self, workers: Sequence[str], round_end) -> Timeline:
        """Everything kept, once the simulation is over.

        ``workers``: their host names; ``round_end``: (R, K) seconds, as in a Timing.
        """
        spans: list[Span] = []
        begin = float(round_end[self.first - 1].min()) if self.first else 0.0
        end = float(round_end[min(self.last, len(round_end) - 1)].max())
        for worker, what, start, stop in self._work:
            if stop > begin and start < end:
                spans.append(Span(workers[worker], what, start, stop))
        for number, name, execution, members in self._exchanges:
            spans += self._of_exchange(number, name, execution)
        for worker, host in enumerate(workers):
            spans += self._waits(host, [s for s in spans if s.track == host], begin, float(round_end[min(self.last, len(round_end) - 1), worker]))
        rates, bandwidth = self._link_rates(begin, end)
        return Timeline(tuple(sorted(spans, key=lambda span: (span.start, span.track))), rates, bandwidth)

    @staticmethod
    def _of_exchange(number: int, name: str, execution: Execution) -> list[Span]:
        structure, placement = execution.schedule.structure, execution.placement
        hosts = placement.hosts
        spans = []
        for flow in range(structure.flows):
            if execution.landed[flow] < 0:
                continue
            source, destination = hosts[structure.source[flow]], hosts[structure.destination[flow]]
            nbytes = float(execution.schedule.nbytes[flow])
            if execution.schedule.delay[flow] > 0:
                spans.append(Span(source, "aggregate", execution.begun[flow] - float(execution.schedule.delay[flow]), execution.begun[flow]))
            if source == destination:
                continue
            label = f"round {number}: {source} -> {destination}"
            start, stop = execution.begun[flow], execution.departed[flow]
            spans.append(Span(source, "send", start, stop, label, nbytes))
            for link in placement.routes[flow] or ():
                a, b = placement.links.names[link]
                spans.append(Span(f"{a} -> {b}", "carry", start, stop, label, nbytes))
        return spans

    @staticmethod
    def _waits(host: str, busy: list[Span], begin: float, end: float) -> list[Span]:
        """What is left of a worker's time when it does nothing of its own."""
        waits, time = [], begin
        for span in sorted(busy, key=lambda span: span.start):
            if span.start > time:
                waits.append(Span(host, "wait", time, min(span.start, end)))
            time = max(time, span.end)
        if time < end:
            waits.append(Span(host, "wait", time, end))
        return [span for span in waits if span.end > span.start]

    def _link_rates(self, begin: float, end: float) -> tuple[dict, dict]:
        if self._network is None:
            return {}, {}
        links = self._network.links
        now: dict[Transfer, float] = {}
        load: dict[int, float] = {}
        changes: dict[int, dict[float, float]] = {}
        for time, transfer, rate in self._trace:
            by = rate - now.get(transfer, 0.0)
            now[transfer] = rate
            for link in transfer.route or ():
                load[link] = max(load.get(link, 0.0) + by, 0.0)
                if begin <= time <= end:
                    changes.setdefault(link, {})[time] = load[link] if load[link] > 1e-9 * links.bandwidth[link] else 0.0
        named = {f"{links.names[link][0]} -> {links.names[link][1]}": link for link in sorted(changes)}
        rates = {name: tuple(sorted(changes[link].items())) for name, link in named.items()}
        return rates, {name: links.bandwidth[link] for name, link in named.items()}
