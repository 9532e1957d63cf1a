"""What bound a run, by replaying it on slightly different clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from simgmc.costs import RoundCosts
from simgmc.network.cluster import simulate
from simgmc.network.settings import ClusterSettings


@dataclass(frozen=True)
class WhatIf:
    """Simulated seconds of one run as it was and as it would be otherwise."""

    as_is: float
    twice_the_bandwidth: float
    half_the_latency: float
    half_the_compute: float
    bottleneck: str
    """What most of the time went to, in words."""
    exposed: float
    """The share of communication that compute did not hide."""

    def lines(self) -> list[str]:
        """The same in sentences."""

        def change(seconds: float) -> str:
            return f"{seconds:.4g} s ({self.as_is / seconds:.2f} times as fast)" if seconds else "no time at all"

        return [
            f"bound by: {self.bottleneck}; {self.exposed:.0%} of the communication is not hidden by computing",
            f"with twice the bandwidth: {change(self.twice_the_bandwidth)}",
            f"with half the latency: {change(self.half_the_latency)}",
            f"with half the compute time: {change(self.half_the_compute)}",
        ]


def scaled(settings: ClusterSettings, bandwidth: float = 1.0, latency: float = 1.0, compute: float = 1.0) -> ClusterSettings:
    """The same cluster with every bandwidth, latency and compute time multiplied."""
    graph = settings.graph.copy()
    for _, _, link in graph.edges(data=True):
        link["bandwidth"] *= bandwidth
        link["latency"] *= latency
    overheads = settings.overheads
    if overheads.rate_cap is not None:
        overheads = replace(overheads, rate_cap=overheads.rate_cap * bandwidth)
    time = replace(settings.compute, seconds=settings.compute.seconds * compute)
    return replace(settings, graph=graph, compute=time, overheads=overheads)


def what_if(settings: ClusterSettings, rounds: Callable[[], Iterable[RoundCosts]]) -> WhatIf:
    """Replay a run four times. ``rounds``: gives the stored costs anew each time."""
    now = simulate(settings, rounds())
    return WhatIf(
        now.total,
        simulate(scaled(settings, bandwidth=2.0), rounds()).total,
        simulate(scaled(settings, latency=0.5), rounds()).total,
        simulate(scaled(settings, compute=0.5), rounds()).total,
        now.bottleneck,
        now.exposed,
    )
