"""Where numerics and cluster meet: from a scenario's points to time beside convergence.

A synchronous method's mathematics does not depend on the clock. So each (method, seed,
training keys of the grid) is trained once, on the first of its clusters, whose workers
pull the rounds; the costs of those rounds are then replayed on the other clusters. Where the
clock drives the training, or says who takes part in it, there is nothing to replay: every
cluster gives another training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from simgmc.algorithms import ALGORITHMS
from simgmc.building import build_clocked_trainer, build_trainer
from simgmc.clocked_training import ClockedTraining, Finished
from simgmc.costs import Compute, Participation, RoundCosts
from simgmc.errors import SimgmcError, out_of_memory, show_value
from simgmc.interruption import Interruption
from simgmc.live_training import LiveTraining
from simgmc.network import ClusterSettings, Timing, simulate
from simgmc.recorded import Milestones, Record, State, Stored
from simgmc.results.checkpoint import CHECKPOINTS, DEFAULT_EVERY, Checkpoints
from simgmc.results.details import Details, ParticipationRow, traffic
from simgmc.results.run_directory import COLLECTIVE_KEY, Breakdown, Evaluation, RunDirectory, SeriesKey
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.cluster import MEASURED, DeviceProfile
from simgmc.scenario.workload import Method


@dataclasses.dataclass(frozen=True)
class Training:
    """One training run and the clusters that it is timed on."""

    method: Method
    seed: int
    points: tuple[GridPoint, ...]
    """Points that differ in cluster keys only."""

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
        values = (f"{key} = {value if isinstance(value, str) else show_value(value)}" for key, value in self.values.items())
        return ", ".join([self.method.name, f"seed {self.seed}", *values])

    @property
    def clocked(self) -> bool:
        """Whether the simulated clock drives it."""
        return ALGORITHMS[self.method.algorithm].clocked

    @property
    def values(self) -> dict[str, Any]:
        """The grid values that make it another training than the method's others."""
        point = self.points[0]
        if not self.bound:
            return training_values(point)
        own = self.series(point).on_its_own
        return {key: value for key, value in point.values.items() if not (own and key == COLLECTIVE_KEY)}

    @property
    def participation(self) -> Participation:
        """Who is in an average, where the clock does not drive the training."""
        return participation(self.scenario, self.method)

    @property
    def bound(self) -> bool:
        """Whether it is a training of its one cluster alone."""
        return bound(self.points[0], self.method)

    def series(self, point: GridPoint) -> SeriesKey:
        """The series that this training gives on a point's cluster; the same on those that differ only
        in a collective that the method does not use."""
        return SeriesKey(self.method.name, point.scenario.carrier(self.method), self.seed, point.values)

    def covers(self, point: GridPoint) -> bool:
        """Whether one of its series is that of a point."""
        return self.series(point) in map(self.series, self.points)


def training_values(point: GridPoint) -> dict[str, Any]:
    """The grid values that change what is computed, not only when."""
    return {key: value for key, value in point.values.items() if not key.startswith("cluster.")}


def bound(point: GridPoint, method: Method) -> bool:
    """Whether every cluster gives another training: the clock drives it, says who takes part in it, or when it is evaluated."""
    timed = point.scenario.workload.evaluation_interval()[1] == "seconds"
    return timed or ALGORITHMS[method.algorithm].clocked or participation(point.scenario, method) != "all"


def participation(scenario: Scenario, method: Method) -> Participation:
    """Who is in the averages of a synchronous method."""
    if ALGORITHMS[method.algorithm].clocked:
        return "all"
    return scenario.cluster.participation(scenario.workload.workers)


def trainings(points: list[GridPoint]) -> list[Training]:
    """All trainings of a scenario file, in the order in which they run."""
    groups: dict[str, list[GridPoint]] = {}
    for point in points:
        groups.setdefault(repr(training_values(point)), []).append(point)
    found = []
    for group in groups.values():
        for seed in group[0].scenario.seeds:
            for method in group[0].scenario.methods:
                mine = _apart(group, method)
                free = [point for point in mine if not bound(point, method)]
                shares = ([free] if free else []) + [[point] for point in mine if bound(point, method)]
                found += [Training(method, seed, tuple(share)) for share in shares]
    return found


def _apart(points: list[GridPoint], method: Method) -> list[GridPoint]:
    """Those that a method has series of its own for: of points that differ only in a collective that
    it does not use the first."""
    training = Training(method, 0, tuple(points))
    if COLLECTIVE_KEY not in points[0].values or not training.series(points[0]).on_its_own:
        return points
    found: dict[SeriesKey, GridPoint] = {}
    for point in points:
        found.setdefault(training.series(point), point)
    return list(found.values())


def times_are_stated(points: list[GridPoint]) -> bool:
    """Whether no cluster has a time left to be measured or taken from a profile."""
    compute = [point.scenario.cluster.compute for point in points]
    return not any(
        isinstance(one, DeviceProfile) or MEASURED in (one.gradient, one.compression, one.aggregation) for one in compute
    )


