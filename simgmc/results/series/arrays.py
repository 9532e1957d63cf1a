"""``metrics.csv`` as arrays: a run of hundreds of grid points has more rows than objects should be made of."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.results.directory.columns import Column
from simgmc.results.directory.records import SeriesKey
from simgmc.results.directory.rows import read_bytes
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.series_tables import METRICS


def read_arrays(directory: RunDirectory) -> dict[SeriesKey, dict[str, np.ndarray]]:
    """Every series' evaluations as an array per column of numbers, (evaluations,) float64, NaN where unknown;
    further metrics too, of trainings whose evaluations are kept together.

    The same numbers as :meth:`RunDirectory.evaluations` gives, in the same order, and the same
    SimgmcError where the file is not that of a run.
    """
    try:
        found = _fast(directory)
    except (ValueError, OSError, csv.Error, SimgmcError):  # evaluations() says which line is wrong
        found = {
            key: {column.name: _array([getattr(row, column.name) for row in rows]) for column in _numeric()}
            for key, rows in directory.evaluations().items()
        }
    for shared in directory.shared_evaluations():
        for key, columns, others in shared.arrays():
            found[key] = {name: column.astype(float) for name, column in (columns | others).items()}
    return found


def _numeric() -> list[Column]:
    return [column for column in METRICS.own if column.kind in (int, float)]


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _fast(directory: RunDirectory) -> dict[SeriesKey, dict[str, np.ndarray]]:
    text = read_bytes(directory.path / METRICS.file).decode("utf-8")
    text = text[: text.rfind("\n") + 1]  # a last line that was being written when the run was killed
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    reader = directory.reader(METRICS, next(table, []))
    width, key_of = len(reader.header), itemgetter(*reader.key_places)
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    place, rows = None, []
    for row in table:
        if len(row) != width:
            raise ValueError("a row of another length")
        here = key_of(row)
        if here != place:
            place, rows = here, groups.setdefault(here, [])
        rows.append(row)
    places = dict(zip((column.name for column in METRICS.own), reader.own_places, strict=True))
    found = {}
    for key, rows in groups.items():
        cells = list(zip(*rows, strict=True))
        found[reader.series(key)] = {
            column.name: _array([column.default] * len(rows))
            if (at := places[column.name]) is None
            else _numbers(column, cells[at])
            for column in _numeric()
        }
    return found


def _numbers(column: Column, cells: Sequence[str]) -> np.ndarray:
    """The cells of one column, NaN where one is unknown. Raises ValueError where one is no number of the column."""
    if column.optional:
        return np.array([column.kind(text) if text else math.nan for text in cells], dtype=float)
    numbers = np.array(list(map(column.kind, cells)), dtype=float)
    if column.kind is int and (numbers < 0).any():
        raise ValueError("a count below 0")
    return numbers
