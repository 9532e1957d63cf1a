"""``simgmc validate``: the network half against reference cases and published measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.quantities import bandwidth_text, bytes_text, number, time_text
from simgmc.core.terminal import plain_console
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.validation.utilisation import UtilisationReport, UtilisationRow
from simgmc.network.validation.validate import FileReport, validate
from simgmc.network.validation.validation_figure import check_place, draw


def shipped_files() -> list[Path]:
    """The reference files that come with simgmc."""
    folder = resources.files("simgmc.network") / "data" / "reference"
    return sorted(Path(str(file)) for file in folder.iterdir() if file.name.endswith(".json"))


def run(
    files: Sequence[str | Path],
    *,
    json_out: str | None = None,
    picture: str | None = None,
    console: Console | None = None,
) -> bool:
    """Compute every case of the files (of the shipped ones if none is named); whether all exact cases hold and each
    file could be compared.
    """
    console = console or plain_console()
    if picture:
        check_place(picture)
    result = validate(list(files) or shipped_files())
    measured = [report for report in result.reports if report.rows]
    if json_out:
        _write(json_out, json.dumps(result.as_json()))
    if picture:
        if not measured:
            raise SimgmcError("--picture: none of the files holds measured collectives")
        draw(measured[0], picture)
    _print_files(console, result.reports)
    for report in measured:
        _print_measured(console, report)
    for report in result.reports:
        if report.utilisation is not None:
            _print_utilisation(console, report, report.utilisation)
    for report in result.reports:
        _print_left_out(console, report)
    return result.passed


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SimgmcError(f"{str(path)!r}: cannot be written: {reason(error)}") from None


def _print_files(console: Console, reports: Sequence[FileReport]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="reference files", title_justify="left")
    for column in ("file", "kind", "cases", "largest error", "where", ""):
        table.add_column(
            column, no_wrap=column != "where", justify="right" if "error" in column or column == "cases" else "left"
        )
    for report in reports:
        error = f"{report.largest_error:.1e}" if report.exact else f"{report.largest_error:.1%}"
        verdict = ("ok" if report.passed else "FAILED") if report.exact else _mean(report)
        table.add_row(
            escape(Path(report.file).name), report.kind, str(len(report.values)), error, escape(report.worst), verdict
        )
    console.print(table)


def _mean(report: FileReport) -> str:
    return f"mean {report.mean_error:.2%}" if any(row.headline for row in report.rows) else ""


def _print_measured(console: Console, report: FileReport) -> None:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"measured collectives: {escape(Path(report.file).name)}",
        title_justify="left",
    )
    for column in ("collective", "library", "nodes", "size", "network", "measured", "simulated", "error", "fitted"):
        table.add_column(
            column, no_wrap=True, justify="left" if column in ("collective", "library", "network") else "right"
        )
    for row in report.rows:
        fitted = "" if row.fitted is None else f"{row.fitted / row.measured - 1:+.2%}"
        mark = "*" if row.headline else ""
        table.add_row(
            row.words + mark, row.library, row.nodes_words, bytes_text(row.nbytes), escape(row.setting),
            time_text(row.measured), time_text(row.simulated), f"{row.error:+.1%}", fitted,
        )  # fmt: skip
    console.print(table)
    say = partial(console.print, markup=False, highlight=False)
    if any(row.headline for row in report.rows):
        say(
            f"* NCCL all-reduce on a stated network, {_models(report)}, nothing calibrated: "
            f"mean error {report.mean_error:.2%}, largest {report.largest_error:.2%}"
        )
    for one in report.fits:
        fitted, tested = (_nodes(report.document_nodes, places) for places in (one.fitted_on, one.tested_on))
        say(
            f"fitted: {one.kind}, on {fitted} rows; on the {tested} rows the mean error is {one.mean_error:.2%} "
            f"(largest {one.largest_error:.2%}), with nothing "
            f"fitted {one.error_before:.1%}; {_fitted_words(one.overheads)}"
        )


def _fitted_words(overheads: Overheads) -> str:
    return (
        f"efficiency {number(overheads.efficiency)}, software {time_text(overheads.software)}, "
        f"startup {number(overheads.startup)}"
    )


def _models(report: FileReport) -> str:
    """By what the rows that count are modelled."""
    trees = {row.algorithm == "tree" for row in report.rows if row.headline}
    return {(False,): "default ring", (True,): "nccl-tree"}.get(tuple(trees), "default ring and nccl-tree")


def _nodes(nodes: Sequence[int], places: Sequence[int]) -> str:
    """How many nodes the rows at some places of a file have: ``2- and 4-node``."""
    counts = sorted({nodes[place] for place in places})
    return " and ".join([*(f"{count}-" for count in counts[:-1]), f"{counts[-1]}-node"])


def _print_utilisation(console: Console, report: FileReport, found: UtilisationReport) -> None:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"local steps and synchronisations: {escape(Path(report.file).name)}",
        title_justify="left",
    )
    for column in ("algorithm", "H", "bandwidth", "sync", "simulated", "error", "fitted", "error",
                   "CU, %", "simulated", "fitted", "off"):  # fmt: skip
        table.add_column(column, justify="left" if column == "algorithm" else "right", no_wrap=True)
    for row in found.rows:
        computing = partial(_computing_share, row)
        known = row.simulated is not None
        table.add_row(
            escape(row.algorithm) + ("" if row.held_out else "*"),
            str(row.local_steps),
            "-" if row.bandwidth is None else bandwidth_text(row.bandwidth),
            time_text(row.measured),
            *((time_text(row.simulated), f"{row.simulated / row.measured - 1:+.1%}") if known else ("", "")),
            time_text(row.fitted),
            f"{row.fitted / row.measured - 1:+.1%}",
            computing(row.measured),
            computing(row.simulated) if known else "",
            computing(row.fitted),
            f"{100 * row.points_off:+.1f}",
        )
    console.print(table)
    for line in found.said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _computing_share(row: UtilisationRow, sync: float) -> str:
    return number(100 * row.utilisation(sync))


def _print_left_out(console: Console, report: FileReport) -> None:
    name = Path(report.file).name
    for line in report.left_out:
        console.print(f"{name}: not compared: {line}", markup=False, highlight=False)
    if not report.compared:
        console.print(f"{name}: nothing could be compared", markup=False, highlight=False)
