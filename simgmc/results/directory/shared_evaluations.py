"""The evaluations of one training on many clusters, kept together: what they found once, when they were for each.

A map of hundreds of networks has millions of rows of evaluations, which differ in their times alone. They are kept
in ``evaluations/KEY.npz``, a file for each training: NumPy arrays, and the keys of the series as JSON.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from simgmc.core.transport import Transport
from simgmc.results.directory.records import Evaluation, SeriesKey

COUNTS = ("bytes_up", "bytes_down")
"""The columns of ``metrics.csv`` that depend on the cluster, beside the time."""
_OTHER = "other: "
"""How the name of a column begins that is none of ``metrics.csv``."""


class Rows(Sequence[Evaluation]):
    """The evaluations of one series, made when they are asked for."""

    def __init__(self, columns: Mapping[str, np.ndarray]):
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["round"])

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        found = {name: column[place].item() for name, column in self._columns.items()}
        row: dict[str, Any] = {name: None if value != value else value for name, value in found.items()}
        return Evaluation(**row)


@dataclass(frozen=True)
class SharedEvaluations:
    """E evaluations of a training on S clusters. A cluster may have ended the training before the last."""

    found: Mapping[str, np.ndarray]
    """Each (E,): the columns of ``metrics.csv`` that do not depend on the cluster, and further metrics."""
    keys: tuple[SeriesKey, ...]
    """The S series."""
    times: np.ndarray
    """(S, E) simulated seconds; NaN from where a cluster ended it."""
    counts: Mapping[str, np.ndarray]
    """Each (S, E) int64: bytes sent by workers, and received by them."""

    @classmethod
    def of(
        cls,
        rows: Sequence[Evaluation],
        others: Sequence[Mapping[str, float]],
        series: Sequence[tuple[SeriesKey, np.ndarray, np.ndarray, np.ndarray]],
    ) -> Self:
        """From the E evaluations on a cluster that has them all, each with its further metrics, and every series with
        its times, its bytes sent and received, an array each of at most E."""
        names = [name for name in vars(rows[0]) if name != "sim_time_s" and name not in COUNTS]
        found = {name: np.array([_number(getattr(row, name)) for row in rows]) for name in names}
        found["round"] = found["round"].astype(np.int64)
        for name in dict.fromkeys(name for one in others for name in one):
            found[_OTHER + name] = np.array([_number(one.get(name)) for one in others])
        times = np.full((len(series), len(rows)), np.nan)
        counts = {name: np.zeros(times.shape, dtype=np.int64) for name in COUNTS}
        for place, (_, seconds, *moved) in enumerate(series):
            times[place, : len(seconds)] = seconds
            for name, column in zip(COUNTS, moved, strict=True):
                counts[name][place, : len(column)] = column
        return cls(found, tuple(key for key, *_ in series), times, counts)

    def __add__(self, other: SharedEvaluations) -> SharedEvaluations:
        """The series of both."""
        first, second = (self, other) if len(self.times.T) >= len(other.times.T) else (other, self)
        missing = len(first.times.T) - len(second.times.T)
        padded = {id(first): first, id(second): second._padded(missing)}
        parts = padded[id(self)], padded[id(other)]
        return SharedEvaluations(
            first.found,
            self.keys + other.keys,
            np.concatenate([part.times for part in parts]),
            {name: np.concatenate([part.counts[name] for part in parts]) for name in COUNTS},
        )

    def _padded(self, more: int) -> SharedEvaluations:
        wide = ((0, 0), (0, more))
        counts = {name: np.pad(column, wide) for name, column in self.counts.items()}
        return SharedEvaluations(self.found, self.keys, np.pad(self.times, wide, constant_values=np.nan), counts)

    def of_those(self, keys: Iterable[SeriesKey]) -> SharedEvaluations | None:
        """The same of these series alone; None where there are none of them."""
        wanted = set(keys)
        kept = [place for place, key in enumerate(self.keys) if key in wanted]
        if not kept:
            return None
        counts = {name: column[kept] for name, column in self.counts.items()}
        return SharedEvaluations(self.found, tuple(self.keys[place] for place in kept), self.times[kept], counts)

    def further(self) -> dict[int, dict[str, float]]:
        """The further metrics by round, then by name."""
        columns = {name.removeprefix(_OTHER): column for name, column in self.found.items() if name.startswith(_OTHER)}
        rows = ({name: column[place].item() for name, column in columns.items()} for place in range(len(self.times.T)))
        known = ({name: value for name, value in row.items() if value == value} for row in rows)
        return dict(zip(self.found["round"].tolist(), known, strict=True))

    def arrays(self) -> Iterator[tuple[SeriesKey, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """By series: the columns of ``metrics.csv``, and the further metrics, an array each."""
        there = (~np.isnan(self.times)).sum(axis=1).tolist()
        for place, (key, many) in enumerate(zip(self.keys, there, strict=True)):
            columns: dict[str, np.ndarray] = {}
            others: dict[str, np.ndarray] = {}
            for name, column in self.found.items():
                (others if name.startswith(_OTHER) else columns)[name.removeprefix(_OTHER)] = column[:many]
            columns["sim_time_s"] = self.times[place, :many]
            for name in COUNTS:
                columns[name] = self.counts[name][place, :many]
            yield key, columns, others

    # The file.

    def to_bytes(self) -> bytes:
        """The same content gives the same bytes."""
        keys = [[key.method, str(key.transport), key.seed, key.grid] for key in self.keys]
        arrays: dict[str, Any] = {f"found: {name}": column for name, column in self.found.items()}
        for name in COUNTS:  # mostly the same on every cluster of a kind
            arrays[name], arrays[f"{name}, which"] = np.unique(self.counts[name], axis=0, return_inverse=True)
        buffer = io.BytesIO()
        np.savez(buffer, keys=np.frombuffer(json.dumps(keys).encode(), np.uint8), times=self.times, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What :meth:`to_bytes` wrote. Raises ValueError, KeyError, OSError or EOFError where it did not."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        keys = [
            SeriesKey(method, Transport.read(transport), seed, tuple((name, value) for name, value in grid))
            for method, transport, seed, grid in json.loads(arrays["keys"].tobytes())
        ]
        found = {name.removeprefix("found: "): column for name, column in arrays.items() if name.startswith("found: ")}
        counts = {name: arrays[name][arrays[f"{name}, which"].ravel()] for name in COUNTS}
        shape = len(keys), len(found["round"])
        if any(one.shape != shape for one in (arrays["times"], *counts.values())):
            raise ValueError(f"{len(keys)} series of {shape[1]} evaluations do not have this many times")
        return cls(found, tuple(keys), arrays["times"], counts)


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
