"""Errors that a user can cause and should read in one line, and how they show names and values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_MAX_KNOWN = 40
"""Names that a message lists."""
LIKELY = 0.66
"""From which likeness on a name is what was meant: one slip in three letters, two in six."""
_TELLING = 3
"""Letters from which on a part of a name tells it."""
MANY = 12
"""Names up to which it lists all where a command would show them."""


class SimgmcError(Exception):
    """Something in the input is wrong; the message says what, where and what would be right."""


class GivenUp(Exception):
    """A search gives a training up; says why."""


class DivergenceError(SimgmcError):
    """Training left the finite numbers: the method's run ends here, other methods go on."""


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory could not be had, of the machine or of a device."""
    texts = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(text in str(error) for text in texts)


def reason(error: BaseException) -> str:
    """What went wrong with a file, in a few words: those of the operating system where it has any."""
    return getattr(error, "strerror", None) or str(error)


def suggestion(name: str, known: Iterable[str], see: str = "") -> str:
    """``did you mean "x"? `` if something is likely meant, then all that is known.

    ``see``: what shows it, where more than a few are known.
    """
    known = list(known)
    if not known:
        return "there are none"
    meant = nearest(name, known)
    listed = ", ".join(known[:_MAX_KNOWN]) + (" ..." if len(known) > _MAX_KNOWN else "")
    listed = f"see `{see}`" if see and len(known) > MANY else f"known: {listed}"
    return (f'did you mean "{meant}"? ' if meant else "") + listed


def nearest(name: str, known: Iterable[str], likely: float = LIKELY) -> str | None:
    """The known name that somebody who wrote this one most likely meant, or None.

    Names are near that differ in case, ``-``, ``_`` and spaces alone, or whose likeness is at least ``likely``: 1 -
    distance / length of the longer one. The distance is Damerau's and Levenshtein's, the least number of letters that
    are added, dropped or replaced, but for neighbours that changed places, a slip of typing, which counts half. Numbers
    are never slips: ``resnet18`` is not ``resnet56``. Failing that, the only name that begins or ends with this one.
    """
    given = _folded(name)
    if not given:
        return None
    candidates = {one: _folded(one) for one in known}
    candidates = {one: other for one, other in candidates.items() if _digits(other) == _digits(given)}
    likeness = {
        one: 1 - _distance(given, other) / max(len(given), len(other)) for one, other in candidates.items() if other
    }
    best = max(likeness, key=lambda one: likeness[one], default=None)
    if best is not None and likeness[best] >= likely:
        return best
    longer = [one for one, other in candidates.items() if other.startswith(given) or other.endswith(given)]
    return longer[0] if len(longer) == 1 and len(given) >= _TELLING and not given.isdigit() else None


def _folded(name: str) -> str:
    return name.casefold().translate({ord(one): None for one in "-_ "})


def _digits(name: str) -> list[str]:
    return sorted(filter(str.isdigit, name))


def _distance(one: str, other: str) -> float:
    """Between two texts, as :func:`nearest` counts it (optimal string alignment)."""
    before: list[float] = []
    row: list[float] = [float(place) for place in range(len(other) + 1)]
    for i, a in enumerate(one, start=1):
        earlier, before, row = before, row, [float(i)]
        for j, b in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2] and a != b:
                cost = min(cost, earlier[j - 2] + 0.5)
            row.append(cost)
    return row[-1]


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
