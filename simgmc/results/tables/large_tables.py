"""What a large grid shows in a terminal: ranges, who is first how often, and where that flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from simgmc.core.quantities import time_text
from simgmc.core.terminal import TextTable, print_line
from simgmc.results.series.grids import MAX_POINTS, Group, axes_of, group_count, groups, lines_of
from simgmc.results.series.read import Results
from simgmc.results.series.summary import Row
from simgmc.results.tables.tables import (
    bill_columns,
    heading_of,
    measure_text,
    picks,
    print_notes,
    print_sections,
    speedup_text,
)


@dataclass(frozen=True)
class _Range:
    """One method over all points of a group."""

    method: str
    rows: Sequence[Row]
    first_at: int


def print_large_summary(
    console: Console,
    results: Results,
    rows: list[Row],
    target: float | None = None,
    baseline: str | None = None,
    evaluate_every: str = "",
) -> None:
    """Prints a section per collective and other key: for each method the least and the most over the
    points, how many it is first at, and along the numeric keys where that flips."""
    sections, notes = _sections(results, rows, target, baseline)
    heading = heading_of(results, target, baseline).replace("Results (", f"{len(results.points)} grid points (", 1)
    heading, columns = f"{heading}: least to most over the points", _columns(results, target, baseline)
    print_sections(console, heading, sections, columns, notes=notes, called=results.names)
    print_notes(console, rows, target, evaluate_every)
    for note in picks(rows):
        print_line(console, f"  {note}", "dim", hang=4)


def range_table(
    results: Results, rows: list[Row], target: float | None = None, baseline: str | None = None
) -> TextTable:
    """The same ranges as one table, without the notes."""
    sections, _ = _sections(results, rows, target, baseline)
    columns = _columns(results, target, baseline)
    return TextTable(
        f"{len(results.points)} grid points: least to most over the points",
        ("on", "method", *columns),
        tuple(
            (title, one.method, *(shown(one) for shown in columns.values()))
            for title, ranges in sections.items()
            for one in ranges
        ),
        names=2,
    )


def _sections(
    results: Results, rows: list[Row], target: float | None, baseline: str | None
) -> tuple[dict[str, list[_Range]], dict[str, list[str]]]:
    """The ranges of every group of points by its title, and where the first changes along its keys."""
    by_place = {(row.method, row.point): row for row in rows}
    sections, notes = {}, {}
    for group in _groups(results, target, baseline):
        points = [point for point in group.points.flat if point is not None]
        title = f"{group.name}: {len(points)} points" + "".join(
            f", {key.text} {key.texts[0]} to {key.texts[-1]}" for key in group.keys
        )
        firsts = group.firsts()
        ranges = []
        for method in results.methods:
            here = [by_place[method, point] for point in points if (method, point) in by_place]
            if here:
                ranges.append(_Range(method, here, firsts.get(method, 0)))
        sections[title] = ranges
        if target is not None:
            notes[title] = _flips(group, results.measure.value_text(target))
    return sections, notes


def _groups(results: Results, target: float | None, baseline: str | None) -> list[Group]:
    """Planes, else lines, else collectives: the first that are no more than are readable."""
    for keys in (axes_of(results), lines_of(results)[:1]):
        if keys and group_count(results, keys) <= MAX_POINTS:
            return groups(results, keys, target, baseline)
    return groups(results, [], target, baseline)


def _columns(results: Results, target: float | None, baseline: str | None) -> dict:
    unit = " %" if results.measure.share else ""

    def final(one: _Range) -> str:
        lost = sum(bool(row.diverged) for row in one.rows)
        finals = sorted((row.final for row in one.rows if row.final), key=lambda final: final.mean)
        texts = list(
            dict.fromkeys(measure_text(results, final).removesuffix(" %") for final in (*finals[:1], *finals[-1:]))
        )
        if not texts:
            return f"diverged at all {lost} points" if lost > 1 else "diverged"
        return " to ".join(texts) + (f" (diverged at {lost} of {len(one.rows)} points)" if lost else "")

    columns = {f"final {results.measure.name}{unit}": final}

    def amounts(text_of: Callable[[Row], str]) -> Callable[[_Range], str]:
        return lambda one: _least_to_most([text_of(row) for row in one.rows])

    bills = {name: amounts(text_of) for name, text_of in bill_columns(results.tariff, target).items()}
    if target is None:
        columns[results.time] = lambda one: _times([row.sim_time_s.mean for row in one.rows])
        return columns | bills
    columns["time to target"] = lambda one: _times([row.reach.at_least for row in one.rows if not row.reach.spent])
    if baseline is not None:
        columns["speed-up"] = _speedups
    columns["first at (points)"] = lambda one: str(one.first_at)
    columns["missed at (points)"] = lambda one: str(sum(bool(row.reach.spent) for row in one.rows))
    return columns | bills


def _least_to_most(texts: list[str]) -> str:
    """Of texts that begin with a number."""
    known = sorted((text for text in texts if text != "–"), key=lambda text: float(text.split(" ")[0]))
    return " to ".join(dict.fromkeys((known[0], known[-1]))) if known else "–"


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "not reached"
    return " to ".join(dict.fromkeys(time_text(value) for value in (min(seconds), max(seconds))))


def _speedups(one: _Range) -> str:
    rows = sorted((row for row in one.rows if row.speedup), key=lambda row: row.speedup.value)
    return " to ".join(dict.fromkeys(speedup_text(row) for row in (rows[0], rows[-1]))) if rows else "–"


def _flips(group: Group, goal: str) -> list[str]:
    """Along the first key, at the least, the middle and the largest value of the second."""
    if not group.keys:
        return []
    if len(group.keys) == 1:
        return [f"first at {goal}: {group.line_text()}"]
    last = group.points.shape[0] - 1
    return [f"first at {goal}, {group.keys[1].shown(up)}: {group.line_text(up)}" for up in (0, last // 2, last)]
