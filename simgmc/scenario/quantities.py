"""The types of scenario keys that hold quantities with units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

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


Interval = tuple[float, Literal["epochs", "rounds", "seconds"]]
"""Of a training: a number of epochs, of rounds or of simulated seconds."""


def parse_interval(text: str) -> Interval:
    """Raises ValueError."""
    written, _, named = text.strip().partition(" ")
    if named.strip() in DURATION:
        seconds = float(parse_positive_duration(text))
        if seconds < 1e-9:
            raise ValueError('must be at least "1 ns"')
        return seconds, "seconds"
    unit = _COUNTED.get(named.strip())
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if unit is None or not (1e-6 <= value <= 1e9) or (unit == "rounds" and value % 1):
        raise ValueError(
            'must be like "1 epoch", "0.5 epochs" or "50 rounds" (at least 1 round or 1e-6 epochs), or a simulated '
            'time such as "10 s"'
        )
    return value, unit


_COUNTED: dict[str, Literal["epochs", "rounds"]] = {
    "epoch": "epochs", "epochs": "epochs", "round": "rounds", "rounds": "rounds"
}  # fmt: skip


def _quantity(units: Mapping[str, float], example: str, *, positive: bool = False) -> Any:
    return option_type(QuantityOption("", units=units, example=example, positive=positive))


Bandwidth = _quantity(BANDWIDTH, "100 Mbit/s", positive=True)
Duration = _quantity(DURATION, "5 ms")
DurationOrRate = Annotated[
    Any, BeforeValidator(parse_duration_or_rate), Described(QuantityOption("", units=EITHER, example="2 ms"))
]
Watts = _quantity(POWER, "300 W")
