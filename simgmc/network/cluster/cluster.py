"""Workers on a simulated cluster: from the costs of rounds to simulated time.

Every worker is a SimPy process that walks the steps of each round; the first to need a
round pulls it for all. A worker starts its next round as soon as it has its own update.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import simpy

from simgmc.core.errors import DivergenceError
from simgmc.costs.steps import Round, RoundCosts, with_everybody
from simgmc.network.cluster.at_once import AtOnce, HandedOver, kind, nothing_but_messages
from simgmc.network.cluster.communication import Communication
from simgmc.network.cluster.fabric import Fabric
from simgmc.network.cluster.first_k_worker import FirstKWorker
from simgmc.network.cluster.rounds import OpenRounds
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.cluster.timing import Timing, TimingBuilder
from simgmc.network.cluster.worker import Stop, WorkerProcess
from simgmc.network.collectives.accounts import CATEGORIES
from simgmc.network.flows.fluid import CapacityError, StuckError
from simgmc.network.shortcuts.side_by_side import side_by_side

T = TypeVar("T")


class Cluster:
    """A network with workers on it; :func:`simulate` is the usual way in."""

    def __init__(self, settings: ClusterSettings, recorder: Recorder | None = None):
        self.settings = settings
        self.fabric = Fabric(settings)
        self.clock = self.fabric.clock
        self.communication = Communication(settings, self.clock, self.fabric.network, recorder)

    def run(
        self,
        rounds: Iterable[Round],
        on_round: Callable[[int, float], None] | None,
        before: HandedOver | None = None,
    ) -> Timing:
        """Walk all rounds with all workers; ``before``: the rounds that went before on this network."""
        settings, communication = self.settings, self.communication
        if before is None:
            first, starts = 0, np.zeros(len(settings.workers))
            timings = TimingBuilder(
                len(starts), self.fabric.links, None, communication.chosen, settings.waits_for_first
            )
        else:
            first, starts, timings = before.first, before.starts, before.timings
        timings.on_round = on_round
        open_rounds = OpenRounds(iter(rounds), communication, timings, first)
        kind = FirstKWorker if settings.waits_for_first else WorkerProcess
        processes = [
            self.clock.process(kind(worker, communication, open_rounds, timings).run(first, start))
            for worker, start in enumerate(starts.tolist())
        ]
        try:
            self.fabric.run(simpy.AllOf(self.clock, processes))
        except (Stop, StuckError) as stop:
            timings.stopped = str(stop)
        except DivergenceError:
            pass  # in the middle of a round, which nobody finishes; whoever trains knows
        except CapacityError as error:
            raise CapacityError(f"{error} (round {open_rounds.pulled - 1})") from error
        timings.background_bytes = self.fabric.background_bytes
        timings.held = self.fabric.network.held
        return timings.timing()


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
    if recorder is None and nothing_but_messages(settings):
        return _at_once(settings, iter(rounds), on_round)
    return Cluster(settings, recorder).run(rounds, on_round)


def _at_once(
    settings: ClusterSettings, rounds: Iterator[Round], on_round: Callable[[int, float], None] | None
) -> Timing:
    """As :func:`simulate`, without events for as long as no exchange can meet another.

    From where one can, all is events, beginning with the first round of which anything may be on its way then.
    """
    walked, kept, told = AtOnce([settings]), [], 0
    for costs in _known(rounds, len(settings.workers)):
        kept.append(costs)
        walked.walk(costs)
        if (before := walked.handed_over.get(0)) is not None:
            return Cluster(settings).run(itertools.chain(kept[before.first :], rounds), on_round, before)
        told = _tell(walked, told, walked.final, on_round)
    _tell(walked, told, walked.rounds, on_round)
    return walked.timing(0)


def _known(rounds: Iterator[Round], workers: int) -> Iterator[RoundCosts]:
    """Rounds with everybody in their averages, up to one that diverges; whoever trains knows."""
    with contextlib.suppress(DivergenceError):
        for costs in rounds:
            yield with_everybody(costs, workers)


def _tell(walked: AtOnce, told: int, until: int, on_round: Callable[[int, float], None] | None) -> int:
    """Tell of rounds that are over; returns how many these are in all."""
    if on_round is not None:
        for number in range(told, until):
            on_round(number, float(walked.ends[number].max()))
    return until


_NUMBERS = 2**23
"""Numbers that the walks through rounds on many networks keep at a time, about: 8 bytes each."""


def simulate_many(
    settings: Sequence[ClusterSettings],
    rounds: Sequence[RoundCosts],
    on_round: Callable[[int, float], None] | None = None,
) -> Iterator[Timing]:
    """Simulated time of the same rounds on many clusters, in their order: the bits of :func:`simulate` on each.

    Clusters that differ in numbers alone are walked together, where no exchange can meet another on any link; the
    others are simulated by events, in processes side by side where that is worth it. ``on_round`` is told of the rounds
    on a single one of these, as in :func:`simulate`.
    """
    if not settings:
        return
    kept = len(rounds) * len(settings[0].workers) * (len(CATEGORIES) + 2)
    for batch in batched(settings, max(1, _NUMBERS // max(1, kept))):
        alike: dict[str, list[ClusterSettings]] = {}
        place: list[tuple[str, int]] = []
        for one in batch:
            name = kind(one) if nothing_but_messages(one) else ""
            place.append((name, len(alike.setdefault(name, []))))
            alike[name].append(one)
        walked = {name: _walk_all(found, rounds) for name, found in alike.items() if name and len(found) > 1}
        jobs: list[_Job] = []
        for one, (name, number) in zip(batch, place, strict=True):
            if (together := walked.get(name)) is None:
                jobs.append((one, None))
            elif (before := together.handed_over.get(number)) is not None:
                jobs.append((one, before))
        work = partial(_simulated, rounds) if len(jobs) > 1 else partial(_simulated, rounds, on_round=on_round)
        simulated = side_by_side(work, jobs)
        for name, number in place:
            together = walked.get(name)
            if together is None or number in together.handed_over:
                yield next(simulated)
            else:
                yield together.timing(number)


_Job = tuple[ClusterSettings, HandedOver | None]
"""A cluster, and the rounds that were walked on it."""


def _simulated(rounds: Sequence[RoundCosts], job: _Job, on_round: Callable[[int, float], None] | None = None) -> Timing:
    one, before = job
    if before is None:
        return simulate(one, rounds, on_round)
    return Cluster(one).run(rounds[before.first :], on_round, before)


def without_events(settings: ClusterSettings, rounds: Sequence[RoundCosts]) -> bool:
    """Whether all rounds can be simulated there without events, and so on many such clusters together."""
    return nothing_but_messages(settings) and bool(_walk_all([settings], rounds).on.all())


def _walk_all(settings: Sequence[ClusterSettings], rounds: Sequence[RoundCosts]) -> AtOnce:
    """All rounds on all of these clusters, on each for as long as no exchange may meet another."""
    walked = AtOnce(settings)
    for costs in _known(iter(rounds), len(settings[0].workers)):
        walked.walk(costs)
        if not walked.on.any():
            break
    return walked


def batched(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Pieces of at most so many items, in order."""
    for first in range(0, len(items), most):
        yield items[first : first + most]


__all__ = ["Cluster", "ClusterSettings", "StuckError", "Timing", "simulate", "simulate_many", "without_events"]
