"""How long computing takes, as ``cluster.compute`` says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from simgmc.core.units import DURATION, QuantityOption
from simgmc.scenario.cluster.devices import DEVICES
from simgmc.scenario.components import Described, PositiveReal
from simgmc.scenario.quantities import EITHER, parse_duration_or_rate, parse_positive_duration
from simgmc.scenario.tables import Table, mistake

MEASURED = "measured"


@dataclass(frozen=True)
class _OrMeasured(QuantityOption):
    @property
    def words(self) -> str:
        return f'{super().words}, or "{MEASURED}"'


def _or_measured(parse: Any, units: Mapping[str, float], example: str) -> Any:
    shown = Described(_OrMeasured("", units=units, example=example))
    return Annotated[Any, BeforeValidator(lambda value: value if value == MEASURED else parse(value)), shown]


class ComputeTimes(Table):
    """Times of one worker's work: each stated, or ``"measured"`` on the device that runs."""

    gradient: _or_measured(parse_positive_duration, DURATION, "20 ms")
    """Of a stochastic gradient of one batch."""
    compression: _or_measured(parse_duration_or_rate, EITHER, "1 ms")
    """Of a message compressed, or a rate over the uncompressed vector's bytes."""
    aggregation: _or_measured(parse_duration_or_rate, EITHER, "10 GB/s")
    """Of adding all messages of a collective, or a rate over the messages' bytes."""


class DeviceProfile(Table):
    """Times from a device's published peak rates and a stated efficiency."""

    profile: Annotated[str, Described(DEVICES)]
    """A device; gradients, compression and aggregation take what its peak rates and the efficiency give."""
    efficiency: Annotated[PositiveReal, Field(ge=1e-6, le=1)]
    """The share of the peak rates that real work reaches."""

    @model_validator(mode="after")
    def _known(self) -> DeviceProfile:
        if self.profile not in DEVICES:
            raise mistake(f"unknown device; {DEVICES.others(self.profile)}", "profile", value=self.profile)
        return self


def read_compute(value: Any) -> Any:
    """The table that is meant."""
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
