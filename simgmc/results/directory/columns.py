"""Columns of the CSV files in a run directory: each is a field of the dataclass that a row of the file is.

The field's name is the column's, its type says how a cell is read (``int``, a count; ``float``; ``str``; ``| None``:
an empty cell where the value is unknown), and ``Annotated[type, unit]`` its unit. A field with a default is a column
that may be missing: in run directories from before there was the column its value is the default. So a new column is
one field, with a default, at the end of its dataclass.
"""

from __future__ import annotations

import typing
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType
from typing import Annotated, Any

from simgmc.core.errors import show_value
from simgmc.results.directory.rows import cell

Seconds = Annotated[float, "s"]
"""The type of a column in seconds."""
Bytes = Annotated[int, "bytes"]
"""The type of a column that counts bytes."""


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
    found = []
    hints = typing.get_type_hints(row, include_extras=True)
    for one in fields(row):
        whole = hints[one.name]
        hint, *units = typing.get_args(whole) if typing.get_origin(whole) is Annotated else (whole,)
        options = typing.get_args(hint) or (hint,)
        kind = next(option for option in options if option is not NoneType)
        found.append(Column(one.name, "".join(units), kind, NoneType in options, one.default))
    return tuple(found)
