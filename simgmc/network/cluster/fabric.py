"""The running network: a clock, links, the fluid engine and what changes about it."""

from __future__ import annotations

from functools import partial

import simpy

from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.conditions.changing import ChangingNetwork
from simgmc.network.flows.clock import Clock, NetworkTimer
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.topology.routing import Links


class Fabric:
    """One network under one clock, as the settings describe it."""

    def __init__(self, settings: ClusterSettings):
        self.clock = Clock()
        self.links = Links(settings.payload_graph, settings.seed)
        self.network = FluidNetwork(self.links)
        self._timer = NetworkTimer(self.clock, self.network)
        self._changing: ChangingNetwork | None = None
        hosts = (*settings.workers, *settings.server_hosts)
        for condition in settings.conditions:
            condition.check(self.links, len(settings.workers), len(hosts))
        if not settings.static:
            self._changing = ChangingNetwork(self.network, hosts, settings.seed, settings.overheads.efficiency)
            for condition in settings.conditions:
                if not condition.static:
                    condition.begin(self._changing)

        if settings.notes_hold_ups:
            self.network.note_hold_ups(partial(settings.overheads.limit, self.links))

    @property
    def background_bytes(self) -> float:
        """Bytes of background traffic delivered so far."""
        return 0.0 if self._changing is None else self._changing.background_bytes

    def run(self, until: simpy.Event) -> None:
        """Run until an event has happened.

        Raises :class:`~simgmc.network.flows.fluid.StuckError` where a flow can never finish,
        RuntimeError where nothing is left to happen for another reason.
        """
        try:
            self.clock.run(until=until)
        except RuntimeError as dry:
            stuck = self.network.stalled()
            if stuck is None or self.clock.peek() < float("inf"):
                raise
            raise stuck from dry
