"""One training of a plan: what is trained, on which clusters, and all that a run asks of it.

Where the mathematics does not depend on the clock a training is a
:class:`~simgmc.experiment.synchronous.SynchronousTraining`, where the clock decides it an
:class:`~simgmc.experiment.asynchronous.AsynchronousTraining`. Nobody else asks which of the two it is.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.interruption import Interruption
from simgmc.core.quantities import number
from simgmc.core.transport import Kind
from simgmc.costs.steps import Participation
from simgmc.experiment.grid_values import bound, cluster_keys, participation, series_key
from simgmc.experiment.series import Series
from simgmc.experiment.stored import Stored
from simgmc.experiment.under_way.evaluations import Milestones, Outcome, State
from simgmc.network import ClusterSettings
from simgmc.network.cluster.timeline import Timeline
from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.results.directory.details import Details
from simgmc.results.directory.records import COLLECTIVE_KEY, Breakdown, SeriesKey
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.grids import MAX_POINTS
from simgmc.results.tables.explanations import Explanation
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.workload import Method
from simgmc.training.trainer import Trainer
from simgmc.workloads.workload import Workload

if TYPE_CHECKING:  # for annotations alone, as they load torch
    from torch import Tensor

    from simgmc.compression.message import Message
    from simgmc.workloads.gradients.live_memory import Needed


class NotKept(SimgmcError):
    """What a run directory should hold of a training is missing or damaged; running it again restores it."""


class Progress(Protocol):
    """Who hears of trainings, see :class:`simgmc.experiment.progress.RunProgress`."""

    def skipped(self, training: Training) -> None:
        """It was finished by an earlier run."""

    def started(self, training: Training, rounds: int) -> None:
        """It begins; ``rounds``: about how many there will be."""

    def resumed(self, training: Training, rounds: int, where: str) -> None:
        """It goes on after so many rounds, which are only simulated again."""

    def evaluated(self, training: Training, state: State) -> None:
        """A model of it was evaluated."""

    def round_done(self, training: Training, number: int, sim_time: float) -> None:
        """Its last worker finished a round (from 0) at this simulated second."""

    def simulated(self, training: Training, seconds: float) -> None:
        """A round of many events, or a replay, has come to this simulated second."""

    def warned(self, message: str) -> None:
        """Something is not as it was meant to be."""

    def ended(self, training: Training, outcome: Outcome, seconds: float | None = None) -> None:
        """It is finished and written, on all of its clusters; ``seconds``: that it took, where others trained it."""

    def failed(self, training: Training, reason: str) -> None:
        """It could not be finished."""


@dataclass(frozen=True)
class Care:
    """Who looks after a training under way: who saves it, who may stop it, who hears of it."""

    checkpoints: Checkpoints
    interruption: Interruption
    progress: Progress


class Finished(Protocol):
    """A training that is over."""

    @property
    def outcome(self) -> Outcome:
        """Its evaluations."""

    def keep(self, directory: RunDirectory) -> None:
        """Write what a replay or an explanation needs of it."""

    def check(self, point: GridPoint) -> None:
        """Raises SimgmcError where not enough is known of it for a point's cluster."""

    def on(self, points: Sequence[GridPoint], on_round: Callable[[int, float], None] | None = None) -> Iterator[Series]:
        """What it gives on each of these points' clusters; ``on_round`` may hear of rounds on one of them."""


SAMPLED = 40_000
"""Events, beside those of messages, that a prediction simulates at most: some seconds of computing."""


def sampled_until(settings: ClusterSettings) -> float:
    """The simulated second by which so many have happened, about; infinity where nothing happens by itself."""
    often, _ = settings.happening
    return SAMPLED / often if often else math.inf


def sampled_words(settings: ClusterSettings, seconds: float, left_out: bool) -> str:
    """What was simulated, of a training of so many simulated seconds: a sample, or nothing, as not even that brought
    a round to its end."""
    often, what = settings.happening
    if left_out:
        return (
            f"{what}: {SAMPLED:,} of at least {number(often * seconds, 2)} events were simulated, in which hardly a "
            "round was over; so times are those of a network on which nothing happens"
        )
    return f"{what}: {SAMPLED:,} of about {number(often * seconds, 2)} events were simulated, the rest is extrapolated"


