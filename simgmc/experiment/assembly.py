"""From a scenario's words to the workload and the trainer that they stand for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.algorithm import Algorithm
from simgmc.compression import build_adapted, rows
from simgmc.core.errors import SimgmcError, out_of_memory, show_value
from simgmc.core.own_code.errors import guarded
from simgmc.core.processes.cores import usable_cores
from simgmc.costs.steps import Participation
from simgmc.experiment.training import Training
from simgmc.mixing import everybody
from simgmc.scenario import Scenario
from simgmc.scenario.point import Report
from simgmc.scenario.workload import DataWorkload, ProblemWorkload
from simgmc.training.one_by_one import OwnMethod
from simgmc.training.own_compressor import OwnCompressor
from simgmc.training.own_programs import OwnAsynchronous, is_own
from simgmc.training.per_worker import PerWorkerTrainer
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.catalogue import load_dataset
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.losses.functions import LossFunction, build_loss
from simgmc.workloads.memory import require_model_memory
from simgmc.workloads.metrics import build_metric
from simgmc.workloads.models.architectures import ARCHITECTURES
from simgmc.workloads.models.catalogue import build_model, ready, seeded
from simgmc.workloads.partitions.catalogue import partition
from simgmc.workloads.workload import Workload

LoadedAs = tuple[str, str]
"""A data set's name, and its options as JSON."""
KEPT = 2
"""Data sets that are kept after they were read."""


@dataclass(frozen=True)
class Given:
    """What was handed over in Python, in the place of the data set, the model and the loss named ``given``."""

    dataset: Dataset | None = None
    model: nn.Module | Callable[[], nn.Module] | None = None
    loss: LossFunction | None = None

    def build(self, seed: int) -> nn.Module:
        """The model with initial parameters from the seed, if it is a function that makes one."""
        model = self.model
        if model is None:
            raise ValueError("no model was handed over")
        if isinstance(model, nn.Module):
            return ready(model)
        return seeded(lambda: guarded("model", "making it failed", model), seed)


def choose_device(name: str) -> str:
    """``auto`` is CUDA where there is a usable device, the CPU otherwise."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("auto", "cpu", "cuda"):
        raise SimgmcError(f'device = {show_value(name)}: must be "auto", "cpu" or "cuda"')
    if name == "cuda" and not torch.cuda.is_available():
        raise SimgmcError('device = "cuda": there is no usable CUDA device here; choose --device cpu (or auto)')
    return name


class WorkloadFactory:
    """Builds workloads on one device and, on the CPU, so many threads (None: all cores); data sets are read once.

    What was built to look at is not built once more for the training that comes first, see :meth:`keep`.
    ``given``: what was handed over in Python.
    """

    def __init__(self, device: str, data_dir: str | None, threads: int | None, given: Given | None = None):
        self.device = choose_device(device)
        self.data_dir, self.given = data_dir, given or Given()
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise SimgmcError(f"threads = {show_value(threads)}: must be a whole number of at least 1")
        self.threads_wanted = threads or usable_cores()
        self._kept: tuple[tuple[object, ...], Workload] | None = None
        self.use_threads(self.threads_wanted)
        self.loaded: dict[LoadedAs, Dataset] = {}
        """The last data sets that were read."""

    def use_threads(self, threads: int) -> None:
        """Build on so many from now on; compressors use them too."""
        self.threads = threads
        rows.POOL.threads = threads
        self._kept = None

    def let_go(self) -> None:
        """Of the workload that was kept."""
        self._kept = None

    def keep(self, scenario: Scenario, seed: int, workload: Workload) -> None:
        """The workload, in the state in which it was built, is for whoever asks next; if that is for another, it is
        let go of.
        """
        self._kept = _needed(scenario, seed), workload

    def __call__(self, scenario: Scenario, seed: int) -> Workload:
        """The workload of one training."""
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] == _needed(scenario, seed):
            return kept[1]
        del kept
        try:
            return self._build(scenario, seed)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise SimgmcError(
                f"workload: its model, data and {scenario.workload.workers} workers do not fit "
                f"into the memory of the {self.device} device"
            ) from None

    def load(self, name: str, **options: Any) -> Dataset:
        """A data set, read once; ``collate`` is what makes samples of one's own a batch."""
        if name == "given" and self.given.dataset is not None:
            return self.given.dataset
        key = name, json.dumps(options)
        data = self.loaded.pop(key, None)  # to put it last
        if data is None:
            data = load_dataset(name, self.data_dir, **json.loads(key[1]))
        self.loaded[key] = data
        for oldest in list(self.loaded)[:-KEPT]:
            del self.loaded[oldest]
        return data

    def _build(self, scenario: Scenario, seed: int) -> Workload:
        chosen = scenario.workload
        if isinstance(chosen, ProblemWorkload):
            return chosen.entry.build(chosen.problem.options, chosen.workers, seed, self.device, self.load)
        if isinstance(chosen, DataWorkload):
            return self._classification(chosen, seed, scenario.report)
        raise TypeError(f"nothing is known of how to build a {type(chosen).__name__}")

    def _classification(self, chosen: DataWorkload, seed: int, report: Report) -> ClassificationWorkload:
        data = self.load(chosen.dataset.name, **chosen.reading)
        loss = build_loss(chosen.loss.name, chosen.loss.options, self.given.loss)
        outputs = loss.outputs(data)
        owned = partition(chosen.partition.name, data.train_labels, chosen.workers, seed, **chosen.partition.options)
        least = min(range(len(owned)), key=lambda worker: len(owned[worker]))
        if len(owned[least]) < chosen.batch_per_worker and chosen.has_equal_sizes:
            raise SimgmcError(
                f"workload.batch_per_worker = {chosen.batch_per_worker}: worker {least} holds only "
                f"{len(owned[least])} samples ({chosen.partition.name}, seed {seed})"
            )
        if chosen.model.name == "given" and self.given.model is not None:
            model = self.given.build(seed)
        else:
            if data.sample_shape is None and chosen.model.name in ARCHITECTURES:
                raise SimgmcError(
                    f"workload.model = {show_value(chosen.model.name)}: takes one array, and samples of "
                    f"{chosen.dataset.title} are several inputs or collated; give a model of your own"
                )
            model = build_model(
                chosen.model.name, data.sample_shape or (), outputs, seed, data.tokens, **chosen.model.options
            )
        require_model_memory(sum(p.numel() for p in model.parameters()), 4, self.device)
        return ClassificationWorkload(
            model,
            data,
            owned,
            batch=chosen.batch_per_worker,
            seed=seed,
            device=self.device,
            augment=chosen.augment,
            threads=self.threads,
            precision=chosen.precision,
            loss=loss,
            metric=build_metric(report.metric, outputs),
            by_samples=chosen.weighs_by_samples,
        )


