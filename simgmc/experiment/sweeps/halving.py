"""Successive halving: trainings that promise little at a rung are given up there.

The rule is ASHA (Li et al. 2020) of Ray Tune: at each rung a training goes on if it is among the best part of those of
its method that have come so far by then. So which are given up depends on which come first; what was found of each
until then does not. They come in a drawn order, as the rule supposes: where the worse come first, all of them go on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.quantities import number as number_text
from simgmc.experiment.engines.task import Task
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import State
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.measures import measure_of
from simgmc.scenario import ScenarioFile
from simgmc.scenario.point import Report
from simgmc.scenario.sweep import Halving


@dataclass(frozen=True)
class _Trial:
    """A training, as the schedulers of Ray Tune know it."""

    trial_id: str


class HalvingJudge:
    """See :class:`simgmc.experiment.engines.task.Judge`; trainings of a method compete with each other alone."""

    def __init__(self, plan: Sequence[Training], halving: Halving, report: Report, higher: bool):
        """``higher``: whether a larger value of what is measured is better. Raises SimgmcError without Ray."""
        try:
            from ray.tune.schedulers import AsyncHyperBandScheduler  # an extra that only this needs
        except ImportError:
            raise SimgmcError('sweep.halving: Ray Tune is not installed; pip install "simgmc[ray]" brings it') from None
        self._metric = report.metric
        self._worst = -math.inf if higher else math.inf
        self._methods = [training.method.name for training in plan]
        self._rungs = [halving.first * halving.factor**power for power in range(40)]
        self._passed = [0] * len(plan)
        longest = halving.first * halving.factor**40
        self._schedulers: dict[str, Any] = {
            name: AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="value",
                mode="max" if higher else "min",
                max_t=longest,
                grace_period=halving.first,
                reduction_factor=halving.factor,
            )
            for name in self._methods
        }
        self._trials = [_Trial(str(place)) for place in range(len(plan))]
        for name, trial in zip(self._methods, self._trials, strict=True):
            self._schedulers[name].on_trial_add(None, trial)

    def knows(self, plan: Sequence[Training], stored: Stored) -> None:
        """What an earlier call found of trainings that are over: others are compared with it too."""
        for place, training in enumerate(plan):
            known = [training.series(point) for point in training.points if training.series(point) in stored.finished]
            for state in stored.states(known[0]) if known else ():
                self.hears(place, state)

    def order(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of a plan in an order that says nothing of them; the same plan has the same."""
        place = list(range(len(self._methods)))
        random.Random(len(place)).shuffle(place)
        return sorted(tasks, key=lambda task: place[task.number])

    def hears(self, number: int, state: State) -> str | None:
        """As of a judge: at the first evaluation of a rung, why the training is given up, if it is."""
        if state.epoch < self._rungs[self._passed[number]]:
            return None
        while state.epoch >= self._rungs[self._passed[number]]:
            self._passed[number] += 1
        own = {"accuracy": state.test_accuracy, "loss": state.test_loss}
        value = own.get(self._metric, state.others.get(self._metric.replace("-", "_")))
        value = self._worst if value is None or math.isnan(value) else value
        scheduler, trial = self._schedulers[self._methods[number]], self._trials[number]
        found = scheduler.on_trial_result(None, trial, {"epoch": state.epoch, "value": value})
        if found != scheduler.STOP:
            return None
        return f"{self._metric} {number_text(value)} at epoch {state.epoch:.4g} is not among the best of its method"


def judge_of(file: ScenarioFile, plan: Sequence[Training], directory: RunDirectory) -> HalvingJudge | None:
    """Who gives up trainings of a sweep, where its scenario says that some are."""
    if file.sweep is None or file.sweep.halving is None:
        return None
    report = file.points[0].scenario.report
    higher = measure_of(report.metric, report.better == "higher").higher_is_better
    judge = HalvingJudge(plan, file.sweep.halving, report, higher)
    judge.knows(plan, Stored.read(directory))
    return judge
