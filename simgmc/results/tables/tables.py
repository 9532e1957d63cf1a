"""The two tables at the end of a run: what was found, and where each method's round went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from rich.console import Console

from simgmc.core.quantities import bytes_text, percent_text, time_text, with_spread
from simgmc.core.terminal import Bold, print_line, print_table
from simgmc.results.directory.details import PARTS
from simgmc.results.series.reach import Ratio, Spread
from simgmc.results.series.read import Results
from simgmc.results.series.summary import Row
from simgmc.results.series.tariff import Tariff


def print_summary(
    console: Console,
    results: Results,
    rows: list[Row],
    target: float | None = None,
    baseline: str | None = None,
    evaluate_every: str = "",
) -> None:
    """Prints both tables, grouped by grid point.

    ``evaluate_every``: as the scenario states it. For a large grid see large_tables.py.
    """
    if not rows:
        console.print("No evaluations yet.")
        return
    columns = result_columns(results, target, baseline)
    sections = {point: [] for point in dict.fromkeys(row.point for row in rows)}
    for row in rows:
        sections[row.point].append(row)
    sections = {results.label(point): here for point, here in sections.items()}
    print_sections(console, heading_of(results, target, baseline), sections, columns, called=results.names)
    if any(row.rcc for row in rows):
        print_line(console, f"  {RATIO}", "dim", hang=4)
    print_notes(console, rows, target, evaluate_every)
    if any(row.shares for row in rows):
        console.print()
        columns = {part: lambda row, part=part: share_text(row, part) for part in PARTS}
        columns |= {
            "time per round": lambda row: time_text(row.seconds_per_round.mean) if row.seconds_per_round else "–"
        }
        print_sections(
            console,
            "Where each method's round went (% of a worker's time)",
            sections,
            columns,
            _largest,
            called=results.names,
        )
        print_line(console, f"  {_UTILISATION}", "dim", hang=4)
        if any(one.key.transport.asynchronous for one in results.series):
            print_line(console, f"  {_ROUND}", "dim", hang=4)


_ROUND = "round: up to the next exchange; of pairwise and asynchronous methods one gradient of every worker."
_UTILISATION = "compute: the compute utilisation, taking gradients over all of a worker's time."
RATIO = (
    "RCC: floats to and from the server (gossip: neighbours), in % of what dense messages at every gradient would be."
)


def reach_text(row: Row) -> str:
    """``412 ± 18 s``, ``412 ± 18 s (2 of 3)`` where not every seed got there, or ``not reached``."""
    if row.reach is None:
        return "–"
    if row.reach.spread is None:
        return "not reached"
    shown = time_text(row.reach.spread.mean, row.reach.spread.std)
    return shown if not row.reach.spent else f"{shown} ({len(row.reach.needed)} of {row.seeds})"


def picked_text(row: Row) -> str:
    """``ring``, or ``ring 93 %, tree 7 %`` of the messages; empty where the collective is named."""
    if len(row.picked) == 1:
        return next(iter(row.picked))
    return ", ".join(f"{name} {percent_text(share)}" for name, share in row.picked.items())


def speedup_text(row: Row) -> str:
    """``10.9×``, ``~ 1.1×`` where nobody can tell who is sooner, ``–`` where unknown."""
    return "–" if row.speedup is None else ("~ " if row.too_close else "") + row.speedup.text


def measure_text(results: Results, spread: Spread | None) -> str:
    """``97.21 ± 0.13 %`` for an accuracy, ``0.123 ± 0.004`` for anything else."""
    if spread is None:
        return "–"
    if not results.measure.share:
        return with_spread(spread.mean, spread.std, 1.0, "")
    return f"{100 * spread.mean:.2f}" + ("" if spread.std is None else f" ± {100 * spread.std:.2f}") + " %"


def final_text(results: Results, row: Row) -> str:
    """The final value; ``diverged at round 12``, or how many seeds diverged beside the value of the others."""
    value = measure_text(results, row.final).removesuffix(" %")
    if not row.diverged:
        return value
    if row.final is not None:
        return f"{value} ({len(row.diverged)} of {row.seeds} diverged)"
    first, last = min(row.diverged), max(row.diverged)
    return f"diverged at round {first}" if first == last else f"diverged at rounds {first} to {last}"


def result_columns(results: Results, target: float | None, baseline: str | None) -> dict[str, Callable[[Row], str]]:
    """What was found, by header: what the texts of a column are made by."""
    unit = " %" if results.measure.share else ""
    columns = {
        f"final {results.measure.name}{unit}": lambda row: final_text(results, row),
        results.time: lambda row: time_text(row.sim_time_s.mean, row.sim_time_s.std),
    }
    if target is not None:
        columns["time to target"] = reach_text
    if target is not None and baseline is not None:
        columns["speed-up"] = speedup_text
    columns["sent by workers"] = lambda row: bytes_text(row.bytes_sent_by_workers.mean)
    columns["through server"] = _server
    if any(one.breakdown is not None and one.breakdown.picked for one in results.series):
        columns["picked"] = picked_text
    columns["RCC"] = lambda row: percent_text(row.rcc.mean) if row.rcc else "–"
    return columns | bill_columns(results.tariff, target)


def bill_columns(tariff: Tariff | None, target: float | None) -> dict[str, Callable[[Row], str]]:
    """Money and energy, where they are stated: to the target where there is one, else of the whole training."""
    columns = {}
    until = "" if target is None else " to target"
    if tariff is not None and tariff.currency is not None:
        columns[f"{tariff.currency}{until}"] = lambda row: _amount(row, "money", target)
    if tariff is not None and tariff.power is not None:
        columns[f"kWh{until}"] = lambda row: _amount(row, "energy_kwh", target)
    return columns


def _amount(row: Row, what: Literal["money", "energy_kwh"], target: float | None) -> str:
    if row.bill is None:
        return "–"
    to_target = {"money": row.bill.money_to_target, "energy_kwh": row.bill.energy_to_target_kwh}
    spread = getattr(row.bill, what) if target is None else to_target[what]
    return "–" if spread is None else with_spread(spread.mean, spread.std, 1.0, "")


def heading_of(results: Results, target: float | None, baseline: str | None) -> str:
    seeds = sorted({row.key.seed for row in results.series})
    parts = [f"mean ± std over {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"]
    if target is not None:
        parts.insert(0, f"target: {results.measure.text} {results.measure.number_text(target)}")
        if baseline is not None:
            parts.insert(1, f"speed-up against {baseline}")
    return f"Results ({', '.join(parts)})"


def print_notes(console: Console, rows: list[Row], target: float | None, evaluate_every: str = "") -> None:
    """What the signs in the results mean, those that are there, and how well times to the target are known.

    ``evaluate_every``: as the scenario states it.
    """
    for note in table_notes(rows, target, evaluate_every):
        print_line(console, f"  {note}", "dim", hang=4)


def picks(rows: list[Row]) -> list[str]:
    """Which collectives were picked for the messages of each method, over all points where one is picked."""
    chosen = [row for row in rows if row.picked]
    said = []
    for method in dict.fromkeys(row.method for row in chosen):
        mine = [row for row in chosen if row.method == method]
        mostly = Counter(max(row.picked, key=lambda name: row.picked[name]) for row in mine)
        at = ", ".join(f"{name} at {count}" for name, count in mostly.most_common())
        said.append(f"{method} {at}" if len(mine) > 1 else f"{method} {picked_text(mine[0])}")
    many = sum(row.method == chosen[0].method for row in chosen) if chosen else 0
    points = f" of {many} points, for most of its messages" if many > 1 else ""
    return [f"auto picked: {'; '.join(said)}{points}."] if said else []


def table_notes(rows: list[Row], target: float | None, evaluate_every: str) -> list[str]:
    """What the signs in the results mean, those that are there, and how well times to the target are known."""
    notes = []
    known = {row.resolution_s: row for row in rows if row.resolution_s is not None}
    if known:
        ends = [f"{time_text(gap)} ({known[gap].method})" for gap in dict.fromkeys((min(known), max(known)))]
        notes.append(
            f"time to target: of the first evaluation that meets it; the one before was {' to '.join(ends)} earlier."
        )
    if target is not None and any(row.reach and row.reach.needed and row.reach.spent for row in rows):
        notes.append("(k of n): mean over the k of n seeds that reached the target; the others had not by their end.")
    if any(row.speedup and row.speedup.bound != "=" for row in rows):
        notes.append("> and <: bounds, from counting a seed that never reached the target with all the time it ran.")
    if any(row.too_close for row in rows):
        notes.append(
            "~: too close to tell who is sooner: times between two evaluations, means ± std or the seeds themselves "
            "leave it open."
        )
    open_ones = [
        row for row in rows if row.speedup and row.speedup.bound == "=" and row.speedup.least < row.speedup.most
    ]
    if open_ones:
        row = min(open_ones, key=lambda row: row.speedup.least / row.speedup.most)
        notes.append(
            f"speed-up: with evaluations in between, the least certain, {row.speedup.text} ({row.method}), "
            f"could be {row.speedup.between_text}." + _oftener(row.speedup, evaluate_every)
        )
    if any(row.diverged for row in rows):
        notes.append(
            "diverged: training ended there, as a number was not finite or the loss above workload.divergence_factor "
            "times the start's."
        )
    stops = dict.fromkeys(_stop(row, why) for row in rows for why in dict.fromkeys(row.stopped))
    notes += list(stops)[:_MAX_STOPS]
    if len(stops) > _MAX_STOPS:
        notes.append(f"{len(stops) - _MAX_STOPS} more ended early: see the column stopped of breakdown.csv.")
    if unfinished := sum(row.unfinished for row in rows):
        notes.append(f"{unfinished} series unfinished: their latest evaluation is shown.")
    return notes


def _oftener(speedup: Ratio, evaluate_every: str) -> str:
    """How to know a speed-up better that could be twice as much as it could be, or anything."""
    if 0 < speedup.most <= _VAGUE * speedup.least:
        return ""
    number, _, unit = evaluate_every.strip().partition(" ")
    unit = {"epoch": "epochs", "round": "rounds"}.get(unit.strip(), unit.strip())
    if not unit:
        return " Evaluate more often (workload.evaluate_every) to know it better."
    finer = float(number) / _OFTENER if unit != "rounds" else max(1, float(number) // _OFTENER)
    if finer == float(number):  # every round is evaluated
        return ""
    return (
        f' Evaluate more often than every {evaluate_every} to know it better: --set workload.evaluate_every="{finer:g} '
        f'{unit}".'
    )


_VAGUE = 2.0
"""How many times the least that a speed-up could be the most may be, before it is said how to know it better."""
_OFTENER = 10
"""How many times as often is proposed."""
_MAX_STOPS = 6
"""Notes on series that ended early."""


def _stop(row: Row, why: str) -> str:
    where = ", ".join([row.method, str(row.transport), *(value for _, value in row.point.grid)])
    seeds = f" with {len(row.stopped)} of {row.seeds} seeds" if row.seeds > 1 else ""
    return f"{where}: ended early{seeds}: {why}"


def _server(row: Row) -> str:
    if row.bytes_through_server is None:
        return "–"
    return bytes_text(row.bytes_through_server.mean) if row.bytes_through_server.mean else "no server"


def share_text(row: Row, part: str) -> str:
    """A part of a worker's time in percent, without the sign."""
    if row.shares is None:
        return "–"
    share = 100 * row.shares[part]
    return "0" if share == 0 else "< 0.1" if share < 0.05 else f"{share:.1f}"


def _largest(row: Row, column: str) -> bool:
    return row.shares is not None and row.shares.get(column) == max(row.shares.values())


def print_sections(
    console: Console,
    heading: str,
    sections: Mapping[str, Sequence],
    columns: Mapping[str, Callable[[Any], str]],
    stress: Callable[[Any, str], bool] = lambda row, column: False,
    notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
    called: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """One header, then a table per section.

    A row has a ``method`` and what ``columns`` (by header) make texts of; ``stress`` says which
    are bold, ``notes`` are lines under a section, ``called`` what methods are called, if not as they are.
    """

    def cells(row: Any) -> list[str]:
        texts = {name: shown(row) for name, shown in columns.items()}
        return [called.get(row.method, row.method), *(Bold(t) if stress(row, name) else t for name, t in texts.items())]

    shown = {title: [cells(row) for row in rows] for title, rows in sections.items()}
    print_table(console, heading, ("method", *columns), shown, notes=notes)
