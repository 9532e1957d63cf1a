"""Errors that a user can cause and should read in one line, and how they show names and values."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any

_MAX_KNOWN = 80
"""Names that a message lists."""


class SimgmcError(Exception):
    """Something in the input is wrong; the message says what, where and what would be right."""


class DivergenceError(SimgmcError):
    """Training left the finite numbers: the method's run ends here, other methods go on."""


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory could not be had, of the machine or of a device."""
    texts = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(text in str(error) for text in texts)


def reason(error: BaseException) -> str:
    """What went wrong with a file, in a few words: those of the operating system where it has any."""
    return getattr(error, "strerror", None) or str(error)


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean "x"? `` if something is near, then all that is known."""
    known = list(known)
    if not known:
        return "there are none"
    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    listed = ", ".join(known[:_MAX_KNOWN]) + (" ..." if len(known) > _MAX_KNOWN else "")
    return (f'did you mean "{close[0]}"? ' if close else "") + f"known: {listed}"


def show_key(loc: Iterable[int | str]) -> str:
    """A key's place as people write it: ``methods[1].compressor.density``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if re.fullmatch(r"[\w.-]+", part) else _quoted(part))
    return text


def show_value(value: Any) -> str:
    """A value as TOML would print it, cut to one short line."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = _quoted(value)
    elif isinstance(value, dict):
        text = "{ " + ", ".join(f"{show_key([str(key)])} = {show_value(one)}" for key, one in value.items()) + " }"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(map(show_value, value)) + "]"
    elif isinstance(value, int) and abs(value) >= 10**60:
        text = f"a whole number of {value.bit_length()} bits"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _quoted(text: str) -> str:
    """Text in quotes on one line: what a terminal cannot print is escaped."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in json.dumps(text, ensure_ascii=False))
