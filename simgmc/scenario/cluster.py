"""The cluster half of a scenario: network, collective, and how long computing takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from simgmc.errors import SimgmcError
from simgmc.network import worker_names
from simgmc.network.collectives import COLLECTIVES
from simgmc.network.collectives import check as check_collective
from simgmc.scenario.components import PositiveReal, Real
from simgmc.scenario.devices import DEVICES
from simgmc.scenario.quantities import Bandwidth, Duration, DurationOrRate, Quantity, parse_duration_or_rate, parse_positive_duration
from simgmc.scenario.tables import Table, mistake, suggestion

MEASURED = "measured"


def _or_measured(parse: Any) -> Any:
    return Annotated[Any, BeforeValidator(lambda value: value if value == MEASURED else parse(value))]


class Host(Table):
    """What one host has of its own; all else is as for every host."""

    bandwidth: Bandwidth | None = None
    up: Bandwidth | None = None
    down: Bandwidth | None = None
    latency: Duration | None = None
    slowdown: PositiveReal = 1.0

    @model_validator(mode="after")
    def _once(self) -> Host:
        if self.bandwidth and (self.up or self.down):
            raise mistake("give either bandwidth (both directions) or up and down", "bandwidth", value=str(self.bandwidth))
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
    efficiency: Annotated[PositiveReal, Field(le=1)]

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


class Stragglers(Table):
    """Random slowness: each gradient takes exp(sigma z) times as long, z standard normal (median 1)."""

    kind: Literal["log-normal"] = "log-normal"
    sigma: Annotated[Real, Field(ge=0, le=10)]


class Cluster(Table):
    """The network and the machines on it."""

    topology: Literal["star"] = "star"
    bandwidth: Bandwidth
    latency: Duration
    collective: str
    compute: Annotated[Any, BeforeValidator(_compute)]
    stragglers: Stragglers | None = None
    hosts: dict[str, Host] = {}

    @model_validator(mode="after")
    def _known(self) -> Cluster:
        if self.collective not in COLLECTIVES:
            raise mistake(f"unknown collective; {suggestion(self.collective, COLLECTIVES)}", "collective", value=self.collective)
        return self

    def refusal(self, summable: bool) -> str | None:
        """Why the collective cannot carry such messages and what would be right, or None."""
        try:
            check_collective(self.collective, summable)
        except SimgmcError as error:
            return str(error)
        return None

    def host_names(self, workers: int) -> tuple[str, ...]:
        """The hosts of a cluster of so many workers."""
        return (*worker_names(workers), "server")
