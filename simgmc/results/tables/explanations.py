"""What bound each method, and what would help: one explanation per method and cluster, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from simgmc.core.terminal import TextTable, print_line, print_table


@dataclass(frozen=True)
class Explanation:
    """What bound one method on one cluster."""

    method: str
    on: str
    """What carries its messages, and the grid's values."""
    bound_by: str
    """The compute, the busiest link, latency, or waiting."""
    exposed: float | None
    """Share of communication that compute did not hide, 0 to 1; None where nothing was sent, or it is not known."""
    twice_bandwidth: float | None
    """Time with twice the bandwidth on every link, as a share of the time without; None where that
    would be another training."""
    half_latency: float | None
    """Time with half the latency on every link, as a share; None likewise."""
    chosen: dict[str, int]
    """What ``collective = "auto"`` picked, and how often."""
    stopped: str | None
    """Why the cluster stopped before the training's last round, if it did."""


def explanation_table(explanations: Sequence[Explanation]) -> TextTable:
    """A row per explanation."""
    rows = [
        (
            one.method,
            one.on,
            one.bound_by,
            "-" if one.exposed is None else f"{one.exposed:.0%}",
            _change(one.twice_bandwidth),
            _change(one.half_latency),
        )
        for one in explanations
    ]
    return TextTable(
        "What bound it, and what would help (change of the simulated time)",
        ("method", "on", "bound by", "exposed", "2x bandwidth", "half latency"),
        tuple(rows),
        names=3,
    )


def explanation_notes(explanations: Sequence[Explanation]) -> Iterator[str]:
    """What the table's words and signs mean, and what was picked or stopped."""
    if any(one.exposed is not None for one in explanations):
        yield (
            "exposed: share of the communication's time that compute did not hide (100%: workers waited for all of it)"
        )
    if any(one.twice_bandwidth is None for one in explanations):
        yield (
            "-: would be another training on another network, as the clock drives it or says who takes part: "
            "try it there with simgmc run"
        )
    for one in explanations:
        if one.chosen:
            picked = ", ".join(
                f"{name} ({times}x)" for name, times in sorted(one.chosen.items(), key=lambda item: -item[1])
            )
            yield f"{one.method}, {one.on}: auto picked {picked}"
        if one.stopped:
            yield f"{one.method}, {one.on}: ended early: {one.stopped}"


def print_explanations(console: Console, explanations: Sequence[Explanation]) -> None:
    """The table and its notes."""
    if not explanations:
        return
    found = explanation_table(explanations)
    print_table(console, found.heading, found.header, {"": found.rows}, names=found.names)
    for note in explanation_notes(explanations):
        print_line(console, note)


def _change(share: float | None) -> str:
    if share is None:
        return "-"
    percent = 100 * (share - 1)
    return "0 %" if abs(percent) < 0.5 else f"{percent:+.0f} %"
