"""What can be said of a scenario before anything is trained: what cannot fit, and what will have no effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from simgmc.algorithms.optimizers import SGD
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.experiment.grid_values import training_values
from simgmc.scenario import GridPoint, Scenario, ScenarioFile
from simgmc.scenario.workload import DataWorkload, Method
from simgmc.workloads.data.catalogue import DATASETS


def check_counts(file: ScenarioFile) -> None:
    """Refuse a compressor's ``count`` above the model's number of parameters, where the scenario alone says so."""
    for point in _distinct(file):
        counts = [found for method in point.scenario.methods for found in counts_of(method)]
        if counts and (d := parameters(point.scenario)) is not None:
            for place, count in counts:
                require_count(f"{file.place}: {place}", count, d)


def require_count(place: str, count: int, d: int) -> None:
    """Raises SimgmcError for so many coordinates of so few parameters."""
    if count > d:
        raise SimgmcError(f"{place} = {count}: the model has only {d:,} parameters")


@contextmanager
def keys_named(method: Method) -> Iterator[None]:
    """Puts before what is wrong the keys of the method that it must be due to."""
    try:
        yield
    except DivergenceError:
        raise
    except SimgmcError as error:
        name = f"methods.{method.name}"
        raise SimgmcError(f"{', '.join(f'{name}.{key}' for key in method.compressors()) or name}: {error}") from None


def parameters(scenario: Scenario) -> int | None:
    """The number of a model's parameters, without memory for it; None where its data must be read first."""
    workload = scenario.workload
    if not isinstance(workload, DataWorkload):
        return None
    facts = DATASETS[workload.dataset.name].facts(workload.dataset.options)
    if facts.sample_shape is None or facts.classes is None:
        return None
    import torch  # a check does without it where no compressor states a count

    from simgmc.workloads.models.catalogue import build_model  # loads torch

    with torch.device("meta"):
        model = build_model(
            workload.model.name, facts.sample_shape, facts.classes, 0, facts.tokens, **workload.model.options
        )
    return sum(one.numel() for one in model.parameters())


def notes(file: ScenarioFile, batches_per_epoch: float | None = None) -> list[str]:
    """A line on everything in a scenario that will have no effect, or another one than it seems.

    Without ``batches_per_epoch`` only what can be said without the data.
    """
    lines = [*late_milestones(file, batches_per_epoch), *constant_schedules(file, batches_per_epoch)]
    if batches_per_epoch is not None:
        lines += unequal_gradients(file, batches_per_epoch)
    return [*lines, *unused_momentum(file), *unused_places(file)]


def unused_places(file: ScenarioFile) -> list[str]:
    """A line on what is said of places in the network that no point of the grid has."""
    lines, scenarios = [], [point.scenario for point in file.points]
    exchanges = [(one, exchange) for one in scenarios for exchange in dict.fromkeys(map(one.exchange, one.methods))]
    hung = [(one, exchange) for one, exchange in exchanges if one.cluster.topology.options.get("attach")]
    graphs = (one.cluster.graph(one.workload.workers, exchange).graph for one, exchange in hung)
    if hung and not any(graph["attached"] for graph in graphs):
        lines.append("cluster.topology.attach is without effect: the file draws every host")
    servers = {name for one, exchange in exchanges for name in one.cluster.server_names(exchange)}
    named = dict.fromkeys(name for one in scenarios for name in one.cluster.hosts if name.startswith("server"))
    unused = [f"cluster.hosts.{name}" for name in named if name not in servers]
    if unused:
        lines.append(f"{', '.join(unused)}: without effect, as nothing is exchanged over such a server")
    return lines


def constant_schedules(file: ScenarioFile, batches_per_epoch: float | None) -> list[str]:
    """A line on schedules that go by whole epochs, where the training is over within the first."""
    found: dict[tuple[str, str, float], list[str]] = {}
    for point in _distinct(file):
        for method in point.scenario.methods:
            schedule, workload = method.schedule or point.scenario.optimizer.schedule, point.scenario.workload
            epochs = method.epochs(workload)
            if epochs is None and batches_per_epoch is not None:
                epochs = point.scenario.gradients(method, batches_per_epoch) / batches_per_epoch
            falls = schedule.kind in ("cosine", "polynomial") and schedule.by_epoch
            if falls and epochs is not None and epochs <= 1 + 1e-9:
                place = f"methods.{method.name}.schedule" if method.schedule else "optimizer.schedule"
                names = found.setdefault((place, schedule.kind, epochs), [])
                names += [] if method.name in names else [method.name]
    every = len(file.points[0].scenario.methods)
    return [
        f"{place} = {kind}: the rate changes between epochs, and training{_whose(place, names, every)} has "
        f'{epochs:.4g} of them: it stays constant; per = "round" lets it follow the rounds'
        for (place, kind, epochs), names in found.items()
    ]


