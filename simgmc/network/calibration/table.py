"""A user's own measured exchanges: a CSV table of collective, nodes, bytes and seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.files import read_text
from simgmc.core.outside.tables import Measure, Row, read_number, read_rows
from simgmc.core.units import SIZE, parse

COLUMNS = ("collective", "nodes", "bytes", "seconds")
_BANDWIDTH, _LATENCY = Measure("bandwidth", "bandwidth"), Measure("latency", "duration")


@dataclass(frozen=True)
class MeasuredExchange:
    """One row: everybody sent a dense vector, and the last had the average after so many seconds."""

    collective: str
    nodes: int
    nbytes: float
    seconds: float
    bandwidth: float | None = None
    """Bytes/s of every host's link, each direction; None: as for the whole table."""
    latency: float | None = None
    """Seconds of every host's link, one way; None: as for the whole table."""
    place: str = ""
    """File and line."""


def read_table(path: str | Path) -> list[MeasuredExchange]:
    """The rows of a CSV file; ``bandwidth`` and ``latency`` may be columns too.

    Raises:
        SimgmcError: naming file, line, column and what would be right.
    """
    text = read_text(path, "table of measured exchanges")
    rows = read_rows(text, str(path), COLUMNS, (_BANDWIDTH, _LATENCY), ("busiest_link_bytes",))
    return [_read(row) for row in rows]


def _read(row: Row) -> MeasuredExchange:
    nodes = read_number(row, "nodes")
    if nodes != int(nodes) or not 2 <= nodes <= 10_000:
        shown = show_value(row.cells["nodes"])
        raise SimgmcError(f"{row.place}: nodes = {shown}: must be a whole number from 2 to 10,000")
    return MeasuredExchange(
        row.cells["collective"],
        int(nodes),
        _size(row),
        read_number(row, "seconds", positive=True),
        _BANDWIDTH.among(row.cells, row.place),
        _LATENCY.among(row.cells, row.place),
        row.place,
    )


def _size(row: Row) -> float:
    """Bytes: a bare number, or a size with its unit."""
    text = row.cells["bytes"]
    if text.replace(".", "", 1).isdecimal():
        return read_number(row, "bytes", positive=True)
    try:
        return float(parse(text, SIZE, "20 MB", positive=True))
    except ValueError as error:
        raise SimgmcError(f"{row.place}: bytes = {show_value(text)}: {error}") from None
