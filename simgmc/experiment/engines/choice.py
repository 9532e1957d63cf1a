"""How many trainings at once, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from rich.console import Console

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.heap import give_back
from simgmc.core.interruption import Interruption
from simgmc.core.processes.cores import usable_cores
from simgmc.core.quantities import bytes_text
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.engines.here import Here
from simgmc.experiment.engines.processes import Processes, visible_devices
from simgmc.experiment.engines.recipe import Recipe
from simgmc.experiment.engines.task import Engine, Judge, Task
from simgmc.experiment.header import line
from simgmc.experiment.preflight.memory import MemoryPrediction
from simgmc.experiment.preflight.pace import pace_of
from simgmc.experiment.preflight.trial import Trial
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.scenario import ScenarioFile
from simgmc.workloads.memory import available

WORTH_IT = 20.0
"""Predicted seconds of all trainings from which on new processes, which start in some seconds, are begun unasked."""


def check_jobs(jobs: int | None) -> None:
    """Refuses a number of trainings at once that is none (SimgmcError)."""
    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1):
        raise SimgmcError(f"jobs = {show_value(jobs)}: must be a whole number of at least 1")


@dataclass(frozen=True)
class Sweeping:
    """How a sweep trains: others go on where one training fails."""

    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    """Of a Ray cluster; one of this machine alone is begun unless given."""
    gpus: float | None = None
    """Of each training on a Ray cluster: a share lets several have one; one where the cluster has any, unless given."""

    def device_here(self, device: str) -> str:
        """Where this process computes: the one who asks a cluster for CUDA devices may have none."""
        return "auto" if self.engine == "ray" and device == "cuda" else device


@dataclass(frozen=True)
class Choice:
    """Chooses who trains the tasks of a run, and says so. ``jobs``: how many at once, where that was asked for."""

    file: ScenarioFile
    trial: Trial
    workload_of: WorkloadFactory
    directory: RunDirectory
    checkpoint_every: float
    interruption: Interruption
    console: Console
    jobs: int | None
    device: str = "auto"
    """As it was asked for, and"""
    threads: int | None = None
    """so many."""
    sweeping: Sweeping | None = None
    judge: Judge | None = None

    def __call__(self, tasks: Sequence[Task]) -> Engine:
        """The engine for these tasks. Raises SimgmcError where as many as were asked for do not fit into the memory."""
        if self.sweeping is not None and self.sweeping.engine == "ray":
            return self._ray(self.sweeping)
        jobs = self._number(tasks)
        if jobs == 1 and self.sweeping is None:
            return Here(self.workload_of, self.checkpoint_every, self.interruption)
        threads = max(1, self.workload_of.threads // jobs)
        recipe = self._recipe(threads, self.workload_of.device)
        devices = visible_devices(torch.cuda.device_count()) if self.workload_of.device == "cuda" else ()
        try:
            keep_going = self.sweeping is not None
            engine = Processes(recipe, jobs, self.interruption, keep_going, devices, self.judge)
        except SimgmcError:
            if self.jobs is not None or self.sweeping is not None:
                raise
            return Here(self.workload_of, self.checkpoint_every, self.interruption)
        self.workload_of.let_go()
        give_back()
        memory = "" if self.trial.memory is None else f", about {bytes_text(_each(self.trial.memory, threads))} each"
        each = f"{threads} thread{'s' * (threads > 1)}{memory}"
        line(self.console, "jobs", f"{jobs} training{'s' * (jobs > 1)} at once, {each}")
        return engine

    def _recipe(self, threads: int, device: str) -> Recipe:
        text, of = self.directory.scenario_text(), self.workload_of
        return Recipe(self.file, text, device, of.data_dir, threads, of.given, self.checkpoint_every)

    def _ray(self, sweeping: Sweeping) -> Engine:
        from simgmc.experiment.engines.ray_cluster import RayCluster  # Ray is an extra that only this needs

        threads, of = self.threads or 1, self.workload_of
        engine = RayCluster(
            self._recipe(threads, self.device),
            of.loaded,
            self.interruption,
            sweeping.address,
            threads=threads,
            gpus=sweeping.gpus,
            jobs=self.jobs,
            device=of.device,
            judge=self.judge,
        )
        line(self.console, "ray", engine.words)
        return engine

    def _number(self, tasks: Sequence[Task]) -> int:
        if self.jobs is not None:
            jobs = min(self.jobs, len(tasks))
            if jobs > 1 and jobs > (fit := self._fit(jobs)):
                assert self.trial.memory is not None
                each = _each(self.trial.memory, max(1, self.workload_of.threads // jobs))
                raise SimgmcError(
                    f"jobs = {self.jobs}: {jobs} trainings at once need about {bytes_text(each)} each, and "
                    f"{bytes_text(self._free or 0)} are free: at most {fit} fit{'s' * (fit == 1)}"
                )
            return jobs
        jobs = 1 if self.workload_of.device == "cuda" else min(usable_cores(), self.workload_of.threads, len(tasks))
        jobs = self._fit(jobs) if jobs > 1 else 1
        if jobs == 1 or self.sweeping is not None:
            return jobs
        training = tasks[0].training
        workload = self.workload_of(training.scenario, training.seed)
        pace = pace_of(training, workload)
        self.workload_of.keep(training.scenario, training.seed, workload)
        return jobs if pace.seconds * len(tasks) >= WORTH_IT else 1

    def _fit(self, jobs: int) -> int:
        """So many, or as many as fit into the memory."""
        memory, free = self.trial.memory, self._free
        if memory is None or free is None:
            return jobs
        devices = max(1, torch.cuda.device_count()) if memory.device == "cuda" else 1
        while jobs > 1:
            at_most = -(-jobs // devices)  # on one device
            if at_most * _each(memory, max(1, self.workload_of.threads // jobs)) <= free:
                break
            jobs -= 1
        return jobs

    @property
    def _free(self) -> float | None:
        return available(self.workload_of.device)


def _each(memory: MemoryPrediction, threads: int) -> float:
    """Bytes of one process on so many threads."""
    return memory.total - memory.with_threads * (1 - min(threads, memory.threads) / memory.threads)
