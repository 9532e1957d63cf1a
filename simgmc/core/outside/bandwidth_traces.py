"""Files of bandwidth traces: tables of times and bandwidths (or factors), and mahimahi's lists of packets."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.files import read_text, shown
from simgmc.core.outside.tables import Measure, read_lines, read_number, read_rows

PACKET = 1500
"""Bytes that every line of a mahimahi trace lets pass (Netravali et al., USENIX ATC 2015)."""
_MAX_PACKETS = 5_000_000
_TIME, _BANDWIDTH = Measure("time", "duration"), Measure("bandwidth", "bandwidth")
_PERIOD = Measure("period", "duration")
_PACKETS = re.compile(r"(?:[^\S\n]*(?:#[^\n]*)?\n)*[^\S\n]*-?\d+[^\S\n]*(?:\n|$)")
"""A first line of nothing but a whole number: mahimahi's."""
_BARE = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")

Trace = tuple[tuple[float, ...], tuple[float, ...], float | None, bool]
"""Seconds, values from each on, the period (None: the last value stays), and whether values are
bytes/s, not factors.
"""


def read_trace(path: str | Path) -> Trace:
    """The trace in a file.

    A CSV table has the columns time_s and either factor (of the nominal value) or bandwidth_mbit_s, in these or other
    units,
    or units within the cells; a last line ``period,10 s`` says when it starts again. A file of whole numbers
    alone, one a line, is mahimahi's: at each of these milliseconds a packet of 1,500 bytes may pass, over and over.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    text, name = read_text(path, "bandwidth trace"), shown(path)
    if _PACKETS.match(text):
        return _packets(text, name)
    lines = read_lines(text, name)
    period = None
    if len(lines) > 1 and lines[-1][1][0] == "period":
        (number, cells), lines = lines[-1], lines[:-1]
        text = "\n".join(text.splitlines()[: number - 1])
        period = _period(cells, lines[0][1], f"{name}, line {number}")
    if lines and lines[0][1][0].replace(".", "", 1).isdigit():
        raise SimgmcError(
            f"{name}, line {lines[0][0]}: {show_value(','.join(lines[0][1]))} where the columns must be named, such as "
            "time_s,factor"
        )
    times: list[float] = []
    values, kinds = [], set()
    for row in read_rows(text, name, (), (_TIME, _BANDWIDTH), ("factor",)):
        time, bandwidth = _TIME.among(row.cells, row.place), _BANDWIDTH.among(row.cells, row.place)
        if time is None:
            raise SimgmcError(
                f"{row.place}: gives no time; a trace needs the column time_s (or time, in cells with a unit)"
            )
        if (bandwidth is None) == (not row.cells.get("factor")):
            raise SimgmcError(f"{row.place}: must give either factor (of the nominal value) or bandwidth_mbit_s")
        if not times and time:
            raise SimgmcError(f"{row.place}: begins at {time:g} s: the first time must be 0, from when its value holds")
        if times and time <= times[-1]:
            raise SimgmcError(f"{row.place}: {time:g} s comes after {times[-1]:g} s: times must rise from line to line")
        times.append(time)
        values.append(read_number(row, "factor") if bandwidth is None else bandwidth)
        kinds.add(bandwidth is not None)
    if len(kinds) > 1:
        raise SimgmcError(f"{name}: some lines give a factor and some a bandwidth; one of them is enough")
    return tuple(times), tuple(values), period, kinds.pop()


def _period(cells: list[str], header: list[str], place: str) -> float:
    """Seconds of the period: with a unit, or a bare number where the times are in seconds, too."""
    try:
        (value,) = cells[1:]
        return _PERIOD.read("period_s" if "time_s" in header and _BARE.fullmatch(value) else "period", value)
    except ValueError:
        raise SimgmcError(
            f"{place}: {show_value(','.join(cells))} must be such as period,10 s (a bare number: seconds, as in time_s)"
        ) from None


def _packets(text: str, name: str) -> Trace:
    """Bytes/s in every millisecond of a mahimahi trace, equal ones that follow each other as one."""
    stamps: list[int] = []
    last = 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] == "#":
            continue
        if not line.isdecimal() or len(line) > 12 or (stamp := int(line)) < last:
            raise SimgmcError(
                f"{name}, line {number}: {show_value(line)} must be a whole number of milliseconds, never falling"
            )
        last = stamp
        stamps.append(stamp)
    if len(stamps) > _MAX_PACKETS:
        raise SimgmcError(f"{name}: has {len(stamps):,} packets, and must have at most {_MAX_PACKETS:,}")
    if not stamps[-1]:
        raise SimgmcError(f"{name}: all packets pass at 0 ms; the last must come later, it is the trace's period")
    # What passes at a millisecond passes in the one that ends there; what passes at 0 at the period's end.
    counts = Counter((stamp or stamps[-1]) - 1 for stamp in stamps)
    times: list[float] = []
    values: list[float] = []
    for at in sorted({0, *counts, *(one + 1 for one in counts if one + 1 < stamps[-1])}):
        rate = counts.get(at, 0) * PACKET / 1e-3
        if not values or rate != values[-1]:
            times.append(at / 1e3)
            values.append(rate)
    return tuple(times), tuple(values), stamps[-1] / 1e3 if len(times) > 1 else None, True