@dataclass(frozen=True)
class CostPrediction:
    """What one method will send on one cluster, and how long that takes."""

    point: GridPoint
    method: str
    rounds: int
    sim_time_s: float
    bytes_up: float
    """Sent by all workers over the whole run."""
    bytes_server: float
    """Into and out of the server."""
    upper_bound: bool
    """Whether real supports overlap more, so that the truth is below this."""
    stopped: str | None = None
    """Why the cluster ends the run within the rounds that are looked at, if it does; the rest is of those finished."""
    simulating_s: float = 0.0
    """Wall-clock seconds of simulating the network beside the training."""
    lower_bound: bool = False
    """Whether what happens on the network by itself was left out, so that the truth is above this."""
    sampled: str = ""
    """Of what happens on the network by itself, how much was simulated; empty: all."""


@dataclass(frozen=True)
class Tried:
    """A few real rounds of a training, for the time that they took."""

    rounds: float
    """Of those that were timed; where every worker has rounds of its own, gradients a worker."""
    gradients: float
    """Of each worker in them."""
    seconds: float
    """Of wall time."""
    model: Tensor
    """What an evaluation would look at then, and how many of its size it would:"""
    models: int


@dataclass(frozen=True)
class Watched:
    """A window of one finished series in every detail, and what is known of the whole."""

    window: tuple[int, int]
    """First and last round, both included."""
    timeline: Timeline
    loads: dict[tuple[str, str], float]
    """Share of its bandwidth that each link used over the whole run, 0 to 1; only of those that carried bytes."""
    rounds: int
    """Of the whole run; of its slowest worker where every worker has its own."""
    seconds: float
    """Simulated time of the whole run."""


Window = Callable[[int], tuple[int, int]]
"""Chooses the first and the last round to be watched, given how many there are."""


