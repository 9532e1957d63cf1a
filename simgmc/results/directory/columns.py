"""Columns of the CSV files in a run directory: each is a field of the dataclass that a row of the file is."""

from __future__ import annotations

import typing
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from types import NoneType
from typing import Any

from simgmc.core.errors import show_value
from simgmc.results.directory.rows import cell


def column(unit: str = "", default: Any = MISSING) -> Any:
    """A field of a row, and so a column of its file: called as the field, in ``unit``, read by the field's type.

    A field ``| None`` may be unknown, an empty cell. A column with a ``default`` may be missing: that is what it
    is in run directories from before there was the column. A new one therefore has a default and comes last.
    """
    return field(default=default, metadata={"unit": unit})


@dataclass(frozen=True)
class Column:
    """One column of a file."""

    name: str
    unit: str
    """Empty for a name, and for a number of what the column is called."""
    kind: type
    """Of a value that is known: int (a count), float or str."""
    optional: bool
    """Whether a value may be unknown."""
    default: Any
    """Where the file has no such column; MISSING: every file has it."""

    @property
    def needed(self) -> bool:
        """Whether every file has the column."""
        return self.default is MISSING

    @property
    def words(self) -> str:
        """What a valid cell is."""
        text = {int: "a whole number of at least 0", float: "a number"}.get(self.kind, "a text")
        return text + (f", in {self.unit}" if self.unit else "") + (", or empty" if self.optional else "")

    def read(self, text: str) -> Any:
        """The value of a cell. Raises ValueError, with what would be right, where it is not one."""
        if text == "" and self.optional:
            return None
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or (self.kind is int and value < 0):
            raise ValueError(f"{self.name} = {show_value(text)}: must be {self.words}")
        return value

    def write(self, value: Any) -> str:
        """The cell of a value. Raises ValueError where the column cannot hold it."""
        if value is None:
            if not self.optional:
                raise ValueError(f"{self.name} has no unknown values")
            return ""
        if self.kind is int and int(value) != value:
            raise ValueError(f"{self.name}: a whole number is needed, not {value}")
        return cell(self.kind(value))


@cache
def columns_of(row: type) -> tuple[Column, ...]:
    """The columns that a row's dataclass declares."""
    hints = typing.get_type_hints(row)
    found = []
    for one in fields(row):
        options = typing.get_args(hints[one.name]) or (hints[one.name],)
        kind = next(option for option in options if option is not NoneType)
        found.append(Column(one.name, one.metadata.get("unit", ""), kind, NoneType in options, one.default))
    return tuple(found)
