"""The flows of one exchange, simulated as they go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simgmc.network.exchanges.accounts import Moved, chain, check_bounds, moved
from simgmc.network.exchanges.execution import Execution
from simgmc.network.flows.fluid import CapacityError

Parts = tuple[float, float, float, float]
"""Seconds of transfer, latency, adding, waiting for others."""
Finish = Callable[[int, float], None]
"""Is told which participant has finished, and when (s)."""


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
        begun, landed = min(execution.begun, default=0.0), max(execution.landed, default=0.0)
        check_bounds(
            self.moved().links,
            capacity,
            landed - begun,
            execution.placement.links,
            execution.placement.least_latency,
            # Each flow begins and ends at a reading of the clock, which is as coarse as simulated time is long.
            2 * (len(execution.landed) + 1) * float(np.spacing(landed)),
        )
