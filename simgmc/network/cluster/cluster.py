"""Workers on a simulated cluster: from the costs of rounds to simulated time.

Every worker is a SimPy process that walks the steps of each round; the first to need a
round pulls it for all. A worker starts its next round as soon as it has its own update.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import simpy

from simgmc.core.errors import DivergenceError
from simgmc.costs.steps import Round, RoundCosts, with_everybody
from simgmc.network.cluster.communication import Communication
from simgmc.network.cluster.fabric import Fabric
from simgmc.network.cluster.first_k_worker import FirstKWorker
from simgmc.network.cluster.rounds import OpenRounds
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.cluster.timing import Timing, TimingBuilder
from simgmc.network.cluster.walks.at_once import AtOnce, HandedOver
from simgmc.network.cluster.walks.provable import nothing_but_messages
from simgmc.network.cluster.worker import Stop, WorkerProcess
from simgmc.network.flows.fluid import CapacityError, StuckError

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
        until: float = math.inf,
    ) -> Timing:
        """Walk all rounds with all workers, until a simulated second at most; ``before``: the rounds that went before
        on this network."""
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
            over: simpy.Event = simpy.AllOf(self.clock, processes)
            if until < math.inf:
                over = simpy.AnyOf(self.clock, (over, self.clock.until(until)))
            self.fabric.run(over)
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
    until: float = math.inf,
) -> Timing:
    """Simulated time of a sequence of rounds on a cluster.

    ``rounds`` is consumed lazily: round t is pulled when the first worker needs it. Each is
    told who takes part in its averages: at once, unless the clock decides (crashes that the others
    go on after, a server that waits for the first k).
    ``on_round(t, time)`` is called when the last worker has finished round t. ``recorder``
    keeps what every worker, flow and link did (every event is then simulated). ``until``: a simulated second at which
    it ends where events are simulated, with the rounds that all have finished by then.

    A flow that can never finish ends the run there and then, as a crash whose policy is to stop
    does (:attr:`Timing.stopped`).

    Raises :class:`~simgmc.core.errors.SimgmcError` for a collective that cannot carry the messages.
    """
    if recorder is None and nothing_but_messages(settings):
        return _at_once(settings, iter(rounds), on_round)
    return Cluster(settings, recorder).run(rounds, on_round, until=until)


def _at_once(
    settings: ClusterSettings, rounds: Iterator[Round], on_round: Callable[[int, float], None] | None
) -> Timing:
    """As :func:`simulate`, without events for as long as no exchange can meet another.

    From where one can, all is events, beginning with the first round of which anything may be on its way then.
    """
    walked, kept, told = AtOnce([settings]), [], 0
    for costs in known(rounds, len(settings.workers)):
        kept.append(costs)
        walked.walk(costs)
        if (before := walked.handed_over.get(0)) is not None:
            return Cluster(settings).run(itertools.chain(kept[before.first :], rounds), on_round, before)
        told = _tell(walked, told, walked.final, on_round)
    _tell(walked, told, walked.rounds, on_round)
    return walked.timing(0)


def known(rounds: Iterator[Round], workers: int) -> Iterator[RoundCosts]:
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


__all__ = [
    "Cluster",
    "ClusterSettings",
    "StuckError",
    "Timing",
    "simulate",
]
