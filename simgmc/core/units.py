"""Quantities with units: bandwidths, durations, sizes. Bits and bytes are never confused.

Units are those of SI and IEC: ``k`` is 1000, ``Ki`` is 1024, ``B`` a byte, ``bit`` a bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simgmc.core.registry import Option

_BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BITS = {"bit": 1 / 8, "kbit": 1e3 / 8, "Mbit": 1e6 / 8, "Gbit": 1e9 / 8, "Tbit": 1e12 / 8}
SIZE = {**_BYTES, **_BITS}
BANDWIDTH = {f"{unit}/s": factor for unit, factor in SIZE.items()}
DURATION = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_MAX_SECONDS = 1e9
_MAX_RATE = 1e18
_SLOWEST = 1e-3
"""Limits beyond any real network, within which sums and quotients stay finite: seconds, bytes (or bytes/s), bytes/s."""

_NUMBER_AND_UNIT = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*")


@dataclass(frozen=True)
class Quantity:
    """A number in base units (bytes, seconds, bytes per second) and the text it was written as."""

    value: float
    text: str = field(compare=False)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return self.text


def parse(text: Any, units: dict[str, float], example: str, *, positive: bool = False) -> Quantity:
    """A :class:`Quantity` from text such as ``"100 Mbit/s"``.

    Raises ValueError, with what would be right, for a bare number, an unknown unit,
    a negative or (with ``positive``) zero value.
    """
    if isinstance(text, Quantity):
        return text
    if isinstance(text, bool) or not isinstance(text, str):
        raise ValueError(f'needs a number with a unit, as text, such as "{example}"')
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if not match:
        raise ValueError(f'not a number with a unit, such as "{example}"')
    number, unit = match.groups()
    if unit is None:
        raise ValueError(f'has no unit; write for instance "{example}" (units: {", ".join(units)})')
    if unit not in units:
        raise ValueError(f"unknown unit {unit!r}; {_nearest_unit(unit, units)}")
    value = float(number) * units[unit]
    if unit in DURATION and not abs(value) <= _MAX_SECONDS:
        raise ValueError(f"is too large: a duration is at most {_MAX_SECONDS:g} s")
    if not abs(value) <= _MAX_RATE:
        raise ValueError(f"is too large: at most {_MAX_RATE:g} {'B/s' if unit in BANDWIDTH else 'B'}")
    if unit in BANDWIDTH and 0 < value < _SLOWEST:
        raise ValueError(f"is too small: a rate is at least {_SLOWEST:g} B/s")
    if value < 0 or (positive and value == 0):
        raise ValueError(f'must be {"above" if positive else "at least"} 0, such as "{example}"')
    return Quantity(value, text.strip())


_SPELLING = re.compile(r"([kmgt]?)(i?)(bits?|bytes?|b)(?:/s(?:ec(?:ond)?)?|ps)?", re.IGNORECASE)
_SPELLED_OUT = {
    "ns": ("nsec", "nsecs", "nanosecond", "nanoseconds"),
    "us": ("usec", "usecs", "microsecond", "microseconds"),
    "ms": ("msec", "msecs", "millisecond", "milliseconds"),
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
}


def _nearest_unit(unit: str, units: Mapping[str, float]) -> str:
    meant = _meant(unit, units)
    return (f'did you mean "{meant}"? ' if meant else "") + f"units: {', '.join(units)}"


def _meant(unit: str, units: Mapping[str, float]) -> str | None:
    """The unit of the same size that another spelling stands for: ``Gb/s`` is ``Gbit/s``, never ``GB/s``."""
    if (match := _SPELLING.fullmatch(unit)) is not None:
        prefix, binary, what = match.groups()
        byte = what == "B" or what.lower().startswith("byte")
        prefix = prefix.upper() if binary or prefix not in ("k", "K") else "k"
        name = prefix + ("i" if binary else "") + ("B" if byte else "bit")
        return next((one for one in (name, f"{name}/s") if one in units), None)
    words = [name for name, spellings in _SPELLED_OUT.items() if unit.lower() in spellings and name in units]
    return words[0] if words else None


def is_rate(quantity: Quantity) -> bool:
    """Whether a duration-or-rate is a rate (bytes per second)."""
    return quantity.text.endswith("/s")


@dataclass(frozen=True)
class QuantityOption(Option):
    """An option that is written with a unit."""

    kind: Any = Quantity
    units: Mapping[str, float] = field(kw_only=True)
    example: str = field(kw_only=True)
    positive: bool = False

    @property
    def words(self) -> str:
        """How it is written."""
        return f'text such as "{self.example}"' + (", above 0" if self.positive else "")

    def read(self, value: Any) -> Quantity:
        """As :meth:`Option.read`: the quantity in bytes/s, s or bytes."""
        return parse(value, self.units, self.example, positive=self.positive)
