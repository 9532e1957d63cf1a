"""Where numerics and cluster meet: from a scenario's points to time beside convergence.

A synchronous method's mathematics does not depend on the clock. So each (method, seed,
training keys of the grid) is trained once, on the first of its clusters, whose workers
pull the rounds; the costs of those rounds are then replayed on the other clusters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from simgmc.algorithms import ALGORITHMS
from simgmc.costs import Average, Compute, RoundCosts
from simgmc.errors import DivergenceError
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, Throughput, Timing, simulate, star, worker_names
from simgmc.results.run_directory import Breakdown, Evaluation, RunDirectory, SeriesKey
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.quantities import Quantity, is_rate
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
        own = training_values(self.points[0])
        return ", ".join([self.method.name, f"seed {self.seed}", *(f"{k} {v}" for k, v in own.items())])

    def series(self, point: GridPoint) -> SeriesKey:
        """The series that this training gives on a point's cluster."""
        return SeriesKey(self.method.name, point.scenario.cluster.collective, self.seed, point.values)


def training_values(point: GridPoint) -> dict[str, Any]:
    """The grid values that change what is computed, not only when."""
    return {key: value for key, value in point.values.items() if not key.startswith("cluster.")}


def trainings(points: list[GridPoint]) -> list[Training]:
    """All trainings of a scenario file, in the order in which they run."""
    groups: dict[str, list[GridPoint]] = {}
    for point in points:
        groups.setdefault(repr(training_values(point)), []).append(point)
    return [
        Training(group[0].scenario.methods[index], seed, tuple(group))
        for group in groups.values()
        for seed in group[0].scenario.seeds
        for index in range(len(group[0].scenario.methods))
    ]


def cluster_settings(scenario: Scenario, method: Method, seed: int) -> ClusterSettings:
    """The network half of one point; compute times must be stated (resolved) by now."""
    cluster, workers = scenario.cluster, worker_names(scenario.workload.workers)
    hosts, slowdown = [], []
    for name in cluster.host_names(len(workers)):
        own = cluster.hosts.get(name)
        both = own and own.bandwidth or cluster.bandwidth
        up = own and own.up or both
        down = own and own.down or both
        latency = own.latency if own and own.latency is not None else cluster.latency
        hosts.append(Host(name, float(up), float(down), float(latency)))
        if name in workers:
            slowdown.append(own.slowdown if own else 1.0)
    times = cluster.compute
    return ClusterSettings(
        graph=star(hosts),
        workers=workers,
        server="server",
        collective=cluster.collective,
        compute=ComputeTime(
            float(times.gradient), tuple(slowdown), cluster.stragglers.sigma if cluster.stragglers else 0.0, seed
        ),
        compression=_cost(method.compression_time or times.compression),
        aggregation=_cost(times.aggregation),
        seed=seed,
    )


def _cost(quantity: Quantity) -> Duration | Throughput:
    return Throughput(quantity.value) if is_rate(quantity) else Duration(quantity.value)


def build_trainer(training: Training, workload: Any) -> Any:
    """The stacked trainer of one training on a workload."""
    from simgmc.compression import build
    from simgmc.training.schedules import Schedule
    from simgmc.training.stacked import StackedTrainer

    scenario, method = training.scenario, training.method
    optimizer = scenario.optimizer
    parameters = method.parameters()
    for key, chosen in method.compressors().items():
        parameters[key] = build(chosen.name, workload.layout, **chosen.options)
    if "momentum" in parameters and parameters["momentum"] is None:
        parameters["momentum"] = optimizer.momentum
    schedule = Schedule(**{**dict(optimizer.schedule), "milestones": tuple(optimizer.schedule.milestones)})
    base = optimizer.learning_rate if method.learning_rate is None else method.learning_rate
    epochs = scenario.workload.epochs or scenario.workload.rounds / workload.batches_per_epoch
    return StackedTrainer(
        ALGORITHMS[method.algorithm](**parameters),
        workload,
        lambda epoch: base * schedule.factor(epoch, epochs),
        optimizer.weight_decay if method.weight_decay is None else method.weight_decay,
        training.seed,
    )


class Milestones:
    """When a training ends and when it is evaluated, in rounds."""

    def __init__(self, scenario: Scenario, batches_per_epoch: float):
        workload = scenario.workload
        self._per_epoch = batches_per_epoch
        self._rounds = workload.rounds
        self._epochs = workload.epochs
        self._every, self._unit = workload.evaluation_interval()

    def total(self, gradients_per_round: float = 1.0) -> int:
        """Rounds in all (an estimate where rounds differ in their number of gradients)."""
        if self._rounds:
            return self._rounds
        return max(1, round(self._epochs * self._per_epoch / gradients_per_round))

    def over(self, rounds: int, gradients: int) -> bool:
        """Whether training has ended."""
        if self._rounds:
            return rounds >= self._rounds
        return gradients >= max(1, round(self._epochs * self._per_epoch))

    def due(self, rounds: int, gradients: int, gradients_before: int) -> bool:
        """Whether the state after this round is to be evaluated."""
        if self.over(rounds, gradients):
            return True
        if self._unit == "rounds":
            return rounds % int(self._every) == 0
        # The first round at or past each multiple of the interval.
        step = self._every * self._per_epoch
        return int(gradients / step + 1e-9) > int(gradients_before / step + 1e-9)


