"""The flows of one exchange, simulated as they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from simgmc.network.cluster.breakdown import chain
from simgmc.network.collectives.schedule import Execution, Placement, Schedule, Ways
from simgmc.network.flows.fluid import CapacityError
from simgmc.network.topology.routing import Links

Parts = tuple[float, float, float, float]
"""Seconds of transfer, latency, adding, waiting for others."""
Finish = Callable[[int, float], None]
"""Is told which participant has finished, and when (s)."""


@dataclass(frozen=True)
class Moved:
    """What an exchange moved."""

    sent_by_workers: float
    received_by_workers: float
    into_server: float
    out_of_server: float
    links: np.ndarray
    """(links,) bytes over each link."""
    messages: np.ndarray
    """(links,) transfers over each link."""


def moved(
    schedule: Schedule,
    placement: Placement,
    delivered: np.ndarray | None = None,
    rerouted: Mapping[int, Ways] = MappingProxyType({}),
) -> Moved:
    """Bytes of a schedule's flows (of those delivered, where that is given); ``rerouted``: some flows' other routes."""
    structure = schedule.structure
    source, destination = structure.endpoints
    sent = source != destination
    if delivered is not None:
        sent = sent & delivered
    nbytes = np.where(sent, schedule.nbytes, 0.0)
    workers = structure.participants
    return Moved(
        float(nbytes[source < workers].sum()),
        float(nbytes[destination < workers].sum()),
        float(nbytes[destination >= workers].sum()),
        float(nbytes[source >= workers].sum()),
        placement.over_links(nbytes, rerouted),
        placement.over_links(sent.astype(float), rerouted),
    )


class LiveFlows:
    """Every flow simulated as it happens, sharing links with whatever else is there."""

    def __init__(self, execution: Execution):
        self.execution = execution
        execution.begin()

    def ready(self, participant: int, now: float) -> None:
        """A participant has its message."""
        network = self.execution.network
        network.catch_up(now)
        self.execution.ready(participant)
        network.wake(now)

    def back(self, participant: int, ready: float, end: float) -> tuple[Parts, int, float]:
        """Where a participant's time went from ``ready`` to ``end``, when it finished.

        Waiting is left out of the seconds. Instead, the participant is returned that was waited for,
        and when it was ready.
        """
        finisher = self.execution.finisher[participant]
        transfer, latency, aggregate, origin, time = chain(self.execution, finisher, ready, end)
        return (transfer, latency, aggregate, 0.0), participant if origin < 0 else origin, time

    def moved(self) -> Moved:
        """Bytes of the flows delivered so far."""
        execution = self.execution
        return moved(execution.schedule, execution.placement, np.array(execution.landed) >= 0, execution.rerouted)

    def check(self, capacity: Sequence[float]) -> None:
        """Assert that everything was delivered, and that no link carried more than it can."""
        execution = self.execution
        if execution.open:
            waiting = next(flow for flow, time in enumerate(execution.landed) if time < 0)
            raise CapacityError(f"internal error: {execution.describe(waiting)} was never delivered")
        begun = min((time for time in execution.begun if time >= 0), default=0.0)
        check_bounds(
            self.moved().links,
            capacity,
            max(execution.landed, default=0.0) - begun,
            execution.placement.links,
            execution.placement.least_latency,
        )


def check_bounds(links: np.ndarray, capacity: Sequence[float], seconds: float, names: Links, latency: float) -> None:
    """Raise CapacityError where a link carried more than it can in that time, or bytes arrived sooner than the
    least latency allows."""
    if seconds < latency * (1 - 1e-9):
        raise CapacityError(f"internal error: an exchange took {seconds:.9g} s, less than its latency, {latency:.9g} s")
    with np.errstate(invalid="ignore"):
        limit = np.asarray(capacity) * seconds
    over = links > limit * (1 + 1e-9) + 1e-6
    if over.any():
        link = int(np.argmax(over))
        source, destination = names.names[link]
        raise CapacityError(
            f"internal error: link {source} -> {destination} carried {links[link]:.9g} bytes in {seconds:.9g} s, "
            f"more than its {capacity[link]:.9g} bytes/s allow"
        )
