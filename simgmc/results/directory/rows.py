"""Text files in a run directory: rows of CSV files, exact numbers, one write each, never half a row read."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.files import open_regular


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


def line(texts: Iterable[str]) -> str:
    """One row of a CSV file."""
    stream = io.StringIO(newline="")
    texts = list(texts)
    # A lone carriage return would end the row for a reader, unless it is quoted.
    whole = any("\r" in text for text in texts)
    csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if whole else csv.QUOTE_MINIMAL).writerow(texts)
    return stream.getvalue()


PARTIAL = ".partial"
"""How the name of a file ends that is being written."""


def replace(file: Path, content: bytes | Callable[[Path], object]) -> Path:
    """Writes a whole file at once: readers see the old one or the new one, never a part.

    ``content``: its bytes, or who writes a file of that name (raising OSError where it cannot).
    """
    partial = file.with_name(file.name + PARTIAL)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            if callable(content):
                content(partial)
            with partial.open("r+b" if callable(content) else "wb") as stream:
                if not callable(content):
                    stream.write(content)
                    stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, file)
        except OSError:
            if partial.is_file():
                partial.unlink()
            raise
    except (OSError, ValueError) as error:
        raise SimgmcError(f"cannot write {file}: {reason(error)}") from None
    return file


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


def read_bytes(file: Path) -> bytes:
    """A file's content. Raises OSError where it cannot be read, or is no regular file."""
    with open_regular(file) as stream:
        return stream.read()


def read_text(file: Path) -> str:
    """A file's text, its line ends as they are. Raises SimgmcError where it cannot be read or is not UTF-8."""
    try:
        return read_bytes(file).decode("utf-8")
    except OSError as error:
        raise SimgmcError(f"cannot read {file}: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise SimgmcError(f"{file} is damaged: byte {error.start} is not UTF-8 text") from None


def read_header(file: Path) -> list[str]:
    """The first line of a CSV file, as :func:`read_table` reads it."""
    try:
        with open_regular(file) as stream:
            first = stream.readline().decode("utf-8")
    except OSError as error:
        raise SimgmcError(f"cannot read {file}: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise SimgmcError(f"{file} is damaged: byte {error.start} is not UTF-8 text") from None
    return _parsed(first, file)[0] if first.endswith("\n") else []


def read_table(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows; a last line that was being written when the run was killed is left out."""
    text = read_text(file)
    rows = _parsed(text[: text.rfind("\n") + 1], file)
    return (rows[0], rows[1:]) if rows else ([], [])


def _parsed(text: str, file: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise SimgmcError(f"{file} is not a CSV file of a run, or it is damaged: {error}") from None
