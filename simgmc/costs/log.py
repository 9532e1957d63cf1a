"""The costs of all rounds of a training: kept while it runs, and in a compact columnar file.

A round allocates and frees vectors of megabytes. Where something small that stays, such as the data
of a numpy array of a few numbers, is put between them, glibc (before 2.38) cannot use the aligned
block beside it again: a vector's worth of memory is lost with every round. So a :class:`RoundLog`
keeps arrays as bytes, which Python puts elsewhere, and equal ones once.

The file is a compressed ``.npz``: which kinds of steps the rounds have, and for each kind one column
per field over all its steps. A ``(workers,)`` field of n steps is one ``(n, workers)`` array, or,
where lengths differ from step to step, the values end to end with their shapes beside them;
where the same arrays come again and again, each is kept once, with which of them every step has.
Kinds and fields are found by name in :mod:`simgmc.costs.steps`: a file written before a field with
a default was added is still read.
"""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, MutableSequence, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.files import open_regular
from simgmc.costs import steps as costs
from simgmc.costs.steps import RoundCosts

_LARGE = 4096
"""Bytes from which an array is looked up by identity first: the edges of a graph come again in every round."""
_RECENT = 8
"""How many of these are remembered."""
_PIECE = 256
"""Rounds of a piece of :meth:`RoundLog.pieces`."""

_SCALARS = {"bool": (bool, np.bool_), "int": (int, np.integer), "float": (float, np.floating), "str": (str,)}
_DTYPES = {"bool": np.bool_, "int": np.int64, "float": np.float64, "str": np.str_}

_IN_FILES = {"Wait": "Join"}
"""Kinds of steps that files call otherwise, as they were called at first."""
_FROM_FILES = {old: new for new, old in _IN_FILES.items()}