def require_stated_times(points: list[GridPoint], place: str) -> None:
    """Raises SimgmcError where a time would have to be measured: only a training can."""
    if not times_are_stated(points):
        raise SimgmcError(
            f"{place}: cluster.compute: nothing is trained here, so no time can be measured or taken from a profile; "
            'state the times, such as cluster.compute = { gradient = "10 ms", compression = "1 ms", aggregation = "1 GB/s" }'
        )


def cluster_settings(scenario: Scenario, method: Method, seed: int) -> ClusterSettings:
    """The network half of one point; compute times must be stated (resolved) by now."""
    return scenario.cluster.settings(scenario.workload.workers, seed, method.compression_time)


def write_series(directory: RunDirectory, key: SeriesKey, record: Record, timing: Timing, left_out: bool = False) -> None:
    """One finished series: its rows in the metrics, then its breakdown, which says how many those are.

    ``left_out``: whether workers can be left out of its averages.
    """
    sent, received = np.cumsum(timing.sent_by_workers), np.cumsum(timing.received_by_workers)
    rounds = len(timing.round_end)
    states = [state for state in record.states if state.round <= rounds]  # the cluster may have stopped before
    for state in states:
        last = state.round - 1
        begun = state.round > 0
        directory.evaluated(
            key,
            Evaluation(
                round=state.round,
                epoch=state.epoch,
                sim_time_s=state.time if state.time is not None else float(timing.round_end[last].max()) if begun else 0.0,
                train_loss=state.train_loss,
                test_loss=state.test_loss,
                test_accuracy=state.test_accuracy,
                bytes_up=int(sent[last]) if begun else 0,
                bytes_down=int(received[last]) if begun else 0,
                rcc=state.rcc,
            ),
            state.others,
        )
    parts = dict(zip(timing.categories, timing.breakdown.sum(axis=0).mean(axis=0), strict=True))
    directory.finish(
        key,
        Breakdown(
            rounds=rounds,
            sim_time_s=timing.total,
            **{f"{part}_s": float(seconds) for part, seconds in parts.items()},
            bytes_sent_by_workers=int(timing.sent_by_workers.sum()),
            bytes_received_by_workers=int(timing.received_by_workers.sum()),
            bytes_into_server=int(timing.into_server.sum()),
            bytes_out_of_server=int(timing.out_of_server.sum()),
            rcc=record.rcc,
            diverged=record.diverged_round if rounds == len(record.rounds) else None,
            evaluations=len(states),
            stopped=timing.stopped,
        ),
        synchronous_details(record.rounds, timing, left_out),
        sum(len(state.others) for state in states),
    )


def write_clocked_series(directory: RunDirectory, key: SeriesKey, finished: Finished) -> None:
    """The same for a training that the clock drove, whose evaluations have times of their own."""
    for state in finished.record.states:
        names = (field.name for field in dataclasses.fields(Evaluation))
        shared = {name: getattr(state, name) for name in names if hasattr(state, name)}
        directory.evaluated(key, Evaluation(**shared, sim_time_s=state.time), state.others)
    directory.finish(key, finished.breakdown, finished.details, sum(len(state.others) for state in finished.record.states))


def synchronous_details(rounds: Sequence[RoundCosts], timing: Timing, left_out: bool = False) -> Details:
    """What every worker and link did; a worker computed no gradients in a round that it missed.

    ``left_out``: whether workers can be left out of averages.
    """
    timed = rounds[: len(timing.absent)]
    gradients = np.array([sum(step.gradients for step in costs if isinstance(step, Compute)) for costs in timed])
    there = (~timing.absent).astype(np.int64)
    links = traffic(timing.links, timing.link_bytes, timing.link_messages)
    computed = gradients.astype(np.int64) @ there
    return Details(timing.breakdown.sum(axis=0), computed, links, participation=_participation(timing, left_out))


def _participation(timing: Timing, left_out: bool) -> tuple[ParticipationRow, ...]:
    """How often each worker was left out of an average, where that can be."""
    if not left_out:
        return ()
    found = timing.absent, timing.lost, timing.carried
    columns = [np.zeros(timing.absent.shape, bool) if one is None else one for one in found]
    counts = np.stack([column.sum(axis=0) for column in columns], axis=1)
    return tuple(ParticipationRow(worker, *row) for worker, row in enumerate(counts.tolist()))


