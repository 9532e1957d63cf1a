"""The memory that a training needs, counted while it runs for a moment on a small model."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence

from simgmc.algorithms.effects import Exchange, Request, Send, Start
from simgmc.experiment.under_way.evaluations import Evaluations, Milestones, Outcome
from simgmc.experiment.under_way.events import EventsUnderWay
from simgmc.network import ClusterSettings
from simgmc.scenario import Scenario
from simgmc.scenario.workload import Method
from simgmc.training.journal import Asked, Parcel, Served, Step
from simgmc.training.per_worker import PerWorkerTrainer
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.gradients.live_memory import Needed, memory_of_events, memory_of_rounds
from simgmc.workloads.noise import NoiseWorkload
from simgmc.workloads.workload import Workload

ROUNDS = 2
"""Rounds of every worker in an asynchronous training."""
REQUESTS = 150
"""Requests a worker, on average, after which it ends even if some worker has not done its rounds."""
EVALUATED = (0, 1, 3)
"""Gradients a worker after which there is an evaluation, and at the end."""


def of_rounds(trainer_on: Callable[[NoiseWorkload], StackedTrainer], workload: Workload, scenario: Scenario) -> Needed:
    """What rounds need, each of them evaluated."""
    # evaluated at simulated times, a state waits until the last worker has finished its round
    waiting = 2 if scenario.workload.evaluation_interval()[1] == "seconds" else 0

    def begin(noise: NoiseWorkload) -> Callable[[], None]:
        trainer, held = trainer_on(noise), deque[object](maxlen=waiting)
        evaluations = Evaluations(noise, Outcome(), 0.0, scenario.report.single_workers, lambda state: None)

        def run_round() -> None:
            trainer.next_round().with_everybody()
            points = trainer.model(), trainer.other_models(), trainer.models()
            held.append(points)
            evaluations.add(trainer.rounds, trainer.epoch, trainer.progress().latest, *points)

        return run_round

    return memory_of_rounds(begin, workload.layout, workload.workers)


def of_events(
    trainer_on: Callable[[NoiseWorkload], PerWorkerTrainer],
    workload: Workload,
    scenario: Scenario,
    method: Method,
    settings: ClusterSettings,
) -> Needed:
    """What an asynchronous training needs, at the pace of the whole model."""

    def run(noise: NoiseWorkload) -> None:
        enlarged = _Enlarged(trainer_on(noise), workload.d / noise.d)
        milestones = _Short(scenario, method, enlarged)
        EventsUnderWay(enlarged.trainer, settings, milestones, scenario, programs=enlarged).run()
        enlarged.trainer.close()

    return memory_of_events(run, workload.layout, workload.workers, workload.components)


class _Enlarged:
    """Programs whose messages travel like those of a model that is ``factor`` times as large."""

    def __init__(self, trainer: PerWorkerTrainer, factor: float):
        self.trainer, self._factor = trainer, factor
        self.requests = 0

    def advance(self, worker: int, answer: int | Sequence[int]) -> Asked:
        self.requests += 1
        step, staleness = self.trainer.advance(worker, answer)
        return Asked(self._step(step), staleness)

    def serve(self, asked: int, asker: int, message: int) -> Served:
        replies, staleness = self.trainer.serve(asked, asker, message)
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

    def __init__(self, scenario: Scenario, method: Method, enlarged: _Enlarged):
        super().__init__(scenario, method, enlarged.trainer.workload.batches_per_epoch)
        self._enlarged = enlarged

    seconds = None

    def over_by_clock(self, gradients: float) -> bool:
        runs = self._enlarged.trainer.runs
        if min(run.rounds for run in runs) >= ROUNDS or self._enlarged.requests >= REQUESTS * len(runs):
            return True
        return super().over_by_clock(gradients)

    def due_by_clock(self, gradients: float, before: float) -> bool:
        return int(gradients) > int(before) and int(gradients) in EVALUATED
