"""``simgmc list --markdown``: everything that a scenario can say, as one page."""

from __future__ import annotations

import re
from collections.abc import Iterable

from simgmc.commands.list import KINDS, default_text, entries
from simgmc.core.registry import Entry
from simgmc.core.units import DURATION, SIZE

COMMAND = "simgmc list --markdown > scenarios/REFERENCE.md"
"""What writes the page that the repository holds."""
HEAD = f"""# What a scenario can say

Every table and key, and everything that can be named in one, with options, defaults, limits and sources.
This page is written by the program: `{COMMAND}`.
A quantity is text with a unit: a time in {", ".join(DURATION)}; a size in {", ".join(SIZE)};
a rate in a size over s, such as Mbit/s. k is 1000, Ki is 1024, B a byte. A key that is "optional" may be left out.
"""


def markdown(kind: str | None = None, name: str | None = None) -> str:
    """The whole page, one kind of it, or one entry. Raises SimgmcError for what there is not."""
    if kind is not None and name is not None:
        return "\n".join(_entry(entries(kind)[name], 2)) + "\n"
    kinds = list(KINDS) if kind is None else [kind]
    parts = [_kind(one) for one in kinds]
    if kind is not None:
        return parts[0]
    contents = "\n".join(f"- [{one}](#{one}): {len(entries(one))}" for one in kinds)
    return "\n".join([HEAD, contents + "\n", *parts])


def _kind(kind: str) -> str:
    found = entries(kind)
    lines = [f"## {kind}", ""]
    if any(entry.options or entry.details for entry in found.values()):
        for entry in found.values():
            lines += _entry(entry, 3)
    else:
        rows = ([f"`{entry.name}`", _text(entry.summary), _text(entry.source)] for entry in found.values())
        lines += [*_table(("name", "what it is", "source"), rows), ""]
    return "\n".join(lines)


def _entry(entry: Entry, level: int) -> list[str]:
    lines = [f"{'#' * level} `{entry.name}`", "", _text(entry.summary), ""]
    for paragraph in re.split(r"\n\s*\n", entry.details.strip()):
        if paragraph:
            lines += [_text(" ".join(paragraph.split())), ""]
    if entry.source != "-" and not entry.source.endswith(" of a scenario"):  # which the page itself says
        lines += [f"Source: {_text(entry.source)}", ""]
    if entry.options:
        rows = (
            [f"`{key}`", _text(default_text(option)), _text(option.words), _text(option.summary)]
            for key, option in entry.options.items()
        )
        lines += [*_table(("key", "default", "values", "meaning"), rows), ""]
    return lines


def _table(names: Iterable[str], rows: Iterable[list[str]]) -> list[str]:
    head = list(names)
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _text(text: str) -> str:
    """Text on one line; what would be marks in Markdown is escaped, but for code between backticks."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:  # a backtick alone is none of code's
        parts = ["\\`".join(parts)]
    outside = (re.sub(r"([*_<>\[\]|])", r"\\\1", part) for part in parts[::2])
    inside = (part.replace("|", "\\|") for part in parts[1::2])
    mixed = [one for pair in zip(outside, [*inside, ""], strict=True) for one in pair][:-1]
    return "".join(f"`{part}`" if place % 2 else part for place, part in enumerate(mixed))
