"""An asynchronous training on a laboratory's network beside the same one simulated.

There are no rounds to hold against each other, and the orders of events differ. Held against each other is what follows
from how long things take: gradients and messages a second, when the training came to each of its evaluations, and how
stale gradients (or messages) were.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.distributed import measured
from simgmc.distributed.events.again import read_order
from simgmc.distributed.measured import Step
from simgmc.distributed.twin.targets import Curve
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.series import Series, series_of_events
from simgmc.experiment.under_way.evaluations import State
from simgmc.experiment.under_way.events import EventsUnderWay
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.work import Duration
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.measures import Measure
from simgmc.results.series.read import Series as Read
from simgmc.workloads.workload import Workload


@dataclass(frozen=True)
class Pair:
    """A number that was measured, and simulated."""

    measured: float
    simulated: float

    @property
    def error(self) -> float:
        """Relative, of what is simulated."""
        return self.simulated / self.measured - 1.0 if self.measured else float("nan")


@dataclass(frozen=True)
class EventsTwin:
    """One asynchronous training, twice."""

    method: str
    seed: int
    gradients: Pair
    """A second, of all workers."""
    messages: Pair
    """A second, of all workers and the server."""
    evaluations: tuple[tuple[float, Pair], ...]
    """How many gradients each worker had finished on average, and the seconds at which it had."""
    stale: str
    """What has a staleness: gradients or messages."""
    staleness: tuple[Mapping[int, int], Mapping[int, int]]
    """How many had which, measured and simulated."""
    measured: Curve
    simulated: Curve
    compression: float
    serving: float
    """Seconds of compressing a message and of serving a request, measured, which the simulation was given."""

    @property
    def errors(self) -> np.ndarray:
        """Absolute relative errors of the times of all evaluations but the first, at the start."""
        return np.array([abs(times.error) for _, times in self.evaluations if times.measured > 0])

    @property
    def mean_staleness(self) -> Pair:
        """On average."""
        return Pair(*(sum(k * n for k, n in one.items()) / max(1, sum(one.values())) for one in self.staleness))

    @property
    def staleness_apart(self) -> float:
        """Which share had another staleness than simulated, at least: the total variation distance."""
        shares = [{k: n / sum(one.values()) for k, n in one.items()} for one in self.staleness]
        values = set().union(*shares)
        return sum(abs(shares[0].get(k, 0.0) - shares[1].get(k, 0.0)) for k in values) / 2


def compare_events(
    training: AsynchronousTraining,
    workload: Workload,
    settings: ClusterSettings,
    directory: RunDirectory,
    read: Read,
    measure: Measure,
) -> EventsTwin:
    """Simulate a training of the laboratory, and hold what was measured against it.

    What gradients, compressing and serving took on this machine is given to the simulation: it is the network that is
    held against reality.

    Args:
        settings: of the laboratory.
        directory: of the real processes; ``read``: the training's series in it.
    """
    (key,) = (training.series(point) for point in training.points)
    steps = measured.read(directory, training.key)
    compression = _median([one.end_s - one.begin_s for one in steps if one.kind == "compress"])
    serving = _median([one.aggregate_s for one in steps if one.kind == "serve"])
    work = dataclasses.replace(
        settings, compression=Duration(compression), aggregation=Duration(serving * workload.workers)
    )  # a duration is that of adding all workers' messages
    gradients = [_gradients(steps, rank) for rank in range(workload.workers)]
    if all(gradients):
        as_measured = GradientsAsMeasured(gradients)
        work = dataclasses.replace(work, compute=ComputeTime(1.0), conditions=(*work.conditions, as_measured))
    series, sent = _simulated(training, workload, work)
    details = series.details
    assert details is not None
    done, real = directory.breakdowns()[key], directory.details()[key]
    received = sum(len(event.messages) for event in read_order(directory, training.key))
    seconds = Pair(done.sim_time_s, series.breakdown.sim_time_s)
    counts = real.gradients.sum() / seconds.measured, details.gradients.sum() / seconds.simulated
    epochs = np.array([state.epoch for state in series.states])
    at = np.interp(read["epoch"], epochs, series.times)
    return EventsTwin(
        training.method.name,
        training.seed,
        Pair(*map(float, counts)),
        Pair(received / seconds.measured, sent / seconds.simulated),
        tuple(
            (epoch * workload.batches_per_epoch, Pair(float(one), float(other)))
            for epoch, one, other in zip(read["epoch"], read["sim_time_s"], at, strict=True)
        ),
        details.stale,
        (real.staleness, details.staleness),
        Curve(read["sim_time_s"], read[measure.column]),
        Curve(series.times, np.array([_value(state, measure.column) for state in series.states])),
        compression,
        serving,
    )


class GradientsAsMeasured(Condition):
    """Each gradient of a worker takes its own time; those that were not measured the median. Of a gradient of 1 s."""

    key = "gradients as measured"
    static = True
    whole = True

    def __init__(self, seconds: Sequence[Sequence[float]]):
        """``seconds``: of every worker's gradients, one or more, in their order."""
        self._seconds = seconds
        self._others = [_median(own) for own in seconds]

    def factors(self, seed: int, round: int, step: int, workers: int) -> np.ndarray:
        own = zip(self._seconds, self._others, strict=True)
        return np.array([seconds[round] if round < len(seconds) else other for seconds, other in own])


def _gradients(steps: Sequence[Step], rank: int) -> list[float]:
    """Seconds of a rank's gradients; of the first since the clock began, until when every rank has begun."""
    mine = sorted((one.begin_s, one.end_s) for one in steps if one.kind == "compute" and one.rank == rank)
    return [end - begin for begin, end in [(0.0, end) for _, end in mine[:1]] + mine[1:]]


def _simulated(training: AsynchronousTraining, workload: Workload, settings: ClusterSettings) -> tuple[Series, int]:
    """What came of it, and how many messages were sent."""
    trainer = training.trainer(workload)
    under_way = EventsUnderWay(trainer, settings, training.milestones(workload.batches_per_epoch), training.scenario)
    under_way.run()
    found = series_of_events(under_way.outcome, under_way.loop, trainer.algorithm.stale), trainer.sent
    trainer.close()
    return found


def _value(state: State, column: str) -> float:
    value = state.others.get(column, getattr(state, column, None))
    return float("nan") if value is None else float(value)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0
