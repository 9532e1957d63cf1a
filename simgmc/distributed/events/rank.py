"""One worker of an asynchronous training, in a process of its own; rank 0 is the server too, where there is one.

The worker's program runs in the main thread. Letters arrive in others: what they ask of this worker or the server is
done at once, between two events of the program, as gradients are computed outside of the lock that events take.
Rank 0 brings those together that want to exchange, counts gradients, and calls for looks: each rank keeps what it
holds then, and goes on. In pauses rank 0 evaluates what was kept; they are few, as the first there wait for the last.
What is on its way then is kept with a checkpoint (:mod:`simgmc.distributed.events.cut`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from simgmc.algorithms.effects import Addressed, Collect, Exchange, Gradient, Request, Send, Start, Wait
from simgmc.costs.steps import SERVER
from simgmc.distributed.clock import Clock
from simgmc.distributed.events import post
from simgmc.distributed.events.cut import Cut
from simgmc.distributed.events.order import GOES_ON, Event
from simgmc.distributed.events.post import Letter, Post
from simgmc.distributed.events.programs import RankPrograms
from simgmc.distributed.events.waiting import BLOCKS, Asked, Awaited, Meetings, What
from simgmc.distributed.group import Group, RankLostError
from simgmc.distributed.measured import Step
from simgmc.distributed.parcels import Templates
from simgmc.training.journal import NOTHING, Diverged, Parcel, RoundOver, Served
from simgmc.training.journal import Step as Said


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
        self._answer: int | Sequence[int] = NOTHING
        """What the program gets next, where it waits for nothing."""
        self._awaited: Awaited | None = None
        self._requests: dict[int, Asked] = {}
        """Those whose answers are still of use, or to come, by the number of the request, in their order."""
        self._started: list[int] = []
        """Requests that the round has started, by their handles."""
        self._inbox: list[tuple[int, int, int, int]] = []
        self._inbox_received = 0
        self._partner: int | None = None
        self._swapped: list[int] = []
        self._meetings = Meetings()
        """On rank 0."""
        self._pauses = self._paused = 0
        self._arrival = 0.0
        """Seconds of training at which the letter that is being taken was there."""
        self._over = False
        self._error: BaseException | None = None
        self.blocked = {"transfer": 0.0, "wait": 0.0}
        """Seconds that this worker has waited so far."""
        self.sent, self.received = [0, 0], [0, 0]
        """Payload by workers, and by the server, of this rank so far."""
        self.post = Post(group, workers, self._arrived, self._failed)
        self._cut = Cut(group, self.post, self._templates, self._turn)
        self.on_count: Callable[[], Literal["", "look", "pause"]] = lambda: ""
        """On rank 0: what the gradients so far call for."""
        self.on_look: Callable[[], None] = lambda: None
        """Keeps what this rank holds, between two events."""

    # the program --------------------------------------------------------------------------

    def run(self, pause: Callable[[], bool]) -> None:
        """Run until a pause says that it is over; ``pause()`` looks at all ranks and says whether it is.

        Where a number is no longer finite, a pause is called. Raises DivergenceError where that is so of a server;
        RankLostError.
        """
        self._look = pause
        self.post.open()
        with self._turn:
            self._take_held_back()
        if self._rank >= len(self.counts):  # a server has no program
            self._until(lambda: False)
            return
        while not self._heed():
            if self._awaited is None:
                self._begin(self._advance(self._answer))
            if self._awaited is not None and not self._finish(self._awaited):
                return

    def _advance(self, answer: int | Sequence[int]) -> Said:
        rank = self._rank
        with self._turn:
            many = not isinstance(answer, int)
            messages = (() if answer == NOTHING else (answer,)) if isinstance(answer, int) else tuple(answer)
            before, begin = self.programs.runs[rank].gradients, self._time.now()
            asked = self._happen(rank, GOES_ON, messages, many)
            match asked.step:
                case Addressed(message=parcel) | Start(effect=Addressed(message=parcel)) if parcel.compressed:
                    self._note("compress", begin, parcel.nbytes)
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

    def _begin(self, step: Said) -> None:
        """Begin what a program asks for: its answer is there then, or awaited."""
        self._answer = NOTHING
        match step:
            case Gradient():
                self._compute()
            case Exchange(to=wanted, message=parcel):
                self._await("partner", parcel.number, "exchange")
                self._tell(0, Letter(post.WANT, self._rank, 0, number=wanted))
            case Request():
                self._await("answer", self._request(step), "request")
            case Start(effect=Request() as request):
                self._started.append(self._request(request))
            case Wait(handle=int(handle)):
                self._await("answer", self._started[handle], "wait")
            case Send():
                self._mail(post.SEND, self._rank, step)
            case Collect(at_least=needed):
                self._await("arrivals", needed, "collect")
            case RoundOver():
                self._started.clear()
                self._requests = {number: one for number, one in self._requests.items() if one.answer is None}
            case Diverged():
                self._tell(0, Letter(post.DIVERGED, self._rank, 0))
                self._until(lambda: False)
            case _:
                raise TypeError(f"{type(step).__name__} is nothing that a rank can do")

    def _await(self, what: What, number: int, kind: str) -> None:
        self._awaited = Awaited(what, number, self._time.now(), kind)

    def _finish(self, awaited: Awaited) -> bool:
        """Wait for what the program waits for, and keep its answer; whether it has come before the end."""
        if awaited.what == "partner":
            if not self._until(lambda: self._partner is not None):
                return False
            awaited = self._met(awaited)
        if not self._until(lambda: self._is_there(awaited)):
            return False
        with self._turn:
            self._answer = self._taken(awaited)
            self._awaited = None
        self.blocked[BLOCKS[awaited.what]] += self._time.now() - awaited.since
        self._note(awaited.kind, awaited.since)
        return True

    def _is_there(self, awaited: Awaited) -> bool:
        match awaited.what:
            case "swap":
                return bool(self._swapped)
            case "answer":
                return self._requests[awaited.number].answer is not None
            case _:
                return self._inbox_received >= awaited.number

    def _taken(self, awaited: Awaited) -> int | Sequence[int]:
        match awaited.what:
            case "swap":
                return self._swapped.pop(0)
            case "answer":
                answer = self._requests.pop(awaited.number).answer
                assert answer is not None
                return answer
            case _:
                landed, self._inbox = sorted(self._inbox), []
                return tuple(number for *_, number in landed)

    def _compute(self) -> None:
        begin, run = self._time.now(), self.programs.runs[self._rank]
        self.programs.compute_ahead(self._rank)
        left = begin + self._compute_s(run.gradients) - self._time.now()
        if left > 0:
            time.sleep(left)
        self._note("compute", begin)

    def _note(self, kind: str, begin: float, nbytes: int = 0, aggregate_s: float = 0.0) -> None:
        """``nbytes``: of the message that is made, or served."""
        end = self._time.now()
        self.measured.append(
            Step(self._rank, self._rounds, 0, kind, "", begin, end, 0, 0, nbytes, aggregate_s=aggregate_s)
        )

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
            self._check()
            while not self._over and self._paused < self._pauses:
                self._paused += 1
                self._over = self._look()
                self._take_held_back()
            return self._over

    def _check(self) -> None:
        """Raise what a thread has failed with."""
        if self._error is not None:
            raise self._error

    def _take_held_back(self) -> None:
        """Take what has arrived in a pause, now that it is over."""
        for letter in self._cut.taken():
            self._open(letter)

    def waited(self) -> dict[str, float]:
        """Seconds that this worker has waited so far, what it waits for now included."""
        found = dict(self.blocked)
        if self._awaited is not None:
            found[BLOCKS[self._awaited.what]] += self._time.now() - self._awaited.since
        return found

    # exchanges ----------------------------------------------------------------------------

    def _met(self, awaited: Awaited) -> Awaited:
        """Rank 0 has found the partner; the messages of both cross then."""
        with self._turn:
            partner, self._partner = self._partner, None
            assert partner is not None
            self._mail(post.SWAP, self._rank, Exchange(partner, Parcel(awaited.number, 0)))
            self._awaited = found = awaited._replace(what="swap")
            return found

    # requests and one-way messages --------------------------------------------------------

    def _request(self, request: Request[Parcel]) -> int:
        """Send it; its number."""
        number = request.message.number
        with self._turn:
            self._requests[number] = Asked(request.to)
            self._mail(post.REQUEST, self._rank, request)
        return number

    def _serve(self, letter: Letter) -> None:
        begin = self._time.now() if letter.who == self._rank else self._arrival
        served = self._happen(letter.to, letter.who, (letter.number,))
        assert isinstance(served, Served)
        self._note("serve", begin, len(letter.payload), self._time.now() - begin)
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
            if not self._over and not self._cut.holds_back(letter):
                self._open(letter)

    def _open(self, letter: Letter) -> None:
        with self._turn:
            self._arrival = self._time.now()
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
                waiting = (one for one in self._requests.values() if one.to == letter.who and one.answer is None)
                next(waiting).answer = letter.number
            case post.SEND:
                self._inbox_received += 1
                self._inbox.append((letter.round, letter.who, self._inbox_received, letter.number))
            case post.SWAP:
                self._swapped.append(letter.number)
            case post.WANT:
                for one, other in self._meetings.between(letter.who, letter.number):
                    self._tell(one, Letter(post.MATCH, other, one, number=other))
            case post.MATCH:
                self._partner = letter.number
            case post.COUNT:
                if self._pauses == self._paused and (wanted := self.on_count()):
                    self._call(post.LOOK if wanted == "look" else post.PAUSE)
            case post.DIVERGED:
                if self._pauses == self._paused:
                    self._call(post.PAUSE)
            case post.LOOK:
                self.on_look()
            case post.PAUSE:
                self._pauses += 1
        self._turn.notify_all()

    def _call(self, kind: int) -> None:
        """On rank 0: all are to be looked at, or to stop between two events."""
        for rank in range(self._group.size):
            self._tell(rank, Letter(kind, self._rank, rank))

    def _failed(self, error: BaseException) -> None:
        with self._turn:
            if self._error is None:
                lost = isinstance(error, RuntimeError)
                self._error = RankLostError(self._group.words(error)) if lost else error
            self._turn.notify_all()

    # checkpoints --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that this rank needs to go on, in a pause in which all ranks call this."""
        self._cut.make(self.counts, self._check)
        return {
            "programs": self.programs.state_of(self._rank),
            "clock": self._clock,
            "counts": self.counts,
            "answer": self._answer,
            "awaited": None if self._awaited is None else list(self._awaited),
            "requests": [[number, one.to, one.answer] for number, one in self._requests.items()],
            "started": self._started,
            "inbox": self._inbox,
            "received of inbox": self._inbox_received,
            "partner": self._partner,
            "swapped": self._swapped,
            "wanting": self._meetings.wanting,
            "blocked": self.blocked,
            "sent": self.sent,
            "received": self.received,
            "letters": self._cut.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`, before :meth:`run`."""
        self.programs.restore_of(self._rank, state["programs"])
        self._clock, self.counts, self._answer = state["clock"], state["counts"], state["answer"]
        self._awaited = None if state["awaited"] is None else Awaited(*state["awaited"])
        self._requests = {number: Asked(to, answer) for number, to, answer in state["requests"]}
        self._started, self._inbox, self._inbox_received = state["started"], state["inbox"], state["received of inbox"]
        self._partner, self._swapped = state["partner"], state["swapped"]
        self._meetings.wanting = state["wanting"]
        self.blocked, self.sent, self.received = state["blocked"], state["sent"], state["received"]
        self._cut.restore(state["letters"])
