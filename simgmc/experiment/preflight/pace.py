"""How long training takes on this machine, from a few of its own rounds."""

from __future__ import annotations

import time
from dataclasses import dataclass

from simgmc.experiment.training import Training
from simgmc.workloads.workload import Workload

ENOUGH = 0.5
"""Seconds of rounds after which no more are tried, and how many there are at most:"""
ROUNDS = 5


@dataclass(frozen=True)
class Pace:
    """Wall-clock seconds of one training on a built workload."""

    round_s: float
    """Of one round (of a gradient a worker, where every worker has rounds of its own), its messages included."""
    rounds: int
    evaluation_s: float
    """Of one evaluation, at all points and workers."""
    evaluations: float

    @property
    def seconds(self) -> float:
        """Of all of it, without what the simulated network takes."""
        return self.round_s * self.rounds + self.evaluation_s * self.evaluations


def pace_of(training: Training, workload: Workload) -> Pace:
    """Trains for a moment, and leaves the workload as it was."""
    state, milestones = workload.state_dict(), training.milestones(workload.batches_per_epoch)
    total = milestones.total()
    tried = training.try_rounds(workload, 1 if total < ROUNDS else ROUNDS, ENOUGH)
    each = tried.gradients / tried.rounds
    rounds = milestones.total(each)
    began = time.perf_counter()
    workload.evaluate(tried.model)
    once = time.perf_counter() - began
    workload.load_state_dict(state)
    return Pace(tried.seconds / tried.rounds, rounds, once * tried.models, milestones.evaluations(rounds, each))
