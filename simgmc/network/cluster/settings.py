"""Everything about a cluster that simulated time depends on."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.network import collectives
from simgmc.network.conditions.conditions import ComputeTime, Cost
from simgmc.network.conditions.dynamics import Dynamics
from simgmc.network.conditions.faults import Faults
from simgmc.network.conditions.overheads import IDEAL, Overheads

FIRST_K = "first-k-parameter-server"


@dataclass(frozen=True)
class Overlap:
    """Bucketed all-reduce overlapped with the backward pass: the message is cut into buckets
    that become ready one after the other as the layers finish, last layers first.

    Applies where an exchange follows a gradient directly; a compressor in between needs the
    whole gradient first. Collectives of one worker run one after the other (one stream).
    """

    buckets: int
    backward: float = 2 / 3
    """Share of a gradient's time that the backward pass takes; buckets become ready evenly
    spread over it."""

    def __post_init__(self):
        if self.buckets < 1:
            raise SimgmcError(f"buckets = {self.buckets}: must be at least 1")
        if not 0 <= self.backward <= 1:
            raise SimgmcError(f"backward = {self.backward!r}: must be a share of the gradient's time, 0 to 1")

    def ready(self, bucket: int) -> float:
        """The share of the gradient's time after which a bucket (from 0) is ready."""
        return 1 - self.backward * (1 - (bucket + 1) / self.buckets)


@dataclass(frozen=True)
class ClusterSettings:
    """A network, who sits where, and what everything costs."""

    graph: nx.DiGraph
    """Links with ``bandwidth`` (bytes/s) and ``latency`` (s)."""
    workers: tuple[str, ...]
    """Host of each worker."""
    server: str | None
    """Host of the server; None where the collective needs none."""
    collective: str
    """Name of the collective, see :mod:`simgmc.network.collectives`; ``"auto"``: for each
    message the one that is fastest when simulated alone."""
    compute: ComputeTime
    """Seconds of a gradient, stragglers included."""
    compression: Cost
    aggregation: Cost
    seed: int = 0
    """Decides between routes of equal cost, and draws what is random about the network."""
    options: collectives.Options = collectives.Options()
    """What else the collective lets one choose."""
    servers: tuple[str, ...] = ()
    """Hosts of the servers where there are several; empty: ``server`` alone."""
    overheads: Overheads = IDEAL
    """What the transport costs beyond the wire."""
    dynamics: Dynamics = Dynamics()
    """What changes about the network while it runs."""
    faults: Faults = Faults()
    """Workers that crash."""
    overlap: Overlap | None = None
    """Buckets sent while the backward pass is still going on; None: one message at its end."""
    fast: bool = True
    """Solve exchanges at once where that is provably exact; False: every event."""

    @property
    def server_hosts(self) -> tuple[str, ...]:
        """Every host that serves."""
        return self.servers or (() if self.server is None else (self.server,))

    @property
    def waits_for_first(self) -> bool:
        """Whether a server waits for the first k messages only."""
        return self.collective == FIRST_K and len(self.workers) > 1

    @property
    def leaves_out(self) -> bool:
        """Whether some may be left out of an average, so that what is averaged depends on the clock."""
        some = self.waits_for_first and self.options.first(len(self.workers)) < len(self.workers)
        return some or bool(self.faults.crashes) and self.faults.policy == "without"

    def __post_init__(self):
        if not self.workers:
            raise SimgmcError("a cluster needs at least one worker")
        needed = (
            0 if self.collective == "auto" else collectives.COLLECTIVES[self.collective].servers_needed(self.options)
        )
        if needed > len(self.server_hosts) and len(self.workers) > 1:
            raise SimgmcError(
                f"collective {self.collective!r} needs {needed} server host{'s' if needed > 1 else ''}; "
                f"{len(self.server_hosts) or 'none'} named"
            )
        for host in (*self.workers, *self.server_hosts):
            if host not in self.graph:
                raise SimgmcError(f"host {host!r} is not in the network")
        self.faults.check(len(self.workers))
        if self.overlap is not None and self.faults.crashes:
            raise SimgmcError(
                "worker crashes together with overlapped buckets are not supported: leave out one of them"
            )
        if self.collective == FIRST_K:
            self.options.first(len(self.workers))
            if self.faults.crashes or self.overlap is not None:
                raise SimgmcError(
                    f"{FIRST_K} together with worker crashes or overlapped buckets is not supported: leave out one of them"
                )
