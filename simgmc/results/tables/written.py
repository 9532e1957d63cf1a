"""A run's tables as text to put elsewhere: Markdown, LaTeX, or numbers as CSV."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.quantities import time_text
from simgmc.core.terminal import TextTable
from simgmc.results.directory.details import PARTS
from simgmc.results.directory.records import RUN_KEY
from simgmc.results.directory.rows import cell
from simgmc.results.series.read import Results, transport_text, value_text
from simgmc.results.series.summary import Row
from simgmc.results.tables.tables import heading_of, result_columns, share_text

Form = Literal["markdown", "latex"]
Kind = Literal["results", "rounds"]
FORMS: Mapping[Form, str] = {"markdown": "github", "latex": "latex_booktabs"}
"""And what tabulate calls them."""


def text_table(
    results: Results, rows: Sequence[Row], target: float | None, baseline: str | None, kind: str = "results"
) -> TextTable:
    """The table as the terminal has it, a row per method and grid point, with a column for each key that varies.

    ``kind``: "results", what was found, or "rounds", where each method's time went in percent.
    """
    check_kind(kind)
    columns = {RUN_KEY: lambda row: dict(row.point.grid)[RUN_KEY]} if RUN_KEY in results.varying else {}
    columns["method"] = lambda row: row.method
    if len({point.transport for point in results.points} - {None}) > 1:
        columns["collective"] = lambda row: transport_text(row.transport)
    names = len(columns)
    columns |= {
        label: lambda row, key=key: value_text(dict(row.point.grid)[key])
        for key, label in results.key_labels.items()
        if key in results.varying and key != RUN_KEY
    }
    columns |= result_columns(results, target, baseline) if kind == "results" else _parts()
    return TextTable(
        heading_of(results, target, baseline) if kind == "results" else "Shares of a worker's time in percent",
        tuple(columns),
        tuple(tuple(text_of(row) for text_of in columns.values()) for row in rows),
        names,
    )


def check_kind(kind: str) -> None:
    """Raises SimgmcError for a kind of table that there is not."""
    if kind not in get_args(Kind):
        raise SimgmcError(f"kind = {show_value(kind)}: must be {' or '.join(map(show_value, get_args(Kind)))}")


def written(
    results: Results,
    rows: Sequence[Row],
    target: float | None,
    baseline: str | None,
    *,
    kind: str = "results",
    form: str = "markdown",
) -> str:
    """:func:`text_table` as Markdown or LaTeX; empty without rows.

    LaTeX needs ``\\usepackage{booktabs}``; characters that are special in either are escaped.
    """
    from tabulate import tabulate  # one command needs it

    if form not in FORMS:
        raise SimgmcError(f"form = {show_value(form)}: must be one of {', '.join(map(show_value, FORMS))}")
    found = text_table(results, rows, target, baseline, kind)
    if not rows:
        return ""
    table = tabulate(
        [[_FIX[form](text) for text in row] for row in found.rows],
        headers=[_FIX[form](name) for name in found.header],
        tablefmt=FORMS[form],
        disable_numparse=True,
        colalign=["left" if place < found.names else "right" for place in range(len(found.header))],
    )
    if form == "latex":
        table = _FORMULAS.sub(_formula, table)
        return f"% {found.heading}\n% needs \\usepackage{{booktabs}}\n{table}\n"
    return f"{table}\n"


def _parts() -> dict:
    columns = {f"{part} %": lambda row, part=part: share_text(row, part) for part in PARTS}
    return columns | {"time per round": lambda row: _round(row)}


def _round(row: Row) -> str:
    return "–" if row.seconds_per_round is None else time_text(row.seconds_per_round.mean)


def _markdown(text: str) -> str:
    """With what would be marks in Markdown as it is, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))


def _latex(text: str) -> str:
    return " ".join(text.split())


def _formula(letter: re.Match) -> str:
    """What no text font of LaTeX has, as a formula."""
    if letter[0] in _SIGNS:
        return rf"\ensuremath{{{_SIGNS[letter[0]]}}}"
    size, _, word = unicodedata.name(letter[0]).removeprefix("GREEK ").partition(" LETTER ")
    word = word.lower().replace("lamda", "lambda")
    return rf"\ensuremath{{\{word if size == 'SMALL' else word.capitalize()}}}"


_SIGNS = {"−": "-", "≤": r"\le", "≥": r"\ge", "≈": r"\approx", "→": r"\rightarrow", "∞": r"\infty"}
_FORMULAS = re.compile(f"[αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ{''.join(_SIGNS)}]")


_FIX = {"markdown": _markdown, "latex": _latex}


def numbers(columns: Mapping[str, Sequence[object]]) -> str:
    """Columns as CSV: exact numbers, their units in the columns' names, empty where one is unknown."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    return stream.getvalue()
