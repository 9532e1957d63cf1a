"""From a scenario's words to the workload that they stand for."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from simgmc.core.errors import SimgmcError, out_of_memory, show_value
from simgmc.core.imports import guarded
from simgmc.experiment.preflight.memory import require_model_memory
from simgmc.scenario import Scenario
from simgmc.scenario.workload import DataWorkload, ProblemWorkload
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.catalogue import Dataset, load_dataset
from simgmc.workloads.gradients.engine import usable_cores
from simgmc.workloads.models.catalogue import build_model, ready, seeded
from simgmc.workloads.partitions.catalogue import partition


@dataclass(frozen=True)
class Given:
    """What was handed over in Python, in the place of the data set and the model named ``given``."""

    dataset: Dataset | None = None
    model: nn.Module | Callable[[], nn.Module] | None = None

    def build(self, seed: int) -> nn.Module:
        """The model with initial parameters from the seed, if it is a function that makes one."""
        model = self.model
        return (
            ready(model)
            if isinstance(model, torch.nn.Module)
            else seeded(lambda: guarded("model", "making it failed", model), seed)
        )


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
    """Builds workloads on one device and, on the CPU, so many threads (None: all cores); datasets are read once. ``given``: what was handed over in Python."""

    def __init__(self, device: str, data_dir: str | None, threads: int | None, given: Given | None = None):
        self.device = choose_device(device)
        self._given = given or Given()
        if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
            raise SimgmcError(f"threads = {show_value(threads)}: must be a whole number of at least 1")
        self.threads = self.threads_wanted = threads or usable_cores()
        self._load_written = functools.lru_cache(maxsize=2)(
            lambda name, options: load_dataset(name, data_dir, **json.loads(options))
        )

    def fewer_threads(self, threads: int) -> None:
        """Build on fewer than were wanted from now on."""
        self.threads = threads

    def __call__(self, scenario: Scenario, seed: int) -> Any:
        """The workload of one training."""
        try:
            return self._build(scenario, seed)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise SimgmcError(
                f"workload: its model, data and {scenario.workload.workers} workers do not fit into the memory of the {self.device} device"
            ) from None

    def load(self, name: str, **options: Any) -> Dataset:
        """A data set, read once."""
        if name == "given" and self._given.dataset is not None:
            return self._given.dataset
        return self._load_written(name, json.dumps(options))

    def _build(self, scenario: Scenario, seed: int) -> Any:
        chosen = scenario.workload
        if isinstance(chosen, ProblemWorkload):
            return chosen.entry.build(chosen.problem.options, chosen.workers, seed, self.device, self.load)
        return self._classification(chosen, seed)

    def _classification(self, chosen: DataWorkload, seed: int) -> ClassificationWorkload:
        data = self.load(chosen.dataset.name, **chosen.dataset.options)
        owned = partition(chosen.partition.name, data.train_labels, chosen.workers, seed, **chosen.partition.options)
        least = min(range(len(owned)), key=lambda worker: len(owned[worker]))
        if len(owned[least]) < chosen.batch_per_worker:
            raise SimgmcError(
                f"workload.batch_per_worker = {chosen.batch_per_worker}: worker {least} holds only {len(owned[least])} samples "
                f"({chosen.partition.name}, seed {seed})"
            )
        if chosen.model.name == "given" and self._given.model is not None:
            model = self._given.build(seed)
        else:
            model = build_model(
                chosen.model.name, data.sample_shape, data.classes, seed, data.tokens, **chosen.model.options
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
        )