def unequal_gradients(file: ScenarioFile, batches_per_epoch: float) -> list[str]:
    """A line where methods compute unequally many gradients, as the length is stated in rounds."""
    lines: dict[str, None] = {}
    for point in _distinct(file):
        workload = point.scenario.workload
        if workload.rounds is None:
            continue
        by_count: dict[int, list[str]] = {}
        for method in point.scenario.methods:
            by_count.setdefault(point.scenario.gradients(method, batches_per_epoch), []).append(method.name)
        if len(by_count) > 1:
            said = "; ".join(f"{', '.join(names)}: {count:,}" for count, names in sorted(by_count.items()))
            lines[
                f"workload.rounds = {workload.rounds}: rounds differ in length, so do the gradients of each worker "
                f"({said}); stated in epochs all would have the same"
            ] = None
    return list(lines)


def unused_momentum(file: ScenarioFile) -> list[str]:
    """A line on methods that have no use for the momentum that all share."""
    scenario = file.points[0].scenario
    rule = scenario.optimizer.rule
    names = [
        method.name
        for method in scenario.methods
        if "momentum" not in method.parameters() and method.optimizer is None and scenario.update(method).rule is None
    ]
    if not names or not isinstance(rule, SGD) or not rule.momentum:
        return []
    return [f"optimizer.momentum = {rule.momentum:g} is not used by {', '.join(names)}"]


def _whose(place: str, names: list[str], every: int) -> str:
    """Whose setting it is, where not all share it and its place does not say so."""
    return "" if len(names) == every or place != "optimizer.schedule" else f" of {', '.join(names)}"


def late_milestones(file: ScenarioFile, batches_per_epoch: float | None = None) -> list[str]:
    """A line on each schedule with milestones that no round of a method's training comes after.

    Without ``batches_per_epoch`` only those past its last epoch, where its length is stated in epochs.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for point in _distinct(file):
        for method in point.scenario.methods:
            schedule, times = method.schedule or point.scenario.optimizer.schedule, method.epoch_multiplier
            length = _length(point.scenario, method, batches_per_epoch, schedule.by_epoch)
            if length is None:
                continue
            late = [one * times for one in schedule.milestones if one * times >= length.end]
            if late:
                place = f"methods.{method.name}.schedule" if method.schedule else "optimizer.schedule"
                names = found.setdefault((place, ", ".join(f"{one:g}" for one in late), length.words), [])
                names += [] if method.name in names else [method.name]
    lines, every = [], len(file.points[0].scenario.methods)
    for (place, milestones, words), names in found.items():
        end = f"past the end of training{_whose(place, names, every)} ({words})"
        lines.append(f"{place}.milestones: {milestones} {end}, so without effect")
    return lines


class _Length(NamedTuple):
    """Of a training."""

    end: float
    """The first epoch at which a milestone has no effect."""
    words: str


def _length(scenario: Scenario, method: Method, per_epoch: float | None, by_epoch: bool) -> _Length | None:
    """None where it is not known."""
    epochs = method.epochs(scenario.workload)
    if per_epoch is None:
        return _Length(epochs, f"{epochs:.4g} epochs") if epochs else None
    gradients = scenario.gradients(method, per_epoch)
    last = (gradients - 1) / per_epoch  # where the last step begins
    last = math.floor(last + 1e-9) if by_epoch else last
    words = f"{epochs or gradients / per_epoch:.4g} epochs, the last rate is that of epoch {last:.4g}"
    return _Length(math.nextafter(last, math.inf), words)


def _distinct(file: ScenarioFile) -> list[GridPoint]:
    """One grid point of each training."""
    return list({repr(training_values(point)): point for point in reversed(file.points)}.values())[::-1]


def counts_of(method: Method) -> Iterator[tuple[str, int]]:
    """Every ``count`` of a method's compressors, with its key."""
    waiting: list[tuple[str, Any]] = [
        (f"methods.{method.name}.{key}", chosen.options) for key, chosen in method.compressors().items()
    ]
    while waiting:
        place, options = waiting.pop()
        for key, value in options.items():
            if isinstance(value, Mapping):
                waiting.append((f"{place}.{key}", value))
            elif key == "count" and isinstance(value, int):
                yield f"{place}.count", value