def _needed(scenario: Scenario, seed: int) -> tuple[object, ...]:
    """All that the workload of a training depends on."""
    return scenario.workload, scenario.report, seed


def build_stacked_trainer(
    training: Training,
    workload: Workload,
    participation: Participation,
    kind: type[StackedTrainer] = StackedTrainer,
    rank: int | None = None,
) -> StackedTrainer:
    """The stacked trainer of one training on a workload, or another of the kind; ``rank``: of that worker alone.

    Workloads of another number of workers, on which nothing but sizes is looked at, mix with everybody.
    """
    scenario, method = training.scenario, training.method
    return kind(
        _algorithm(training, workload),
        workload,
        learning_rate(training, workload),
        training.scenario.update(training.method).weight_decay,
        training.seed,
        scenario.mixing(method) if workload.workers == scenario.workload.workers else everybody(workload.workers),
        participation,
        training.milestones(workload.batches_per_epoch).gradients,
        scenario.update(method).settings,
        rank,
    )


def build_per_worker_trainer(
    training: Training, workload: Workload, kind: type[PerWorkerTrainer] = PerWorkerTrainer
) -> PerWorkerTrainer:
    """The trainer of an asynchronous method, or another of the kind."""
    table = training.scenario.gossip_of(training.method)
    graph = None
    if table is not None:
        drawn = table.graph_of(training.scenario.workload.workers)
        graph = drawn.neighbours
    return kind(
        _algorithm(training, workload),
        workload,
        learning_rate(training, workload),
        training.scenario.update(training.method).weight_decay,
        training.seed,
        graph,
        settings=training.scenario.update(training.method).settings,
    )


def _algorithm(training: Training, workload: Workload) -> Algorithm:
    method = training.method
    parameters = method.parameters()
    for key, chosen in method.compressors().items():
        title = f"{method.name}, {key} {chosen.name}"
        adapt = functools.partial(OwnCompressor, title)
        parameters[key] = build_adapted(chosen.name, workload.layout, chosen.options, adapt)
    update = training.scenario.update(method)
    if "momentum" in parameters and parameters["momentum"] is None:
        parameters["momentum"] = update.momentum
    if "optimizer" in ALGORITHMS[method.algorithm].options():
        parameters["optimizer"] = update.rule
    algorithm = ALGORITHMS[method.algorithm](**(parameters | method.rules()))
    if not is_own(algorithm):
        return algorithm
    own = OwnAsynchronous if algorithm.asynchronous else OwnMethod
    return cast(Algorithm, own(method.name, algorithm, training.seed))


def learning_rate(training: Training, workload: Workload) -> Callable[[float], float]:
    """The method's learning rate as a function of the epoch."""
    scenario, method = training.scenario, training.method
    update = scenario.update(method)
    schedule, base = update.schedule.stretched(method.epoch_multiplier), update.learning_rate
    per_epoch = workload.batches_per_epoch
    epochs = method.epochs(scenario.workload) or scenario.gradients(method, per_epoch) / per_epoch
    if schedule.function is not None:
        _ = schedule.own_function  # found now: trainers look at what it keeps
    return lambda epoch: base * schedule.factor(epoch, epochs, per_epoch)
