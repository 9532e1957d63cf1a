"""Workers on a simulated cluster: from the costs of rounds to simulated time.

Every worker is a SimPy process that walks the steps of each round; the first to need a
round pulls it for all. A worker starts its next round as soon as it has its own update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import simpy

from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs.steps import Average, Compress, Compute, Membership, Mix, Round, Wait
from simgmc.network.cluster.breakdown import CATEGORIES
from simgmc.network.cluster.communication import Communication, Joint, split
from simgmc.network.cluster.fabric import Fabric
from simgmc.network.cluster.first_k import FirstK
from simgmc.network.cluster.rounds import OpenRound, OpenRounds
from simgmc.network.cluster.settings import ClusterSettings, Overlap
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.cluster.timing import Record, Timing
from simgmc.network.conditions.faults import Crash
from simgmc.network.flows.fluid import CapacityError, StuckError

_COMPUTE, _COMPRESS, _TRANSFER, _LATENCY, _AGGREGATE, _WAIT = range(len(CATEGORIES))


class _Stop(Exception):
    """The run ends here, by the stated policy."""


class Cluster:
    """A network with workers on it; :func:`simulate` is the usual way in."""

    def __init__(self, settings: ClusterSettings, recorder: Recorder | None = None):
        self.settings = settings
        self.fabric = Fabric(settings)
        self.clock = self.fabric.clock
        self.recorder = recorder
        self.communication = Communication(settings, self.clock, self.fabric.network, recorder)

    def run(self, rounds: Iterable[Round], on_round: Callable[[int, float], None] | None) -> Timing:
        """Walk all rounds with all workers."""
        workers = len(self.settings.workers)
        record = Record(workers, self.fabric.links, on_round, self.communication.chosen)
        source = OpenRounds(iter(rounds), self.clock, workers, self.settings.leaves_out)
        walk = self._worker
        if self.settings.waits_for_first:
            walk = FirstK(self.settings, self.clock, self.fabric.network, self.recorder, self._pass).worker
        processes = [self.clock.process(walk(worker, source, record)) for worker in range(workers)]
        try:
            self.fabric.run(simpy.AllOf(self.clock, processes))
        except _Stop as stop:
            record.stopped = str(stop)
        except StuckError as stuck:
            record.stopped = str(stuck)
        except DivergenceError:
            pass  # in the middle of a round, which nobody finishes; whoever trains knows
        except CapacityError as error:
            raise CapacityError(f"{error} (round {source.pulled - 1})") from error
        record.background_bytes = self.fabric.background_bytes
        return record.timing()

    def _worker(self, worker: int, source: OpenRounds, record: Record) -> Iterator[simpy.Event]:
        clock, settings = self.clock, self.settings
        workers = len(settings.workers)
        number = 0
        while (current := source.get(number)) is not None:
            spent = [0.0] * len(CATEGORIES)
            busy = 0.0
            pending: dict[int, tuple[Joint, float]] = {}
            crash: Crash | None = None
            step = computed = 0
            while crash is None and (cost := current.costs.step(step)) is not None:
                began = clock.now
                if isinstance(cost, Compute):
                    if step not in current.compute:
                        current.compute[step] = settings.compute.times(number, computed, cost.gradients, workers)
                    computed += (
                        1  # of the gradients alone, so that methods compared with each other have the same draws
                    )
                    seconds = float(current.compute[step][worker])
                    if (
                        settings.overlap is not None
                        and workers > 1
                        and isinstance(current.costs.step(step + 1), Average)
                    ):
                        busy += yield from self._overlapped(
                            worker, number, step, current, seconds, settings.overlap, spent
                        )
                        step += 1
                    else:
                        crash = yield from self._work(worker, seconds, spent, _COMPUTE)
                elif isinstance(cost, Compress):
                    crash = yield from self._work(worker, settings.compression.of(cost.nbytes), spent, _COMPRESS)
                elif isinstance(cost, Average | Mix):
                    sizes = cost.up if isinstance(cost, Average) else cost.nbytes
                    if len(sizes) != workers:
                        raise SimgmcError(
                            f"round {number} has messages of {len(sizes)} workers, the cluster has {workers}"
                        )
                    joint = self._joint(current, step, number)
                    if worker in joint.members:
                        joint.ready(worker, began)
                        if cost.background:
                            pending[step] = (joint, began)
                            step += 1
                            continue
                        yield joint.done[worker]
                        self._account(spent, [joint], worker, began, clock.now)
                        busy += clock.now - began
                    else:
                        # It was gone when the others began, and is back already.
                        crash = Crash(worker, began, began)
                elif isinstance(cost, Wait):
                    if cost.step not in pending:
                        raise SimgmcError(
                            f"round {number} joins step {cost.step}, which started no exchange in the background"
                        )
                    joint, since = pending.pop(cost.step)
                    if worker not in joint.finished or joint.finished[worker] > began:
                        yield joint.done[worker]
                        self._account(spent, [joint], worker, began, clock.now)
                    busy += joint.finished[worker] - since
                else:
                    raise SimgmcError(f"round {number} has a step this cluster does not know: {type(cost).__name__}")
                step += 1
            if crash is not None:
                back = yield from self._gone(worker, number, crash, source, record)
                if back is None:
                    return
                number = back
                continue
            if pending:
                raise SimgmcError(f"round {number} never joins the exchange that its step {min(pending)} started")
            record.finish(number, worker, clock.now, spent, busy)
            self._pass(number, current, source, record)
            number += 1

    def _joint(self, current: OpenRound, step: int, number: int) -> Joint:
        """The exchange of a step; the first to ask opens it."""

        def resolve(membership: Membership) -> Average:
            return current.costs.resolve(step, membership)

        return current.joint(
            step,
            0,
            lambda: self.communication.open(current.costs.step(step), current.apart, current.gone, number, resolve),
        )

    def _pass(self, number: int, current: OpenRound, source: OpenRounds, record: Record) -> None:
        """One worker is through with a round; the last one closes it."""
        current.finished += 1
        if current.finished == len(self.settings.workers):
            exchanges = [joint for joints in current.joints.values() for joint in joints]
            for joint in exchanges:
                joint.check(number)
            record.close(number, [joint.moved() for joint in exchanges], self.clock.now)
            source.forget(number)

    def _work(self, worker: int, seconds: float, spent: list[float], category: int) -> Iterator[simpy.Event]:
        """Work at a worker, through pauses and crashes; returns the crash that ended it, if one did."""
        clock, settings = self.clock, self.settings
        while True:
            began = clock.now
            end = settings.compute.done(worker, began, seconds)
            crash = settings.faults.during(worker, began, end) if settings.faults.crashes else None
            if crash is None:
                yield clock.until(end)
                spent[category] += clock.now - began
                if self.recorder is not None:
                    self.recorder.work(worker, CATEGORIES[category], began, clock.now)
                return None
            if crash.at > began:
                yield clock.until(crash.at)
            if settings.faults.policy == "stop":
                raise _Stop(f"worker{worker} crashed at t = {crash.at:.9g} s")
            if settings.faults.policy == "without":
                return crash
            yield clock.until(crash.back)
            spent[_WAIT] += clock.now - began

    def _gone(
        self, worker: int, number: int, crash: Crash, source: OpenRounds, record: Record
    ) -> Iterator[simpy.Event]:
        """A worker is out; the others go on. Returns the round it joins again, None for never."""
        clock = self.clock
        source.leave(crash.back is not None)
        if source.deserted:
            raise _Stop(f"worker{worker}, the last one left, crashed at t = {crash.at:.9g} s for good")
        for missed in source.open_rounds(number):
            for joints in source.get(missed).joints.values():
                for joint in joints:
                    joint.drop(worker)
            source.get(missed).gone.add(worker)
            self._pass(missed, source.get(missed), source, record)

        def miss(missed: int, current: Round) -> None:
            current.gone.add(worker)
            self._pass(missed, current, source, record)

        source.on_pull[worker] = miss
        source.wake()
        if crash.back is None:
            return None
        yield clock.until(crash.back)
        if source.over:
            return None
        target = source.pulled
        del source.on_pull[worker]
        if source.there:
            yield source.begun(target)
        source.come_back()
        if source.get(target) is None:
            return None
        record.rejoin(target, worker, clock.now)
        return target

    def _overlapped(
        self,
        worker: int,
        number: int,
        step: int,
        current: OpenRound,
        seconds: float,
        overlap: Overlap,
        spent: list[float],
    ) -> Iterator[simpy.Event]:
        """A gradient whose buckets are exchanged while it is still being computed. Returns the
        seconds in which an exchange was under way."""
        clock, settings = self.clock, self.settings
        average = current.costs.step(step + 1)
        pieces = split(average, overlap.buckets)
        began = clock.now
        end = settings.compute.done(worker, began, seconds)
        joints: list[Joint] = []
        first = settings.compute.done(worker, began, seconds * overlap.ready(0))

        def stream() -> Iterator[simpy.Event]:
            for bucket, piece in enumerate(pieces):
                ready = settings.compute.done(worker, began, seconds * overlap.ready(bucket))
                if ready > clock.now:
                    yield clock.until(ready)
                joint = current.joint(
                    step + 1,
                    bucket,
                    lambda piece=piece: self.communication.open(piece, current.apart, current.gone, number),
                )
                joints.append(joint)
                joint.ready(worker, clock.now)
                yield joint.done[worker]

        sending = clock.process(stream())
        yield clock.until(end)
        spent[_COMPUTE] += end - began
        if self.recorder is not None:
            self.recorder.work(worker, "compute", began, end)
        if sending.is_alive:
            yield sending
            self._account(spent, joints, worker, end, clock.now)
        return clock.now - first

    def _account(self, spent: list[float], joints: list[Joint], worker: int, ready: float, end: float) -> None:
        """Split the time from ``ready`` to ``end`` by the chain of what the worker waited for,
        through a stream of exchanges from the last back to the first."""
        waiting = worker
        for place in range(len(joints) - 1, -1, -1):
            joint = joints[place]
            parts, origin, time = joint.back(worker, ready, end)
            if self.recorder is not None:
                participant = joint.members.index(worker)
                self.recorder.blocked(waiting, joint.number, joint.inner.execution, participant, ready, end)
            for category, seconds in enumerate(parts, _TRANSFER):
                spent[category] += seconds
            end = time
            # Readiness that came from the exchange before, not from compute, is followed further.
            if place == 0 or time <= ready or joints[place - 1].finished.get(origin) != time:
                break
            worker = origin
        spent[_WAIT] += max(end - ready, 0.0)


def simulate(
    settings: ClusterSettings,
    rounds: Iterable[Round],
    on_round: Callable[[int, float], None] | None = None,
    recorder: Recorder | None = None,
) -> Timing:
    """Simulated time of a sequence of rounds on a cluster.

    ``rounds`` is consumed lazily: round t is pulled when the first worker needs it. Each is
    told who takes part in its averages: at once, unless the clock decides (crashes that the others
    go on after, a server that waits for the first k).
    ``on_round(t, time)`` is called when the last worker has finished round t. ``recorder``
    keeps what every worker, flow and link did (every event is then simulated).

    A flow that can never finish ends the run there and then, as a crash whose policy is to stop
    does (:attr:`Timing.stopped`).

    Raises :class:`~simgmc.core.errors.SimgmcError` for a collective that cannot carry the messages.
    """
    return Cluster(settings, recorder).run(rounds, on_round)


__all__ = ["Cluster", "ClusterSettings", "StuckError", "Timing", "simulate"]
