"""Tries a plan before anything is written: every workload is built, every method sends a first message of that size.

What cannot be built or sent, or would not fit into the memory, fails here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console

from simgmc.core.heap import give_back
from simgmc.core.layout import Layout
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.grid_values import training_values
from simgmc.experiment.header import gossip_lines, line
from simgmc.experiment.plan import of_one_seed
from simgmc.experiment.preflight.checks import notes
from simgmc.experiment.preflight.many_events import events_of
from simgmc.experiment.preflight.memory import MemoryPrediction, TooLarge, predict_memory, require_memory
from simgmc.experiment.preflight.pace import Pace, pace_of
from simgmc.experiment.preflight.prediction import least_sent, wire_format
from simgmc.experiment.training import Training
from simgmc.scenario import ScenarioFile
from simgmc.workloads.workload import Workload


@dataclass(frozen=True)
class Built:
    """What is told of a workload that was built, which is let go of again."""

    layout: Layout
    batches_per_epoch: float
    route: str
    """As :func:`gradient_route` says it."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What was seen of a plan."""

    first: Built
    """The workload of its first training."""
    built: dict[str, Built]
    """Every workload, see :func:`built_for`."""
    paces: dict[tuple[str, str], Pace]
    """How long trainings take, by workload and method, where that was asked for."""
    memory: MemoryPrediction | None
    """Of the training that needs most."""
    routes: list[str]
    """The ways in which gradients are computed, see :func:`gradient_route`."""
    notes: list[str]
    """On trainings that much happens in, beside their own messages."""

    @property
    def heading(self) -> str:
        """The heading of the resolved scenario. Neither it nor a result depends on the number of threads."""
        versions = f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
        return "".join(f"# gradients {route}; {versions}\n" for route in self.routes)

    def built_for(self, training: Training) -> Built:
        """The workload of a training."""
        return self.built[_workload_key(training)]

    def pace_of(self, training: Training) -> Pace:
        """How long it takes."""
        return self.paces[_workload_key(training), training.method.name]


def _workload_key(training: Training) -> str:
    return repr(training_values(training.points[0]))


def try_out(
    plan: list[Training],
    workload_of: WorkloadFactory,
    paced: bool = False,
    tell: Callable[[Training], None] = lambda training: None,
) -> Trial:
    """Try every training; on fewer threads, where only so the run fits into the memory.

    ``paced``: train each for a moment too, for the time that it takes. ``tell`` hears of each before it is tried.
    """
    while True:
        try:
            return _try_each(plan, workload_of, paced, tell)
        except TooLarge as error:
            if error.threads is None:
                raise
            workload_of.use_threads(error.threads)


def _try_each(
    plan: list[Training], workload_of: WorkloadFactory, paced: bool, tell: Callable[[Training], None]
) -> Trial:
    """One workload per combination of training keys, and on it each method once."""
    most: MemoryPrediction | None = None
    routes: dict[str, None] = {}
    workload: Workload | None = None
    last, group, tried = plan[0], None, set[tuple[str, str]]()
    built: dict[str, Built] = {}
    paces: dict[tuple[str, str], Pace] = {}
    lines: list[str] = []
    for training in plan:
        values = _workload_key(training)
        if (values, training.method.name) in tried:
            continue
        tried.add((values, training.method.name))
        tell(training)
        if values != group:
            workload = None  # one at a time
            workload, last, group = workload_of(training.scenario, training.seed), training, values
            route = gradient_route(workload)
            routes[route] = None
            built[values] = Built(workload.layout, workload.batches_per_epoch, route, tuple(workload.notes))
        assert workload is not None
        wire = None
        if training.sends_first_alone:
            wire = wire_format(training, workload.layout, workload.batches_per_epoch)
        needed = predict_memory(training, workload)
        require_memory(needed, workload.workers)
        if wire is None:
            wire = wire_format(training, workload.layout, workload.batches_per_epoch)
            give_back()  # all workers' first messages took the memory of a whole run
        lines.extend(events_of(training, least_sent(training, wire, workload.d), workload.batches_per_epoch))
        most = needed if most is None or needed.total > most.total else most
        if paced:
            paces[values, training.method.name] = pace_of(training, workload)
            give_back()
    assert workload is not None  # a plan has a training
    workload_of.keep(last.scenario, last.seed, workload)
    return Trial(next(iter(built.values())), built, paces, most, list(routes), lines)


def gradient_route(workload: Workload) -> str:
    """How gradients are computed: device, route and why not a faster one, precision."""
    device = str(workload.device)
    if workload.device.type == "cuda":
        device = f"{device} ({torch.cuda.get_device_name(workload.device)})"
    reasons = [one if len(one) <= 160 else one[:157] + "..." for one in workload.reasons]
    why = f" ({'; '.join(reasons[:3])}{'; and more' if len(reasons) > 3 else ''})" if reasons else ""
    return f"on {device}, route: {workload.route}{why}, {workload.precision}"


def print_trial(console: Console, file: ScenarioFile, trial: Trial, workload_of: WorkloadFactory) -> None:
    """The header's lines on workload, memory, wire formats and gossip."""
    scenario, first = file.points[0].scenario, trial.first
    for note in [*notes(file, first.batches_per_epoch), *trial.notes]:
        line(console, "note", note)
    what = scenario.workload.describe(first.layout.d)
    line(console, "workload", f"{what}; gradients {first.route}")
    for note in first.notes:
        line(console, "note", note)
    if trial.memory is not None:
        line(console, "memory", str(trial.memory))
    if workload_of.threads < workload_of.threads_wanted:
        used = f"{workload_of.threads} of {workload_of.threads_wanted}"
        line(console, "threads", f"{used}: what more of them hold at once would not fit into the memory")
    of_method = {training.method.name: training for training in reversed(of_one_seed(file.points))}
    for training in (of_method[method.name] for method in scenario.methods):
        words = wire_format(training, first.layout, first.batches_per_epoch).words
        line(console, "wire", f"{training.method.name}: {words}")
    for gossip in gossip_lines(scenario):
        line(console, "gossip", gossip)
