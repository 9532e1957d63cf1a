"""What a run found as tidy frames: a row per evaluation, series, worker, link; numbers in columns that say their unit.

Every frame begins with ``method``, ``collective`` (what carries the method's messages) and ``seed``, then has a column
for each key that varies within the run, named as :class:`KeyColumn` says: ``bandwidth_mbit_s``, ``density``; by more of
its key where another column is called so (``cluster_latency_s``, as ``latency_s`` is a part of a worker's time). Frames
are pandas' or polars', whichever is there, made through narwhals.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.units import grid_number
from simgmc.costs.steps import Average, Compress, Compute, Mix, RoundCosts
from simgmc.results.directory.records import RUN_KEY, SeriesKey
from simgmc.results.directory.series_tables import KEY_COLUMNS, TABLES
from simgmc.results.series.read import Results, short_names, value_text
from simgmc.results.series.summary import Row, record

Backend = Literal["pandas", "polars"]
BACKENDS: tuple[Backend, ...] = ("pandas", "polars")
Columns = dict[str, list[Any]]
"""Values by the name of their column, all of one length; None where one is unknown."""


# Which library makes the frames.


def backend(name: str | None = None) -> Backend:
    """The library that makes the frames: the one of that name, else pandas where it is there, else polars.

    Raises SimgmcError, with what to install, where it is not there.
    """
    if name is not None and name not in BACKENDS:
        raise SimgmcError(f'backend = {show_value(name)}: must be "pandas" or "polars"')
    found = [one for one in BACKENDS if name in (None, one) and importlib.util.find_spec(one) is not None]
    if not found:
        missing = f"{name} is" if name else "neither pandas nor polars is"
        lines = [f"pip install 'simgmc[{one}]'" for one in BACKENDS if name in (None, one)]
        raise SimgmcError(f"frames are made by pandas or polars, and {missing} installed: {'   or   '.join(lines)}")
    return found[0]


def frame(columns: Columns, made_by: Backend) -> Any:
    """A DataFrame of that library. Counts of which some are unknown are floats, as pandas has no unknown whole ones."""
    import narwhals as nw  # takes a moment, which a command without frames need not spend

    made = nw.from_dict({name: _series(values) for name, values in columns.items()}, backend=made_by)
    floats = [name for name, dtype in made.schema.items() if dtype.is_float()]
    return made.with_columns(nw.col(name).fill_nan(None) for name in floats).to_native()


def _series(values: list[Any]) -> Any:
    known = [one for one in values if one is not None]
    if known and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in known):
        if len(known) < len(values) or any(isinstance(one, float) for one in known):
            return np.array([np.nan if one is None else one for one in values], dtype=float)
        return np.array(values, dtype=np.int64)
    if not known and values:
        return np.full(len(values), np.nan)
    return values


# A column for each key that varies.


@dataclass(frozen=True)
class KeyColumn:
    """A key of the grid as a column.

    Rates are in Mbit/s (``bandwidth_mbit_s``), times in seconds (``cluster_latency_s``), sizes in bytes
    (``window_bytes``), where every value of the key is one; bare numbers and true or false are what they are; anything
    else is a text, of a table its name and, in brackets, its options.
    """

    key: str
    ending: str
    """Of the column's name: the unit, or nothing."""
    values: Mapping[str, Any]
    """By the text that the run's files hold."""

    @classmethod
    def of(cls, key: str, texts: Iterable[str]) -> KeyColumn:
        """Of a key with these values."""
        texts = list(dict.fromkeys(texts))
        parsed = {text: grid_number(text) for text in texts}
        units = {None if one is None else one[1] for one in parsed.values()}
        for ending, scales in _UNITS.items():
            if texts and units <= scales.keys():
                numbers = {text: one[0] * scales[one[1]] for text, one in parsed.items() if one is not None}
                if not ending and all(text.lstrip("-").isdecimal() for text in texts):
                    numbers = {text: int(text) for text in texts}
                return cls(key, ending, numbers)
        if texts and all(text in _TRUTH for text in texts):
            return cls(key, "", {text: _TRUTH[text] for text in texts})
        return cls(key, "", {text: value_text(text) for text in texts})


_UNITS: dict[str, dict[str, float]] = {
    "": {"": 1.0},
    "_mbit_s": {"bit/s": 1e-6, "B/s": 8e-6},
    "_s": {"s": 1.0},
    "_bytes": {"B": 1.0, "bit": 0.125},
}
"""Of quantities, by how their column's name ends: what a base unit is in it."""
_TRUTH = {"true": True, "false": False}


_NONE: Mapping[str, Mapping[str, str]] = {}


