"""Times, bytes and other quantities as people read them. Reading them is :mod:`simgmc.core.units`."""

from __future__ import annotations

import math

_TIME = (
    (86400.0, "d", 2.0),
    (3600.0, "h", 2.0),
    (60.0, "min", 2.0),
    (1.0, "s", 1.0),
    (1e-3, "ms", 1.0),
    (1e-6, "µs", 1.0),
    (1e-9, "ns", 0.0),
)
_BYTES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time of this length reads well, as (seconds per unit, name)."""
    for scale, name, least in _TIME if seconds else ():
        if abs(seconds) >= least * scale:
            return scale, name
    return 1.0, "s"


def bytes_unit(nbytes: float) -> tuple[float, str]:
    """The decimal unit in which a size reads well, as (bytes per unit, name)."""
    for scale, name in _BYTES:
        if abs(nbytes) >= scale:
            return scale, name
    return 1.0, "B"


def axis_unit(kind: str, low: float, high: float, *, log: bool) -> tuple[float, str]:
    """The unit of an axis of "time" or "bytes" between two values: on a linear axis that of the upper
    end, on a logarithmic one that which leaves most numbers between 0.1 and 10000."""
    if not log:
        return (time_unit if kind == "time" else bytes_unit)(high)

    def unwieldy(unit: tuple[float, str]) -> tuple[float, float]:
        first, last = math.log10(low / unit[0]), math.log10(high / unit[0])
        return max(0.0, -1 - first) + max(0.0, last - 4), abs((first + last) / 2 - 1)

    units = [(scale, name) for scale, name, *_ in (_TIME if kind == "time" else _BYTES)]
    return min(units, key=unwieldy)


def number(value: float, digits: int = 3) -> str:
    """A number with this many significant digits, never in exponents between 1e-4 and 1e6."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{decimals}f}"


def with_spread(mean: float, std: float | None, scale: float, unit: str, digits: int = 3) -> str:
    """``412 ± 18 s``: mean and deviation in one unit, with the same decimals."""
    shown = number(mean / scale, digits)
    if std is not None:
        decimals = len(shown.partition(".")[2]) if "e" not in shown else 0
        deviation = f"{std / scale:.{decimals}f}" if "e" not in shown else number(std / scale, digits)
        shown = f"{shown} ± {deviation}"
    return f"{shown} {unit}".strip()


def time_text(seconds: float, std: float | None = None) -> str:
    """A time in ns to d with three significant digits."""
    return with_spread(seconds, std, *time_unit(seconds))


def bytes_text(nbytes: float) -> str:
    """A size in B, kB, MB, GB (powers of 1000) with three significant digits."""
    scale, unit = bytes_unit(nbytes)
    return f"{nbytes:.0f} B" if unit == "B" else with_spread(nbytes, None, scale, unit)


def bandwidth_text(bytes_per_second: float, digits: int = 4) -> str:
    """A bandwidth in bit/s, kbit/s, Mbit/s, Gbit/s, Tbit/s as people name them: ``2 Mbit/s``."""
    bits = float(f"{8 * bytes_per_second:.{digits}g}")
    for scale, unit in ((1e12, "Tbit/s"), (1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= scale:
            return f"{bits / scale:.{digits}g} {unit}"
    return f"{bits:.{digits}g} bit/s"


def percent_text(fraction: float) -> str:
    """A share in percent with three significant digits at most: ``100 %``, ``1.97 %``."""
    return f"{number(100 * fraction)} %"
