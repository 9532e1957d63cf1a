"""The types of scenario keys that hold quantities with units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from simgmc.core.units import BANDWIDTH, DURATION, POWER, Quantity, QuantityOption, is_rate, parse
from simgmc.scenario.components import Described, option_type

EITHER = DURATION | BANDWIDTH
"""Units of a time that is stated, or follows from a rate."""


def parse_duration_or_rate(text: Any) -> Quantity:
    """A duration, or a rate in bytes per second that is above 0."""
    quantity = parse(text, EITHER, "2 ms")
    if is_rate(quantity) and quantity == 0:
        raise ValueError('a rate must be above 0, such as "2 GB/s"')
    return quantity


def parse_positive_duration(text: Any) -> Quantity:
    """A duration above 0."""
    return parse(text, DURATION, "20 ms", positive=True)


def _quantity(units: Mapping[str, float], example: str, *, positive: bool = False) -> Any:
    return option_type(QuantityOption("", units=units, example=example, positive=positive))


Bandwidth = _quantity(BANDWIDTH, "100 Mbit/s", positive=True)
Duration = _quantity(DURATION, "5 ms")
DurationOrRate = Annotated[
    Any, BeforeValidator(parse_duration_or_rate), Described(QuantityOption("", units=EITHER, example="2 ms"))
]
Watts = _quantity(POWER, "300 W")