@dataclasses.dataclass(frozen=True)
class State:
    """What an evaluation found, before it has a time."""

    round: int
    epoch: float
    train_loss: float | None
    test_loss: float
    test_accuracy: float


class TrainingRecord:
    """The rounds of one training: pulled once from the trainer, kept for replay."""

    def __init__(self, trainer: Any, milestones: Milestones, on_evaluation: Any = None):
        self._trainer = trainer
        self._milestones = milestones
        self._on_evaluation = on_evaluation or (lambda state: None)
        self.rounds: list[RoundCosts] = []
        self.states: list[State] = []
        self.diverged: str | None = None

    def live(self) -> Iterator[RoundCosts]:
        """Train, round by round, as the cluster asks for rounds."""
        trainer, milestones = self._trainer, self._milestones
        self._evaluate()
        while not milestones.over(trainer.rounds, trainer.gradients):
            before = trainer.gradients
            try:
                costs = trainer.run_round()
            except DivergenceError as error:
                self.diverged = str(error)
                return
            self.rounds.append(costs)
            yield costs
            if milestones.due(trainer.rounds, trainer.gradients, before):
                self._evaluate()

    def _evaluate(self) -> None:
        progress = self._trainer.report()
        found = self._trainer.workload.evaluate(self._trainer.model())
        loss = progress.train_loss if progress.round else None
        state = State(progress.round, progress.epoch, loss, found.loss, found.accuracy)
        self.states.append(state)
        self._on_evaluation(state)


def relative_communication_cost(rounds: list[RoundCosts], workers: int, d: int) -> np.ndarray:
    """(R,) RCC up to each round: GMC paper eq. (9), server traffic counted per worker (reading U).

    Floats that the server receives and sends, over the 2 K d that dense messages would
    take in every iteration; an iteration is one gradient on every worker.
    """
    floats, gradients = np.zeros(len(rounds)), np.zeros(len(rounds))
    for index, costs in enumerate(rounds):
        for step in costs:
            if isinstance(step, Average):
                floats[index] += float(step.floats_up.sum()) + workers * step.floats_down
            elif isinstance(step, Compute):
                gradients[index] += step.gradients
    return np.cumsum(floats) / (2.0 * workers * d * np.maximum(np.cumsum(gradients), 1))


def write_series(
    directory: RunDirectory, training: Training, point: GridPoint, record: TrainingRecord, timing: Timing, d: int
) -> None:
    """One finished series: its rows in the metrics, then its breakdown."""
    workers = training.scenario.workload.workers
    key = training.series(point)
    rcc = relative_communication_cost(record.rounds, workers, d)
    sent, received = np.cumsum(timing.sent_by_workers), np.cumsum(timing.received_by_workers)
    for state in record.states:
        last = state.round - 1
        begun = state.round > 0
        directory.evaluated(
            key,
            Evaluation(
                round=state.round,
                epoch=state.epoch,
                sim_time_s=float(timing.round_end[last].max()) if begun else 0.0,
                train_loss=state.train_loss,
                test_loss=state.test_loss,
                test_accuracy=state.test_accuracy,
                bytes_up=int(sent[last]) if begun else 0,
                bytes_down=int(received[last]) if begun else 0,
                rcc=float(rcc[last]) if begun else None,
            ),
        )
    parts = dict(zip(timing.categories, timing.breakdown.sum(axis=0).mean(axis=0), strict=True))
    directory.finish(
        key,
        Breakdown(
            rounds=len(record.rounds),
            sim_time_s=timing.total,
            **{f"{part}_s": float(seconds) for part, seconds in parts.items()},
            bytes_sent_by_workers=int(timing.sent_by_workers.sum()),
            bytes_received_by_workers=int(timing.received_by_workers.sum()),
            bytes_into_server=int(timing.into_server.sum()),
            bytes_out_of_server=int(timing.out_of_server.sum()),
            rcc=float(rcc[-1]) if len(rcc) else None,
        ),
    )


class Simulation:
    """Runs a scenario file's trainings into a run directory.

    ``workload_of(scenario, seed)`` builds what is trained; ``listener`` hears of progress
    (see :mod:`simgmc.progress`).
    """

    def __init__(self, points: list[GridPoint], directory: RunDirectory, workload_of: Any, listener: Any):
        self.trainings = trainings(points)
        self._directory = directory
        self._workload_of = workload_of
        self._listener = listener

    def run(self) -> None:
        """Run what is not finished yet, in a fixed order."""
        for training in self.trainings:
            self._run(training)

    def _run(self, training: Training) -> None:
        finished = self._directory.finished()
        missing = [point for point in training.points if training.series(point) not in finished]
        if not missing:
            self._listener.skipped(training)
            return
        workload = self._workload_of(training.scenario, training.seed)
        trainer = build_trainer(training, workload)
        milestones = Milestones(training.scenario, workload.batches_per_epoch)
        record = TrainingRecord(trainer, milestones, lambda state: self._listener.evaluated(training, state))
        self._listener.started(training, milestones.total())
        rounds: Any = record.live()
        timings = []
        for point in missing:
            settings = cluster_settings(point.scenario, training.method, training.seed)
            live = not timings
            timings.append(simulate(settings, rounds, self._listener.round_done if live else None))
            rounds = record.rounds
        self._directory.write_costs(training.key, record.rounds)
        for point, timing in zip(missing, timings, strict=True):
            write_series(self._directory, training, point, record, timing, workload.d)
        self._listener.ended(training, record)
