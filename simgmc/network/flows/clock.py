"""Simulated time: a SimPy environment and the one timer that drives the fluid network in it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush

import simpy
from simpy.events import EventPriority

from simgmc.network.flows.fluid import FluidNetwork


class Clock(simpy.Environment):
    """A SimPy environment that can also schedule at an absolute time, to the last bit."""

    def call_at(self, time: float, action: Callable[[simpy.Event], None], priority: int = 1) -> None:
        """Call ``action`` at a simulated time; a larger priority comes later among ties."""
        event = simpy.Event(self)
        event._ok, event._value = True, None
        event.callbacks.append(action)
        heappush(self._queue, (max(time, self._now), EventPriority(priority), next(self._eid), event))

    def until(self, time: float) -> simpy.Event:
        """An event at a simulated time (now, if that has passed)."""
        event = simpy.Event(self)
        event._ok, event._value = True, None
        heappush(self._queue, (max(time, self._now), EventPriority(1), next(self._eid), event))
        return event


class NetworkTimer:
    """Drives a fluid network inside a clock with one timer for its next event."""

    _AFTER_ALL_ELSE = 9

    def __init__(self, clock: Clock, network: FluidNetwork):
        self._clock = clock
        self._network = network
        self._armed = float("inf")
        network.wake = self.wake

    def wake(self, time: float) -> None:
        """The network's next event may be as early as ``time``."""
        if time < self._armed:
            self._armed = time
            self._clock.call_at(time, self._fire, self._AFTER_ALL_ELSE)

    def _fire(self, event: simpy.Event) -> None:
        now, network = self._clock.now, self._network
        if now < self._armed:
            return
        self._armed = float("inf")
        network.update_rates()
        while (upcoming := network.next_time) <= now:
            network.advance()
        if upcoming < self._armed:
            self.wake(upcoming)
