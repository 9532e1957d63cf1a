"""One worker of a synchronous training, in a process of its own.

The round is the stacked one (:mod:`simgmc.training.rounds`) on vectors ``(1, d)``: the same program and the same
treatment of gradients. Where that looks at everybody's rows, this sends and receives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import Message
from simgmc.core.errors import SimgmcError
from simgmc.costs import steps as costs
from simgmc.distributed import measured
from simgmc.distributed.carriers import Carried, Carriers, Task, largest
from simgmc.distributed.clock import Clock
from simgmc.distributed.group import Group, Wire, calls_of_gathering
from simgmc.distributed.measured import Step
from simgmc.mixing import Mixing
from simgmc.training.absent import Absent
from simgmc.training.as_one import joined_rows
from simgmc.training.rounds import Asked, StackedRound
from simgmc.training.stacked import StackedTrainer

GOSSIP = "send and receive to and from each neighbour"


@dataclass
class Seen:
    """All workers' models as they were looked at last; on rank 0 alone."""

    points: Tensor
    """(K, d) where the method is evaluated; (1, d) where all hold the same."""
    others: dict[str, Tensor] = field(default_factory=dict)
    """Its other points, likewise."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Added over workers."""


class RankTrainer(StackedTrainer):
    """The trainer of one worker; the others are those of other processes.

    Models and metrics are those of all workers as :meth:`look` saw them last, on rank 0.
    """

    seen: Seen
    usually_absent: Absent | None = None
    """What no rank had a gradient of in the first pass."""
    on_over: Callable[[], None] = staticmethod(lambda: None)
    """Called when training is over, and in order."""

    def prepare(self, group: Group, carriers: Carriers, clock: Clock, compute_s: Callable[[int, int], float]) -> None:
        """``compute_s(round, step)``: seconds that this worker's gradient lasts at least."""
        self.group, self.carriers, self.clock = group, carriers, clock
        self._compute_s = compute_s
        self.measured: list[Step] = []
        """What was measured since :meth:`look` was called last."""
        self.costs: list[costs.RoundCosts] = []
        """What the rounds since then cost, as far as this rank knows."""
        self.under_way: RankRound | None = None
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="exchanges in the background")

    def next_round(self) -> RankRound:
        return RankRound(self)

    def run_round(self) -> None:
        """One round from its begin to its end."""
        number, begin, sent, received = self.rounds, self.clock.now(), self.group.sent, self.group.received
        under_way = self.next_round()
        under_way.with_everybody()
        self.under_way = None
        self.costs.append(costs.RoundCosts(under_way.steps))
        moved = self.group.sent - sent, self.group.received - received
        self.measured.append(Step(self.group.rank, number, -1, "round", "", begin, self.clock.now(), *moved, 0))

    def gradients_of(self, ranks: Sequence[int], rows: Tensor) -> Tensor:
        round = self.under_way
        assert round is not None
        step, begin = len(round.steps), self.clock.now()
        found = super().gradients_of(ranks, rows)
        if found.device.type == "cuda":
            torch.cuda.synchronize(found.device)
        left = begin + self._compute_s(self.rounds, step) - self.clock.now()
        if left > 0:
            time.sleep(left)
        self.note(step, "compute", begin)
        return found

    def note(self, step: int, kind: str, begin: float, end: float | None = None, **more: Any) -> None:
        """Keep what was measured of a step of the round under way."""
        end = self.clock.now() if end is None else end
        values: dict[str, Any] = {"carried_by": "", "bytes_sent": 0, "bytes_received": 0, "nbytes": 0} | more
        self.measured.append(Step(self.group.rank, self.rounds, step, kind, begin_s=begin, end_s=end, **values))

    def behind(self, work: Callable[[], Carried | Tensor]) -> Future:
        """Begin an exchange and go on; exchanges behind others wait for them."""
        return self._behind.submit(work)

    def close(self) -> None:
        """Let go of what works in the background."""
        self._behind.shutdown(wait=False, cancel_futures=True)

    # evaluation ---------------------------------------------------------------------------

    def look(self) -> tuple[list[Step], list[costs.RoundCosts]]:
        """Gather what all workers hold, measured and know of costs; on rank 0 it is there afterwards.

        The measured steps of all ranks, and the rounds since it was called last, are returned there.
        """
        own = {
            "point": self.algorithm.model(self.worker),
            "others": self.algorithm.other_models(self.worker),
            "metrics": self.algorithm.metrics(self.worker),
            "buffers": {name: rows[self.group.rank] for name, rows in self.workload.state_dict().items()},
            "measured": self.measured,
            "costs": self.costs,
        }
        self.measured, self.costs = [], []
        every = self.group.gathered({name: _on_cpu(value) for name, value in own.items()})
        if not every:
            return [], []
        device = self.workload.device
        names = every[0]["others"]
        self.seen = Seen(
            joined_rows([one["point"][0].to(device) for one in every]),
            {name: joined_rows([one["others"][name][0].to(device) for one in every]) for name in names},
            {name: sum(one["metrics"][name] for one in every) for name in every[0]["metrics"]},
        )
        if every[0]["buffers"]:
            self.workload.load_state_dict(
                {name: _stacked([one["buffers"][name] for one in every], device) for name in every[0]["buffers"]}
            )
        rounds = [merged(parts) for parts in zip(*(one["costs"] for one in every), strict=True)]
        return [step for one in every for step in one["measured"]], rounds

    def model(self) -> Tensor:
        return self._mean_over_workers(self.seen.points)

    def models(self) -> list[Tensor]:
        return list(self.seen.points) if len(self.seen.points) > 1 else []

    def other_models(self) -> dict[str, Tensor]:
        return {name: self._mean_over_workers(rows) for name, rows in self.seen.others.items()}

    def metrics(self) -> dict[str, float]:
        return self.seen.metrics


