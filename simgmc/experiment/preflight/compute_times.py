"""Times of a cluster that a scenario leaves to be measured, or takes from a device's profile."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import Randomness, generator
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.grid_values import training_values
from simgmc.experiment.plan import times_are_stated
from simgmc.results.directory.scenario_changes import changes, refusal
from simgmc.scenario import ScenarioFile
from simgmc.scenario.cluster.compute import MEASURED, DeviceProfile
from simgmc.scenario.cluster.devices import DEVICES
from simgmc.scenario.components import Component
from simgmc.workloads.workload import Workload

REPETITIONS, WARM_UP = 15, 3


def times_of_run(file: ScenarioFile, out: str | Path, workload_of: WorkloadFactory, overwrite: bool) -> ScenarioFile:
    """The file with its times stated; a stopped run goes on with the times that it measured."""
    there = [Path(out) / name for name in ("scenario.toml", "metrics.csv")]
    compute = file.points[0].scenario.cluster.compute
    if (
        times_are_stated(file.points)
        or isinstance(compute, DeviceProfile)
        or overwrite
        or not all(map(os.path.isfile, there))
    ):
        return state_times(file, workload_of)
    before = ScenarioFile.read(there[0])
    same = _with_times_of(before, file)
    if same.resolved() == before.resolved():
        return before
    raise SimgmcError(refusal(Path(out), changes(before.resolved(), same.resolved())))


def _with_times_of(before: ScenarioFile, file: ScenarioFile) -> ScenarioFile:
    """The file with those times that it wants measured as an earlier run measured them."""
    measured, scenario = before.points[0].scenario, file.points[0].scenario
    times = scenario.cluster.compute
    settings = [
        (f"cluster.compute.{name}", str(getattr(measured.cluster.compute, name)))
        for name in type(times).model_fields
        if getattr(times, name) == MEASURED and hasattr(measured.cluster.compute, name)
    ]
    if times.compression == MEASURED:
        known = {method.name: method.compression_time for method in measured.methods}
        for number, method in enumerate(scenario.methods):
            if method.compression_time is None and known.get(method.name) is not None:
                settings.append((f"methods.{number}.compression_time", str(known[method.name])))
    return file.with_settings(settings)


def state_times(file: ScenarioFile, workload_of: WorkloadFactory) -> ScenarioFile:
    """The same file with every time stated: measured on this device, or from the profile.

    A rerun of the result is the same run, on any machine.
    """
    if times_are_stated(file.points):
        return file
    scenario = file.points[0].scenario
    compute = scenario.cluster.compute
    varying = [key for key in file.grid if key == "cluster" or key.startswith("cluster.compute")]
    varying += list(training_values(file.points[0]))
    if varying:
        raise SimgmcError(
            f"{file.place}: cluster.compute: times that are measured or taken from a profile cannot be used with "
            f"a grid over {varying[0]}, as each of its points would have its own; state the times"
        )
    workload = workload_of(scenario, scenario.seeds[0])
    if isinstance(compute, DeviceProfile):
        device = DEVICES[compute.profile]
        rate = f"{device.memory_bandwidth * compute.efficiency / 1e9!r} GB/s"
        seconds = workload.flops / (device.flops * compute.efficiency)
        return file.with_settings(
            [("cluster.compute", {"gradient": _milliseconds(seconds), "compression": rate, "aggregation": rate})]
        )
    workload_of.keep(scenario, scenario.seeds[0], workload)
    settings: list[tuple[str, Any]] = []
    times = {name: str(getattr(compute, name)) for name in type(compute).model_fields}
    if compute.gradient == MEASURED:
        times["gradient"] = _milliseconds(gradient_seconds(workload))
    if compute.aggregation == MEASURED:
        times["aggregation"] = _milliseconds(_aggregation_seconds(workload))
    if compute.compression == MEASURED:
        slowest = 0.0
        for index, method in enumerate(scenario.methods):
            if method.compressors() and method.compression_time is None:
                seconds = max(_compression_seconds(chosen, workload) for chosen in method.compressors().values())
                settings.append((f"methods.{index}.compression_time", _milliseconds(seconds)))
                slowest = max(slowest, seconds)
        times["compression"] = _milliseconds(slowest)
    return file.with_settings([("cluster.compute", times), *settings])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3!r} ms"


def gradient_seconds(workload: Workload, repetitions: int = REPETITIONS) -> float:
    """Median seconds of one worker's gradient on this device, warm, nothing else running.

    On the CPU: one thread, the worker's minibatch included. On CUDA: launched kernel by kernel,
    as a worker with a device of its own would, until the device has finished. The workload's state
    is left as it was.
    """
    state, at, steps = workload.state_dict(), workload.initial_parameters(), itertools.count()
    seconds = _median_seconds(lambda: workload.gradient(0, at, next(steps)), workload.device, repetitions)
    workload.load_state_dict(state)
    return seconds


def _compression_seconds(chosen: Component, workload: Workload) -> float:
    """Of one vector."""
    compressor = build(chosen.name, workload.layout, **chosen.options)
    vector = _noise(workload, 1)
    return _median_seconds(lambda: compressor(vector, Randomness(0, 0, 0, [0])), workload.device)


def _aggregation_seconds(workload: Workload) -> float:
    """To add one dense message of every worker."""
    vectors = _noise(workload, workload.workers)
    return _median_seconds(lambda: vectors.sum(dim=0), workload.device)


def _noise(workload: Workload, rows: int) -> torch.Tensor:
    drawn = generator(0, "timing").standard_normal((rows, workload.d), dtype="float32")
    return torch.from_numpy(drawn).to(workload.device)


def _median_seconds(task: Callable[[], object], device: torch.device, repetitions: int = REPETITIONS) -> float:
    seconds = []
    for _ in range(WARM_UP + repetitions):
        start = time.perf_counter()
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])
