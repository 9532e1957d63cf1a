"""Workers on a simulated cluster: from the costs of rounds to simulated time.

Every worker is a SimPy process that walks the steps of each round; the first to need a
round pulls it for all. A worker starts its next round as soon as it has its own update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import simpy

from simgmc.core.errors import DivergenceError
from simgmc.costs.steps import Round
from simgmc.network.cluster.communication import Communication
from simgmc.network.cluster.fabric import Fabric
from simgmc.network.cluster.first_k_worker import FirstKWorker
from simgmc.network.cluster.rounds import OpenRounds
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.cluster.timing import Timing, TimingBuilder
from simgmc.network.cluster.worker import Stop, WorkerProcess
from simgmc.network.flows.fluid import CapacityError, StuckError


class Cluster:
    """A network with workers on it; :func:`simulate` is the usual way in."""

    def __init__(self, settings: ClusterSettings, recorder: Recorder | None = None):
        self.settings = settings
        self.fabric = Fabric(settings)
        self.clock = self.fabric.clock
        self.communication = Communication(settings, self.clock, self.fabric.network, recorder)

    def run(self, rounds: Iterable[Round], on_round: Callable[[int, float], None] | None) -> Timing:
        """Walk all rounds with all workers."""
        settings, communication = self.settings, self.communication
        workers = range(len(settings.workers))
        timings = TimingBuilder(
            len(workers), self.fabric.links, on_round, communication.chosen, settings.waits_for_first
        )
        open_rounds = OpenRounds(iter(rounds), communication, timings)
        kind = FirstKWorker if settings.waits_for_first else WorkerProcess
        processes = [self.clock.process(kind(worker, communication, open_rounds, timings).run()) for worker in workers]
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
    return Cluster(settings, recorder).run(rounds, on_round)


__all__ = ["Cluster", "ClusterSettings", "StuckError", "Timing", "simulate"]