def _on_cpu(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _on_cpu(one) for name, one in value.items()}
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _stacked(rows: list[Any], device: torch.device) -> Any:
    return torch.stack(rows).to(device) if isinstance(rows[0], Tensor) else rows


def merged(parts: Sequence[costs.RoundCosts]) -> costs.RoundCosts:
    """What a round cost, from what each rank knows: its own message's size, and of the answer what rank 0 knows."""

    def own(name: str, steps: Sequence[Any]) -> np.ndarray:
        return np.array([getattr(step, name)[rank] for rank, step in enumerate(steps)])

    found: list[costs.Step] = []
    for steps in zip(*parts, strict=True):
        match steps[0]:
            case costs.Average() as first:
                found.append(replace(first, up=own("up", steps), floats_up=own("floats_up", steps)))
            case costs.Mix() as first:
                found.append(replace(first, nbytes=own("nbytes", steps), floats=own("floats", steps)))
            case other:
                found.append(other)
    return costs.RoundCosts(found)


@dataclass
class _Behind:
    """An exchange in the background."""

    step: int
    future: Future


class RankRound(StackedRound):
    """One worker's round. Averages and mixes are exchanges between processes; each step is timed."""

    _stack: RankTrainer

    def __init__(self, trainer: RankTrainer):
        trainer.under_way = self
        self._since = trainer.clock.now()
        """When the program was answered last."""
        super().__init__(trainer)

    def _perform(self, effect: object) -> object:
        answer = super()._perform(effect)
        self._since = self._stack.clock.now()
        return answer

    def _without_gradient_everywhere(self, absent: Absent) -> Absent:
        stack, own = self._stack, absent.everywhere()
        if stack.usually_absent is None:
            begin = stack.clock.now()
            of_each = stack.group.gathered(sorted(own.rows[0]), everywhere=True)
            calls = measured.calls_text(calls_of_gathering(of_each))
            stack.note(len(self.steps) - 1, "tell", begin, calls=calls)
            stack.usually_absent = Absent(own.layout, tuple(map(frozenset, of_each))).everywhere()
        if own != stack.usually_absent:
            number = min(own.rows[0] ^ stack.usually_absent.rows[0])
            raise SimgmcError(
                f"parameter {own.layout.names[number]} has a gradient on some minibatches alone: {stack.name} steps "
                "along a mean, and on real processes no rank knows then what the others have a gradient of"
            )
        return own

    def _sent(self, content: Message | Tensor) -> Message:
        message = super()._sent(content)
        if message.compressed:
            self._stack.note(len(self.steps) - 1, "compress", self._since, nbytes=int(message.nbytes[0]))
        return message

    def _averaged(
        self, asked: Asked, unresolved: costs.Average, membership: costs.Membership
    ) -> tuple[Any, costs.Average]:
        stack, step = self._stack, len(self.steps) - 1
        task = self._task(asked)
        carrier = stack.carriers.of(task)

        def exchange(wire: Wire) -> Carried:
            work = lambda: carrier.carry(wire, task)  # noqa: E731
            return self._timed(step, "average", carrier.words, wire, asked.message, work)

        if asked.background:
            return _Behind(step, stack.behind(lambda: exchange(stack.group.background))), unresolved
        carried = exchange(stack.group.wire)
        self._since = stack.clock.now()
        return carried.answer.dense(), self._cost(unresolved, carried)

    def _task(self, asked: Asked) -> Task:
        stack, everybody, reply = self._stack, sorted(self._workers), asked.reply
        numbers = asked.numbers is not None

        def replied(mean: Message) -> Message:
            assert reply is not None
            return self._message(reply(mean.dense()))

        return Task(
            message=asked.message,
            combine=largest if numbers else lambda messages: stack.mean(messages, everybody),
            mean=not numbers,
            shares=stack.shares_among(everybody),
            reply=None if reply is None else replied,
            calls=lambda: stack.worker._calls,
            skip=lambda count: setattr(stack.worker, "_calls", stack.worker._calls + count),
        )

    @staticmethod
    def _cost(unresolved: costs.Average, carried: Carried) -> costs.Average:
        return replace(unresolved, down=carried.down, floats_down=carried.floats_down, partial=carried.partial)

    def _mixed(self, message: Message, mixing: Mixing, number: int, background: bool) -> Any:
        step = len(self.steps) - 1

        def exchange(wire: Wire) -> Carried:
            return self._timed(step, "mix", GOSSIP, wire, message, lambda: self._mix_on(wire, message, mixing, number))

        if background:
            return _Behind(step, self._stack.behind(lambda: exchange(self._stack.group.background)))
        return exchange(self._stack.group.wire).answer

    def _mix_on(self, wire: Wire, message: Message, mixing: Mixing, number: int) -> Mixed:
        rank, payload = self._stack.group.rank, message.encode()
        row = mixing.row(number, rank)
        senders = [sender for sender, _ in row if sender != rank]
        targets = mixing.neighbours(number, rank)
        if message.same_length:
            lengths = [len(payload)] * len(senders)
        else:
            size = len(payload).to_bytes(8, "little")
            told = wire.exchange([(target, size) for target in targets], [(one, 8) for one in senders], about=True)
            lengths = [int.from_bytes(one, "little") for one in told]
        arrived = wire.exchange([(target, payload) for target in targets], list(zip(senders, lengths, strict=True)))
        began = time.perf_counter()
        found = dict(zip(senders, arrived, strict=True)) | {rank: payload}
        held = message.decode([found[sender] for sender, _ in row]).dense()
        answer = torch.zeros_like(held[:1])
        for (_, weight), one in zip(row, held, strict=True):
            answer += weight * one
        return Mixed(answer, time.perf_counter() - began)

    def _timed(self, step: int, kind: str, words: str, wire: Wire, message: Message, work: Callable[[], Any]) -> Any:
        begin, sent, received, seconds = self._stack.clock.now(), wire.sent, wire.received, wire.seconds
        found = work()
        self._stack.note(
            step,
            kind,
            begin,
            carried_by=words,
            bytes_sent=wire.sent - sent,
            bytes_received=wire.received - received,
            nbytes=int(message.nbytes[0]),
            wire_s=wire.seconds - seconds,
            aggregate_s=found.aggregate_s,
            behind=int(wire is not self._stack.group.wire),
            calls=measured.calls_text(wire.taken_calls()),
        )
        return found

    def _landed(self, answer: Any) -> Any:
        begin = self._stack.clock.now()
        found = answer.future.result()
        self._stack.note(len(self.steps) - 1, "wait", begin)
        if isinstance(found, Carried):
            unresolved = self.steps[answer.step]
            assert isinstance(unresolved, costs.Average)
            self.steps[answer.step] = self._cost(unresolved, found)
            return found.answer.dense()
        return found.answer


@dataclass
class Mixed:
    """What came of a mix."""

    answer: Tensor
    """(1, d)"""
    aggregate_s: float
