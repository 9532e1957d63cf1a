"""Rows of the CSV files in a run directory: exact numbers, one write each, never half a row read."""

from __future__ import annotations

import csv
import io
import json
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any

from simgmc.core.errors import SimgmcError, reason


def cell(value: object) -> str:
    """The text of one CSV cell: exact, the same for the same value, empty for None."""
    if hasattr(value, "item"):
        value = value.item()
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return json.dumps(value)


def cells(row: Any) -> list[str]:
    """The cells of a dataclass whose fields are numbers or texts, ``| None`` where they may be unknown.

    Raises ValueError for a value that its field cannot hold.
    """
    return [cell(_as(getattr(row, column.name), column)) for column in _columns(type(row))]


def values(named: Mapping[str, str], kind: type) -> dict[str, Any]:
    """What :func:`cells` wrote, by field; a field with a default may have no column.

    Raises KeyError or ValueError where the cells are not those of such a row.
    """
    return {one.name: _parse(named[one.name], one) for one in _columns(kind) if one.needed or one.name in named}


@dataclass(frozen=True)
class _Column:
    name: str
    kind: type
    optional: bool
    """Whether a value may be unknown."""
    needed: bool
    """Whether every file has the column."""


@cache
def _columns(kind: type) -> list[_Column]:
    columns = []
    hints = typing.get_type_hints(kind)
    for field in fields(kind):
        options = typing.get_args(hints[field.name]) or (hints[field.name],)
        bare = next(option for option in options if option is not NoneType)
        columns.append(_Column(field.name, bare, NoneType in options, field.default is MISSING))
    return columns


def _as(value: Any, column: _Column) -> Any:
    if value is None:
        if not column.optional:
            raise ValueError(f"{column.name} has no unknown values")
        return None
    if column.kind is int and int(value) != value:
        raise ValueError(f"{column.name}: a whole number is needed, not {value}")
    return column.kind(value)


def _parse(text: str, column: _Column) -> Any:
    if text == "" and column.optional:
        return None
    value = column.kind(text)
    if column.kind is int and value < 0:
        raise ValueError(f"{column.name}: a count is needed, not {text}")
    return value


def line(texts: Iterable[str]) -> str:
    """One row of a CSV file."""
    stream = io.StringIO(newline="")
    texts = list(texts)
    # A lone carriage return would end the row for a reader, unless it is quoted.
    quoting = csv.QUOTE_ALL if any("\r" in text for text in texts) else csv.QUOTE_MINIMAL
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerow(texts)
    return stream.getvalue()


def append(file: Path, lines: str) -> None:
    """Appends whole lines to a file that exists; where that fails, for want of space, the file is as it was."""
    content = memoryview(lines.encode())
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        try:
            before = os.fstat(descriptor).st_size
            try:
                while content:  # once, unless the disk is full: then the rest says why
                    content = content[os.write(descriptor, content) :]
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SimgmcError(f"cannot write to {file}: {reason(error)}; what was written before is kept") from None


def read_text(file: Path) -> str:
    """A file's text, its line ends as they are. Raises SimgmcError where it cannot be read or is not UTF-8."""
    try:
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise SimgmcError(f"cannot read {file}: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise SimgmcError(f"{file} is damaged: byte {error.start} is not UTF-8 text") from None


def read_table(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows; a last line that was being written when the run was killed is left out."""
    text = read_text(file)
    try:
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True))
    except csv.Error as error:
        raise SimgmcError(f"{file} is not a CSV file of a run, or it is damaged: {error}") from None
    return (rows[0], rows[1:]) if rows else ([], [])
