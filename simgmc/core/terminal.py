"""The console that everything is printed on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

WIDTH = 120
"""Columns of output that goes to a file or a pipe."""


def plain_console() -> Console:
    """As wide as the terminal, or :data:`WIDTH` off one."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def add_words(table: Table, header: str, texts: Sequence[str]) -> None:
    """Adds a column of these words: in a narrow window it is folded between them, and never cut off."""
    one_word_each = all(" " not in text and cell_len(text) <= _LONG_WORD for text in texts)
    table.add_column(header, no_wrap=one_word_each, overflow="fold")


_LONG_WORD = 20
"""Columns above which a word alone may be folded too."""
