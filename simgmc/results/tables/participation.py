"""A line for each series in which workers were left out of averages: who, and how often."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from simgmc.core.terminal import print_line
from simgmc.results.directory.details import Details, ParticipationRow
from simgmc.results.directory.records import SeriesKey

_MAX_NAMED = 3
"""Workers that are named, those left out most often."""


def print_participation(console: Console, details: Mapping[SeriesKey, Details]) -> None:
    """What being left out did to each series that had it."""
    for key, one in details.items():
        if one.participation:
            print_line(console, f"{key.words}: {describe(one.participation)}")


def describe(rows: tuple[ParticipationRow, ...]) -> str:
    """In words: how many rounds and messages of the workers were left out, and whose."""
    missed, lost, carried = (
        sum(getattr(row, name) for row in rows) for name in ("rounds_missed", "messages_lost", "messages_carried")
    )
    if not missed + lost:
        return "every worker was in every average"
    often = sorted(rows, key=lambda row: (-row.rounds_missed - row.messages_lost, row.worker))[:_MAX_NAMED]
    named = ", ".join(
        f"worker{row.worker} {row.rounds_missed + row.messages_lost}"
        for row in often
        if row.rounds_missed + row.messages_lost
    )
    parts = [f"{missed} rounds missed" if missed else "", f"{lost} messages sent too late and lost" if lost else ""]
    parts.append(f"{carried} late messages carried into a later average" if carried else "")
    return f"{', '.join(part for part in parts if part)} (most often {named})"
