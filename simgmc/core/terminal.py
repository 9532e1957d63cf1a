"""What is printed: the console, lines of text, and tables.

In a terminal lines and tables are as wide as it is: they are folded between words, and a number is never broken. Into
a file or a pipe each is on one line, however long, unless the environment variable ``COLUMNS`` says how wide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from simgmc.core.output import in_encoding

WIDTH = 120
"""Columns of bars and of columns of sentences in output that goes to a file or a pipe."""
_ENDLESS = 10_000
_LONG_WORD = 20
"""Columns above which a word alone may be folded too, in a table of numbers or within sentences."""
_HEADER = 3
"""Lines of a header and the blank one before it, about."""
_GAP = 2
"""Columns between two of a table, and before its first."""


def plain_console() -> Console:
    """As wide as the terminal or as ``COLUMNS`` says, or :data:`WIDTH` off a terminal."""
    console = Console()
    return console if console.is_terminal or _stated() else Console(width=WIDTH)


def room(console: Console) -> int:
    """Columns that a line may have."""
    return console.width if console.is_terminal or _stated() else _ENDLESS


def _stated() -> bool:
    return os.environ.get("COLUMNS", "").isdecimal()


def print_line(console: Console, text: str, style: str = "", hang: int = 0) -> None:
    """Text as it is, without markup, folded between words where it is too long.

    A word that is too long alone, such as a path, stays whole. ``hang``: how far lines after the first are indented.
    """
    for line in in_encoding(text, console.encoding).split("\n"):
        first, *others = fold(line, room(console), whole=True)
        rest = fold(" ".join(others), room(console) - hang, whole=True) if others else []
        for one in (first, *(" " * hang + one for one in rest)):
            console.print(Text(one, style), soft_wrap=True)


class Bold(str):
    """A table's cell that stands out."""


