"""From a scenario's method to its trainer on a workload."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.worker import Algorithm
from simgmc.mixing import everybody

if typing.TYPE_CHECKING:
    from simgmc.experiment.plan import Training
    from simgmc.training.per_worker import PerWorkerTrainer
    from simgmc.training.stacked import StackedTrainer


def build_trainer(training: Training, workload: Any) -> StackedTrainer:
    """The stacked trainer of one training on a workload.

    Workloads of another number of workers, on which nothing but sizes is looked at, mix with everybody.
    """
    from simgmc.training.stacked import StackedTrainer

    scenario, method = training.scenario, training.method
    return StackedTrainer(
        _algorithm(training, workload),
        workload,
        learning_rate(training, workload),
        _weight_decay(training),
        training.seed,
        scenario.mixing(method) if workload.workers == scenario.workload.workers else everybody(workload.workers),
        training.participation,
    )


def build_asynchronous_trainer(training: Training, workload: Any) -> PerWorkerTrainer:
    """The trainer of a method that the simulated clock drives."""
    from simgmc.training.per_worker import PerWorkerTrainer

    table = training.scenario.gossip_of(training.method)
    graph = None
    if table is not None:
        drawn = table.graph_of(training.scenario.workload.workers)
        graph = drawn.neighbours
    return PerWorkerTrainer(
        _algorithm(training, workload),
        workload,
        learning_rate(training, workload),
        _weight_decay(training),
        training.seed,
        graph,
    )


def _algorithm(training: Training, workload: Any) -> Algorithm:
    from simgmc.compression import build

    method = training.method
    parameters = method.parameters()
    for key, chosen in method.compressors().items():
        parameters[key] = build(chosen.name, workload.layout, **chosen.options)
    if "momentum" in parameters and parameters["momentum"] is None:
        parameters["momentum"] = training.scenario.optimizer.momentum
    return ALGORITHMS[method.algorithm](**parameters)


def learning_rate(training: Training, workload: Any) -> Callable[[float], float]:
    """The method's learning rate as a function of the epoch."""
    from simgmc.training.schedules import Schedule

    scenario, method = training.scenario, training.method
    optimizer = scenario.optimizer
    stated = method.schedule or optimizer.schedule
    schedule = Schedule(**{**dict(stated), "milestones": tuple(stated.milestones)}).stretched(method.epoch_multiplier)
    base = optimizer.learning_rate if method.learning_rate is None else method.learning_rate
    per_epoch = workload.batches_per_epoch
    epochs = method.epochs(scenario.workload) or method.gradients(scenario.workload, per_epoch)[0] / per_epoch
    return lambda epoch: base * schedule.factor(epoch, epochs)


def _weight_decay(training: Training) -> float:
    own = training.method.weight_decay
    return training.scenario.optimizer.weight_decay if own is None else own
