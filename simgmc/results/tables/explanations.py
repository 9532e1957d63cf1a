"""What bound each method, and what would help: one explanation per method and cluster, and their table."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


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


def print_explanations(console: Console, explanations: list[Explanation]) -> None:
    """A table, and notes on what was picked or stopped."""
    if not explanations:
        return
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    table = Table(
        title="What bound it, and what would help (change of the simulated time)",
        title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
    )  # fmt: skip
    for column in ("method", "on", "bound by"):
        table.add_column(column)
    for column in ("exposed", "2x bandwidth", "half latency"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in explanations:
        exposed = "-" if one.exposed is None else f"{one.exposed:.0%}"
        changes = _change(one.twice_bandwidth), _change(one.half_latency)
        table.add_row(Text(one.method), Text(one.on), one.bound_by, exposed, *changes)
    console.print(table)
    if any(one.exposed is not None for one in explanations):
        say("exposed: share of the communication's time that compute did not hide (100%: workers waited for all of it)")
    if any(one.twice_bandwidth is None for one in explanations):
        say(
            "-: would be another training on another network, as the clock drives it or says who takes part: "
            "try it there with simgmc run"
        )
    for one in explanations:
        if one.chosen:
            picked = ", ".join(
                f"{name} ({times}x)" for name, times in sorted(one.chosen.items(), key=lambda item: -item[1])
            )
            say(f"{one.method}, {one.on}: auto picked {picked}")
        if one.stopped:
            say(f"{one.method}, {one.on}: ended early: {one.stopped}")


def _change(share: float | None) -> str:
    if share is None:
        return "-"
    percent = 100 * (share - 1)
    return "0 %" if abs(percent) < 0.5 else f"{percent:+.0f} %"
