"""The cluster half of a scenario: network, collective, and how long computing takes."""

from __future__ import annotations

from typing import Annotated, Any

import networkx as nx
from pydantic import BeforeValidator, Field, create_model, model_validator

from simgmc.core.errors import SimgmcError, suggestion
from simgmc.core.files import drawn_nodes
from simgmc.core.units import Quantity, is_rate
from simgmc.costs.steps import MAX_UNITED, Participation
from simgmc.network import ClusterSettings, ComputeTime, Throughput, worker_names
from simgmc.network import Duration as StatedDuration
from simgmc.network import Host as NetworkHost
from simgmc.network.cluster.reachability import check_reachable
from simgmc.network.cluster.settings import ConditionError, check_together
from simgmc.network.collectives import AUTO, CHOICES, FIRST_K, OPTIONS, Options
from simgmc.network.collectives import check as check_collective
from simgmc.network.conditions.catalogue import CONDITIONS
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.crashes import Crashes
from simgmc.network.conditions.overheads import IDEAL, Overheads
from simgmc.network.topology.catalogue import TOPOLOGIES
from simgmc.network.topology.catalogue import build as build_topology
from simgmc.network.topology.routing import Links
from simgmc.scenario.components import PositiveReal, Real, component, option_type, plain
from simgmc.scenario.conditions import declared_table
from simgmc.scenario.devices import DEVICES
from simgmc.scenario.quantities import Bandwidth, Duration, parse_duration_or_rate, parse_positive_duration
from simgmc.scenario.tables import Table, mistake

MEASURED = "measured"


def _or_measured(parse: Any) -> Any:
    return Annotated[Any, BeforeValidator(lambda value: value if value == MEASURED else parse(value))]


class Host(Table):
    """What one host has of its own; all else is as for every host."""

    bandwidth: Bandwidth | None = None
    up: Bandwidth | None = None
    down: Bandwidth | None = None
    latency: Duration | None = None
    slowdown: Annotated[Real, Field(ge=1e-6, le=1e6)] = 1.0

    @model_validator(mode="after")
    def _once(self) -> Host:
        if self.bandwidth and (self.up or self.down):
            raise mistake(
                "give either bandwidth (both directions) or up and down", "bandwidth", value=str(self.bandwidth)
            )
        return self


class ComputeTimes(Table):
    """Times of one worker's work: each stated, or ``"measured"`` on the device that runs.

    ``gradient``: seconds per stochastic gradient of one batch. ``compression``: seconds per
    message compressed, or a rate over the uncompressed vector's bytes. ``aggregation``:
    seconds per collective for adding all messages, or a rate over the messages' bytes.
    """

    gradient: _or_measured(parse_positive_duration)
    compression: _or_measured(parse_duration_or_rate)
    aggregation: _or_measured(parse_duration_or_rate)


class DeviceProfile(Table):
    """Times from a device's published peak rates and a stated efficiency."""

    profile: str
    efficiency: Annotated[PositiveReal, Field(ge=1e-6, le=1)]

    @model_validator(mode="after")
    def _known(self) -> DeviceProfile:
        if self.profile not in DEVICES:
            raise mistake(f"unknown device; {suggestion(self.profile, DEVICES)}", "profile", value=self.profile)
        return self


def _compute(value: Any) -> Any:
    if value == MEASURED:
        return ComputeTimes(gradient=MEASURED, compression=MEASURED, aggregation=MEASURED)
    if isinstance(value, (ComputeTimes, DeviceProfile)):
        return value
    if not isinstance(value, dict):
        raise ValueError(
            'needs one of: { gradient = "20 ms", compression = "1 ms", aggregation = "10 GB/s" }, '
            '{ profile = "nvidia-v100", efficiency = 0.3 }, "measured"'
        )
    return (DeviceProfile if "profile" in value else ComputeTimes).model_validate(value)


class CollectiveOptions(Table):
    """What some collectives let one choose; see :class:`simgmc.network.collectives.Options`."""

    slices: option_type(OPTIONS["slices"]) = None
    servers: option_type(OPTIONS["servers"]) = 1
    k: option_type(OPTIONS["k"]) = None
    late: option_type(OPTIONS["late"]) = None

    def network_options(self) -> Options:
        """As the network simulation takes them."""
        return Options(self.slices, self.servers, k=self.k, late=self.late or "dropped")


class _Network(Table):
    """The network, the collective and the machines; what makes them imperfect is added from its own declarations."""

    topology: component(TOPOLOGIES) = "star"
    bandwidth: Bandwidth
    latency: Duration
    server_position: Annotated[int, Field(ge=0)] | None = None
    collective: str
    collective_options: CollectiveOptions = CollectiveOptions()
    transport: declared_table(Overheads) = IDEAL
    compute: Annotated[Any, BeforeValidator(_compute)]


_WithConditions = create_model(
    "_WithConditions",
    __base__=_Network,
    **{kind.key: (declared_table(kind) | None, None) for kind in CONDITIONS if kind.key not in _Network.model_fields},
)


