"""Training that the simulated clock drives: what happens first, trains first.

Every worker's program runs on its own. :class:`EventLoop` takes its requests to the simulated
cluster and brings back the answers at the simulated moment at which they are there; the
numerics (:class:`simgmc.training.per_worker.PerWorkerTrainer`, or a :class:`Journal` of it)
never see the clock, the cluster never sees a tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from simgmc.costs.journal import NOTHING, Journal, Kind, Reply, Request, Served
from simgmc.network.cluster.peers import LAST_OF_INSTANT, Flight, Peers

Segments = list[tuple[str, float, float]]


class Numerics(Protocol):
    """What is asked by the clock."""

    def advance(self, worker: int, answer: int | Sequence[int]) -> Request:
        """Give a program its answer (a message, several for COLLECT, NOTHING) and get its next request."""

    def serve(self, asked: int, asker: int, message: int) -> Served:
        """Let a worker or the server answer a request that has arrived."""


class Journalled:
    """Numerics that keep a journal, or are taken from one as far as it goes.

    ``live`` may be None where the journal is whole: then nothing is trained.
    """

    def __init__(self, live: Numerics | None, journal: Journal):
        self._live = live
        self.journal = journal

    @property
    def again(self) -> bool:
        """Whether answers still come from the journal."""
        return not self.journal.over

    def advance(self, worker: int, answer: int | Sequence[int]) -> Request:
        if self.again:
            return self.journal.read_request()
        request = self._live.advance(worker, answer)
        self.journal.write(request)
        return request

    def serve(self, asked: int, asker: int, message: int) -> Served:
        if self.again:
            return self.journal.read_served()
        served = self._live.serve(asked, asker, message)
        self.journal.write(served)
        return served


@dataclass
class _Question:
    """An Ask under way."""

    asked: int
    answer: int | None = None
    segments: Segments = field(default_factory=list)
    on_answer: Callable[[], None] | None = None
    """Set while the asker waits for it."""


@dataclass
class _Meeting:
    """A worker that is ready to be met."""

    to: int
    message: int
    nbytes: int
    since: float


@dataclass
class _Inbox:
    landed: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(round in which it was sent, sender, number, message) of what was not collected yet."""
    received: int = 0
    waiting: tuple[int, Segments] | None = None
    """How many messages the owner waits for, and what the time goes into."""


