"""The table of workers and links at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from simgmc.core.quantities import bytes_text, number, with_spread
from simgmc.results.series.loads import Load
from simgmc.results.series.read import Results
from simgmc.results.tables.tables import print_sections


def print_loads(console: Console, results: Results, loads: Sequence[Load]) -> None:
    """Idle shares, the busiest link, staleness. A column that no method fills is left out; so is a single worker."""
    if not loads or all(len(load.details[0].gradients) == 1 for load in loads):
        return
    columns: dict[str, Callable[[Load], str]] = {
        "idle (mean %)": _mean_idle,
        "idle (worst %)": _worst,
    }
    if any(load.busiest_link for load in loads):
        columns |= {
            "busiest link": lambda load: (
                "nothing sent" if load.busiest_link is None else "{} -> {}".format(*load.busiest_link)
            ),
            "its bytes": lambda load: "–" if load.busiest_link is None else bytes_text(load.busiest_link[2]),
            "its messages": lambda load: "–" if load.busiest_link is None else f"{load.busiest_link[3]:.0f}",
        }
    if any(load.staleness_summary for load in loads):
        columns |= {
            "staleness mean": _staleness,
            "95 %": lambda load: _part(load, 1),
            "max": lambda load: _part(load, 2),
        }
    sections = {
        results.label(point): [load for load in loads if load.point == point]
        for point in dict.fromkeys(load.point for load in loads)
    }
    notes = ["idle: share of a worker's time in which it neither computes nor compresses; worst: (the worker)"]
    if any(load.staleness_summary and load.stale == "messages" for load in loads):
        names = ", ".join(dict.fromkeys(load.method for load in loads if load.stale == "messages"))
        notes.append(f"staleness: of gradients, in updates of the model; of {names}: of messages, in rounds")
    console.print()
    print_sections(console, "Workers and links", sections, columns, notes={list(sections)[-1]: notes})


def _mean_idle(load: Load) -> str:
    return with_spread(
        100 * load.mean_idle.mean, None if load.mean_idle.std is None else 100 * load.mean_idle.std, 1.0, ""
    )


def _worst(load: Load) -> str:
    worker, share = load.worst
    return f"{number(100 * share)} (all)" if not load.uneven else f"{number(100 * share)} (worker{worker})"


def _staleness(load: Load) -> str:
    summary = load.staleness_summary
    return "–" if summary is None else with_spread(summary[0].mean, summary[0].std, 1.0, "")


def _part(load: Load, which: int) -> str:
    return "–" if load.staleness_summary is None else str(load.staleness_summary[which])
