"""The cluster half of a scenario: network, collective, and how long computing takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import networkx as nx
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    create_model,
    model_validator,
)

from simgmc.core.errors import SimgmcError, suggestion
from simgmc.core.units import Quantity, is_rate
from simgmc.costs.steps import MAX_UNITED, Participation
from simgmc.network import ClusterSettings, ComputeTime, Throughput, worker_names
from simgmc.network import Duration as StatedDuration
from simgmc.network import Host as NetworkHost
from simgmc.network.cluster.reachability import check_reachable
from simgmc.network.cluster.settings import ConditionError, check_together
from simgmc.network.collectives import AUTO, CHOICES, FIRST_K, OPTIONS
from simgmc.network.collectives import check as check_collective
from simgmc.network.conditions.catalogue import CONDITIONS
from simgmc.network.conditions.catalogue import ENTRIES as CONDITION_ENTRIES
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.crashes import Crashes
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.topology.catalogue import TOPOLOGIES, access, drawn_once, groups
from simgmc.network.topology.graph import AccessMissing
from simgmc.network.topology.routing import Links
from simgmc.scenario.cluster.collective import CollectiveOptions, known_collective, read_options
from simgmc.scenario.cluster.compute import ComputeTimes, DeviceProfile, read_compute
from simgmc.scenario.cluster.conditions import declared_table, read_own_conditions, table_or_file
from simgmc.scenario.components import Described, Real, component, plain
from simgmc.scenario.quantities import Bandwidth, Duration
from simgmc.scenario.tables import Table, mistake, unfit

Exchange = Literal["collective", "server", "neighbours"]
"""How a method exchanges messages: by the cluster's collective, each worker with a server on its own, or with
neighbours."""


class Host(Table):
    """What one host has of its own; all else is as for every host."""

    bandwidth: Bandwidth | None = None
    """Of its link, in each direction."""
    up: Bandwidth | None = None
    """Of its link, from it; with down, in place of bandwidth."""
    down: Bandwidth | None = None
    """Of its link, to it."""
    latency: Duration | None = None
    """Of its link, one way."""
    duplex: Literal["full", "half"] = "full"
    """Whether each direction has the link's bandwidth, or both share it, as over a radio channel."""
    slowdown: Annotated[Real, Field(ge=1e-6, le=1e6)] = 1.0
    """How many times as long a worker computes as the others."""

    @model_validator(mode="after")
    def _once(self) -> Host:
        if self.bandwidth and (self.up or self.down):
            raise mistake(
                "give either bandwidth (both directions) or up and down", "bandwidth", value=str(self.bandwidth)
            )
        if self.duplex == "half" and (self.up or self.down):
            raise mistake("both directions share one capacity: give bandwidth, not up and down", "duplex", value="half")
        return self


class _Network(Table):
    """The network, the collective and the machines; what makes them imperfect is added from its own declarations."""

    topology: component(TOPOLOGIES) = "star"
    """How hosts are joined."""
    bandwidth: Bandwidth | None = None
    """Of each host's link, in each direction."""
    latency: Duration | None = None
    """Of each host's link, one way."""
    server_position: Annotated[int, Field(ge=0)] | None = None
    """How many workers the topology places before the server; it comes last unless given."""
    collective: Annotated[str, AfterValidator(known_collective), Described(CHOICES)]
    """How messages are averaged over the network."""
    collective_options: Annotated[Any, BeforeValidator(read_options), Described(CollectiveOptions)] = (
        CollectiveOptions()
    )
    """What some collectives let one choose."""
    transport: table_or_file(Overheads, "transport") = IDEAL
    """What a transfer costs beyond bytes over bandwidth; or a file that `simgmc calibrate` wrote."""
    compute: Annotated[Any, BeforeValidator(read_compute), Described(ComputeTimes, DeviceProfile)]
    """How long computing takes: times, a device's profile, or "measured" for all."""


_WithConditions = create_model(
    "_WithConditions",
    __base__=_Network,
    **{kind.key: (declared_table(kind) | None, None) for kind in CONDITIONS if kind.key not in _Network.model_fields},
)