class EventLoop:
    """One training under the clock.

    ``after(loop)`` is called at the end of every instant at which a gradient was finished.
    """

    def __init__(self, peers: Peers, numerics: Numerics, after: Callable[[EventLoop], None]):
        self.peers = peers
        self._numerics = numerics
        self._after = after
        workers = len(peers.settings.workers)
        self.gradients = [0] * workers
        """Gradients that each worker has finished."""
        self.round_ends: list[list[float]] = [[] for _ in range(workers)]
        """Simulated seconds at which each worker ended its rounds."""
        self.staleness: Counter[int] = Counter()
        """How many gradients were applied (or messages added) how late."""
        self.diverged = False
        self._meeting: dict[int, _Meeting] = {}
        self._questions: list[list[_Question]] = [[] for _ in range(workers)]
        self._launched: list[list[_Question]] = [[] for _ in range(workers)]
        """Of each worker's round under way."""
        self._inbox = [_Inbox() for _ in range(workers)]
        self._busy: dict[int, float] = {}
        self._idle_since: dict[int, float] = {}
        self._announced = -1.0

    def run(self) -> None:
        """Start every worker and run until :meth:`Peers.stop`."""
        for worker in range(len(self.gradients)):
            self.peers.at_once(worker, lambda worker=worker: self._go(worker, NOTHING))
        self.peers.run()

    def spent(self):
        """(K, categories) seconds of every worker until now."""
        return self.peers.close(self._idle_since)

    # a worker's program ---------------------------------------------------------------

    def _go(self, worker: int, answer: int | Sequence[int]) -> None:
        """Take a program as far as it comes without time passing."""
        while answer is not None:
            request = self._numerics.advance(worker, answer)
            self.staleness.update(request.staleness)
            if request.compressed:
                self.peers.compress(worker, request.compressed, lambda request=request: self._go_on(worker, request))
                return
            answer = self._perform(worker, request)

    def _go_on(self, worker: int, request: Request) -> None:
        self._go(worker, self._perform(worker, request))

    def _perform(self, worker: int, request: Request) -> int | Sequence[int] | None:
        """Begin what is asked for; its answer if that is there at once, else None."""
        match request.kind:
            case Kind.GRADIENT:
                self.peers.compute(worker, self.gradients[worker], lambda: self._computed(worker))
            case Kind.EXCHANGE:
                self._meet(worker, _Meeting(request.to, request.message, request.nbytes, self.peers.now))
            case Kind.REQUEST:
                self._await(worker, self._ask(worker, request))
            case Kind.START:
                self._launched[worker].append(self._ask(worker, request))
                return NOTHING
            case Kind.WAIT:
                question = self._launched[worker][request.to]
                if question.answer is not None:
                    return question.answer
                self._await(worker, question)
            case Kind.SEND:
                self._send(worker, request)
                return NOTHING
            case Kind.COLLECT:
                return self._collect(worker, request.to)
            case Kind.ROUND:
                self.round_ends[worker].append(self.peers.now)
                self._launched[worker].clear()
                return NOTHING
            case Kind.DIVERGED:
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

    # meetings ---------------------------------------------------------------------------

    def _meet(self, worker: int, own: _Meeting) -> None:
        """Meet who has waited longest for this worker, else whom it wants to meet, if that one waits."""
        self._idle(worker)
        wanted = [(other.since, rank) for rank, other in self._meeting.items() if other.to == worker]
        if wanted:
            self._swap(worker, own, min(wanted)[1])
        elif own.to in self._meeting:
            self._swap(worker, own, own.to)
        else:
            self._meeting[worker] = own

    def _swap(self, worker: int, own: _Meeting, partner: int) -> None:
        """The messages of two workers cross."""
        other = self._meeting.pop(partner)
        for sender, receiver, message in ((worker, partner, own), (partner, worker, other)):

            def landed(flight: Flight, receiver: int = receiver, number: int = message.message) -> None:
                self._resume(receiver, flight.segments(), number)

            self.peers.send(sender, receiver, message.nbytes, landed)

    # questions --------------------------------------------------------------------------

    def _ask(self, worker: int, request: Request) -> _Question:
        question = _Question(request.to)
        self._questions[worker].append(question)

        def arrived(flight: Flight) -> None:
            question.segments += flight.segments()
            self._serve_when_free(worker, question, request)

        self.peers.send(worker, request.to, request.nbytes, arrived)
        return question

    def _serve_when_free(self, asker: int, question: _Question, request: Request) -> None:
        """Messages are added one after the other at the one that is asked."""
        asked, now = request.to, self.peers.now
        begin = max(now, self._busy.get(asked, 0.0))
        end = begin + self.peers.settings.aggregation.part(request.nbytes, len(self.gradients))
        self._busy[asked] = end
        question.segments.append(("aggregate", begin, end))

        def serve() -> None:
            served = self._numerics.serve(asked, asker, request.message)
            self.staleness.update(served.staleness)
            for reply in served.replies:
                self._reply(asked, reply)

        self.peers.later(end, asked, asker, serve)

    def _reply(self, asked: int, reply: Reply) -> None:
        question = next(one for one in self._questions[reply.to] if one.asked == asked and one.answer is None)
        self._questions[reply.to].remove(question)
        cost = self.peers.settings.compression.of(reply.compressed) if reply.compressed else 0.0
        begin = max(self.peers.now, self._busy.get(asked, 0.0))
        if cost:
            self._busy[asked] = begin + cost
            question.segments.append(("compress", begin, begin + cost))

        def landed(flight: Flight) -> None:
            question.segments += flight.segments()
            question.answer = reply.message
            if question.on_answer is not None:
                question.on_answer()

        def send() -> None:
            self.peers.send(asked, reply.to, reply.nbytes, landed)

        if cost:
            self.peers.later(begin + cost, asked, reply.to, send)
        else:
            send()

    def _await(self, worker: int, question: _Question) -> None:
        self._idle(worker)
        question.on_answer = lambda: self._resume(worker, question.segments, question.answer)

    # one-way messages ---------------------------------------------------------------------

    def _send(self, worker: int, request: Request) -> None:
        sent_in, receiver = len(self.round_ends[worker]), request.to

        def landed(flight: Flight) -> None:
            inbox = self._inbox[receiver]
            inbox.received += 1
            inbox.landed.append((sent_in, worker, inbox.received, request.message))
            if inbox.waiting is not None:
                needed, segments = inbox.waiting
                segments += flight.segments()
                if inbox.received >= needed:
                    inbox.waiting = None
                    # Whatever else lands at this instant is collected too.
                    self.peers.at_once(receiver, lambda: self._resume(receiver, segments, self._take(receiver)))

        self.peers.send(worker, receiver, request.nbytes, landed)

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
