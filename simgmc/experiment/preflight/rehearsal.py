"""Rehearsals of a training on a small model: what counts its memory, see :mod:`simgmc.workloads.gradients.rehearsal`."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from simgmc.algorithms.effects import Exchange, Request, Send, Start
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.building import build_asynchronous_trainer, build_trainer
from simgmc.experiment.evaluations import Evaluations
from simgmc.experiment.plan import Training, cluster_settings
from simgmc.experiment.preflight.checks import counts_of, keys_named, require_count
from simgmc.experiment.record import Milestones, Record
from simgmc.training.journal import Asked, Parcel, Served, Step
from simgmc.workloads.gradients.rehearsal import Needed, Noise, rehearse_events, rehearse_rounds

ROUNDS = 2
"""Rounds of every worker where the clock drives the training; of a method that does much in each, at most:"""
REQUESTS = 150
"""requests a worker, on average."""
EVALUATED = (0, 1, 3)
"""Gradients a worker after which there is an evaluation, and at the end."""


def needed_by(training: Training, workload: Any) -> Needed:
    """What one training on a built workload needs beside its passes."""
    layout, workers = workload.layout, workload.workers
    for place, count in counts_of(training.method):
        require_count(place, count, layout.d)
    with keys_named(training.method):
        if training.asynchronous:
            components = getattr(workload, "components", 0)
            return rehearse_events(lambda noise: _run(training, noise, layout.d), layout, workers, components)
        return rehearse_rounds(lambda noise: _Rounds(training, noise, layout.d), layout, workers)


def _smaller(training: Training, share: float) -> Training:
    """The training with the same share of a smaller model's coordinates, where compressors state their number."""

    def scaled(options: Any) -> Any:
        if not isinstance(options, Mapping):
            return options
        counts = {key: max(1, int(one * share)) for key, one in options.items() if key == "count" and one is not None}
        return {key: scaled(one) for key, one in options.items()} | counts

    chosen = {
        key: one.model_copy(update={"options": scaled(one.options)})
        for key, one in training.method.compressors().items()
    }
    return dataclasses.replace(training, method=training.method.model_copy(update=chosen))


class _Rounds:
    """Rounds of a synchronous method, each of them evaluated."""

    def __init__(self, training: Training, noise: Noise, d: int):
        scenario = training.scenario
        self._trainer = build_trainer(_smaller(training, noise.d / d), noise)
        self._evaluations = Evaluations(noise, Record(), 0.0, scenario.report.single_workers, lambda state: None)
        # evaluated at simulated times, a state waits until the last worker has finished its round
        self._waiting: deque = deque(maxlen=2 if scenario.workload.evaluation_interval()[1] == "seconds" else 0)

    def run_round(self) -> None:
        trainer = self._trainer
        trainer.next_round().with_everybody()
        points = trainer.model(), trainer.other_models(), trainer.models()
        self._waiting.append(points)
        self._evaluations.add(trainer.rounds, trainer.epoch, None, *points)


def _run(training: Training, noise: Noise, d: int) -> None:
    """A training under the clock for a while, at the pace of a model of d parameters."""
    trainer = build_asynchronous_trainer(_smaller(training, noise.d / d), noise)
    enlarged = _Enlarged(trainer, d / noise.d)
    settings = cluster_settings(training.scenario, training.method, training.seed)
    AsynchronousTraining(enlarged, settings, _Short(training, enlarged), training.scenario).run()
    trainer.close()


class _Enlarged:
    """A trainer whose messages travel like those of a model that is ``factor`` times as large."""

    def __init__(self, trainer: Any, factor: float):
        self._trainer, self._factor = trainer, factor
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def advance(self, worker: int, answer: int | Sequence[int]) -> Asked:
        self.requests += 1
        step, staleness = self._trainer.advance(worker, answer)
        return Asked(self._step(step), staleness)

    def serve(self, asked: int, asker: int, message: int) -> Served:
        replies, staleness = self._trainer.serve(asked, asker, message)
        return Served(tuple((rank, self._parcel(reply)) for rank, reply in replies), staleness)

    def _step(self, step: Step) -> Step:
        match step:
            case Exchange() | Request() | Send():
                return dataclasses.replace(step, message=self._parcel(step.message))
            case Start(effect=Request() as request):
                return Start(dataclasses.replace(request, message=self._parcel(request.message)))
        return step

    def _parcel(self, parcel: Parcel) -> Parcel:
        number, nbytes, compressed = parcel
        return Parcel(number, round(nbytes * self._factor), round(compressed * self._factor))


class _Short(Milestones):
    """The end as soon as every worker has done some rounds, and few evaluations."""

    def __init__(self, training: Training, trainer: _Enlarged):
        super().__init__(training, trainer.workload.batches_per_epoch)
        self._trainer = trainer

    seconds = None

    def over_by_clock(self, gradients: float) -> bool:
        runs = self._trainer.runs
        if min(run.rounds for run in runs) >= ROUNDS or self._trainer.requests >= REQUESTS * len(runs):
            return True
        return super().over_by_clock(gradients)

    def due_by_clock(self, gradients: float, before: float) -> bool:
        return int(gradients) > int(before) and int(gradients) in EVALUATED
