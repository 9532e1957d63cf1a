"""A worker whose server waits for the first k of n messages: it works from answer to answer.

The answer to a round may come while the worker still computes or sends. What it does then is told in
:mod:`simgmc.network.cluster.first_k`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import simpy

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Compress, Compute, Membership
from simgmc.network.cluster.communication import RoundExchange
from simgmc.network.cluster.first_k import FirstKFlows
from simgmc.network.cluster.worker import Turn, WorkerProcess
from simgmc.network.conditions.crashes import Crash


@dataclass
class _Work:
    """A gradient and its message under way."""

    turn: Turn
    """The worker's turn in the round that it was begun in."""
    exchange: RoundExchange
    """Of that round."""
    pieces: list[tuple[int, float, float]] = field(default_factory=list)
    """(category, begin, end) of what is done for it, its end possibly still to come."""
    ready: float | None = None
    """When the message was there."""
    over: bool = False
    """Whether it has been taken or given up."""


class FirstKWorker(WorkerProcess):
    """One worker; a round ends for it with the answer, whatever it is at."""

    _work_under_way: _Work | None = None

    def _take(self, turn: Turn) -> Generator[simpy.Event, object, Crash | None]:
        worker, clock = self._worker, self._clock
        average = _only_average(turn)
        exchange = self._exchange(turn, average)
        assert isinstance(exchange.flows, FirstKFlows)
        execution, began = exchange.flows.execution, clock.now
        work = self._work_under_way
        if work is None:
            work = self._work_under_way = _Work(turn, exchange)
            clock.process(self._prepare(work, average))
        yield exchange.done[worker]
        self._spend(turn, work, exchange, began)
        taken, dropped = worker in execution.taken, not self._settings.options.late == "carried"
        late = work.turn.number < turn.number
        if worker in execution.lost:
            self._timings.note("lost", turn.number, worker)
        elif late or dropped and not taken:
            self._timings.note("absent", turn.number, worker)
        if late and taken:
            self._timings.note("carried", turn.number, worker)
        if taken or dropped:
            work.over = True
            execution.cut_off(worker, clock.now)
            self._work_under_way = None
        return None

    def _prepare(self, work: _Work, average: int) -> Generator[simpy.Event, object, None]:
        """Compute, compress, send; unless the answer comes first and the work is over."""
        clock = self._clock
        for step in range(average):
            cost = work.turn.current.costs.step(step)
            assert isinstance(cost, Compute | Compress)
            category, seconds = self._own_work(work.turn, step, cost)
            began = clock.now
            end = self._settings.done(self._worker, began, seconds)
            work.pieces.append((category, began, end))
            yield clock.until(end)
            if work.over:
                return
        work.ready = clock.now
        work.exchange.ready(self._worker, clock.now)

    def _spend(self, turn: Turn, work: _Work, exchange: RoundExchange, began: float) -> None:
        """What the time from one answer to the next went into, and the seconds with a message of the worker's own
        under way."""
        now = self._clock.now
        for category, start, end in work.pieces:
            start, end = max(start, began), min(end, now)
            if end > start:
                self._worked(turn, category, start, end)
        if work.ready is not None and work.ready < now:
            ready = max(work.ready, began)
            self._account(turn, [exchange], ready, now)
            turn.busy = now - ready

    def _resolve(self, turn: Turn, step: int, membership: Membership) -> Average:
        average = super()._resolve(turn, step, membership)
        if turn.current.costs.step(step + 1) is not None:
            raise _refused(turn)
        return average


def _only_average(turn: Turn) -> int:
    """Which step of the round is the average that it ends with."""
    step = 0
    while isinstance(found := turn.current.costs.step(step), Compute | Compress):
        step += 1
    if not isinstance(found, Average) or found.background:
        raise _refused(turn)
    return step


def _refused(turn: Turn) -> SimgmcError:
    return SimgmcError(
        f"round {turn.number}: a server that waits for the first k messages needs rounds that end with one average"
    )