@dataclass(frozen=True)
class Training(abc.ABC):
    """One training and the clusters that it is timed on."""

    method: Method
    seed: int
    points: tuple[GridPoint, ...]
    """The grid points at which the method computes the same."""
    keys: tuple[str, ...] = ()
    """The grid's keys that change what it computes."""

    @property
    def scenario(self) -> Scenario:
        """The training half is that of every point."""
        return self.points[0].scenario

    @property
    def key(self) -> str:
        """Name of this training in the run directory."""
        return ", ".join([self.method.name, f"seed {self.seed}", *(f"{k} {v}" for k, v in self.values.items())])

    @property
    def title(self) -> str:
        """The same for people, values as a scenario writes them."""
        values = (
            f"{key.removeprefix('methods.*.')} = {value if isinstance(value, str) else show_value(value)}"
            for key, value in self.values.items()
        )
        return ", ".join([self.method.name, f"seed {self.seed}", *values])

    @property
    def values(self) -> dict[str, Any]:
        """The grid values that make it another training than the method's others."""
        point = self.points[0]
        keys = (*self.keys, *cluster_keys(point, self.method)) if self.bound else self.keys
        return {key: value for key, value in point.values.items() if key in keys}

    @property
    def bound(self) -> bool:
        """Whether it is a training of its one cluster alone."""
        return bound(self.points[0], self.method)

    @property
    def participation(self) -> Participation:
        """Who is in its averages, where it is synchronous."""
        return participation(self.scenario, self.method)

    def series(self, point: GridPoint) -> SeriesKey:
        """The series that this training gives on a point's cluster; the same on those that differ only
        in a collective that the method does not use."""
        return series_key(point, self.method, self.seed)

    @property
    def shared(self) -> str | None:
        """The key under which its evaluations are kept together; None where each is a row in the metrics."""
        return self.key if len(self.points) > MAX_POINTS and not self.scenario.report.full_metrics else None

    def covers(self, point: GridPoint) -> bool:
        """Whether one of its series is that of a point."""
        return self.series(point) in map(self.series, self.points)

    def settings(self, point: GridPoint) -> ClusterSettings:
        """A point's cluster; compute times must be stated (resolved) by now."""
        scenario = point.scenario
        workers, exchange = scenario.workload.workers, scenario.exchange(self.method)
        return scenario.cluster.settings(workers, self.seed, self.method.compression_time, exchange)

    def milestones(self, batches_per_epoch: float) -> Milestones:
        """When it ends and when it is evaluated."""
        return Milestones(self.scenario, self.method, batches_per_epoch)

    def evaluated_models(self, trainer: Trainer) -> int:
        """How many models an evaluation looks at."""
        workers = trainer.models() if self.scenario.report.single_workers else []
        return 1 + len(trainer.other_models()) + (len(workers) if len(workers) > 1 else 0)

    @property
    def waiting(self) -> str:
        """What its workers wait for, in words."""
        return _WAITING[self.scenario.transport(self.method).kind]

    def explanation(
        self,
        point: GridPoint,
        bound_by: str,
        stopped: str | None,
        exposed: float | None = None,
        twice_bandwidth: float | None = None,
        half_latency: float | None = None,
        chosen: dict[str, int] | None = None,
    ) -> Explanation:
        """What was found of the series on a point's cluster, with its names."""
        series = self.series(point)
        # A bare number does not tell what it is of, as "10 Mbit/s" or "star" do.
        values = [
            value if isinstance(value, str) else f"{key.rpartition('.')[2].replace('_', ' ')} {show_value(value)}"
            for key, value in point.values.items()
            if key != COLLECTIVE_KEY
        ]
        # What carries the messages is said where the grid does not say it, or says it wrongly.
        said = COLLECTIVE_KEY in point.values or not series.transport.is_collective or not values
        on = ", ".join([str(series.transport), *values] if said else values)
        return Explanation(
            self.method.name, on, bound_by, exposed, twice_bandwidth, half_latency, chosen or {}, stopped
        )

    # The run.

    @abc.abstractmethod
    def trainer(self, workload: Workload) -> Trainer:
        """A new trainer on a workload (of the scenario, or one of its size)."""

    @abc.abstractmethod
    def is_kept(self, stored: Stored, missing: Sequence[GridPoint]) -> bool:
        """Whether a run directory keeps enough of it to time it on the points whose series are missing there."""

    @abc.abstractmethod
    def restored(self, stored: Stored) -> Finished:
        """The training as an earlier run finished it. Raises NotKept where not enough of it is there."""

    @abc.abstractmethod
    def train(self, workload: Workload, point: GridPoint, care: Care) -> Finished:
        """Train to the end on a point's cluster, from the last checkpoint if there is one."""

    # Before it.

    sends_first_alone: ClassVar[bool]
    """Whether :meth:`send_first` takes the memory of one worker alone, so that it can come before all else."""

    @abc.abstractmethod
    def predict(self, noise: Workload) -> list[CostPrediction]:
        """What it will cost on each of its clusters, from a few rounds on random gradients."""

    @abc.abstractmethod
    def try_rounds(self, workload: Workload, rounds: int, enough: float) -> Tried:
        """Train so many rounds, or until that took ``enough`` seconds; the first is only counted where there is one."""

    @abc.abstractmethod
    def send_first(self, noise: Callable[[int], Workload], note: Callable[[int, Message], None]) -> None:
        """Send the first messages of every kind, of random gradients; ``noise(workers)`` gives them, ``note`` hears of
        each and from which round (from 0) on such are sent.

        Raises DivergenceError where they are not finite.
        """

    @abc.abstractmethod
    def memory_needed(self, workload: Workload) -> Needed:
        """The memory that it needs beside its passes."""

    def smaller(self, share: float) -> Self:
        """The same with a model of this share of the parameters, where compressors state a number of coordinates."""

        def scaled(options: Any) -> Any:
            if not isinstance(options, Mapping):
                return options
            counts = {key: max(1, int(n * share)) for key, n in options.items() if key == "count" and n is not None}
            return {key: scaled(one) for key, one in options.items()} | counts

        chosen = {
            key: one.model_copy(update={"options": scaled(one.options)})
            for key, one in self.method.compressors().items()
        }
        return replace(self, method=self.method.model_copy(update=chosen))

    @abc.abstractmethod
    def record_bytes(self) -> float:
        """Bytes that what is kept of one round takes."""

    @abc.abstractmethod
    def freed_bytes(self, vector: int) -> float:
        """Bytes that the allocator keeps of freed vectors; ``vector``: bytes of one worker's."""

    # After it.

    @abc.abstractmethod
    def explain(
        self,
        directory: RunDirectory,
        found: Sequence[tuple[GridPoint, Breakdown]],
        details: Callable[[], Mapping[SeriesKey, Details]],
    ) -> Iterator[Explanation]:
        """What bound it on each of these clusters, from what was kept of it (``details`` of all series, read once).

        Raises NotKept where that is missing or damaged.
        """

    @abc.abstractmethod
    def can_watch(self, directory: RunDirectory) -> bool:
        """Whether what :meth:`watch` needs is there, or would say itself what is wrong with it."""

    @abc.abstractmethod
    def watch(self, directory: RunDirectory, point: GridPoint, breakdown: Breakdown, window: Window) -> Watched:
        """Simulate a window of a finished series in every detail, and the whole for its totals.

        ``breakdown``: the series'.
        """


_WAITING: dict[Kind, str] = {
    "collective": "waiting for slower workers",
    "gossip": "waiting for neighbours",
    "asynchronous gossip": "waiting for neighbours",
    "pairwise": "waiting for a partner",
    "asynchronous server": "waiting for the server",
}
"""By what carries the messages."""
