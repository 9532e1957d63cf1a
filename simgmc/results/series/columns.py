"""``metrics.csv`` as arrays: a run of hundreds of grid points has more rows than objects should be made of."""

from __future__ import annotations

import csv
import io
import math
import typing
from collections.abc import Sequence

import numpy as np

from simgmc.core.transport import Transport
from simgmc.results.directory.run_directory import METRICS_COLUMNS, Evaluation, RunDirectory, SeriesKey

_TYPES = typing.get_type_hints(Evaluation)
_FIRST, _AFTER = len(METRICS_COLUMNS) - len(_TYPES), len(METRICS_COLUMNS)


def read_columns(directory: RunDirectory) -> dict[SeriesKey, dict[str, np.ndarray]]:
    """Every series' evaluations as an array per column, (evaluations,) float64, NaN where unknown.

    The same numbers as :meth:`RunDirectory.evaluations` gives, in the same order, and the same
    SimgmcError where the file is not that of a run.
    """
    try:
        return _fast(directory)
    except (ValueError, OSError, csv.Error):  # evaluations() says which line is wrong
        found = directory.evaluations()
    return {
        key: {
            name: np.array([math.nan if (value := getattr(row, name)) is None else value for row in rows], dtype=float)
            for name in _TYPES
        }
        for key, rows in found.items()
    }


def _fast(directory: RunDirectory) -> dict[SeriesKey, dict[str, np.ndarray]]:
    text = (directory.path / "metrics.csv").read_bytes().decode("utf-8")
    text = text[: text.rfind("\n") + 1]  # a last line that was being written when the run was killed
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    wanted = [*METRICS_COLUMNS, *directory.grid_keys]
    if next(table, None) != wanted:
        raise ValueError("other columns")
    parts: dict[tuple[str, ...], list[np.ndarray]] = {}
    place, rows = None, []
    for row in table:
        if len(row) != len(wanted):
            raise ValueError("a row of another length")
        here = (*row[:_FIRST], *row[_AFTER:])
        if here != place:
            if rows:
                parts.setdefault(place, []).append(_numbers(rows))
            place, rows = here, []
        rows.append(row[_FIRST:_AFTER])
    if rows:
        parts.setdefault(place, []).append(_numbers(rows))
    found = {}
    for (method, collective, seed, *values), chunks in parts.items():
        key = SeriesKey(
            method, Transport.read(collective), int(seed), tuple(zip(directory.grid_keys, values, strict=True))
        )
        joined = chunks[0] if len(chunks) == 1 else np.concatenate(chunks, axis=1)
        found[key] = dict(zip(_TYPES, joined, strict=True))
    return found


def _numbers(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """(columns, rows)"""
    columns: list[list[float]] = []
    for texts, kind in zip(zip(*rows, strict=True), _TYPES.values(), strict=True):
        if kind in (int, float):
            columns.append([kind(text) for text in texts])
        else:
            columns.append([float(text) if text else math.nan for text in texts])
    return np.array(columns, dtype=float)