class Simulation:
    """Runs a scenario file's trainings into a run directory.

    ``workload_of(scenario, seed)`` builds what is trained; ``listener`` hears of progress
    (see :mod:`simgmc.progress`). A training under way is saved every ``checkpoint_every`` seconds
    of wall time, and when the run is asked to stop.
    """

    def __init__(
        self,
        points: list[GridPoint],
        directory: RunDirectory,
        workload_of: Any,
        listener: Any,
        checkpoint_every: float = DEFAULT_EVERY,
        interruption: Interruption | None = None,
    ):
        self.trainings = trainings(points)
        self._directory = directory
        self._workload_of = workload_of
        self._listener = listener
        self._checkpoint_every = checkpoint_every
        self._interruption = interruption or Interruption()
        self._before: Stored | None = None
        self._finished: set[SeriesKey] = set()

    def run(self) -> None:
        """Run what is not finished yet, in a fixed order."""
        self._before = Stored.read(self._directory)
        self._finished = set(self._before.finished)
        for training in self.trainings:
            try:
                self._run(training)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                raise SimgmcError(
                    f"{training.title}: the memory ran out; what was finished or saved is kept, and the same command goes on from there, "
                    "once other programs leave more or with fewer --threads"
                ) from None

    def _run(self, training: Training) -> None:
        if training.clocked:
            self._run_clocked(training)
            return
        missing = [point for point in training.points if training.series(point) not in self._finished]
        record = self._stored(training)
        if record is not None and not missing:
            self._checkpoints(training).remove()  # of a run that was killed just before it did
            self._listener.skipped(training)
            return
        if record is None:
            record = self._train(training, missing)
        else:
            self._listener.started(training, len(record.rounds))
            for state in record.states:
                self._listener.evaluated(training, state)
            self._checkpoints(training).remove()
            self._time(training, missing, record, self._listener.round_done)
        self._listener.ended(training, record)

    def _run_clocked(self, training: Training) -> None:
        series, checkpoints = training.series(training.points[0]), self._checkpoints(training)
        if series in self._finished:
            checkpoints.remove()
            self._listener.skipped(training)
            return
        workload = self._workload_of(training.scenario, training.seed)
        milestones = Milestones(training, workload.batches_per_epoch)
        self._listener.started(training, milestones.total())
        trainer = build_clocked_trainer(training, workload)
        live = ClockedTraining(
            trainer,
            cluster_settings(training.scenario, training.method, training.seed),
            milestones,
            training.scenario,
            checkpoints,
            self._interruption,
            lambda state: self._listener.evaluated(training, state),
            self._listener.round_done,
        )
        if live.resumed:
            self._listener.resumed(training, live.resumed, f"{live.resumed} gradients a worker")
        with self._interruption.held():
            finished = live.run()
            self._say_if_stopped(series, finished.breakdown.stopped)
            self._directory.write_journal(training.key, finished.journal)
            write_clocked_series(self._directory, series, finished)
            self._finished.add(series)
            checkpoints.remove()
        trainer.close()
        self._listener.ended(training, finished.record)

    def _stored(self, training: Training) -> Record | None:
        """What an earlier run left of a training, where that is enough to time it on any cluster, or on all asked for."""
        if not self._directory.has_costs(training.key):
            return None
        try:
            record, known = self._before.of(training)
        except SimgmcError:
            return None  # damaged, or of a training that is not finished: it is trained again
        all_finished = all(training.series(point) in self._finished for point in training.points)
        return record if known is None or all_finished else None

    def _train(self, training: Training, missing: list[GridPoint]) -> Record:
        workload = self._workload_of(training.scenario, training.seed)
        trainer = build_trainer(training, workload)
        milestones = Milestones(training, workload.batches_per_epoch)

        def evaluated(state: State) -> None:
            self._listener.evaluated(training, state)

        checkpoints = self._checkpoints(training)
        live = LiveTraining(trainer, milestones, training.scenario, evaluated, checkpoints, self._interruption)
        steps = milestones.total()  # as many rounds at most
        self._listener.started(training, milestones.total(trainer.algorithm.gradients(steps, workload.batches_per_epoch) / steps))
        if finished := live.resume():
            self._listener.resumed(training, finished, f"round {finished}")
            for state in live.record.states:
                evaluated(state)
        # Only the costs may be missing: then the first cluster asks for the rounds again.
        first = (missing or training.points)[0]
        rounds = live.rounds()

        def round_done(number: int, time: float) -> None:
            live.round_done(number, time)
            self._listener.round_done(number, time)

        with self._interruption.held():
            timing = simulate(cluster_settings(first.scenario, training.method, training.seed), rounds, round_done)
            live.over(len(timing.round_end))
            if len(training.points) > 1:
                for _ in rounds:  # that cluster stopped before the training's end; another may not
                    pass
            self._directory.write_costs(training.key, live.record.rounds)
            if missing:
                self._write(training, first, live.record, timing)
            checkpoints.remove()
        self._time(training, missing[1:], live.record)
        return live.record

    def _checkpoints(self, training: Training) -> Checkpoints:
        """Of a training under way."""
        return Checkpoints(self._directory.path / CHECKPOINTS, training.key, self._checkpoint_every, self._listener.warned)

    def _time(self, training: Training, points: list[GridPoint], record: Record, on_round: Any = None) -> None:
        for point in points:
            timing = simulate(cluster_settings(point.scenario, training.method, training.seed), record.rounds, on_round)
            self._write(training, point, record, timing)

    def _write(self, training: Training, point: GridPoint, record: Record, timing: Timing) -> None:
        series = training.series(point)
        self._say_if_stopped(series, timing.stopped)
        write_series(self._directory, series, record, timing, training.participation != "all")
        self._finished.add(series)

    def _say_if_stopped(self, series: SeriesKey, why: str | None) -> None:
        if why:
            where = [series.method, series.collective, *(value for _, value in series.grid), f"seed {series.seed}"]
            self._listener.warned(f"{', '.join(where)}: ended early: {why}")
