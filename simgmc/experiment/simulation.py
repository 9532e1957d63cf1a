"""Where numerics and cluster meet: from a scenario's points to time beside convergence.

Each training of the plan (see :mod:`simgmc.experiment.plan`) runs on the first of its clusters, whose workers
pull the rounds; the costs of those rounds are then replayed on the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.interruption import Interruption
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.experiment.asynchronous import AsynchronousTraining, Finished
from simgmc.experiment.building import build_asynchronous_trainer, build_trainer
from simgmc.experiment.plan import Training, cluster_settings, trainings
from simgmc.experiment.record import Milestones, Record, State, Stored
from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.network import Timing, simulate
from simgmc.results.directory.checkpoint import CHECKPOINTS, DEFAULT_EVERY, Checkpoints
from simgmc.results.directory.details import Details, ParticipationRow, traffic
from simgmc.results.directory.run_directory import Breakdown, Evaluation, RunDirectory, SeriesKey
from simgmc.scenario import GridPoint


def write_series(
    directory: RunDirectory, key: SeriesKey, record: Record, timing: Timing, left_out: bool = False
) -> None:
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
                sim_time_s=state.time
                if state.time is not None
                else float(timing.round_end[last].max())
                if begun
                else 0.0,
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


def write_asynchronous_series(directory: RunDirectory, key: SeriesKey, finished: Finished) -> None:
    """The same for a training that the clock drove, whose evaluations have times of their own."""
    for state in finished.record.states:
        names = (field.name for field in dataclasses.fields(Evaluation))
        shared = {name: getattr(state, name) for name in names if hasattr(state, name)}
        directory.evaluated(key, Evaluation(**shared, sim_time_s=state.time), state.others)
    directory.finish(
        key, finished.breakdown, finished.details, sum(len(state.others) for state in finished.record.states)
    )


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
    (see :mod:`simgmc.experiment.progress`). A training under way is saved every ``checkpoint_every`` seconds
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
        if training.asynchronous:
            self._run_asynchronous(training)
            return
        missing = self._missing(training)
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

    def _run_asynchronous(self, training: Training) -> None:
        missing, checkpoints = self._missing(training), self._checkpoints(training)
        if not missing and self._directory.has_journal(training.key):
            checkpoints.remove()
            self._listener.skipped(training)
            return
        workload = self._workload_of(training.scenario, training.seed)
        milestones = Milestones(training, workload.batches_per_epoch)
        self._listener.started(training, milestones.total())
        trainer = build_asynchronous_trainer(training, workload)
        live = AsynchronousTraining(
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
            self._directory.write_journal(training.key, finished.journal)
            for series in map(training.series, missing):
                self._say_if_stopped(series, finished.breakdown.stopped)
                write_asynchronous_series(self._directory, series, finished)
                self._finished.add(series)
            checkpoints.remove()
        trainer.close()
        self._listener.ended(training, finished.record)

    def _missing(self, training: Training) -> list[GridPoint]:
        return [point for point in training.points if training.series(point) not in self._finished]

    def _stored(self, training: Training) -> Record | None:
        """What an earlier run left of a training, where that is enough to time it on any cluster, or on all asked for."""
        if not self._directory.has_costs(training.key):
            return None
        try:
            record, known = self._before.of(training)
        except SimgmcError:
            return None  # damaged, or of a training that is not finished: it is trained again
        return record if known is None or not self._missing(training) else None

    def _train(self, training: Training, missing: list[GridPoint]) -> Record:
        workload = self._workload_of(training.scenario, training.seed)
        trainer = build_trainer(training, workload)
        milestones = Milestones(training, workload.batches_per_epoch)

        def evaluated(state: State) -> None:
            self._listener.evaluated(training, state)

        checkpoints = self._checkpoints(training)
        live = SynchronousTraining(trainer, milestones, training.scenario, evaluated, checkpoints, self._interruption)
        steps = milestones.total()  # as many rounds at most
        self._listener.started(
            training, milestones.total(trainer.algorithm.gradients(steps, workload.batches_per_epoch) / steps)
        )
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
            if len(training.points) > 1 and not training.bound:
                live.rest(rounds)  # that cluster stopped before the training's end; another may not
            self._directory.write_costs(training.key, live.record.rounds)
            if missing:
                self._write(training, first, live.record, timing)
            checkpoints.remove()
        self._time(training, missing[1:], live.record)
        return live.record

    def _checkpoints(self, training: Training) -> Checkpoints:
        """Of a training under way."""
        return Checkpoints(
            self._directory.path / CHECKPOINTS, training.key, self._checkpoint_every, self._listener.warned
        )

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
            where = [series.method, str(series.transport), *(value for _, value in series.grid), f"seed {series.seed}"]
            self._listener.warned(f"{', '.join(where)}: ended early: {why}")
