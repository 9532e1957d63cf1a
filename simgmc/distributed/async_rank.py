"""One worker of an asynchronous training, in a process of its own; rank 0 is the server too, where there is one.

The worker's program runs in the main thread. Letters arrive in others: what they ask of this worker or the server is
done at once, between two events of the program, as gradients are computed outside of the lock that events take.
Rank 0 brings those together that want to exchange, counts gradients, and calls for the pauses in which all are
evaluated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from simgmc.algorithms.effects import Addressed, Arrival, Collect, Exchange, Gradient, Request, Send, Start, Wait
from simgmc.algorithms.worker import Worker
from simgmc.compression.message import Message
from simgmc.core.errors import DivergenceError
from simgmc.costs.steps import SERVER
from simgmc.distributed import post
from simgmc.distributed.clock import Clock
from simgmc.distributed.group import Group, RankLostError
from simgmc.distributed.measured import Step
from simgmc.distributed.order import GOES_ON, Event, OrderedPrograms
from simgmc.distributed.parcels import Templates
from simgmc.distributed.post import Letter, Post
from simgmc.training.journal import NOTHING, Diverged, Parcel, RoundOver, Served
from simgmc.training.journal import Step as Said


class RankPrograms(OrderedPrograms):
    """The programs of this rank: its worker's, and the server's."""

    last: Message
    """The message that was posted last."""

    def _post(self, sender: Worker, content: Any) -> Parcel:
        self.on_message = lambda message: setattr(self, "last", message)
        parcel = super()._post(sender, content)
        self.posted[parcel.number] = self.last
        return parcel

    def __init__(self, *arguments: Any, **options: Any):
        self.posted: dict[int, Message] = {}
        """Messages that are to be sent, by number."""
        super().__init__(*arguments, **options)

    def compute_ahead(self, worker: int) -> None:
        """Compute the gradient that a worker's program waits for, which changes nothing else."""
        if self.runs[worker].ahead is None:
            self._compute(worker)

    def landed(self, number: int, round: int, sender: int, content: Tensor) -> None:
        """A message has come from another process."""
        self._messages[number] = Arrival(round, sender, content)

    def forget(self, number: int) -> None:
        """A message that is for another process."""
        del self._messages[number]


@dataclass
class _Asked:
    """A request under way."""

    to: int
    answer: int | None = None


