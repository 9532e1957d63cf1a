"""The CSV files whose rows belong to series: which columns each has, and how its rows are read and written.

A row has the columns of its series (method, collective, seed and the grid's keys) and those that the dataclass
of the file's rows declares, see :mod:`simgmc.results.directory.columns`. Columns are found by their names:

- one with a default may be missing, in a directory from before there was the column: rows have the default;
- one that nobody declares, in a directory of a later version, is ignored, and kept when the run goes on;
- any other that is missing, or that is there twice, is damage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, Generic, TypeVar

from simgmc.core.errors import SimgmcError
from simgmc.core.transport import Transport
from simgmc.results.directory.columns import Column, columns_of
from simgmc.results.directory.details import FILES
from simgmc.results.directory.records import Breakdown, Evaluation, OtherMetric, SeriesKey
from simgmc.results.directory.rows import cell, line

KEY_COLUMNS = ("method", "collective", "seed")
"""Of every row; ``collective`` holds the transport."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class SeriesTable(Generic[Row]):
    """One file: its name and the dataclass of its rows."""

    file: str
    row: type[Row]
    grid_last: bool = False
    """Whether rows end with the grid's columns; otherwise they follow the columns of the series."""

    @cached_property
    def own(self) -> tuple[Column, ...]:
        """The columns that its rows declare."""
        return columns_of(self.row)  # type: ignore[arg-type]

    def header(self, grid_keys: Sequence[str]) -> tuple[str, ...]:
        """The columns that a run of this version writes."""
        own = tuple(column.name for column in self.own)
        return (*KEY_COLUMNS, *own, *grid_keys) if self.grid_last else (*KEY_COLUMNS, *grid_keys, *own)

    def line(self, series: SeriesKey, row: Row, grid_keys: Sequence[str], unknown: Sequence[str] = ()) -> str:
        """A row of the file, with what it holds in columns that nobody declares at its end."""
        key, values = (series.method, str(series.transport), cell(series.seed)), dict(series.grid)
        grid = [values[name] for name in grid_keys]
        own = [column.write(getattr(row, column.name)) for column in self.own]
        return line((*key, *own, *grid, *unknown) if self.grid_last else (*key, *grid, *own, *unknown))


METRICS = SeriesTable("metrics.csv", Evaluation, grid_last=True)
OTHER_METRICS = SeriesTable("other_metrics.csv", OtherMetric, grid_last=True)
BREAKDOWN = SeriesTable("breakdown.csv", Breakdown)
_TABLES: tuple[SeriesTable[Any], ...] = (
    METRICS, OTHER_METRICS, BREAKDOWN, *(SeriesTable(file, row) for file, row in FILES.items()),
)  # fmt: skip
TABLES = {table.file: table for table in _TABLES}
"""By file."""


def grid_keys_of(header: Sequence[str]) -> tuple[str, ...]:
    """The grid's keys, from the header of ``breakdown.csv``: between the columns of the series and the file's own."""
    first = BREAKDOWN.own[0].name
    end = list(header).index(first) if first in header else len(header)
    return tuple(header[len(KEY_COLUMNS) : end])


class TableReader(Generic[Row]):
    """Reads a table by the header that its file has. Raises SimgmcError where it cannot be its header."""

    def __init__(self, table: SeriesTable[Row], header: Sequence[str], grid_keys: Sequence[str], place: object):
        self.table, self.header, self.grid_keys, self._place = table, list(header), tuple(grid_keys), place
        needed = [*KEY_COLUMNS, *grid_keys, *(column.name for column in table.own if column.needed)]
        problems = [f"has the column {name!r} twice" for name in header if self.header.count(name) > 1]
        problems += [f"has no column {name!r}" for name in needed if name not in header]
        if problems:
            raise SimgmcError(f"{place} is damaged or not of a run: its first line {problems[0]}")
        self.key_places = [self.header.index(name) for name in (*KEY_COLUMNS, *grid_keys)]
        self.own_places = [self.header.index(column.name) if column.name in header else None for column in table.own]
        known = {*KEY_COLUMNS, *grid_keys, *(column.name for column in table.own)}
        self.unknown = [name for name in header if name not in known]

    def rows(self, cells: Sequence[Sequence[str]]) -> Iterator[tuple[SeriesKey, Row, list[str]]]:
        """Series, row and the cells of unknown columns, of each line after the header.

        Raises SimgmcError that names the line, and what is wrong with it, where one is not a row of the table.
        """
        key_of, unknown = itemgetter(*self.key_places), [self.header.index(name) for name in self.unknown]
        keys: dict[tuple[str, ...], SeriesKey] = {}
        for number, row in enumerate(cells, start=2):
            try:
                if len(row) != len(self.header):
                    raise ValueError(f"{len(row)} cells where there are {len(self.header)} columns")
                key = key_of(row)
                if key not in keys:
                    keys[key] = self.series(key)
                values = {
                    column.name: column.default if place is None else column.read(row[place])
                    for column, place in zip(self.table.own, self.own_places, strict=True)
                }
                yield keys[key], self.table.row(**values), [row[place] for place in unknown]
            except ValueError as error:
                raise SimgmcError(f"{self._place}, line {number}, is not a row of a run: {error}") from None

    def series(self, key: Sequence[str]) -> SeriesKey:
        """The series of a row, from the cells of its key. Raises ValueError where they are none."""
        method, transport, seed, *grid = key
        return SeriesKey(method, Transport.read(transport), int(seed), tuple(zip(self.grid_keys, grid, strict=True)))
