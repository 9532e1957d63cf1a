"""Partitions from a file: which training samples each worker holds, as indices from 0. Plain numpy.

- ``.npz``: one array of whole numbers per worker, in the order of the numbers in their names
  (``worker0``, ``worker1``, ...).
- ``.json``: a list with a list of indices per worker, or an object ``{"worker0": [...], ...}``.
- ``.csv``: a row ``worker,index`` for every sample, below a line that says so.
- ``.txt``: a line for every worker, indices with blanks or commas between them.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.files import read_bytes

_MAX_FILE = 2**30
"""Bytes of a file: a hundred million indices."""
_DAMAGE = (ValueError, KeyError, EOFError, RuntimeError, MemoryError, csv.Error, zipfile.BadZipFile, zlib.error)
"""What readers raise for content that is none of theirs. RuntimeError: encrypted, deeply nested, an unknown
compression.
"""


def read_index_file(path: str | Path, workers: int, samples: int) -> list[np.ndarray]:
    """What every worker holds.

    Args:
        workers: how many the file must name.
        samples: training samples; indices go from 0 to one below it.

    Raises:
        SimgmcError: the file is not there or not of its format, another number of workers, a worker
            without samples, an index that is not a sample, or one that two workers (or one, twice) hold.
    """
    path = Path(path).expanduser()
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise SimgmcError(f"partition file {path}: its name must end in one of {', '.join(_READERS)}")
    content = read_bytes(path, "partition file", _MAX_FILE)
    try:
        lists = read(content)
    except _DAMAGE as error:
        raise SimgmcError(f"partition file {path}: {error}") from None
    if len(lists) != workers:
        raise SimgmcError(f"partition file {path}: names {len(lists)} workers, the scenario has {workers}")
    return _checked(path, [_whole_numbers(path, worker, indices) for worker, indices in enumerate(lists)], samples)


def _whole_numbers(path: Path, worker: int, indices: Any) -> np.ndarray:
    if not isinstance(indices, np.ndarray):
        if not isinstance(indices, list):
            raise SimgmcError(
                f"partition file {path}: worker {worker} has {type(indices).__name__} {str(indices)[:40]!r}, not a "
                "list of indices"
            )
        wrong = next(
            (
                index
                for index in indices
                if not isinstance(index, int) or isinstance(index, bool) or abs(index) >= 2**62
            ),
            None,
        )
        if wrong is not None:
            raise SimgmcError(
                f"partition file {path}: worker {worker}: {str(wrong)[:40]!r} is not the index of a sample"
            )
        indices = np.array(indices, np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise SimgmcError(
            f"partition file {path}: worker {worker}: an array of {indices.dtype} of shape {indices.shape}, not a list "
            "of whole numbers"
        )
    if not len(indices):
        raise SimgmcError(f"partition file {path}: worker {worker} holds no samples")
    return indices


def _checked(path: Path, owned: list[np.ndarray], samples: int) -> list[np.ndarray]:
    holder = np.full(samples, -1, np.int64)
    for worker, indices in enumerate(owned):
        outside = indices[(indices < 0) | (indices >= samples)]
        if len(outside):
            raise SimgmcError(
                f"partition file {path}: worker {worker}: index {outside[0]} is not in 0 .. {samples - 1}"
            )
        indices = owned[worker] = indices.astype(np.int64)
        taken = indices[holder[indices] >= 0]
        if len(taken):
            raise SimgmcError(
                f"partition file {path}: index {taken[0]} is held by worker {holder[taken[0]]} and by worker {worker}"
            )
        values, counts = np.unique(indices, return_counts=True)
        if len(values) < len(indices):
            raise SimgmcError(f"partition file {path}: worker {worker} lists index {values[counts > 1][0]} twice")
        holder[indices] = worker
    return owned


def _by_number(names: Sequence[str]) -> list[str]:
    """Names in the order of their numbers, which must be 0, 1, ..."""
    numbers = {}
    for name in names:
        found = re.fullmatch(r"\D*(\d{1,9})", name)
        if found is None:
            raise ValueError(f"{name!r} names no worker; worker0, worker1, ... do")
        numbers[int(found[1])] = name
    if sorted(numbers) != list(range(len(names))):
        missing = next(number for number in range(len(names) + 1) if number not in numbers)
        raise ValueError(f"workers must be numbered from 0 without gaps; there is no worker{missing}")
    return [numbers[number] for number in range(len(names))]


def _read_npz(content: bytes) -> list[np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("not an .npz file of one array per worker")
        unpacked = sum(member.file_size for member in arrays.zip.infolist())
        if unpacked > _MAX_FILE:
            raise ValueError(f"unpacks to {unpacked / 2**20:,.0f} MiB, and must be at most {_MAX_FILE / 2**20:g} MiB")
        return [arrays[name] for name in _by_number(arrays.files)]


def _read_json(content: bytes) -> list[Any]:
    try:
        table = json.loads(content, object_pairs_hook=_each_once)
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    if isinstance(table, dict):
        return [table[name] for name in _by_number(list(table))]
    if not isinstance(table, list):
        raise ValueError("must hold a list of lists, or an object with a list for every worker")
    return table


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in table if names.count(name) > 1)!r} is there twice")
    return table


def _read_csv(content: bytes) -> list[list[int]]:
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=None)))
    if not rows or [cell.strip().lower() for cell in rows[0]] != ["worker", "index"]:
        raise ValueError("its first line must be worker,index")
    held: dict[int, list[int]] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            worker, index = (int(cell) for cell in row)
        except ValueError:
            raise ValueError(f"line {line}: {','.join(row)[:40]!r} is not worker,index in whole numbers") from None
        if worker < 0:
            raise ValueError(f"line {line}: there is no worker {worker}; they are numbered from 0")
        held.setdefault(worker, []).append(index)
    names = {str(worker): indices for worker, indices in held.items()}
    return [names[name] for name in _by_number(list(names))]


def _read_txt(content: bytes) -> list[list[int]]:
    lists = []
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), start=1):
        try:
            lists.append([int(word) for word in line.replace(",", " ").split()])
        except ValueError:
            raise ValueError(f"line {number}: {line[:40]!r} is not a list of whole numbers") from None
    while lists and not lists[-1]:
        lists.pop()
    return lists


_READERS: dict[str, Callable[[bytes], list[Any]]] = {
    ".npz": _read_npz,
    ".json": _read_json,
    ".csv": _read_csv,
    ".txt": _read_txt,
}