@dataclass(frozen=True)
class TextTable:
    """A table as its cells' texts."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int
    """How many columns, the first, are names; numbers follow, which stand on the right."""


def print_table(
    console: Console,
    heading: str,
    header: Sequence[str],
    sections: Mapping[str, Sequence[Sequence[str]]],
    *,
    names: int = 1,
    words: Sequence[int] = (),
    notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """The header, then the rows of every section, all with the same columns.

    A table that is too wide is folded in its names; where that is not enough, it goes on below: the names again, and
    the columns that did not fit beside them. No number is folded.

    Args:
        sections: rows of cells, by title; a single one may be called "".
        names: how many columns, the first, say what a row is. The others are numbers, which stand on the right.
        words: which of the others hold sentences: they are folded wherever the table is wider than :data:`WIDTH`.
        notes: lines below a section.
    """

    def written(cells: Sequence[str]) -> list[str]:
        return [type(cell)(in_encoding(cell, console.encoding)) for cell in cells]

    header = written(header)
    sections = {title: [written(row) for row in rows] for title, rows in sections.items()}
    rows = [row for here in sections.values() for row in here]
    left = {*range(names), *words}
    width = (min(room(console), WIDTH) if words else room(console)) - _GAP
    columns = []
    for place, title in enumerate(header):
        longest = width // 2 if place < names and words else _LONG_WORD  # sentences give way before names do
        columns.append(_Column(title, [row[place] for row in rows], place in left, longest))
    blocks = _blocks(columns, names, width, around=len(sections) + _HEADER)
    if heading:
        print_line(console, heading, "bold")
    for number, block in enumerate(blocks):
        if number:
            console.print()
        titles = [fold(columns[place].title, width) for place, width in block.items()]
        height = max(map(len, titles))
        for line in _side_by_side([[""] * (height - len(title)) + title for title in titles], block, left):
            console.print(Text(line.plain, "dim"), soft_wrap=True)
        for title, here in sections.items():
            if title:
                print_line(console, f"─ {title}", "cyan", _GAP)
            else:
                rule = " " * _GAP + "─" * _total(block.values())
                console.print(Text(in_encoding(rule, console.encoding), "dim"), soft_wrap=True)
            for row in here:
                cells = [fold(row[place], width) if place in left else [row[place]] for place, width in block.items()]
                strong = {place for place in block if isinstance(row[place], Bold)}
                for line in _side_by_side(cells, block, left, strong):
                    console.print(line, soft_wrap=True)
            for note in notes.get(title, ()) if number == len(blocks) - 1 else ():
                print_line(console, f"  {note}", hang=2 * _GAP)


@dataclass(frozen=True)
class _Column:
    title: str
    cells: Sequence[str]
    foldable: bool
    longest: int
    """Columns above which a word alone may be folded too."""

    @property
    def whole(self) -> int:
        """Its width where nothing in it is folded; of numbers the title may be on two lines."""
        title = cell_len(self.title)
        if not self.foldable:
            words = _pieces(self.title)
            halves = ((" ".join(words[:at]), " ".join(words[at:])) for at in range(len(words)))
            title = min(max(map(cell_len, both)) for both in halves)
        return max(title, 1, *map(cell_len, self.cells))

    @property
    def least(self) -> int:
        """Its width where all is folded that may be."""
        if self.foldable:
            return max(1, *(min(_longest_word(text), self.longest) for text in (self.title, *self.cells)))
        return max(_longest_word(self.title), 1, *map(cell_len, self.cells))

    def heights(self, width: int) -> list[int]:
        """Lines of each cell in a column of this width."""
        return [len(fold(cell, width)) if self.foldable else 1 for cell in self.cells]


def _blocks(columns: Sequence[_Column], names: int, room: int, around: int) -> list[dict[int, int]]:
    """Which columns stand beside each other, with their widths: the names in every block, the others in one.

    With the names as they are or folded, whichever takes fewer lines; ``around``: those of a block that are no rows.
    """
    whole, least = [one.whole for one in columns], [one.least for one in columns]
    while names > 1 and _total([*least[:names], max(least[names:], default=0)]) > room:
        names -= 1  # so many do not fit beside a number
    if names and (over := _total([*least[:names], max(least[names:], default=0)]) - room) > 0:
        least[0] = max(1, least[0] - over)  # no other way is left than to fold words

    def packed(names_as: Sequence[int]) -> list[list[int]]:
        found: list[list[int]] = [[]]
        for place in range(names, len(columns)):
            if found[-1] and _total([*names_as[:names], *(least[one] for one in (*found[-1], place))]) > room:
                found.append([])
            found[-1].append(place)
        return found

    def sized(blocks: list[list[int]], fixed: Mapping[int, int]) -> list[dict[int, int]]:
        return [_grown([*range(names), *block], whole, least, room, fixed) for block in blocks]

    def lines(blocks: list[dict[int, int]]) -> int:
        rows = range(len(columns[0].cells))
        folded = [[columns[place].heights(width) for place, width in block.items()] for block in blocks]
        return sum(around + sum(max(heights[row] for heights in block) for row in rows) for block in folded)

    blocks = packed(least)
    fullest = max(blocks, key=lambda block: _total(least[place] for place in block))
    (tightest,) = sized([fullest], {})
    narrow = sized(blocks, {place: tightest[place] for place in range(names)})
    if _total([*whole[:names], max(least[names:], default=0)]) > room:
        return narrow
    return min(sized(packed(whole), {place: whole[place] for place in range(names)}), narrow, key=lines)


def _grown(
    places: Sequence[int],
    whole: Sequence[int],
    least: Sequence[int],
    room: int,
    fixed: Mapping[int, int] = MappingProxyType({}),
) -> dict[int, int]:
    """Widths of some columns, from the least up to the whole as far as there is room, first where most is folded."""
    widths = {place: fixed.get(place, least[place]) for place in places}
    while _total(widths.values()) < room:
        growing = [place for place in places if place not in fixed and widths[place] < whole[place]]
        if not growing:
            break
        widths[max(growing, key=lambda place: whole[place] / widths[place])] += 1
    return widths


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def _side_by_side(
    cells: Sequence[list[str]], block: Mapping[int, int], left: Set[int], strong: Set[int] = frozenset()
) -> Iterator[Text]:
    """The lines of some cells beside each other."""
    for number in range(max(map(len, cells))):
        line = Text()
        for lines, (place, width) in zip(cells, block.items(), strict=True):
            text = lines[number] if number < len(lines) else ""
            blank = " " * (width - cell_len(text))
            style = "bold" if place in strong else ""
            line.append(" " * _GAP).append(text + blank if place in left else blank + text, style)
        line.rstrip()
        yield line


_GLUE = "\u00a0"
_GLUED = re.compile(r"(?<=[±<>≤≥~]) | (?=[±%×])|(?<=\d) (?=[^\W\d_][^\W\d_/]{0,4}(?:/s)?(?![^\s,;:).]))")
"""Spaces between the parts of one quantity: ``10 Mbit/s``, ``3.1 ± 0.2 s``."""
_PARTS = re.compile(r"(?<=[-_/:,;|])(?![-\d])|(?<=[A-Za-z]\.)(?=[A-Za-z])")
"""Where a long word may be folded; else between these:"""
_ATOMS = re.compile(r"\d[\d.]*(?:e[-+]?\d+)?|.", re.DOTALL)


def _pieces(text: str) -> list[str]:
    """What spaces may be folded between."""
    return [piece.replace(_GLUE, " ") for piece in _GLUED.sub(_GLUE, text).split(" ")]


def _longest_word(text: str) -> int:
    return max(map(cell_len, _pieces(text)))


def fold(text: str, width: int, whole: bool = False) -> list[str]:
    """Text in lines of at most so many columns: folded between words, and never within a number or before its unit.

    A word that is longer alone is folded too, between its letters, or stays ``whole``.
    """
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for number, piece in enumerate(_pieces(text)):
        joined = f"{lines[-1]} {piece}" if number else piece
        if cell_len(joined) <= width or not lines[-1].strip():
            lines[-1] = joined
        else:
            lines.append(piece)
        if cell_len(lines[-1]) > width and not whole:
            word = lines.pop()
            lines += _cut(word, width)
    return lines


def _cut(word: str, width: int) -> list[str]:
    """A word that is longer than the width, in lines."""
    lines = [""]
    for part in _PARTS.split(word):
        atoms = [part] if cell_len(part) <= width else _ATOMS.findall(part)
        for atom in atoms:
            for piece in [atom] if cell_len(atom) <= width else atom:
                if lines[-1] and cell_len(lines[-1] + piece) > width:
                    lines.append("")
                lines[-1] += piece
    return lines
