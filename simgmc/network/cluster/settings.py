"""Everything about a cluster that simulated time depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import networkx as nx
import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.network.collectives.catalogue import CHOICES, FIRST_K, CollectiveEntry
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.catalogue import CONDITIONS
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.crashes import NO_CRASHES, Crashes
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.conditions.work import Cost
from simgmc.network.topology.routing import Links

C = TypeVar("C", bound=Condition)


class ConditionError(SimgmcError):
    """Conditions that do not go together: ``problem`` says why, ``condition`` is one to leave out."""

    def __init__(self, condition: Condition, problem: str):
        super().__init__(f"{condition.key}: {problem}")
        self.condition, self.problem = condition, problem


def check_together(conditions: Sequence[Condition], collective: CollectiveEntry) -> None:
    """Refuse conditions that do not go with each other, or with the collective. Raises ConditionError."""
    for place, condition in enumerate(conditions):
        if condition.key in [other.key for other in conditions[:place]]:
            raise ConditionError(condition, "stated twice")
    for one in conditions:
        if isinstance(one, Overheads) and one.queue is not None and not all(other.static for other in conditions):
            raise ConditionError(one, "queue is of links that keep their bandwidth; leave it or what changes them out")
    partial = [condition for condition in conditions if not condition.whole]
    if len(partial) > 1:
        keys = " and ".join(condition.key for condition in partial)
        raise ConditionError(partial[0], f"{keys} together are not supported; leave out one of them")
    if partial and collective.changes_average:
        raise ConditionError(
            partial[0],
            f"{collective.name} takes whole messages, of workers that are all there; leave {partial[0].key} out",
        )
    for one in conditions:
        if isinstance(one, Crashes) and one.leaves_out and collective.needs_everybody:
            raise ConditionError(
                one,
                f"{collective.name} cannot go on without crashed workers: {collective.needs_everybody}; or policy = "
                '"wait"',
            )


@dataclass(frozen=True)
class ClusterSettings:
    """A network, who sits where, and what everything costs."""

    graph: nx.DiGraph
    """Links with ``bandwidth`` (bytes/s) and ``latency`` (s)."""
    workers: tuple[str, ...]
    """Host of each worker."""
    server: str | None
    """Host of the server; None where nothing needs one: averages are made without, or none are."""
    collective: str
    """Name of the collective, see :mod:`simgmc.network.collectives`; ``"auto"``: for each
    message the one that is fastest when simulated alone."""
    compute: ComputeTime
    """Seconds of a gradient on every worker."""
    compression: Cost
    aggregation: Cost
    seed: int = 0
    """Decides between routes of equal cost, and draws what is random about the cluster."""
    options: Options = Options()
    """What else the collective lets one choose."""
    servers: tuple[str, ...] = ()
    """Hosts of the servers where there are several; empty: ``server`` alone."""
    conditions: tuple[Condition, ...] = ()
    """What makes the cluster imperfect, at most one of each kind."""
    explained: bool = False
    """Note what holds messages up, where it does not follow from the bytes over every link: where links change, and
    where messages have limits of their own; see :attr:`Timing.held`."""
    fast: bool = True
    """Solve exchanges at once where that is provably exact; False: every event."""

    def __post_init__(self) -> None:
        if not self.workers:
            raise SimgmcError("a cluster needs at least one worker")
        entry = CHOICES[self.collective]
        for host in (*self.workers, *self.server_hosts):
            if host not in self.graph:
                raise SimgmcError(f"host {host!r} is not in the network")
        check_together(self.conditions, entry)
        if self.collective == FIRST_K:
            self.options.first(len(self.workers))

    @property
    def server_hosts(self) -> tuple[str, ...]:
        """Every host that serves."""
        return self.servers or (() if self.server is None else (self.server,))

    def require_servers(self, name: str) -> None:
        """Raises SimgmcError where the network has too few servers for the collective of that name."""
        needed = CHOICES[name].servers_needed(self.options)
        if needed > len(self.server_hosts):
            raise SimgmcError(
                f"collective {name!r} needs {needed} server host{'s' if needed > 1 else ''}; "
                f"{len(self.server_hosts) or 'none'} named"
            )

    @property
    def waits_for_first(self) -> bool:
        """Whether a server waits for the first k messages only."""
        return self.collective == FIRST_K and len(self.workers) > 1

    @property
    def leaves_out(self) -> bool:
        """Whether some may be left out of an average, so that what is averaged depends on the clock."""
        some = self.waits_for_first and self.options.first(len(self.workers)) < len(self.workers)
        return some or self.crashes.leaves_out

    # conditions -------------------------------------------------------------------

    def scaled(self, bandwidth: float = 1.0, latency: float = 1.0) -> ClusterSettings:
        """The same with every link's bandwidth and latency so many times as large."""
        graph = self.graph.copy()
        for _, _, link in graph.edges(data=True):
            for key in link.keys() & {"bandwidth", "per_flow"}:
                link[key] *= bandwidth
            link["latency"] *= latency
        return replace(self, graph=graph)

    @property
    def undisturbed(self) -> ClusterSettings:
        """The same cluster on a network that does not change, where only the workers' messages make events."""
        return replace(self, conditions=tuple(condition for condition in self.conditions if condition.static))

    def condition(self, kind: type[C]) -> C | None:
        """The condition of a kind, None where it is not stated."""
        return next((one for one in self.conditions if isinstance(one, kind)), None)

    @cached_property
    def overheads(self) -> Overheads:
        """What the transport costs beyond the wire."""
        return self.condition(Overheads) or IDEAL

    @cached_property
    def crashes(self) -> Crashes:
        """Workers that crash."""
        return self.condition(Crashes) or NO_CRASHES

    @cached_property
    def payload_graph(self) -> nx.DiGraph:
        """The network as the payload of messages sees it."""
        graph = self.graph
        for condition in self.conditions:
            graph = condition.seen(graph if type(condition) in CONDITIONS else graph.copy())
        return graph

    @cached_property
    def static(self) -> bool:
        """Whether links keep their bandwidth and carry nothing but the workers' messages."""
        return all(condition.static for condition in self.conditions)

    @cached_property
    def happening(self) -> tuple[float, str]:
        """How often something happens per simulated second whether or not anybody sends, and what does most often."""
        links = Links(self.payload_graph, self.seed)
        hosts = len(self.workers) + len(self.server_hosts)
        found = [one for condition in self.conditions for one in condition.events(links, hosts)]
        return sum(often for often, _ in found), max(found, default=(0.0, ""))[1]

    @property
    def notes_hold_ups(self) -> bool:
        """Whether what holds messages up is noted as they go."""
        limited = self.overheads.limits or any(one for _, _, one in self.graph.edges(data="per_flow"))
        return self.explained and (limited or not self.static)

    @cached_property
    def whole(self) -> bool:
        """Whether all workers take part in every exchange, with whole messages, in one exchange at a time."""
        return all(condition.whole for condition in self.conditions)

    @cached_property
    def random(self) -> bool:
        """Whether equal rounds may take different times to compute."""
        return any(condition.random for condition in self.conditions)

    def compute_times(self, round: int, step: int, gradients: int) -> np.ndarray:
        """(workers,) seconds of so many gradients in one compute step of one round, if nothing interrupts them."""
        workers = len(self.workers)
        times = self.compute.times(gradients, workers)
        for condition in self.conditions:
            factors = condition.factors(self.seed, round, step, workers)
            times = times if factors is None else times * factors
        return times

    def done(self, worker: int, start: float, seconds: float) -> float:
        """When work of ``seconds`` s that a worker begins at ``start`` is done."""
        end = start + seconds
        for condition in self.conditions:
            later = condition.done(self.seed, worker, start, seconds)
            if later is not None:
                # The next condition may interrupt what has become longer.
                end, seconds = later, later - start
        return end
