"""When everything happened on a simulated cluster, and where the time and the bytes went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from simgmc.network.exchanges.accounts import CATEGORIES, Moved
from simgmc.network.flows.fluid import HoldUps
from simgmc.network.topology.routing import Links

NOTED = ("absent", "lost", "carried")
_WAIT = CATEGORIES.index("wait")
_COMPUTE = CATEGORIES.index("compute")


@dataclass(frozen=True)
class Timing:
    """When everything happened. R rounds, K workers."""

    round_end: np.ndarray
    """(R, K) simulated seconds at which each worker had finished each round."""
    breakdown: np.ndarray
    """(R, K, categories) seconds; the categories add up to each worker's time in the round."""
    sent_by_workers: np.ndarray
    """(R,) bytes that left workers and were delivered."""
    received_by_workers: np.ndarray
    """(R,) bytes delivered to workers."""
    into_server: np.ndarray
    """(R,) bytes delivered to servers."""
    out_of_server: np.ndarray
    """(R,) bytes that left servers and were delivered."""
    communication: np.ndarray
    """(R, K) seconds in which a collective of the worker was under way, hidden or not."""
    absent: np.ndarray
    """(R, K) rounds that a worker missed: it had crashed; or it gave its gradient up, as the server had
    the first k messages before; or it was busy with a late message throughout."""
    link_bytes: np.ndarray
    """(links,) bytes over each link in the whole run (of collectives)."""
    link_messages: np.ndarray
    """(links,) transfers over each link in the whole run (of collectives)."""
    links: tuple[tuple[str, str], ...]
    """The links' ends."""
    link_bandwidth: np.ndarray
    """(links,) bytes/s, nominal."""
    chosen: dict[str, int]
    """With ``collective = "auto"``: how many exchanges each collective carried."""
    stopped: str | None = None
    """Why the run ended before its last round, if it did: a crash, or a flow that can never finish."""
    held: HoldUps | None = None
    """What held messages up; None where that follows from the bytes over every link, or nobody asked."""
    background_bytes: float = 0.0
    """Bytes of background traffic delivered meanwhile."""
    lost: np.ndarray | None = None
    """(R, K) messages that were sent, came too late and were thrown away; None where no server waits
    for the first k."""
    carried: np.ndarray | None = None
    """(R, K) averages that a worker's late message of an earlier round went into; None as before."""
    by_events: int | None = None
    """The first round that was simulated event by event; None: all were walked without events."""
    categories: tuple[str, ...] = CATEGORIES

    @property
    def total(self) -> float:
        """Simulated seconds until the last worker finished the last round."""
        return float(self.round_end[-1].max()) if len(self.round_end) else 0.0

    @property
    def exposed(self) -> float:
        """The share of communication that compute did not hide, 0 to 1."""
        whole = float(self.communication.sum())
        shown = float(self.breakdown[:, :, 2:].sum())
        return min(shown / whole, 1.0) if whole else 0.0

    @property
    def utilisation(self) -> np.ndarray:
        """(links,) share of its nominal bandwidth each link used over the whole run."""
        seconds = self.total
        if not seconds:
            return np.zeros(len(self.links))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(self.link_bytes / self.link_bandwidth / seconds)

    def bottleneck(self, waiting: str = "waiting for slower workers") -> str:
        """What bound the run, in words: the compute, or the busiest link, or latency, or ``waiting``."""
        mean = dict(zip(self.categories, self.breakdown.mean(axis=(0, 1)))) if len(self.round_end) else {}
        used = dict(zip(self.links, self.utilisation.tolist()))
        if self.held is None:
            return bottleneck_of(mean, used, waiting)
        return held_up(mean, self.held, used, waiting)


def held_up(
    parts: Mapping[str, float],
    held: HoldUps,
    used: Mapping[tuple[str, str], float],
    waiting: str,
) -> str:
    """As :func:`bottleneck_of`, from what was noted: the link that was full longest, or a limit of
    the transport that held messages up for longer. ``used`` has every link, in order."""
    limit = max(held.limits, key=lambda name: held.limits[name], default="")
    longest = max(held.full, default=0.0)
    if limit and held.limits[limit] > longest and sum(parts.values()) and _largest(parts) == "transfer":
        return f"{limit} ({held.limits[limit] / held.seconds:.0%} of the time)"
    if not longest:
        return bottleneck_of(parts, used, waiting)
    share = {ends: full / held.seconds for ends, full in zip(used, held.full)}
    return bottleneck_of(parts, share, waiting, "full", dict(zip(used, held.dead)))


def _largest(parts: Mapping[str, float]) -> str:
    return max(parts, key=lambda name: parts[name])


def bottleneck_of(
    parts: Mapping[str, float],
    used: Mapping[tuple[str, str], float],
    waiting: str,
    share: str = "used",
    dead: Mapping[tuple[str, str], float] | None = None,
) -> str:
    """The largest of the seconds of each category, in words.

    ``used``: the share of its bandwidth that each link used, of which the largest is named where
    it is the transfer; ``waiting``: what waiting is for; ``share``: of what ``used`` is in truth; ``dead``: seconds
    in which a link had no bandwidth.
    """
    if not sum(parts.values()):
        return "nothing took time"
    largest = _largest(parts)
    if largest == "transfer" and used:
        source, destination = max(used, key=lambda link: used[link])
        stood = (dead or {}).get((source, destination), 0.0)
        down = f", {stood:.4g} s of it without bandwidth" if stood else ""
        whole = f"{used[source, destination]:.0%}"
        said = f"{whole} used" if share == "used" else f"{share} {whole} of the time{down}"
        return f"link {source} -> {destination} ({said})"
    return {"wait": waiting, "aggregate": "adding messages"}.get(largest, largest)


