"""CSV tables from outside: columns by name, quantities with their unit in the cell or in the column's name."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from simgmc.core.errors import SimgmcError, nearest, show_value, suggestion
from simgmc.core.units import BANDWIDTH, DURATION, MAX_RATE, MAX_SECONDS, MIN_RATE, parse

_SUFFIXES = {
    "bandwidth": {
        "bit_s": 1 / 8, "kbit_s": 1e3 / 8, "mbit_s": 1e6 / 8, "gbit_s": 1e9 / 8, "tbit_s": 1e12 / 8,
        "bytes_s": 1.0, "kbytes_s": 1e3, "mbytes_s": 1e6, "gbytes_s": 1e9,
    },
    "duration": {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
}  # fmt: skip
_UNITS = {"bandwidth": (BANDWIDTH, "100 Mbit/s"), "duration": (DURATION, "5 ms")}


_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
"""All but the tab, which separates nothing here and is told of as part of a column's name."""
_BARE = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")
_OTHER_SEPARATOR = re.compile("[;\t]")


def check_name(text: str, place: str) -> None:
    """Refuse line ends and other control characters, which no name or number has. Raises SimgmcError."""
    if _CONTROL.search(text):
        raise SimgmcError(f"{place}: {show_value(text)}: holds a line end or another control character")


def plain_number(text: str) -> float:
    """A number as files write it. Raises ValueError, also for the underscores that Python would read over."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


@dataclass(frozen=True)
class Measure:
    """A bandwidth or a duration that a file gives: ``name`` with a unit in the value, or ``name_<unit>``
    and a number.
    """

    name: str
    kind: str
    """``bandwidth`` (read in bytes/s) or ``duration`` (in s)."""
    scale: float = 1.0
    """By what the value is multiplied: 0.5 makes a latency of a round trip."""
    others: Mapping[str, float] | None = None
    """Names of other origin for the same, with the factor of their unit, such as ``LinkSpeedRaw`` in bit/s."""

    @property
    def suffixed(self) -> dict[str, float]:
        """Every name that has its unit within, with the unit's factor."""
        named = {f"{self.name}_{suffix}": factor for suffix, factor in _SUFFIXES[self.kind].items()}
        return named | dict(self.others or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which it may be given."""
        return (self.name, *self.suffixed)

    @property
    def words(self) -> str:
        """How it may be given."""
        return f'{self.name} ("{_UNITS[self.kind][1]}") or {self._usual}'

    @property
    def _usual(self) -> str:
        return self.name + ("_mbit_s" if self.kind == "bandwidth" else "_ms")

    def read(self, key: str, value: str) -> float:
        """The value under one of the names, in bytes/s or s. Raises ValueError, with what would be right."""
        factor = self.suffixed.get(key)
        if factor is None:
            units, example = _UNITS[self.kind]
            if _BARE.fullmatch(value):
                raise ValueError(f'has no unit; write {key} = "{example}", or a bare number under {self._usual}')
            return float(parse(value, units, example)) * self.scale
        try:
            number = plain_number(value)
        except ValueError:
            raise ValueError("must be a number, in the unit that its name says") from None
        most = MAX_RATE if self.kind == "bandwidth" else MAX_SECONDS
        if self.kind == "bandwidth" and 0 < number * factor < MIN_RATE:
            raise ValueError(f"is too small: a rate is at least {MIN_RATE:g} B/s")
        if not (math.isfinite(number) and 0 <= number * factor <= most):
            raise ValueError("must be a finite number of at least 0 (and of a size that networks have)")
        return number * factor * self.scale

    def among(self, row: Mapping[str, str], place: str) -> float | None:
        """The one value that a row gives; None where it gives none.

        Raises:
            SimgmcError: it is given twice, or cannot be read.
        """
        given = [key for key in self.names if (row.get(key) or "").strip()]
        if len(given) > 1:
            raise SimgmcError(f"{place}: gives both {given[0]} and {given[1]}; one of them is enough")
        if not given:
            return None
        try:
            return self.read(given[0], row[given[0]].strip())
        except ValueError as error:
            raise SimgmcError(f"{place}: {given[0]} = {show_value(row[given[0]].strip())}: {error}") from None


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    cells: Mapping[str, str]
    place: str
    """The file and the line, for errors."""


def read_lines(text: str, name: str) -> list[tuple[int, list[str]]]:
    """The lines of a CSV text with their numbers, blank ones and comments (``#``) left out, cells without outer blanks.

    Raises:
        SimgmcError: it is no CSV.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()[:1] not in ("", "#")]
    reader = csv.reader(io.StringIO("\n".join(line for _, line in lines)), strict=True)
    found = []
    try:
        for cells in reader:
            number = lines[min(reader.line_num, len(lines)) - 1][0]
            check_name("".join(cells), f"{name}, line {number}")
            found.append((number, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise SimgmcError(f"{name}, line {lines[max(reader.line_num, 1) - 1][0]}: not a CSV file: {error}") from None
    if found and len(found[0][1]) == 1 and (other := _OTHER_SEPARATOR.search(found[0][1][0])):
        number, (cell,) = found[0]
        raise SimgmcError(
            f"{name}, line {number}: {show_value(cell)}: has {show_value(other[0])} between its cells, where a comma "
            "must be (and a point in decimal numbers)"
        )
    return found


def read_rows(
    text: str, name: str, columns: Sequence[str], measures: Sequence[Measure] = (), other: Collection[str] = ()
) -> list[Row]:
    """The rows of a table whose first line names its columns.

    Args:
        columns: those that it must have.
        measures: those that it may give, each under one name.
        other: further columns that are known.

    Raises:
        SimgmcError: naming the file and the line, for a column that is missing, twice or not known, and for a line
            with more or fewer cells than columns.
    """
    lines = read_lines(text, name)
    expected = ", ".join((*columns, *(one.words for one in measures)))
    if not lines:
        raise SimgmcError(f"{name} is empty; its first line must name the columns {expected}")
    number, header = lines[0]
    known = [*columns, *(key for one in measures for key in one.names), *other]
    for column in columns:
        if column not in header:
            near = nearest(column, header)
            meant = f" (called {show_value(near)}?)" if near else ""
            raise SimgmcError(
                f"{name} has no column {column!r}{meant}; its first line must name the columns {expected}"
            )
    for place, column in enumerate(header):
        if column not in known:
            near = suggestion(column, [*columns, *(one.name for one in measures), *other])
            raise SimgmcError(f"{name}, line {number}: column {show_value(column)} is not read here; {near}")
        if column in header[:place]:
            raise SimgmcError(f"{name}, line {number}: column {show_value(column)} is there twice")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            more = "many" if len(cells) > len(header) else "few"
            raise SimgmcError(
                f"{name}, line {number}: {show_value(','.join(cells))} has too {more} columns: {len(cells)} for "
                f"{len(header)}"
            )
        rows.append(Row(dict(zip(header, cells)), f"{name}, line {number}"))
    if not rows:
        raise SimgmcError(f"{name} has no line below its header; each line gives {expected}")
    return rows


def read_number(row: Row, column: str, *, positive: bool = False) -> float:
    """A finite number of at least 0 in a row's column. Raises SimgmcError."""
    text = row.cells[column]
    try:
        value = plain_number(text)
    except ValueError:
        raise SimgmcError(f"{row.place}: {column} = {show_value(text)}: must be a number") from None
    if not (0 <= value < math.inf) or (positive and value == 0):
        least = "above" if positive else "at least"
        raise SimgmcError(f"{row.place}: {column} = {show_value(text)}: must be finite and {least} 0")
    return value