class KeyColumns:
    """The columns that every frame of a run begins with: whose row it is, and the values of the varied keys."""

    def __init__(
        self, keys: Sequence[str], points: Iterable[Mapping[str, str]], more: Mapping[str, Mapping[str, str]] = _NONE
    ):
        """``points``: at each grid point the keys' values, as the run's files hold them; ``more``: of several runs, by
        name, the values that all points of one have."""
        points, self._more = list(points), more
        found = {key: KeyColumn.of(key, (point[key] for point in points if key in point)) for key in keys}
        names = short_names(keys, lambda key, name: name + found[key].ending in _TAKEN)
        self._columns = {names[key] + one.ending: one for key, one in found.items()}

    @classmethod
    def of_run(cls, results: Results, more: Mapping[str, Mapping[str, str]] = _NONE) -> KeyColumns:
        """Those of the grid, and of the keys that differ between runs."""
        points = [*map(dict, dict.fromkeys(one.key.grid for one in results.series)), *more.values()]
        return cls(list(dict.fromkeys(key for point in points for key in point)), points, more)

    @property
    def names(self) -> list[str]:
        """Of all columns, in order."""
        return list(self.place(dict.fromkeys(KEY_COLUMNS), {}))

    def of(self, key: SeriesKey) -> dict[str, Any]:
        """The values of one series."""
        return self.place({"method": key.method, "collective": str(key.transport), "seed": key.seed}, dict(key.grid))

    def place(self, whose: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
        """Whose row it is and the varied keys' values; of several runs the run comes first."""
        varied = self.varied(texts)
        return {name: varied[name] for name in (RUN_KEY,) if name in varied} | dict(whose) | varied

    def varied(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """The values of the varied keys, from the texts of the grid's; None where there is none."""
        texts = {**self._more.get(texts.get(RUN_KEY, ""), {}), **texts}
        return {name: one.values.get(texts.get(one.key, "")) for name, one in self._columns.items()}


_TAKEN = {*KEY_COLUMNS, "compared_on", *(column.name for table in TABLES.values() for column in table.own)}
"""Names that columns have already."""


# The frames.


def evaluations(results: Results, keys: KeyColumns) -> Columns:
    """A row per evaluation: ``round``, ``epoch``, ``sim_time_s``, losses, ``test_accuracy`` (0 to 1), bytes, and a
    column for each further value that some method has (``consensus_distance``)."""
    names = list(dict.fromkeys(name for one in results.series for name in one.columns))
    whole = {column.name for column in TABLES["metrics.csv"].own if column.kind is int}
    columns: Columns = {}
    for one in results.series:
        length = len(one["round"])
        for name, value in keys.of(one.key).items():
            columns.setdefault(name, []).extend([value] * length)
        for name in names:
            values = one.columns[name].tolist() if name in one.columns else [np.nan] * length
            columns.setdefault(name.replace(" ", "_"), []).extend(values)
    return {name: list(map(int, values)) if name in whole else values for name, values in columns.items()}


def summary(results: Results, rows: Sequence[Row], keys: KeyColumns) -> Columns:
    """A row per method and grid point, with the columns of ``summary.csv``, the varied keys' as everywhere here."""
    found = []
    for row in rows:
        texts = dict(row.point.grid)
        plain = {name: value for name, value in record(results, row).items() if name not in texts}
        head = {name: plain.pop(name) for name in ("method", "collective", "compared_on")}
        found.append(keys.place(head, texts) | plain)
    return as_columns(found)


def table_of(rows: Iterable[tuple[SeriesKey, Any]], file: str, keys: KeyColumns) -> Columns:
    """A row per row of one of a run's files, ``breakdown.csv``, ``workers.csv``, ``links.csv`` ..., without how many
    rows other files have."""
    own = [column.name for column in TABLES[file].own if (file, column.name) != ("breakdown.csv", "rows")]
    found = [keys.of(key) | {name: getattr(row, name) for name in own} for key, row in rows]
    return as_columns(found, [*keys.names, *own])


def costs(trainings: Iterable[tuple[Mapping[str, Any], Sequence[RoundCosts]]]) -> Columns:
    """A row per step of every round: what it sent and computed, over all workers.

    ``trainings``: what tells each from the others, and its rounds.
    """
    return as_columns(
        [
            {**of, "round": number, "step": place, **_step(step)}
            for of, rounds in trainings
            for number, steps in enumerate(rounds)
            for place, step in enumerate(steps)
        ]
    )


def _step(step: Any) -> dict[str, Any]:
    """Kind, gradients of each worker, bytes sent and received by all workers, bytes that each compressor reads."""
    row: dict[str, Any] = {"kind": type(step).__name__.lower()}
    row |= dict.fromkeys(("gradients", "bytes_compressed", "bytes_sent", "bytes_received"), 0)
    if isinstance(step, Compute):
        row["gradients"] = step.gradients
    elif isinstance(step, Compress):
        row["bytes_compressed"] = step.nbytes
    elif isinstance(step, Average):
        receivers = len(step.up) if step.receivers is None else step.receivers
        row |= {"bytes_sent": int(step.up.sum()), "bytes_received": receivers * int(step.down)}
    elif isinstance(step, Mix):
        sent = int(step.nbytes[step.edges[:, 0]].sum()) if len(step.edges) else 0
        row |= {"bytes_sent": sent, "bytes_received": sent}
    return row


def as_columns(rows: Sequence[Mapping[str, Any]], names: Iterable[str] = ()) -> Columns:
    """Rows as columns: those of these names, then what else rows have."""
    names = list(dict.fromkeys([*names, *(name for row in rows for name in row)]))
    return {name: [row.get(name) for row in rows] for name in names}
