"""The event loop of an asynchronous training: what happens first on the simulated clock, trains first.

Every worker's program runs on its own. :class:`EventLoop` takes the effects that programs yield to
the simulated cluster, and brings back the answers at the simulated moment at which they are there.
The programs (:class:`simgmc.training.per_worker.PerWorkerTrainer`, or a journal of them) never see
the clock, the cluster never sees a tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from simgmc.algorithms.effects import Addressed, Collect, Exchange, Gradient, Request, Send, Start, Wait
from simgmc.network.cluster.peers import LAST_OF_INSTANT, Flight, Peers
from simgmc.training.journal import NOTHING, Diverged, Parcel, Programs, RoundOver, Step

Segments = list[tuple[str, float, float]]
"""(category, start, end) of what a worker's time goes into."""


@dataclass
class _UnderWay:
    """A request that has been sent."""

    to: int
    segments: Segments = field(default_factory=list)
    """Of the time until the answer."""
    answer: int | None = None
    """The number of the answer, once that has arrived."""
    awaited: bool = False
    """Whether the program of the worker that sent it waits for the answer."""


@dataclass
class _Inbox:
    landed: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(round in which it was sent, sender, how many landed until then, message) of what was not collected yet."""
    received: int = 0
    """How many have landed, ever."""
    waiting: tuple[int, Segments] | None = None
    """How many messages the owner waits for, and what the time goes into."""


class EventLoop:
    """One asynchronous training, event by event.

    ``after(loop)`` is called at the end of every instant at which a gradient was finished.
    """

    def __init__(self, peers: Peers, programs: Programs, after: Callable[[EventLoop], None]):
        self.peers = peers
        self._programs = programs
        self._after = after
        workers = len(peers.settings.workers)
        self.gradients = [0] * workers
        """Gradients that each worker has finished."""
        self.round_ends: list[list[float]] = [[] for _ in range(workers)]
        """Simulated seconds at which each worker ended its rounds."""
        self.staleness: Counter[int] = Counter()
        """How many gradients were applied (or messages added) how late."""
        self.diverged = False
        self._exchanging: dict[int, Exchange[Parcel]] = {}
        """The exchanges of workers that wait for another, by worker."""
        self._unanswered: list[list[_UnderWay]] = [[] for _ in range(workers)]
        """Each worker's requests to which nobody has replied yet."""
        self._started: list[list[_UnderWay]] = [[] for _ in range(workers)]
        """Requests that each worker's round has started, by their handles."""
        self._inbox = [_Inbox() for _ in range(workers)]
        self._busy: dict[int, float] = {}
        """Until when the one that is asked adds the messages that have arrived."""
        self._idle_since: dict[int, float] = {}
        self._announced = -1.0

    def run(self) -> None:
        """Start every worker and run until :meth:`Peers.stop`."""
        for worker in range(len(self.gradients)):
            self.peers.at_once(worker, partial(self._go, worker, NOTHING))
        self.peers.run()

    def spent(self) -> np.ndarray:
        """(K, categories) seconds of every worker until now."""
        return self.peers.close(self._idle_since)

    # a worker's program ---------------------------------------------------------------

    def _go(self, worker: int, answer: int | Sequence[int] | None) -> None:
        """Take a program as far as it comes without time passing."""
        while answer is not None:
            step, staleness = self._programs.advance(worker, answer)
            self.staleness.update(staleness)
            match step:
                case Addressed(message=parcel) | Start(effect=Addressed(message=parcel)) if parcel.compressed:
                    self.peers.compress(worker, parcel.compressed, partial(self._go_on, worker, step))
                    return
            answer = self._perform(worker, step)

    def _go_on(self, worker: int, step: Step) -> None:
        self._go(worker, self._perform(worker, step))

    def _perform(self, worker: int, step: Step) -> int | Sequence[int] | None:
        """Begin what a program asks for; the answer if that is there at once, else None."""
        match step:
            case Gradient():
                self.peers.compute(worker, self.gradients[worker], lambda: self._computed(worker))
            case Exchange():
                self._exchange(worker, step)
            case Request():
                self._wait(worker, self._request(worker, step))
            case Start(effect=Request() as request):
                self._started[worker].append(self._request(worker, request))
                return NOTHING
            case Wait(handle=int(handle)):
                under_way = self._started[worker][handle]
                if under_way.answer is not None:
                    return under_way.answer
                self._wait(worker, under_way)
            case Send():
                self._send(worker, step)
                return NOTHING
            case Collect(at_least=needed):
                return self._collect(worker, needed)
            case RoundOver():
                self.round_ends[worker].append(self.peers.now)
                self._started[worker].clear()
                return NOTHING
            case Diverged():
                self.diverged = True
                self.peers.stop()
        return None

    def _computed(self, worker: int) -> None:
        self.gradients[worker] += 1
        if self._announced != self.peers.now:
            self._announced = self.peers.now
            self.peers.clock.call_at(self.peers.now, lambda _: self._after(self), LAST_OF_INSTANT)
        self._go(worker, NOTHING)

    def _idle(self, worker: int) -> None:
        self._idle_since[worker] = self.peers.now

    def _resume(self, worker: int, segments: Segments, answer: int | Sequence[int]) -> None:
        self.peers.blocked(worker, self._idle_since.pop(worker), segments)
        self._go(worker, answer)

    # exchanges --------------------------------------------------------------------------

    def _exchange(self, worker: int, own: Exchange[Parcel]) -> None:
        """With the worker that has waited longest for this one, else with the wanted one if that waits too."""
        self._idle(worker)
        waiting = [other for other, effect in self._exchanging.items() if effect.to == worker]
        if waiting:
            self._swap(worker, own, min(waiting, key=lambda other: (self._idle_since[other], other)))
        elif own.to in self._exchanging:
            self._swap(worker, own, own.to)
        else:
            self._exchanging[worker] = own

    def _swap(self, worker: int, own: Exchange[Parcel], partner: int) -> None:
        """The messages of two workers cross."""
        other = self._exchanging.pop(partner)
        for sender, receiver, parcel in ((worker, partner, own.message), (partner, worker, other.message)):

            def landed(flight: Flight, receiver: int = receiver, number: int = parcel.number) -> None:
                self._resume(receiver, flight.segments(), number)

            self.peers.send(sender, receiver, parcel.nbytes, landed)

    # requests ---------------------------------------------------------------------------

    def _request(self, worker: int, request: Request[Parcel]) -> _UnderWay:
        under_way = _UnderWay(request.to)
        self._unanswered[worker].append(under_way)

        def arrived(flight: Flight) -> None:
            under_way.segments += flight.segments()
            self._serve_when_free(worker, under_way, request.message)

        self.peers.send(worker, request.to, request.message.nbytes, arrived)
        return under_way

    def _serve_when_free(self, asker: int, under_way: _UnderWay, parcel: Parcel) -> None:
        """Messages are added one after the other at the one that is asked."""
        asked = under_way.to
        begin = max(self.peers.now, self._busy.get(asked, 0.0))
        end = begin + self.peers.settings.aggregation.part(parcel.nbytes, len(self.gradients))
        self._busy[asked] = end
        under_way.segments.append(("aggregate", begin, end))

        def serve() -> None:
            replies, staleness = self._programs.serve(asked, asker, parcel.number)
            self.staleness.update(staleness)
            for rank, reply in replies:
                self._reply(asked, rank, reply)

        self.peers.later(end, asked, asker, serve)

    def _reply(self, asked: int, asker: int, reply: Parcel) -> None:
        under_way = next(one for one in self._unanswered[asker] if one.to == asked)
        self._unanswered[asker].remove(under_way)
        cost = self.peers.settings.compression.of(reply.compressed) if reply.compressed else 0.0
        begin = max(self.peers.now, self._busy.get(asked, 0.0))
        if cost:
            self._busy[asked] = begin + cost
            under_way.segments.append(("compress", begin, begin + cost))

        def landed(flight: Flight) -> None:
            under_way.segments += flight.segments()
            under_way.answer = reply.number
            if under_way.awaited:
                self._resume(asker, under_way.segments, reply.number)

        def send() -> None:
            self.peers.send(asked, asker, reply.nbytes, landed)

        if cost:
            self.peers.later(begin + cost, asked, asker, send)
        else:
            send()

    def _wait(self, worker: int, under_way: _UnderWay) -> None:
        self._idle(worker)
        under_way.awaited = True

    # one-way messages ---------------------------------------------------------------------

    def _send(self, worker: int, send: Send[Parcel]) -> None:
        sent_in, receiver = len(self.round_ends[worker]), send.to

        def landed(flight: Flight) -> None:
            inbox = self._inbox[receiver]
            inbox.received += 1
            inbox.landed.append((sent_in, worker, inbox.received, send.message.number))
            if inbox.waiting is not None:
                needed, segments = inbox.waiting
                segments += flight.segments()
                if inbox.received >= needed:
                    inbox.waiting = None
                    # Whatever else lands at this instant is collected too.
                    self.peers.at_once(receiver, lambda: self._resume(receiver, segments, self._take(receiver)))

        self.peers.send(worker, receiver, send.message.nbytes, landed)

    def _collect(self, worker: int, needed: int) -> Sequence[int] | None:
        inbox = self._inbox[worker]
        if inbox.received >= needed:
            return self._take(worker)
        self._idle(worker)
        inbox.waiting = (needed, [])
        return None

    def _take(self, worker: int) -> tuple[int, ...]:
        landed = sorted(self._inbox[worker].landed)
        self._inbox[worker].landed.clear()
        return tuple(message for *_, message in landed)
