"""What goes wrong on a cluster, as a scenario states it: slow workers, changing links, crashes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.dynamics import Background, BandwidthTrace, Dynamics, LinkFailure, RandomBandwidth
from simgmc.network.conditions.faults import Crash, Faults
from simgmc.scenario.components import PositiveReal, Real
from simgmc.scenario.quantities import Bandwidth, Duration, PositiveDuration, Size
from simgmc.scenario.tables import Table


def _at_least_a_millisecond(value: Any) -> Any:
    if float(value) < 1e-3:
        raise ValueError('must be at least "1 ms"')
    return value


Interval = Annotated[PositiveDuration, AfterValidator(_at_least_a_millisecond)]
"""Between changes of the network: many of them would take hours to simulate."""


class Stragglers(Table):
    """Random slowness of every gradient, drawn per (seed, round, worker).

    ``log-normal``: exp(sigma z) times as long, z standard normal (median 1).
    ``shifted-exponential``: 1 + an exponential with mean ``mean`` times as long.
    """

    kind: Literal["log-normal", "shifted-exponential"] = "log-normal"
    sigma: Annotated[Real, Field(ge=0, le=10)] | None = None
    mean: Annotated[Real, Field(ge=0, le=1000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Stragglers:
        wanted, other = ("sigma", "mean") if self.kind == "log-normal" else ("mean", "sigma")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"{self.kind} needs {wanted}, and does not take {other}")
        return self


class Pauses(Table):
    """Every worker stands still for ``length`` every ``period``, from its own seeded moment on."""

    period: PositiveDuration
    length: PositiveDuration

    @model_validator(mode="after")
    def _shorter(self) -> Pauses:
        if not float(self.length) < float(self.period):
            raise ValueError(f"length {self.length} must be below period {self.period}")
        return self


class _Links(Table):
    """Which links: ends by name, ``*`` for any."""

    source: str = "*"
    destination: str = "*"


class Failure(_Links):
    """Links without bandwidth from ``down`` until ``up`` (never back, if not given)."""

    down: Duration
    up: PositiveDuration | None = None


class Trace(_Links):
    """Bandwidth that follows a CSV file: columns time_s and factor (of the nominal value)."""

    file: str


class Wandering(_Links):
    """Bandwidth times a log-normal factor, drawn anew every ``interval``."""

    interval: Interval
    sigma: Annotated[Real, Field(ge=0, le=10)]
    memory: Annotated[Real, Field(ge=0, lt=1)] = 0.0


class OtherTraffic(Table):
    """Flows of others: ``sources`` senders between random pairs of hosts, ``off`` apart on average."""

    sources: Annotated[int, Field(ge=1, le=10_000)]
    size: Size
    off: Interval
    exponential: bool = True


class WorkerCrash(Table):
    """A worker is gone from ``at`` until ``back``."""

    worker: Annotated[int, Field(ge=0)]
    at: Duration
    back: PositiveDuration | None = None


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Network(Table):
    """What changes about the network while it runs; each a table or a list of tables."""

    failures: Annotated[list[Failure], BeforeValidator(_one_or_many)] = []
    traces: Annotated[list[Trace], BeforeValidator(_one_or_many)] = []
    wandering: Annotated[list[Wandering], BeforeValidator(_one_or_many)] = []
    traffic: Annotated[list[OtherTraffic], BeforeValidator(_one_or_many)] = []

    @model_validator(mode="after")
    def _possible(self) -> Network:
        try:
            self.dynamics()
        except SimgmcError as error:
            raise ValueError(str(error)) from None
        return self

    def dynamics(self) -> Dynamics:
        """As the network simulation takes it."""
        return Dynamics(
            tuple(
                LinkFailure(f.source, f.destination, float(f.down), None if f.up is None else float(f.up))
                for f in self.failures
            ),
            tuple(BandwidthTrace.from_file(t.file, t.source, t.destination) for t in self.traces),
            tuple(
                RandomBandwidth(float(w.interval), w.sigma, w.memory, w.source, w.destination) for w in self.wandering
            ),
            tuple(Background(t.sources, float(t.size), float(t.off), t.exponential) for t in self.traffic),
        )


class Crashes(Table):
    """Workers that crash, and what the others do: ``wait`` for them, go on ``without`` them until
    they are back, or ``stop`` the run."""

    workers: Annotated[list[WorkerCrash], Field(min_length=1)]
    policy: Literal["wait", "without", "stop"]

    @model_validator(mode="after")
    def _possible(self) -> Crashes:
        try:
            self.faults()
        except SimgmcError as error:
            raise ValueError(str(error)) from None
        return self

    def faults(self) -> Faults:
        """As the network simulation takes it."""
        return Faults(
            tuple(Crash(c.worker, float(c.at), None if c.back is None else float(c.back)) for c in self.workers),
            self.policy,
        )


class Transport(Table):
    """What messages cost beyond the wire; see :class:`simgmc.network.conditions.overheads.Overheads`."""

    efficiency: Annotated[PositiveReal, Field(ge=1e-6, le=1)] = 1.0
    software: Duration = "0 us"
    startup: Annotated[Real, Field(ge=0, le=1e6)] = 0.0
    rate_cap: Bandwidth | None = None


class OverlapWithBackward(Table):
    """Messages sent in buckets during the backward pass; see :class:`simgmc.network.cluster.settings.Overlap`."""

    buckets: Annotated[int, Field(ge=1, le=1000)]
    backward: Annotated[Real, Field(ge=0, le=1)] = 2 / 3