class Cluster(_WithConditions):
    """The network, the machines on it and what makes them imperfect (a key for each condition)."""

    hosts: dict[str, Host] = {}

    @model_validator(mode="after")
    def _known(self) -> Cluster:
        if self.collective not in CHOICES:
            raise mistake(
                f"unknown collective; {suggestion(self.collective, CHOICES)}", "collective", value=self.collective
            )
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
        collective = CHOICES[self.collective]
        try:
            check_together(self.conditions, collective)
        except ConditionError as error:
            raise mistake(error.problem, error.condition.key, value=plain(error.condition)) from None
        if self._goes_on_without and collective.needs_everybody:
            raise mistake(
                f'cannot go on without crashed workers: {collective.needs_everybody}; or crashes.policy = "wait"',
                "collective",
                value=self.collective,
            )
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is stated of all that can make a cluster imperfect."""
        values = (getattr(self, kind.key) for kind in CONDITIONS)
        return tuple(value for value in values if value is not None)

    @property
    def _goes_on_without(self) -> bool:
        """Whether averages go on without workers that have crashed."""
        return any(isinstance(one, Crashes) and one.leaves_out for one in self.conditions)

    def participation(self, workers: int) -> Participation:
        """Who is in the averages of so many workers."""
        if self._goes_on_without and workers > 1:
            return "present"
        options = self.collective_options.network_options()
        if self.collective != FIRST_K or options.first(workers) == workers:
            return "all"
        return options.late

    def check(self, workers: int) -> None:
        """What only shows once the number of workers is known; all that a run would refuse."""
        if (self.collective_options.k or 0) > workers:
            raise mistake(
                f"a server cannot wait for more messages than there are workers: at most {workers}",
                "collective_options",
                "k",
                value=self.collective_options.k,
            )
        if self.server_position is not None and self.server_position > workers:
            raise mistake(
                f"counts the workers before the server: at most {workers}",
                "server_position",
                value=self.server_position,
            )
        known = self.host_names(workers)
        for name, own in self.hosts.items():
            if name not in known:
                raise mistake(f"no such host; {suggestion(name, known)}", "hosts", name, value=name)
            self._check_host(name, own)
        try:
            graph = self.graph(workers)
        except SimgmcError as error:
            raise mistake(str(error), "topology", value=plain(self.topology)) from None
        links = Links(graph)
        for condition in self.conditions:
            try:
                condition.check(links, workers, len(known))
            except SimgmcError as error:
                raise mistake(str(error), condition.key, value=plain(condition)) from None
        try:
            check_reachable(links, worker_names(workers), self.server_names(), self.collective)
        except SimgmcError as error:
            raise mistake(str(error), "topology", value=plain(self.topology)) from None

    def _check_host(self, name: str, own: Host) -> None:
        """Refuse what would be read by nothing."""
        serves = name in self.server_names()
        if serves and own.slowdown != 1.0:
            raise mistake(
                "a server computes no gradients; slow its link (bandwidth, latency) instead",
                "hosts",
                name,
                "slowdown",
                value=own.slowdown,
            )
        if self.topology.name == "home-broadband" and not serves:
            given = [key for key in ("bandwidth", "up", "down", "latency") if getattr(own, key) is not None]
            if given:
                raise mistake(
                    "home-broadband gives every worker a line from its table, which this would not change; "
                    "leave it out, or give the topology a table of your own",
                    "hosts", name, given[0], value=str(getattr(own, given[0])),
                )  # fmt: skip
        if self.topology.name == "file":
            self._check_drawn(name, own)

    def _check_drawn(self, name: str, own: Host) -> None:
        given = [key for key in ("bandwidth", "up", "down", "latency") if getattr(own, key) is not None]
        if not given:
            return
        try:
            drawn = name in drawn_nodes(self.topology.options["file"])
        except SimgmcError as error:
            raise mistake(str(error), "topology", value=plain(self.topology)) from None
        if drawn:
            raise mistake(
                f"{self.topology.options['file']} draws this host with its links, which this would not change; change "
                "them in the file",
                "hosts", name, given[0], value=str(getattr(own, given[0])),
            )  # fmt: skip

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

    def server_names(self) -> tuple[str, ...]:
        """The hosts that serve."""
        count = CHOICES[self.collective].servers_needed(self.collective_options.network_options())
        return tuple(f"server{number}" for number in range(count)) if count > 1 else ("server",)

    def host_names(self, workers: int) -> tuple[str, ...]:
        """The hosts in the order in which the topology places them: servers last, or at their position."""
        names = list(worker_names(workers))
        at = len(names) if self.server_position is None else self.server_position
        return (*names[:at], *self.server_names(), *names[at:])

    def graph(self, workers: int) -> nx.DiGraph:
        """The network of so many workers and the servers."""
        hosts = []
        for name in self.host_names(workers):
            own = self.hosts.get(name, Host())
            both = own.bandwidth or self.bandwidth
            latency = self.latency if own.latency is None else own.latency
            hosts.append(NetworkHost(name, float(own.up or both), float(own.down or both), float(latency)))
        options = {
            key: float(value) if isinstance(value, Quantity) else value for key, value in self.topology.options.items()
        }
        return build_topology(self.topology.name, hosts, **options)

    def settings(self, workers: int, seed: int, compression: Quantity | None = None) -> ClusterSettings:
        """Everything that simulated time depends on, once times are stated.

        ``compression`` is a method's own time per message, where it has one.
        """
        names, times, servers = worker_names(workers), self.compute, self.server_names()
        return ClusterSettings(
            graph=self.graph(workers),
            workers=names,
            server=servers[0],
            servers=servers,
            # With k = n it is the plain server, and needs nothing of its own.
            collective="parameter-server"
            if self.collective == FIRST_K and self.participation(workers) == "all"
            else self.collective,
            options=self.collective_options.network_options(),
            compute=ComputeTime(
                float(times.gradient),
                tuple(self.hosts[name].slowdown if name in self.hosts else 1.0 for name in names),
            ),
            compression=_cost(times.compression if compression is None else compression),
            aggregation=_cost(times.aggregation),
            seed=seed,
            conditions=self.conditions,
        )


def _cost(quantity: Quantity) -> StatedDuration | Throughput:
    return Throughput(float(quantity)) if is_rate(quantity) else StatedDuration(float(quantity))
