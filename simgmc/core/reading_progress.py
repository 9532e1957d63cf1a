"""A line on the terminal while a large data set is read, gone when it is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

AFTER = 1.0
"""Seconds of reading after which it is shown."""


@contextlib.contextmanager
def reading_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Hears of (split, samples read, samples); what is not a terminal is left alone."""
    columns = (
        TextColumn("reading {task.description} samples"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    begun, tasks = time.monotonic(), {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def heard(split: str, done: int, total: int) -> None:
            if split not in tasks and time.monotonic() - begun > AFTER and bar.console.is_terminal:
                tasks[split] = bar.add_task(split, total=total)
            if split in tasks and (done % 100 == 0 or done == total):
                bar.update(tasks[split], completed=done)

        yield heard
