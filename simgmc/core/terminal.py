"""The console that everything is printed on."""

from __future__ import annotations

from rich.console import Console

WIDTH = 120
"""Columns of output that goes to a file or a pipe."""


def plain_console() -> Console:
    """As wide as the terminal, or :data:`WIDTH` off one."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
