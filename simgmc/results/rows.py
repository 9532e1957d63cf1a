"""Rows of the CSV files in a run directory: exact numbers, one write each, never half a row read."""

from __future__ import annotations

import csv
import io
import json
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from simgmc.errors import SimgmcError


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
    return [cell(_as(getattr(row, name), kind)) for name, kind in typing.get_type_hints(type(row)).items()]


def values(named: Mapping[str, str], kind: type) -> dict[str, Any]:
    """What :func:`cells` wrote, by field; a field with a default may have no column.

    Raises KeyError or ValueError where the cells are not those of such a row.
    """
    hints = typing.get_type_hints(kind)
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    return {name: _parse(named[name], hint) for name, hint in hints.items() if name in needed or name in named}


def _bare(kind: Any) -> tuple[type, bool]:
    """The type without ``| None``, and whether None is allowed."""
    options = typing.get_args(kind) or (kind,)
    return next(option for option in options if option is not types.NoneType), types.NoneType in options


def _as(value: Any, kind: Any) -> Any:
    bare, optional = _bare(kind)
    if value is None:
        if not optional:
            raise ValueError("this column has no unknown values")
        return None
    if bare is int and int(value) != value:
        raise ValueError(f"a whole number is needed, not {value}")
    return bare(value)


def _parse(text: str, kind: Any) -> Any:
    bare, optional = _bare(kind)
    return None if text == "" and optional else bare(text)


def line(texts: Iterable[str]) -> str:
    """One row of a CSV file."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(texts)
    return stream.getvalue()


def append(file: Path, lines: str) -> None:
    """Appends whole lines to a file that exists, with one write."""
    content = lines.encode()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        try:
            written = os.write(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SimgmcError(f"cannot write to {file}: {error.strerror}") from None
    if written < len(content):
        raise SimgmcError(f"cannot write to {file}: the disk is full")


def read_table(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows; a last line that was being written when the run was killed is left out."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SimgmcError(f"cannot read {file}: {error.strerror}") from None
    rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    return (rows[0], rows[1:]) if rows else ([], [])