class AsyncRank:
    """A worker's program, and what others ask of this rank."""

    def __init__(self, programs: RankPrograms, group: Group, clock: Clock, compute_s: Callable[[int], float]):
        """``compute_s(number)``: seconds that this worker's gradient of that number lasts at least."""
        self.programs, self._group, self._time, self._compute_s = programs, group, clock, compute_s
        self._rank, workers = group.rank, programs.workload.workers
        self._turn = threading.Condition(threading.RLock())
        """Held through every event, and while all are looked at."""
        self._clock = 0
        self.counts = [0] * workers
        self.events: list[Event] = []
        self.staleness: list[int] = []
        self.measured: list[Step] = []
        self._templates = Templates()
        self._unanswered: list[_Asked] = []
        self._started: list[_Asked] = []
        self._inbox: list[tuple[int, int, int, int]] = []
        self._inbox_received = 0
        self._partner: int | None = None
        self._swapped: list[int] = []
        self._wanting: dict[int, int] = {}
        """On rank 0: who waits for an exchange, and with whom."""
        self._pauses = self._paused = 0
        self._over = False
        self._error: BaseException | None = None
        self.blocked = {"transfer": 0.0, "wait": 0.0}
        """Seconds that this worker has waited so far."""
        self.sent, self.received = [0, 0], [0, 0]
        """Payload by workers, and by the server, of this rank so far."""
        self.post = Post(group, workers, self._arrived, self._failed)
        self.on_count: Callable[[], bool] = lambda: False
        """On rank 0: whether the gradients so far call for a pause."""

    # the program --------------------------------------------------------------------------

    def run(self, pause: Callable[[], bool]) -> None:
        """Run until a pause says that it is over; ``pause()`` looks at all ranks and says whether it is.

        Raises DivergenceError where a number is no longer finite; RankLostError.
        """
        self._look = pause
        self.post.open()
        answer: int | Sequence[int] | None = NOTHING
        if self._rank >= len(self.counts):  # a server has no program
            self._until(lambda: False)
            return
        while not self._heed() and answer is not None:
            answer = self._perform(self._advance(answer))

    def _advance(self, answer: int | Sequence[int]) -> Said:
        rank = self._rank
        with self._turn:
            many = not isinstance(answer, int)
            messages = (() if answer == NOTHING else (answer,)) if isinstance(answer, int) else tuple(answer)
            before = self.programs.runs[rank].gradients
            asked = self._happen(rank, GOES_ON, messages, many)
            finished = self.programs.runs[rank].gradients
            if finished != before:
                self.counts[rank] = finished
                self._tell(0, Letter(post.COUNT, rank, 0))
            return asked.step

    def _happen(self, who: int, asker: int, messages: tuple[int, ...], many: bool = False) -> Any:
        self._clock += 1
        known = sum(self.counts) - (0 if who == SERVER else self.counts[who])
        event = Event(self._clock, who, asker, known, messages, many)
        found = self.programs.happen(event)
        self.events.append(event)
        self.staleness += found.staleness
        return found

    def _perform(self, step: Said) -> int | Sequence[int] | None:
        """Do what a program asks for; its answer, None where it is over."""
        match step:
            case Gradient():
                return self._computed()
            case Exchange():
                return self._blocked("exchange", "wait", lambda: self._exchanged(step))
            case Request():
                asked = self._request(step)
                return self._blocked("request", "transfer", lambda: self._answer(asked))
            case Start(effect=Request() as request):
                self._started.append(self._request(request))
                return NOTHING
            case Wait(handle=int(handle)):
                asked = self._started[handle]
                return self._blocked("wait", "transfer", lambda: self._answer(asked))
            case Send():
                self._mail(post.SEND, self._rank, step)
                return NOTHING
            case Collect(at_least=needed):
                return self._blocked("collect", "wait", lambda: self._collected(needed))
            case RoundOver():
                self._started.clear()
                return NOTHING
            case Diverged():
                raise DivergenceError(self.programs.diverged)
        raise TypeError(f"{type(step).__name__} is nothing that a rank can do")

    def _computed(self) -> int:
        begin, run = self._time.now(), self.programs.runs[self._rank]
        self.programs.compute_ahead(self._rank)
        left = begin + self._compute_s(run.gradients) - self._time.now()
        if left > 0:
            time.sleep(left)
        self._note("compute", begin)
        return NOTHING

    def _note(self, kind: str, begin: float) -> None:
        rounds = self.programs.runs[self._rank].rounds
        self.measured.append(Step(self._rank, rounds, 0, kind, "", begin, self._time.now(), 0, 0, 0))

    def _blocked(self, kind: str, part: str, wait: Callable[[], Any]) -> Any:
        begin = self._time.now()
        found = wait()
        self.blocked[part] += self._time.now() - begin
        self._note(kind, begin)
        return found

    def _until(self, there: Callable[[], bool]) -> bool:
        """Wait for something, through pauses; whether it has come before the end."""
        with self._turn:
            while not there():
                if self._heed():
                    return False
                if not there():
                    self._turn.wait(1.0)
            return True

    def _heed(self) -> bool:
        """Pause where rank 0 has called for it; whether training is over. Raises what a thread has failed with."""
        with self._turn:
            if self._error is not None:
                raise self._error
            while not self._over and self._paused < self._pauses:
                self._paused += 1
                self._over = self._look()
            return self._over

    # exchanges ----------------------------------------------------------------------------

    def _exchanged(self, own: Exchange[Parcel]) -> int | None:
        """Rank 0 finds the partner; the messages of both cross then."""
        self._tell(0, Letter(post.WANT, self._rank, 0, number=own.to))
        if not self._until(lambda: self._partner is not None):
            return None
        with self._turn:
            partner, self._partner = self._partner, None
        assert partner is not None
        self._mail(post.SWAP, self._rank, Exchange(partner, own.message))
        return self._swapped.pop(0) if self._until(lambda: bool(self._swapped)) else None

    def _want(self, worker: int, to: int) -> None:
        """On rank 0: with whom has waited longest for this worker, else with the wanted one if that waits too."""
        partner = next((other for other, wanted in self._wanting.items() if wanted == worker), None)
        if partner is None and to in self._wanting:
            partner = to
        if partner is None:
            self._wanting[worker] = to
            return
        del self._wanting[partner]
        for one, other in ((worker, partner), (partner, worker)):
            self._tell(one, Letter(post.MATCH, other, one, number=other))

    # requests and one-way messages --------------------------------------------------------

    def _request(self, request: Request[Parcel]) -> _Asked:
        asked = _Asked(request.to)
        self._unanswered.append(asked)
        self._mail(post.REQUEST, self._rank, request)
        return asked

    def _answer(self, asked: _Asked) -> int | None:
        return asked.answer if self._until(lambda: asked.answer is not None) else None

    def _collected(self, needed: int) -> tuple[int, ...] | None:
        if not self._until(lambda: self._inbox_received >= needed):
            return None
        with self._turn:
            landed, self._inbox = sorted(self._inbox), []
        return tuple(number for *_, number in landed)

    def _serve(self, letter: Letter) -> None:
        served = self._happen(letter.to, letter.who, (letter.number,))
        assert isinstance(served, Served)
        for rank, parcel in served.replies:
            self._mail(post.REPLY, letter.to, Send(rank, parcel))

    # letters ------------------------------------------------------------------------------

    def rank_of(self, who: int) -> int:
        """Where a worker or the server is: the server is on rank 0, or in a process of its own after the workers'."""
        return who if who != SERVER else len(self.counts) % self._group.size

    def _mail(self, kind: int, who: int, sent: Addressed[Parcel]) -> None:
        """Send a message that the programs have posted."""
        with self._turn:
            number, rank = sent.message.number, self.rank_of(sent.to)
            message = self.programs.posted.pop(number)
            letter = Letter(kind, who, sent.to, number, round=self._rounds)
            if rank != self._rank:
                letter.payload = message.encode()
                letter.name, letter.template = self._templates.to_send(rank, message, {})
                self.programs.forget(number)
                self.sent[who == SERVER] += len(letter.payload)
            self._tell(rank, letter)

    @property
    def _rounds(self) -> int:
        return self.programs.runs[self._rank].rounds if self._rank < len(self.counts) else 0

    def _tell(self, rank: int, letter: Letter) -> None:
        with self._turn:
            letter.clock, letter.counts = self._clock, list(self.counts)
            if rank == self._rank:
                self._take(letter)
            else:
                self.post.send(rank, letter)

    def _arrived(self, letter: Letter) -> None:
        """A letter of another rank, in a thread of its own."""
        with self._turn:
            if self._over:
                return
            self._clock = max(self._clock, letter.clock)
            self.counts = [max(pair) for pair in zip(self.counts, letter.counts, strict=True)]
            if letter.name.strip(b"\0"):
                template = self._templates.received(letter.name, letter.template, {})
                content = template.decode([letter.payload]).dense().reshape(-1).to(self.programs.workload.device)
                self.programs.landed(letter.number, letter.round, letter.who, content)
                self.received[letter.to == SERVER] += len(letter.payload)
            self._take(letter)

    def _take(self, letter: Letter) -> None:
        match letter.kind:
            case post.REQUEST:
                self._serve(letter)
            case post.REPLY:
                asked = next(one for one in self._unanswered if one.to == letter.who)
                self._unanswered.remove(asked)
                asked.answer = letter.number
            case post.SEND:
                self._inbox_received += 1
                self._inbox.append((letter.round, letter.who, self._inbox_received, letter.number))
            case post.SWAP:
                self._swapped.append(letter.number)
            case post.WANT:
                self._want(letter.who, letter.number)
            case post.MATCH:
                self._partner = letter.number
            case post.COUNT:
                if self._pauses == self._paused and self.on_count():
                    self.call_pause()
            case post.PAUSE:
                self._pauses += 1
        self._turn.notify_all()

    def call_pause(self) -> None:
        """On rank 0: all are to stop between two events and be looked at."""
        for rank in range(self._group.size):
            self._tell(rank, Letter(post.PAUSE, self._rank, rank))

    def _failed(self, error: BaseException) -> None:
        with self._turn:
            if self._error is None:
                lost = isinstance(error, RuntimeError)
                self._error = RankLostError(self._group.words(error)) if lost else error
            self._turn.notify_all()
