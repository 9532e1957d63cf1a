"""Standard output as it may come: closed, full, or of an encoding without most characters."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from typing import IO

_PLAIN = {
    "±": "+-",
    "×": "x",
    "µ": "u",
    "–": "-",
    "−": "-",
    "─": "-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "…": "...",
    "γ": "gamma",
}
_UNWRITABLE = (errno.ENOSPC, errno.EPIPE, errno.EBADF, errno.EIO, errno.EDQUOT)


def escaped(text: str, encoding: str | None) -> str:
    """The text with what the encoding does not have as ``\\uXXXX``, which TOML reads back as the same."""
    pieces = []
    for character in text:
        try:
            character.encode(encoding or "utf-8")
            pieces.append(character)
        except UnicodeEncodeError:
            pieces.append(f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}")
    return "".join(pieces)


def in_encoding(text: str, encoding: str | None) -> str:
    """The text with what the encoding does not have written otherwise: ``+-`` for ``±``, else ``\\uXXXX``."""
    return escaped("".join(_PLAIN.get(one, one) if escaped(one, encoding) != one else one for one in text), encoding)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return in_encoding(error.object[error.start : error.end], error.encoding), error.end


codecs.register_error("simgmc", _replace)


def prepare() -> None:
    """Make standard output and error something that can be written to: nothing where they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="simgmc")


def unwritable(error: OSError) -> str | None:
    """Why standard output cannot be written to, if that is what an error says; nothing more is then written there."""
    if error.filename is not None or error.errno not in _UNWRITABLE:
        return None
    _drop(sys.stdout)
    return error.strerror


def _drop(stream: IO[str]) -> None:
    """What is still held back for a stream goes nowhere, else writing it at exit would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
