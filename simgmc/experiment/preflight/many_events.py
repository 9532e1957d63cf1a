"""Runs that would need more events than can be simulated: what happens often while rounds take long."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.quantities import number, time_text
from simgmc.experiment.plan import of_one_seed, times_are_stated
from simgmc.experiment.preflight.checks import parameters
from simgmc.experiment.training import Training
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.topology.routing import Links
from simgmc.scenario import ScenarioFile
from simgmc.scenario.workload import DataWorkload
from simgmc.workloads.data.catalogue import DATASETS

MAX_EVENTS = 1e9
"""Events of one training, beside those of its own messages, up to which it is begun."""
NOTED = 1e7
"""From so many on, a line says so."""
EVENT = 5e-5
"""Seconds that simulating one takes, about."""


def events_before_run(file: ScenarioFile) -> list[str]:
    """The same lines of every training of a scenario that nobody has tried yet.

    What they depend on is built, as a run builds it, unless few events are certain without.
    """
    if all(condition.static for point in file.points for condition in point.scenario.cluster.conditions):
        return []
    stated = times_are_stated(file.points)
    if stated and all(map(_certainly_few, of_one_seed(file.points))):
        return []
    # Loaded here, as they load torch: most checks do without it.
    from simgmc.experiment.assembly import WorkloadFactory
    from simgmc.experiment.preflight.compute_times import state_times
    from simgmc.experiment.preflight.prediction import least_sent, wire_format

    workload_of, lines = WorkloadFactory("auto", None, None), dict[str, None]()
    if not stated:
        try:
            file = state_times(file, workload_of)
        except SimgmcError as error:
            return [f"how much happens on the network meanwhile cannot be said: {error}"]
    for training in of_one_seed(file.points):
        if _certainly_few(training):
            continue
        try:
            workload = workload_of(training.scenario, training.seed)
        except SimgmcError as error:
            lines[f"{training.title}: how much happens on the network meanwhile is told by simgmc run: {error}"] = None
            if training.scenario.workload.rounds is not None:
                lines |= dict.fromkeys(events_of(training, little(training, parameters(training.scenario) or 0), 1.0))
            continue
        batches = workload.batches_per_epoch
        nbytes = least_sent(training, wire_format(training, workload.layout, batches), workload.d)
        lines |= dict.fromkeys(events_of(training, nbytes, batches))
        workload_of.keep(training.scenario, training.seed, workload)
    return list(lines)


def _certainly_few(training: Training) -> bool:
    """Whether nothing would be said of it however long its messages are: more than 8 bytes a parameter none is."""
    rounds, d, batches = training.scenario.workload.rounds, parameters(training.scenario), 1.0
    chosen = training.scenario.workload
    if rounds is None and isinstance(chosen, DataWorkload):
        train = DATASETS[chosen.dataset.name].facts(chosen.dataset.options).train
        if train is not None:
            # Workers that hold less than a batch take fewer samples a step, and more steps.
            rounds, batches = 1, 4 * (1 + train / chosen.workers / chosen.batch_per_worker)
    if rounds is None or d is None:
        return all(not training.settings(point).happening[0] for point in training.points)
    try:
        return next(events_of(training, 8.0 * d, batches), None) is None
    except SimgmcError:
        return False


def little(training: Training, parameters: int) -> float:
    """Bytes that a worker's message of so many parameters has at least: a bit for each, or a byte where nothing that
    is sent in the clock's order has fewer; nothing where there is a compressor.
    """
    if training.method.compressors():
        return 0.0
    return parameters / 8 if training.sends_first_alone else float(parameters)


def events_of(training: Training, nbytes: float, batches_per_epoch: float) -> Iterator[str]:
    """A line for each of its clusters on which much happens meanwhile; a message has ``nbytes``, at least.

    Raises SimgmcError where that would take days.
    """
    milestones = training.milestones(batches_per_epoch)
    each = training.method.gradients_per_round(milestones.total(), batches_per_epoch)
    rounds = milestones.total(each)
    for point in training.points:
        if all(condition.static for condition in point.scenario.cluster.conditions):
            continue
        settings = training.settings(point)
        often, what = settings.happening
        if not often:
            continue
        # Half a message: a worker that is a server too sends less than a whole one.
        of_worker = least_seconds(settings, each, nbytes / 2 if len(settings.workers) > 1 else 0.0)
        all_wait = training.sends_first_alone and not settings.leaves_out
        seconds = rounds * float(of_worker.max() if all_wait else of_worker.min())
        events = often * seconds
        if events < NOTED:
            continue
        said = (
            f"{training.title}: {what} goes on for at least {time_text(seconds)} of simulated time: {number(events)} "
            f"events, about {time_text(events * EVENT)} of computing"
        )
        if events > MAX_EVENTS:
            raise SimgmcError(
                f"cluster.changes: {said}; at most {number(MAX_EVENTS)} are simulated: make it rarer, the network "
                "faster (cluster.bandwidth, transport), or the training shorter"
            )
        yield said


def least_seconds(settings: ClusterSettings, gradients: float, nbytes: float) -> np.ndarray:
    """(workers,) s that each worker needs at least to compute so many gradients and send so many bytes."""
    links = Links(settings.payload_graph, settings.seed)
    bandwidth = list(links.bandwidth)
    for condition in settings.conditions:
        condition.widen(links, bandwidth)
    room = dict.fromkeys(settings.workers, 0.0)
    for (source, _), link in zip(links.names, links.capacity_of):
        if source in room:
            room[source] += bandwidth[link]
    if settings.overheads.rate_cap is not None:
        # Each pair of hosts has connections of its own.
        others = len(settings.workers) + len(settings.server_hosts) - 1
        together = others * settings.overheads.streams * float(settings.overheads.rate_cap)
        room = {host: min(most, together) for host, most in room.items()}
    sending = [nbytes / most if most > 0 else 0.0 for most in room.values()]  # without bandwidth the run ends at once
    return settings.compute.times(1, len(settings.workers)) * gradients + np.array(sending)