DAMAGED = (
    zipfile.BadZipFile, zlib.error, KeyError, IndexError, ValueError, TypeError, AttributeError, EOFError, OSError,
    ArithmeticError, MemoryError, NotImplementedError, RuntimeError, StopIteration, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What numpy, zipfile and the decoding here may raise on bytes that are not such a file."""


class _Packed(NamedTuple):
    """An array, as bytes."""

    content: bytes
    dtype: str
    shape: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The array, read-only."""
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


class RoundLog(MutableSequence[RoundCosts]):
    """A list of rounds; each is made anew, equal to what was put in (arrays are read-only), when it is asked for."""

    def __init__(self, rounds: Iterable[RoundCosts] = ()):
        self._rounds: list[tuple] = []
        self._contents: dict[Any, Any] = {}
        self._recent: dict[int, tuple[np.ndarray, _Packed]] = {}
        self._pieces: list[bytes] = []
        """Of the first rounds, as files."""
        self.extend(rounds)

    def __len__(self) -> int:
        return len(self._rounds)

    def __getitem__(self, place):
        found = self._rounds[place]
        return [_unpacked(one) for one in found] if isinstance(place, slice) else _unpacked(found)

    def __setitem__(self, place, costs) -> None:
        self._rounds[place] = map(self._packed, costs) if isinstance(place, slice) else self._packed(costs)
        self._pieces.clear()

    def __delitem__(self, place) -> None:
        del self._rounds[place]
        self._pieces.clear()

    def insert(self, place: int, costs: RoundCosts) -> None:
        if place < len(self):
            self._pieces.clear()
        self._rounds.insert(place, self._packed(costs))

    def to_bytes(self, key: str = "") -> bytes:
        """The file's content; the same rounds give the same bytes. ``key`` names the training inside the file."""
        return _file(self._rounds, key)

    def pieces(self) -> list[bytes]:
        """The same as files of :data:`_PIECE` rounds each and one of the rest: the full ones are made only once."""
        while len(self) >= (start := len(self._pieces) * _PIECE) + _PIECE:
            self._pieces.append(_file(self._rounds[start : start + _PIECE]))
        return [*self._pieces, _file(self._rounds[start:])]

    def _packed(self, costs: RoundCosts) -> tuple:
        return self._once(
            tuple((type(step), *(self._value(getattr(step, field.name)) for field in fields(step))) for step in costs)
        )

    def _value(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.hasobject:
            raise TypeError(f"costs hold arrays of plain numbers, not of {value.dtype}")
        known, packed = self._recent.get(id(value), (None, None))
        if known is not value:
            packed = self._once(_Packed(value.tobytes(), value.dtype.str, value.shape))
            if value.nbytes > _LARGE:
                self._recent[id(value)] = value, packed
                if len(self._recent) > _RECENT:
                    del self._recent[next(iter(self._recent))]
        return packed

    def _once(self, packed: Any) -> Any:
        return self._contents.setdefault(packed, packed)


def _unpacked(costs: tuple) -> RoundCosts:
    return RoundCosts(
        kind(*(value.array() if isinstance(value, _Packed) else value for value in values)) for kind, *values in costs
    )


def to_bytes(rounds: Iterable[RoundCosts], key: str = "") -> bytes:
    """As of :meth:`RoundLog.to_bytes`, of any rounds."""
    return (rounds if isinstance(rounds, RoundLog) else RoundLog(rounds)).to_bytes(key)


def _file(rounds: Sequence[tuple], key: str = "") -> bytes:
    """The file's content of packed rounds."""
    by_kind: dict[type, list[list]] = {}
    for steps in rounds:
        for kind, *values in steps:
            by_kind.setdefault(kind, []).append(values)
    numbers = {kind: number for number, kind in enumerate(by_kind)}
    arrays: dict[str, np.ndarray] = {
        "steps_per_round": _whole([len(steps) for steps in rounds], np.uint16),
        "kinds": np.array([numbers[kind] for steps in rounds for kind, *_ in steps], dtype=np.uint8),
    }
    schema: dict[str, dict[str, str]] = {}
    for kind, rows in by_kind.items():
        name = _IN_FILES.get(kind.__name__, kind.__name__)
        schema[name] = {}
        for field, column in zip(fields(kind), zip(*rows, strict=True), strict=True):
            schema[name][field.name], columns = _column(column)
            arrays |= {f"{name}.{field.name}{suffix}": array for suffix, array in columns.items()}
    arrays["schema"] = np.array(json.dumps({"format": 1, "steps": schema} | ({"key": key} if key else {})))
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # older numpy has no allow_pickle here
    return stream.getvalue()


def _whole(numbers: list[int], usual: type[np.unsignedinteger]) -> np.ndarray:
    """Numbers of at least 0, of the usual type wherever they fit into it."""
    return np.array(numbers, dtype=usual if max(numbers, default=0) <= np.iinfo(usual).max else np.int64)


def _column(values: Sequence[Any]) -> tuple[str, dict[str, np.ndarray]]:
    """One field of all steps of a kind: what it is, and the arrays that hold it, by suffix."""
    present = [value is not None for value in values]
    columns = {} if all(present) else {".present": np.array(present)}
    values = [value for value in values if value is not None]
    for kind, types in _SCALARS.items():
        if all(isinstance(value, types) for value in values):
            if not (kind == "int" and any(isinstance(value, bool) for value in values)):
                return kind, columns | {"": np.array(values, dtype=_DTYPES[kind])}
    if not all(isinstance(value, _Packed) for value in values):
        raise TypeError(f"costs hold numbers, texts and arrays, one type per field, not {set(map(type, values))}")
    if len({value.dtype for value in values}) > 1:
        raise TypeError("an array field of costs keeps one dtype over all rounds")
    return _array_column(values, columns)


def _array_column(values: list[_Packed], columns: dict[str, np.ndarray]) -> tuple[str, dict[str, np.ndarray]]:
    distinct: dict[_Packed, int] = {}
    which = [distinct.setdefault(value, len(distinct)) for value in values]
    if 2 * len(distinct) <= len(values):
        kind, held = _array_column(list(distinct), columns)
        return f"repeated {kind}", held | {".which": np.array(which, dtype=np.uint32)}
    arrays = [value.array() for value in values]
    if len({array.shape for array in arrays}) == 1:
        return "array", columns | {"": np.stack(arrays)}
    if len({array.ndim for array in arrays}) > 1:
        raise TypeError("an array field of costs keeps its number of dimensions over all rounds")
    shapes = np.array([array.shape for array in arrays], dtype=np.int64)
    return "ragged", columns | {"": np.concatenate([array.ravel() for array in arrays]), ".shapes": shapes}


def from_bytes(content: bytes, where: str = "costs") -> list[RoundCosts]:
    """The rounds, equal to what was written (arrays are read-only). ``where`` names the file in errors."""
    try:
        arrays = arrays_of(content)
        schema = json.loads(str(arrays["schema"]))["steps"]
        steps = [iter(_steps(name, kinds, arrays, where)) for name, kinds in schema.items()]
        order = iter(arrays["kinds"].tolist())
        return [RoundCosts(next(steps[next(order)]) for _ in range(n)) for n in arrays["steps_per_round"].tolist()]
    except DAMAGED:
        raise SimgmcError(f"{where} is not a file of stored costs, or it is damaged") from None


def arrays_of(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` by name. Raises one of :data:`DAMAGED` where a byte of them is not what was written."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        for name in members.namelist():
            with members.open(name) as member:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
                # Only at a member's end is its checksum compared; a damaged header may claim less than it holds.
                if member.read():
                    raise ValueError(f"{name} holds more than its header says")
    return arrays


def key_of(file: Path) -> str | None:
    """The training that a file names inside; None for a file that names none, or cannot be read."""
    try:
        with open_regular(file) as stream, np.load(stream, allow_pickle=False) as content:
            key = json.loads(str(content["schema"])).get("key")
        return key if isinstance(key, str) else None
    except DAMAGED:
        return None


def _steps(name: str, kinds: dict[str, str], arrays: dict[str, np.ndarray], where: str) -> Iterable:
    step = getattr(costs, _FROM_FILES.get(name, name), None)
    known = {field.name for field in fields(step)} if is_dataclass(step) else set()
    if step is None or not known >= set(kinds):
        what = name if step is None else f"{name}.{sorted(set(kinds) - known)[0]}"
        raise SimgmcError(f"{where} has costs that this version of simgmc does not know: {what}")
    declared = {field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(step)}
    for field, kind in kinds.items():
        _check(declared[field], kind, arrays[f"{name}.{field}"])
    columns = [_values(f"{name}.{field}", kind, arrays) for field, kind in kinds.items()]
    return (step(**dict(zip(kinds, values, strict=True))) for values in zip(*columns, strict=True))


def _check(declared: str, kind: str, held: np.ndarray) -> None:
    """Raises ValueError for values that no round can cost: of another kind, negative or not finite."""
    allowed = (
        {"array", "ragged", "repeated array", "repeated ragged"} if declared.startswith("np.ndarray") else {declared}
    )
    if declared in _SCALARS or declared.startswith("np.ndarray"):
        if held.size and kind not in allowed:
            raise ValueError(f"{kind} in place of {declared}")
    if kind in _DTYPES and held.dtype.kind != np.dtype(_DTYPES[kind]).kind:
        raise ValueError(f"{held.dtype} in place of {kind}")
    if held.dtype.kind in "if" and held.size and not (np.isfinite(held).all() and held.min() >= 0):
        raise ValueError("a negative cost, or none at all")


def _values(column: str, kind: str, arrays: dict[str, np.ndarray]) -> Iterable:
    held = arrays[column]
    held.flags.writeable = False
    repeated = kind.startswith("repeated ")
    kind = kind.removeprefix("repeated ")
    if kind == "ragged":
        shapes = arrays[column + ".shapes"]
        pieces = np.split(held, np.cumsum(shapes.prod(axis=1))[:-1])
        values = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
    elif kind == "array":
        values = list(held) if held.ndim > 1 else [np.asarray(value) for value in held]
    else:
        values = held.tolist()
    if repeated:
        values = [values[number] for number in arrays[column + ".which"].tolist()]
    if column + ".present" not in arrays:
        return values
    rest = iter(values)
    return [next(rest) if present else None for present in arrays[column + ".present"].tolist()]
