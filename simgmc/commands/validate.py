"""``simgmc validate``: the network half against reference cases and published measurements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path

from rich.console import Console

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.quantities import bandwidth_text, bytes_text, number, time_text
from simgmc.core.terminal import plain_console, print_line, print_table
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
        console.print()
        _print_measured(console, report)
    for report in result.reports:
        if report.utilisation is not None:
            console.print()
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
    rows = []
    for report in reports:
        error = f"{report.largest_error:.1e}" if report.exact else f"{report.largest_error:.1%}"
        verdict = ("ok" if report.passed else "FAILED") if report.exact else _mean(report)
        rows.append((Path(report.file).name, report.kind, str(len(report.values)), error, report.worst, verdict))
    header = ("file", "kind", "cases", "largest error", "where", "")
    print_table(console, "reference files", header, {"": rows}, names=2, words=[4, 5])


def _mean(report: FileReport) -> str:
    return f"mean {report.mean_error:.2%}" if any(row.headline for row in report.rows) else ""


def _print_measured(console: Console, report: FileReport) -> None:
    rows = []
    for row in report.rows:
        fitted = "" if row.fitted is None else f"{row.fitted / row.measured - 1:+.2%}"
        mark = "*" if row.headline else ""
        rows.append((
            row.words + mark, row.library, row.setting, row.nodes_words, bytes_text(row.nbytes),
            time_text(row.measured), time_text(row.simulated), f"{row.error:+.1%}", fitted,
        ))  # fmt: skip
    header = ("collective", "library", "network", "nodes", "size", "measured", "simulated", "error", "fitted")
    print_table(console, f"measured collectives: {Path(report.file).name}", header, {"": rows}, names=3)
    say = partial(print_line, console)
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
    rows = []
    for row in found.rows:
        computing = partial(_computing_share, row)
        known = row.simulated is not None
        rows.append((
            row.algorithm + ("" if row.held_out else "*"),
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
        ))  # fmt: skip
    header = ("algorithm", "H", "bandwidth", "sync", "simulated", "error", "fitted", "error", "CU, %", "simulated",
              "fitted", "off")  # fmt: skip
    heading = f"local steps and synchronisations: {Path(report.file).name}"
    print_table(console, heading, header, {"": rows}, names=3)
    for line in found.said:
        print_line(console, line)


def _computing_share(row: UtilisationRow, sync: float) -> str:
    return number(100 * row.utilisation(sync))


def _print_left_out(console: Console, report: FileReport) -> None:
    name = Path(report.file).name
    for line in report.left_out:
        print_line(console, f"{name}: not compared: {line}")
    if not report.compared:
        print_line(console, f"{name}: nothing could be compared")
