"""One worker on the cluster: it walks the steps of every round, and starts the next when it has its own update."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import simpy

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Average, Compress, Compute, Membership, Mix, Wait
from simgmc.network.cluster.communication import Communication, RoundExchange, split
from simgmc.network.cluster.rounds import OpenRound, OpenRounds
from simgmc.network.cluster.timing import TimingBuilder
from simgmc.network.conditions.crashes import Crash
from simgmc.network.conditions.overlap import Overlap
from simgmc.network.exchanges.accounts import CATEGORIES

_COMPUTE, _COMPRESS, _TRANSFER, _LATENCY, _AGGREGATE, _WAIT = range(len(CATEGORIES))
_OWN_WORK, _EXCHANGES = (Compute, Compress), (Average, Mix)


class Stop(Exception):
    """The run ends here, by the stated policy."""


@dataclass
class Turn:
    """One worker's way through one round."""

    number: int
    current: OpenRound
    spent: list[float] = field(default_factory=lambda: [0.0] * len(CATEGORIES))
    """Seconds of each category."""
    busy: float = 0.0
    """Seconds in which an exchange of the worker was under way, hidden or not."""
    computed: int = 0
    """Compute steps so far."""


class WorkerProcess:
    """One worker; :meth:`run` is its SimPy process."""

    def __init__(self, worker: int, communication: Communication, rounds: OpenRounds, timings: TimingBuilder):
        self._worker = worker
        self._communication = communication
        self._settings = communication.settings
        self._clock = communication.clock
        self._recorder = communication.recorder
        self._overlap = communication.settings.condition(Overlap)
        self._rounds = rounds
        self._timings = timings

    def run(self, first: int = 0, start: float = 0.0) -> Generator[simpy.Event, object, None]:
        """Round after round, from the ``first`` which it begins at ``start`` (s), until there are no more or the worker
        is gone for good."""
        number: int | None = first
        if start:
            yield self._clock.until(start)
        while number is not None and (current := self._rounds.get(number)) is not None:
            turn = Turn(number, current)
            crash = yield from self._take(turn)
            if crash is not None:
                number = yield from self._gone(number, crash)
                continue
            self._timings.finish(number, self._worker, self._clock.now, turn.spent, turn.busy)
            self._rounds.passed(number)
            number += 1

    def _take(self, turn: Turn) -> Generator[simpy.Event, object, Crash | None]:
        """Walk the steps of one round; returns the crash that ended it early, if one did."""
        clock, worker = self._clock, self._worker
        costs = turn.current.costs
        pending: dict[int, tuple[RoundExchange, float]] = {}
        step = 0
        while (cost := costs.step(step)) is not None:
            began = clock.now
            if isinstance(cost, _OWN_WORK):
                category, seconds = self._own_work(turn, step, cost)
                if self._overlap is not None and category == _COMPUTE:
                    cut = self._cut(turn, step + 1)
                    if cut is not None:
                        yield from self._overlapped(turn, step + 1, cut, seconds)
                        step += 2
                        continue
                crash = yield from self._work(turn, category, seconds)
                if crash is not None:
                    return crash
            elif isinstance(cost, _EXCHANGES):
                exchange = self._exchange(turn, step)
                if worker not in exchange.place:
                    return Crash(worker, began, began)  # it was gone when the others began, and is back already
                exchange.ready(worker, began)
                if cost.background:
                    pending[step] = (exchange, began)
                else:
                    yield exchange.done[worker]
                    self._account(turn, [exchange], began, clock.now)
                    turn.busy += clock.now - began
            elif isinstance(cost, Wait):
                if cost.step not in pending:
                    raise SimgmcError(
                        f"round {turn.number} waits for step {cost.step}, which started no exchange in the background"
                    )
                exchange, since = pending.pop(cost.step)
                if worker not in exchange.finished or exchange.finished[worker] > began:
                    yield exchange.done[worker]
                    self._account(turn, [exchange], began, clock.now)
                turn.busy += exchange.finished[worker] - since
            else:
                raise SimgmcError(f"round {turn.number} has a step this cluster does not know: {type(cost).__name__}")
            step += 1
        if pending:
            raise SimgmcError(f"round {turn.number} never waits for the exchange that its step {min(pending)} started")
        return None

    # work -----------------------------------------------------------------------------

    def _own_work(self, turn: Turn, step: int, cost: Compute | Compress) -> tuple[int, float]:
        """The category and the seconds of a step that the worker does alone."""
        if isinstance(cost, Compress):
            return _COMPRESS, self._settings.compression.of(cost.nbytes)
        times = turn.current.compute.get(step)
        if times is None:
            times = cost.seconds(self._settings.compute_times(turn.number, turn.computed, cost.gradients))
            turn.current.compute[step] = times
        # Gradients alone are counted, so that methods compared with each other have the same draws.
        turn.computed += 1
        return _COMPUTE, float(times[self._worker])

    def _work(self, turn: Turn, category: int, seconds: float) -> Generator[simpy.Event, object, Crash | None]:
        """Work through pauses and crashes; returns the crash that ended it, if one did."""
        clock, settings, worker = self._clock, self._settings, self._worker
        crashes = settings.crashes
        while True:
            began = clock.now
            end = settings.done(worker, began, seconds)
            crash = crashes.during(worker, began, end) if crashes.workers else None
            if crash is None:
                yield clock.until(end)
                self._worked(turn, category, began, clock.now)
                return None
            if crash.at > began:
                yield clock.until(crash.at)
            if crashes.policy == "stop":
                raise Stop(f"worker{worker} crashed at t = {crash.at:.9g} s")
            if crashes.policy == "without" or crash.back is None:
                return crash
            yield clock.until(crash.back)
            turn.spent[_WAIT] += clock.now - began

    def _worked(self, turn: Turn, category: int, began: float, end: float) -> None:
        turn.spent[category] += end - began
        if self._recorder is not None:
            self._recorder.work(self._worker, CATEGORIES[category], began, end)

    def _gone(self, number: int, crash: Crash) -> Generator[simpy.Event, object, int | None]:
        """A worker is out; the others go on. Returns the round it joins again, None for never."""
        clock, rounds, worker = self._clock, self._rounds, self._worker
        rounds.leave(crash.back is not None)
        if rounds.deserted:
            raise Stop(f"worker{worker}, the last one left, crashed at t = {crash.at:.9g} s for good")

        def miss(missed: int, current: OpenRound) -> None:
            for exchanges in current.exchanges.values():
                for exchange in exchanges:
                    exchange.drop(worker)
            current.gone.add(worker)
            rounds.passed(missed)

        for missed, current in rounds.open_from(number):
            miss(missed, current)
        rounds.on_pull[worker] = miss
        rounds.wake()
        if crash.back is None:
            return None
        yield clock.until(crash.back)
        if rounds.over:
            return None
        target = rounds.pulled
        del rounds.on_pull[worker]
        if rounds.there:
            yield rounds.begun(target)
        rounds.come_back()
        if rounds.get(target) is None:
            return None
        self._timings.rejoin(target, worker, clock.now)
        return target

    # exchanges ------------------------------------------------------------------------

    def _exchange(self, turn: Turn, step: int) -> RoundExchange:
        """The exchange of a step; the first to ask opens it."""
        return turn.current.exchange(step, 0, lambda: self._open(turn, step))

    def _open(self, turn: Turn, step: int) -> RoundExchange:
        current, cost, workers = turn.current, turn.current.costs.step(step), len(self._settings.workers)
        assert isinstance(cost, Average | Mix)
        sizes = cost.up if isinstance(cost, Average) else cost.nbytes
        if len(sizes) != workers:
            raise SimgmcError(f"round {turn.number} has messages of {len(sizes)} workers, the cluster has {workers}")

        def resolve(membership: Membership) -> Average:
            return self._resolve(turn, step, membership)

        return self._communication.open(cost, current.gone, turn.number, resolve)

    def _resolve(self, turn: Turn, step: int, membership: Membership) -> Average:
        return turn.current.costs.resolve(step, membership)

    def _cut(self, turn: Turn, step: int) -> Average | None:
        """The average that is this step, where its message is sent in buckets while the gradient before is computed."""
        cost = turn.current.costs.step(step)
        several = len(self._settings.workers) > 1
        return cost if several and isinstance(cost, Average) and not cost.background else None

    def _overlapped(
        self, turn: Turn, step: int, average: Average, seconds: float
    ) -> Generator[simpy.Event, object, None]:
        """A gradient whose buckets are exchanged while it is still being computed; ``step`` is that of the average."""
        clock, settings, worker, current = self._clock, self._settings, self._worker, turn.current
        overlap = self._overlap
        assert overlap is not None
        pieces = split(average, overlap.buckets)
        began = clock.now
        end = settings.done(worker, began, seconds)
        exchanges: list[RoundExchange] = []
        first = settings.done(worker, began, seconds * overlap.ready(0))

        def resolve(membership: Membership) -> Average:
            raise AssertionError("buckets are of averages that everybody takes part in")

        def stream() -> Generator[simpy.Event, object, None]:
            for bucket, piece in enumerate(pieces):
                ready = settings.done(worker, began, seconds * overlap.ready(bucket))
                if ready > clock.now:
                    yield clock.until(ready)

                def create(piece: Average = piece) -> RoundExchange:
                    return self._communication.open(piece, current.gone, turn.number, resolve)

                exchange = current.exchange(step, bucket, create)
                exchanges.append(exchange)
                exchange.ready(worker, clock.now)
                yield exchange.done[worker]

        sending = clock.process(stream())
        yield clock.until(end)
        self._worked(turn, _COMPUTE, began, end)
        if sending.is_alive:
            yield sending
            self._account(turn, exchanges, end, clock.now)
        turn.busy += clock.now - first

    def _account(self, turn: Turn, exchanges: list[RoundExchange], ready: float, end: float) -> None:
        """Split the time from ``ready`` to ``end`` by the chain of what the worker waited for,
        through a stream of exchanges from the last back to the first."""
        worker, spent = self._worker, turn.spent
        for place in range(len(exchanges) - 1, -1, -1):
            exchange = exchanges[place]
            parts, origin, time = exchange.back(worker, ready, end)
            if self._recorder is not None:
                participant = exchange.place[worker]
                self._recorder.blocked(self._worker, turn.number, exchange.execution, participant, ready, end)
            for category, seconds in enumerate(parts, _TRANSFER):
                spent[category] += seconds
            end = time
            # Readiness that came from the exchange before, not from compute, is followed further.
            if place == 0 or time <= ready or exchanges[place - 1].finished.get(origin) != time:
                break
            worker = origin
        spent[_WAIT] += max(end - ready, 0.0)