Rows = list[np.ndarray] | np.ndarray
"""An array of each round."""


@dataclass
class TimingBuilder:
    """Collects a :class:`Timing`, round by round."""

    workers: int
    links: Links
    on_round: Callable[[int, float], None] | None
    chosen: dict[str, int]
    notes: bool
    """Whether :meth:`note` says who is absent; otherwise it is whoever does not finish a round."""
    stopped: str | None = None
    background_bytes: float = 0.0
    held: HoldUps | None = None
    by_events: int | None = 0
    """The first round that is simulated event by event; None: none is."""
    _ends: Rows = field(default_factory=list)
    _breakdown: Rows = field(default_factory=list)
    _communication: Rows = field(default_factory=list)
    _bytes: Rows = field(default_factory=list)
    _closed: int = 0
    _link_bytes: np.ndarray | float = 0.0
    _link_messages: np.ndarray | float = 0.0
    _rejoined: dict[tuple[int, int], float] = field(default_factory=dict)
    _noted: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {what: [] for what in NOTED})
    """(round, worker) of what is absent, lost and carried where a server waits for the first k."""

    def take(
        self,
        ends: Rows,
        spent: Rows,
        communication: Rows,
        moved: Rows,
        link_bytes: np.ndarray,
        link_messages: np.ndarray,
    ) -> None:
        """Take over rounds that are over, a (K,) or (K, categories) array of each, (4,) of the bytes; and (links,)
        of what went over the links in them. Lists where more rounds follow."""
        self._ends, self._breakdown, self._communication, self._bytes = ends, spent, communication, moved
        self._link_bytes, self._link_messages, self._closed = link_bytes, link_messages, len(ends)

    def _extend(self, number: int) -> None:
        assert isinstance(self._ends, list) and isinstance(self._breakdown, list)
        assert isinstance(self._communication, list) and isinstance(self._bytes, list)
        while len(self._ends) <= number:
            self._ends.append(np.full(self.workers, np.nan))
            self._breakdown.append(np.zeros((self.workers, len(CATEGORIES))))
            self._communication.append(np.zeros(self.workers))
            self._bytes.append(np.zeros(4))

    def finish(self, number: int, worker: int, time: float, spent: list[float], communication: float) -> None:
        """One worker has finished one round."""
        self._extend(number)
        self._ends[number][worker] = time
        self._breakdown[number][worker] = spent
        self._communication[number][worker] = communication

    def note(self, what: str, number: int, worker: int) -> None:
        """Note of a worker in a round that it was absent, or its message lost, or carried into the average."""
        self._noted[what].append((number, worker))

    def rejoin(self, number: int, worker: int, time: float) -> None:
        """A worker that was gone takes part again from this round on."""
        self._rejoined[number, worker] = time

    def close(self, number: int, exchanged: list[Moved], time: float) -> None:
        """The last worker has finished a round."""
        self._extend(number)
        for moved in exchanged:
            self._bytes[number] += (
                moved.sent_by_workers, moved.received_by_workers, moved.into_server, moved.out_of_server,
            )  # fmt: skip
            self._link_bytes = self._link_bytes + moved.links
            self._link_messages = self._link_messages + moved.messages
        self._closed = max(self._closed, number + 1)
        if self.on_round is not None:
            self.on_round(number, time)

    def timing(self) -> Timing:
        """Everything collected, of the rounds that all have finished."""
        rounds, workers = self._closed, self.workers
        ends = np.asarray(self._ends[:rounds]).reshape(rounds, workers)
        breakdown = np.asarray(self._breakdown[:rounds]).reshape(rounds, workers, len(CATEGORIES))
        absent = np.isnan(ends)
        if absent.any():
            self._fill(ends, breakdown, absent)
        lost = carried = None
        if self.notes:
            absent, lost, carried = (self._table(self._noted[what], rounds) for what in NOTED)
        sent, received, into, out = np.asarray(self._bytes[:rounds]).reshape(rounds, 4).T
        none = np.zeros(len(self.links))
        return Timing(
            ends,
            breakdown,
            sent,
            received,
            into,
            out,
            np.asarray(self._communication[:rounds]).reshape(rounds, workers),
            absent,
            none + self._link_bytes,
            none + self._link_messages,
            tuple(self.links.names),
            np.array(self.links.bandwidth),
            dict(self.chosen),
            self.stopped,
            background_bytes=self.background_bytes,
            lost=lost,
            carried=carried,
            held=self.held,
            by_events=self.by_events,
        )

    def _table(self, pairs: list[tuple[int, int]], rounds: int) -> np.ndarray:
        """(R, K) bool from (round, worker) pairs."""
        table = np.zeros((rounds, self.workers), dtype=bool)
        for number, worker in pairs:
            if number < rounds:
                table[number, worker] = True
        return table

    def _fill(self, ends: np.ndarray, breakdown: np.ndarray, absent: np.ndarray) -> None:
        """A missed round ends for the absent worker when it ends for the last of the others, and
        no later than its own return; the time is waiting."""
        for worker in range(self.workers):
            before = 0.0
            for number in range(len(ends)):
                if absent[number, worker]:
                    back = min(
                        (t for (n, w), t in self._rejoined.items() if w == worker and n > number), default=np.inf
                    )
                    others = ends[number, ~absent[number]].max(initial=0.0)  # none, where all had crashed
                    ends[number, worker] = max(before, min(others, back))
                missing = ends[number, worker] - before - breakdown[number, worker].sum()
                if absent[number, worker] or (number and absent[number - 1, worker]):
                    breakdown[number, worker, _WAIT] += missing
                before = ends[number, worker]
