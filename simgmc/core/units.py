"""Quantities with units: bandwidths, durations, sizes. Bits and bytes are never confused.

Units are those of SI and IEC: ``k`` is 1000, ``Ki`` is 1024, ``B`` a byte, ``bit`` a bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simgmc.core.registry import Option

_BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BITS = {"bit": 1 / 8, "kbit": 1e3 / 8, "Mbit": 1e6 / 8, "Gbit": 1e9 / 8, "Tbit": 1e12 / 8}
SIZE = {**_BYTES, **_BITS}
BANDWIDTH = {f"{unit}/s": factor for unit, factor in SIZE.items()}
DURATION = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
POWER = {"mW": 1e-3, "W": 1.0, "kW": 1e3}
MAX_SECONDS = 1e9
MAX_RATE = 1e18
MIN_RATE = 1e-3
"""Limits beyond any real network, within which sums and quotients stay finite: seconds, bytes (or bytes/s), bytes/s."""

_NUMBER_AND_UNIT = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*")


class Quantity(float):
    """A number in base units (bytes, seconds, bytes per second, watts) that remembers the text it was written as."""

    text: str

    def __new__(cls, value: float, text: str) -> Quantity:
        made = super().__new__(cls, value)
        made.text = text
        return made

    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]
        return float(self), self.text

    def __str__(self) -> str:
        return self.text


def parse(text: Any, units: Mapping[str, float], example: str, *, positive: bool = False) -> Quantity:
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
    if unit in DURATION and not abs(value) <= MAX_SECONDS:
        raise ValueError(f"is too large: a duration is at most {MAX_SECONDS:g} s")
    if not abs(value) <= MAX_RATE:
        raise ValueError(f"is too large: at most {MAX_RATE:g} {'B/s' if unit in BANDWIDTH else 'B'}")
    if unit in BANDWIDTH and 0 < value < MIN_RATE:
        raise ValueError(f"is too small: a rate is at least {MIN_RATE:g} B/s")
    if value < 0 or (positive and value == 0):
        raise ValueError(f'must be {"above" if positive else "at least"} 0, such as "{example}"')
    return Quantity(value, text.strip())


_SPELLING = re.compile(r"([kmgt]?)(i?)(bits?|bytes?|b)(?:/s(?:ec(?:ond)?)?|ps)?", re.IGNORECASE)
_SPELLED_OUT = {
    "ns": ("nsec", "nsecs", "nanosecond", "nanoseconds"),
    "us": ("usec", "usecs", "microsecond", "microseconds", "μs"),
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


def grid_number(text: str) -> tuple[float, str] | None:
    """A value of a grid as the number that an axis shows, with the axis's unit.

    The unit is s, B, bit, B/s or bit/s (bits where the text has bits), or "" for a bare number.
    None where the text is no quantity.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None:
        return None
    if match[2] is None:
        return float(match[1]), ""
    try:
        quantity = parse(text, SIZE | BANDWIDTH | DURATION, "")
    except ValueError:
        return None
    unit = match[2]
    if unit in DURATION:
        return float(quantity), "s"
    per_second = "/s" if is_rate(quantity) else ""
    return (quantity * 8, f"bit{per_second}") if "bit" in unit else (float(quantity), f"B{per_second}")


def grid_numbers(texts: Iterable[str]) -> tuple[dict[str, float], str] | None:
    """By text the numbers of several values of a grid in one unit, and that unit: bits, where some have bytes.

    None where one is no quantity, or they are quantities of several kinds.
    """
    found = {}
    for text in texts:
        if (one := grid_number(text)) is None:
            return None
        found[text] = one
    units = {unit for _, unit in found.values()}
    if len({unit.replace("bit", "B") for unit in units}) > 1:
        return None
    if len(units) > 1:
        found = {
            text: (number, unit) if unit.startswith("bit") else (8 * number, unit.replace("B", "bit"))
            for text, (number, unit) in found.items()
        }
    return {text: number for text, (number, _) in found.items()}, next((unit for _, unit in found.values()), "")


@dataclass(frozen=True)
class QuantityOption(Option):
    """An option that is written with a unit, and is at least 0."""

    kind: Any = Quantity
    units: Mapping[str, float] = field(kw_only=True)
    example: str = field(kw_only=True)
    positive: bool = False
    """Whether 0 is refused."""
    least: str = ""
    """The smallest value, written with its unit; empty: none but 0."""

    @property
    def words(self) -> str:
        """How it is written."""
        return f'text such as "{self.example}"{self._limit}'

    @property
    def base_words(self) -> str:
        """What the number is, counted in base units."""
        named = {"seconds": DURATION, "bytes/s": BANDWIDTH, "watts": POWER}
        unit = next((name for name, units in named.items() if self.units is units), "bytes")
        return f"a finite number of {unit}{self._limit or ', at least 0'}"

    @property
    def _limit(self) -> str:
        return f', at least "{self.least}"' if self.least else ", above 0" if self.positive else ""

    def accepts(self, value: Any) -> bool:
        """Whether a number in base units is valid."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value < float("inf"):
            return False
        if self.least:
            return value >= parse(self.least, self.units, self.example)
        return value > 0 if self.positive else value >= 0

    def read(self, value: Any) -> Quantity:
        """As :meth:`Option.read`: the quantity in bytes/s, s or bytes."""
        quantity = parse(value, self.units, self.example, positive=self.positive)
        if not self.accepts(quantity):
            raise ValueError(f'must be at least "{self.least}"')
        return quantity