class Cluster(_WithConditions):
    """The network, the machines on it and what makes them imperfect (a key for each condition)."""

    hosts: dict[str, Host] = {}
    """Hosts that are not as the others, by name: worker0, worker1 ..., server."""
    own_conditions: Annotated[dict[str, Any], BeforeValidator(read_own_conditions)] = Field({}, exclude=True)
    """Conditions of one's own; in a file they are keys of the table like all others, named by import path."""

    @model_validator(mode="before")
    @classmethod
    def _sorted_out(cls, data: Any) -> Any:
        """Keys that name conditions of one's own into a table of their own."""
        if not isinstance(data, dict):
            return data
        others = {key: value for key, value in data.items() if key not in cls.model_fields}
        own = {key: value for key, value in others.items() if CONDITION_ENTRIES.knows(key)}
        rest = {key: value for key, value in data.items() if key not in own}
        return {**rest, "own_conditions": own} if own else rest

    @model_validator(mode="after")
    def _known(self) -> Cluster:
        if not CHOICES.knows(self.collective):
            raise mistake(f"unknown collective; {CHOICES.others(self.collective)}", "collective", value=self.collective)
        try:
            collective = CHOICES[self.collective]
        except SimgmcError as error:
            raise mistake(str(error), "collective", value=self.collective) from None
        for key in OPTIONS:
            names = [name for name, entry in CHOICES.items() if key in entry.options]
            value = getattr(self.collective_options, key)
            # The default of one server may stand: it is what written scenarios hold.
            stands = value is None or (value == 1 and key != "k")
            if not stands and self.collective not in names:
                raise mistake(
                    f"{self.collective} does not read it; leave it out, or use one of: {', '.join(names)}",
                    "collective_options", key, value=value,
                )  # fmt: skip
        try:
            check_together(self.conditions, collective)
        except ConditionError as error:
            raise unfit(error.problem, error.condition.key, value=plain(error.condition)) from None
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is stated of all that can make a cluster imperfect."""
        values = (*(getattr(self, kind.key) for kind in CONDITIONS), *self.own_conditions.values())
        return tuple(value for value in values if value is not None)

    @property
    def _goes_on_without(self) -> bool:
        """Whether averages go on without workers that have crashed."""
        return any(isinstance(one, Crashes) and one.leaves_out for one in self.conditions)

    def participation(self, workers: int) -> Participation:
        """Who is in the averages of so many workers."""
        if self._goes_on_without and workers > 1:
            return "present"
        options = self.collective_options.network_options
        if self.collective != FIRST_K or options.first(workers) == workers:
            return "all"
        return options.late

    def check(self, workers: int, exchanges: Collection[Exchange] = ("collective",)) -> None:
        """What only shows once the number of workers is known; all that a run would refuse.

        ``exchanges``: how its methods exchange messages.
        """
        if (self.collective_options.k or 0) > workers:
            raise unfit(
                f"a server cannot wait for more messages than there are workers: at most {workers}",
                "collective_options",
                "k",
                value=self.collective_options.k,
            )
        if self.server_position is not None and self.server_position > workers:
            raise unfit(
                f"counts the workers before the server: at most {workers}",
                "server_position",
                value=self.server_position,
            )
        self.collective_options.check_groups(workers)
        # A server's own link may be stated where some point of a grid has no server.
        known = (*worker_names(workers), *(self.server_names() or ("server",)))
        for name, own in self.hosts.items():
            if name not in known:
                raise mistake(f"no such host; {suggestion(name, known)}", "hosts", name, value=name)
            if name not in worker_names(workers) and own.slowdown != 1.0:
                raise mistake(
                    "a server computes no gradients; slow its link (bandwidth, latency) instead",
                    "hosts", name, "slowdown", value=own.slowdown,
                )  # fmt: skip
        graphs = {exchange: self._checked_graph(workers, exchange) for exchange in exchanges}
        for condition in self.conditions:
            self._check_condition(condition, graphs, workers)
        if "collective" not in graphs:
            return
        graph, names = graphs["collective"], worker_names(workers)
        needed = CHOICES[self.collective].groups_needed
        if workers > 1 and needed:
            self._check_groups(self.collective_options.groups or groups(graph, names), needed)
        if self.collective_options.shards == "bandwidth":
            try:
                access(graph, self.server_names())
            except SimgmcError as error:
                raise unfit(str(error), "collective_options", "shards", value="bandwidth") from None
        try:
            check_reachable(Links(graph), names, self.server_names(), self.collective)
        except SimgmcError as error:
            raise unfit(str(error), "topology", value=plain(self.topology)) from None

    def _check_groups(self, found: Sequence[Sequence[int]], needed: int) -> None:
        """Refuse groups of workers between which, or within which, there is nothing to do in two levels."""
        if len(found) >= needed and (needed < 2 or max(map(len, found)) > 1):
            return
        if self.collective_options.groups is not None:
            problem = "is one group" if len(found) == 1 else "puts every worker into a group of its own"
            raise unfit(
                f"{problem}, so that {self.collective!r} has nothing to group; a flat ring is "
                'collective = "lock-step-ring"',
                "collective_options", "groups", value=plain(self.collective_options.groups),
            )  # fmt: skip
        where = "has no sites, racks, pods or nodes" if not found else "has all workers at one site"
        where = "has every worker at a site of its own" if len(found) > 1 else where
        raise unfit(
            f"needs groups of workers, and topology {self.topology.name} {where}; state them, such as "
            "collective_options.groups = [[0, 1], [2, 3]]",
            "collective", value=self.collective,
        )  # fmt: skip

    def _checked_graph(self, workers: int, exchange: Exchange) -> nx.DiGraph:
        """The network of one way of exchanging. Refuses one that cannot be, and what of ``hosts`` nothing would
        read.
        """
        try:
            graph = self.graph(workers, exchange)
        except AccessMissing as missing:
            raise mistake(str(missing), missing.key, value=None) from None
        except SimgmcError as error:
            raise mistake(str(error), "topology", value=plain(self.topology)) from None
        for name, own in self.hosts.items():
            given = [key for key in ("bandwidth", "up", "down", "latency") if getattr(own, key) is not None]
            given += ["duplex"] if own.duplex == "half" else []
            if given and name in graph and "drawn" in graph.nodes[name]:
                raise mistake(graph.nodes[name]["drawn"], "hosts", name, given[0], value=str(getattr(own, given[0])))
        return graph

    def _check_condition(self, condition: Condition, graphs: Mapping[Exchange, nx.DiGraph], workers: int) -> None:
        """Refuse what a condition says of something that no network has in which it should be."""
        # What concerns a server is for those who have one; where none has, the first says that there is none.
        served = any(name in graph for graph in graphs.values() for name in self.server_names("server"))
        for number, graph in enumerate(graphs.values()):
            hosts = sum(data.get("kind") == "host" for _, data in graph.nodes(data=True))
            try:
                part = condition.within(graph) if served or number else condition
                part.check(Links(graph), workers, hosts)
            except SimgmcError as error:
                raise mistake(str(error), condition.key, value=plain(condition)) from None

    def refusal(self, summable: bool, unites: bool) -> str | None:
        """Why the collective cannot carry such messages and what would be right, or None.

        ``unites``: whether it is recorded how their supports unite (``Average.partial``).
        """
        if self.collective == AUTO:
            return None
        if CHOICES[self.collective].needs_unions and not (summable or unites):
            return (
                f"collective {self.collective!r} adds sparse messages range by range: it takes a sparsifier with "
                f"32-bit or log2 indices and without exempt_vectors, of at most {MAX_UNITED} workers; ring-all-gather "
                "and parameter-server carry anything"
            )
        try:
            check_collective(self.collective, summable)
        except SimgmcError as error:
            return str(error)
        return None

    def with_servers(self, workers: int) -> Cluster:
        """The same with a server for each worker, where parameters are cut among servers and nobody says how many."""
        options = self.collective_options
        cut = self.collective != AUTO and CHOICES[self.collective].servers < 0
        if not cut or options.servers is not None:
            return self
        return self.model_copy(update={"collective_options": CollectiveOptions(**plain(options), servers=workers)})

    def server_names(self, exchange: Exchange = "collective") -> tuple[str, ...]:
        """The hosts that serve where messages are exchanged that way; none where nothing needs a server."""
        needed = CHOICES[self.collective].servers_needed(self.collective_options.network_options)
        count = {"collective": needed, "server": max(needed, 1), "neighbours": 0}[exchange]
        return tuple(f"server{number}" for number in range(count)) if count > 1 else ("server",)[:count]

    def host_names(self, workers: int, exchange: Exchange = "collective") -> tuple[str, ...]:
        """The hosts in the order in which the topology places them: servers last, or at their position."""
        names = list(worker_names(workers))
        at = len(names) if self.server_position is None else self.server_position
        return (*names[:at], *self.server_names(exchange), *names[at:])

    def graph(self, workers: int, exchange: Exchange = "collective") -> nx.DiGraph:
        """The network of so many workers and the servers that they need; the same for the same network, and frozen."""
        hosts, usual = [], Host()
        for name in self.host_names(workers, exchange):
            own = self.hosts.get(name, usual)
            both = own.bandwidth or self.bandwidth
            latency = self.latency if own.latency is None else own.latency
            up, down = _base(own.up or both), _base(own.down or both)
            hosts.append(NetworkHost(name, up, down, _base(latency), own.duplex == "half"))
        options = {
            key: float(value) if isinstance(value, Quantity) else value for key, value in self.topology.options.items()
        }
        return drawn_once(self.topology.name, tuple(hosts), options)

    def settings(
        self, workers: int, seed: int, compression: Quantity | None = None, exchange: Exchange = "collective"
    ) -> ClusterSettings:
        """Everything that simulated time depends on, once times are stated.

        ``compression`` is a method's own time per message, where it has one; ``exchange``: how it exchanges them.
        """
        names, times, servers = worker_names(workers), self.compute, self.server_names(exchange)
        graph = self.graph(workers, exchange)
        return ClusterSettings(
            graph=graph,
            workers=names,
            server=servers[0] if servers else None,
            servers=servers,
            # With k = n it is the plain server, and needs nothing of its own.
            collective="parameter-server"
            if self.collective == FIRST_K and self.participation(workers) == "all"
            else self.collective,
            options=self.collective_options.network_options,
            compute=ComputeTime(
                float(times.gradient),
                tuple(self.hosts[name].slowdown if name in self.hosts else 1.0 for name in names),
            ),
            compression=_cost(times.compression if compression is None else compression),
            aggregation=_cost(times.aggregation),
            seed=seed,
            conditions=tuple(condition.within(graph) for condition in self.conditions),
        )


def _base(quantity: Quantity | None) -> float | None:
    return None if quantity is None else float(quantity)


def _cost(quantity: Quantity) -> StatedDuration | Throughput:
    return Throughput(float(quantity)) if is_rate(quantity) else StatedDuration(float(quantity))
