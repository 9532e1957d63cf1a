"""A timeline as a Chrome trace, the JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open.

Processes: the workers, what hosts send and add, the links. A worker's track holds its rounds
and, inside each, the parts of its time. A host that sends several messages at once gets a
track for each. A link's track holds the times in which it is busy, and its load is a counter
beside it. Slices of one track are nested or apart, as the format demands, because every time
is a whole number of nanoseconds (written in microseconds) before anything is compared.
"""

from __future__ import annotations

from collections.abc import Iterable

from simgmc.network.cluster.timeline import Span, Timeline

_WORKERS, _HOSTS, _LINKS = 1, 2, 3
_PROCESSES = {_WORKERS: "workers", _HOSTS: "sending and adding", _LINKS: "links"}


def chrome_trace(timeline: Timeline) -> dict:
    """The trace event format: metadata first, then slices and counters in order of time."""
    tracks = _Tracks()
    events: list[dict] = []
    for host, rounds in timeline.rounds.items():
        track = tracks.of(_WORKERS, host)
        events += (_slice(track, f"round {number}", "round", start, end) for number, start, end in rounds)
        events += (_slice(track, s.what, s.what, s.start, s.end) for s in timeline.parts if s.track == host)
    for host in dict.fromkeys([*timeline.rounds, *(span.track for span in timeline.actions)]):
        for what, words in (("send", "sends"), ("aggregate", "adds")):
            lanes = _lanes(span for span in timeline.actions if (span.track, span.what) == (host, what))
            for place, lane in enumerate(lanes, start=1):
                track = tracks.of(_HOSTS, f"{host} {words}" + (f" ({place})" if place > 1 else ""))
                for span in lane:
                    events.append(_slice(track, span.label or what, what, span.start, span.end, span.nbytes))
    for link in timeline.rates:
        events += _link(timeline, link, tracks.of(_LINKS, link))
    # A longer slice that begins at the same time is the outer one.
    events = [event for event in events if event.get("dur", 1) > 0]
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0.0), event["pid"], event.get("tid", 0)))
    return {"traceEvents": [*tracks.metadata(), *events], "displayTimeUnit": "ms"}


class _Tracks:
    """Numbers tracks in the order in which they are first named."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}

    def of(self, process: int, name: str) -> tuple[int, int]:
        return process, self._numbers.setdefault((process, name), len(self._numbers) + 1)

    def metadata(self) -> list[dict]:
        events = []
        for pid, name in _PROCESSES.items():
            events.append(_meta(pid, 0, "process_name", name=name))
            events.append(_meta(pid, 0, "process_sort_index", sort_index=pid))
        for (pid, name), tid in self._numbers.items():
            events.append(_meta(pid, tid, "thread_name", name=name))
            events.append(_meta(pid, tid, "thread_sort_index", sort_index=tid))
        return events


def _meta(pid: int, tid: int, what: str, **args: object) -> dict:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "ts": 0, "args": args}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _slice(
    track: tuple[int, int], name: str, category: str, start: float, end: float, nbytes: float = 0.0, **more: object
) -> dict:
    first, last = _nanoseconds(start), _nanoseconds(end)
    event = {
        "ph": "X",
        "pid": track[0],
        "tid": track[1],
        "name": name,
        "cat": category,
        "ts": first / 1e3,
        "dur": (last - first) / 1e3,
    }
    args = {**({"bytes": nbytes} if nbytes else {}), **more}
    return {**event, "args": args} if args else event


def _lanes(spans: Iterable[Span]) -> list[list[Span]]:
    """Spans dealt out so that those of one lane do not overlap."""
    lanes: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        for lane in lanes:
            if _nanoseconds(lane[-1].end) <= _nanoseconds(span.start):
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


def _link(timeline: Timeline, link: str, track: tuple[int, int]) -> list[dict]:
    """The busy times of a link as slices, its load as a counter."""
    limit, steps = timeline.bandwidth[link], timeline.rates[link]
    share = 100 / limit if 0 < limit < float("inf") else 0.0
    events: list[dict] = []
    starts = sorted(span.start for span in timeline.carried if span.track == link)
    since, moved = None, 0.0
    for (time, rate), (after, following) in zip(steps, [*steps[1:], (timeline.end, 0.0)]):
        counter = {"ph": "C", "pid": track[0], "name": f"load of {link}", "ts": _nanoseconds(time) / 1e3}
        events.append({**counter, "args": {"percent": share * rate}})
        if rate <= 0:
            continue
        since = time if since is None else since
        moved += rate * (after - time)
        if following <= 0:
            begun = sum(since <= start < after for start in starts)
            load = share * moved / (after - since) if after > since else 0.0
            events.append(
                _slice(track, "busy", "carry", since, after, moved, messages_begun=begun, mean_load_percent=load)
            )
            since, moved = None, 0.0
    return events
