"""The types of scenario keys that hold quantities with units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from simgmc.core.units import BANDWIDTH, DURATION, SIZE, Quantity, is_rate, parse


def parse_duration_or_rate(text: Any) -> Quantity:
    """A duration, or a rate in bytes per second that is above 0."""
    quantity = parse(text, DURATION | BANDWIDTH, "2 ms")
    if is_rate(quantity) and quantity == 0:
        raise ValueError('a rate must be above 0, such as "2 GB/s"')
    return quantity


def parse_positive_duration(text: Any) -> Quantity:
    """A duration above 0."""
    return parse(text, DURATION, "20 ms", positive=True)


def _quantity(parse_text: Any) -> Any:
    return Annotated[Any, BeforeValidator(parse_text)]


Bandwidth = _quantity(lambda text: parse(text, BANDWIDTH, "100 Mbit/s", positive=True))
Duration = _quantity(lambda text: parse(text, DURATION, "5 ms"))
PositiveDuration = _quantity(parse_positive_duration)
DurationOrRate = _quantity(parse_duration_or_rate)
Size = _quantity(lambda text: parse(text, SIZE, "2.5 MiB", positive=True))
