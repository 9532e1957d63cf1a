"""A compact columnar file of what every round cost, so that runs can be replayed without torch.

A compressed ``.npz``: which kinds of steps the rounds have, and for each kind one column per
field over all its steps. A ``(workers,)`` field of n steps is one ``(n, workers)`` array, or,
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
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.costs import steps as costs

_SCALARS = {"bool": (bool, np.bool_), "int": (int, np.integer), "float": (float, np.floating), "str": (str,)}
_DTYPES = {"bool": np.bool_, "int": np.int64, "float": np.float64, "str": np.str_}


_RENAMED = {"Join": "Wait"}
"""Kinds of steps that older files call otherwise."""


DAMAGED = (
    zipfile.BadZipFile, zlib.error, KeyError, IndexError, ValueError, TypeError, AttributeError, EOFError, OSError,
    ArithmeticError, MemoryError, NotImplementedError, RuntimeError, StopIteration, SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What numpy, zipfile and the decoding here may raise on bytes that are not such a file."""


def to_bytes(rounds: Iterable[costs.RoundCosts], key: str = "") -> bytes:
    """The file's content; the same rounds give the same bytes. ``key`` names the training inside the file."""
    rounds = list(rounds)
    names: list[str] = []
    by_kind: dict[str, list] = {}
    kinds = []
    for steps in rounds:
        for step in steps:
            name = type(step).__name__
            if name not in by_kind:
                by_kind[name] = []
                names.append(name)
            by_kind[name].append(step)
            kinds.append(names.index(name))
    arrays = {
        "steps_per_round": np.array([len(steps) for steps in rounds], dtype=np.uint16),
        "kinds": np.array(kinds, dtype=np.uint8),
    }
    schema = {}
    for name, steps in by_kind.items():
        schema[name] = {}
        for field in fields(steps[0]):
            kind, columns = _column([getattr(step, field.name) for step in steps])
            schema[name][field.name] = kind
            arrays |= {f"{name}.{field.name}{suffix}": array for suffix, array in columns.items()}
    arrays["schema"] = np.array(json.dumps({"format": 1, "steps": schema} | ({"key": key} if key else {})))
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def from_bytes(content: bytes, where: str = "costs") -> list[costs.RoundCosts]:
    """The rounds, equal to what was written (arrays are read-only). ``where`` names the file in errors."""
    try:
        arrays = arrays_of(content)
        schema = json.loads(str(arrays["schema"]))["steps"]
        steps = [iter(_steps(name, kinds, arrays, where)) for name, kinds in schema.items()]
        order = iter(arrays["kinds"].tolist())
        return [tuple(next(steps[next(order)]) for _ in range(n)) for n in arrays["steps_per_round"].tolist()]
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
        with np.load(file, allow_pickle=False) as content:
            key = json.loads(str(content["schema"])).get("key")
        return key if isinstance(key, str) else None
    except DAMAGED:
        return None


def _steps(name: str, kinds: dict[str, str], arrays: dict[str, np.ndarray], where: str) -> Iterable:
    step = getattr(costs, _RENAMED.get(name, name), None)
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


def _column(values: list) -> tuple[str, dict[str, np.ndarray]]:
    """One field of all steps of a kind: what it is, and the arrays that hold it, by suffix."""
    present = [value is not None for value in values]
    columns = {} if all(present) else {".present": np.array(present)}
    values = [value for value in values if value is not None]
    for kind, types in _SCALARS.items():
        if all(isinstance(value, types) for value in values):
            if not (kind == "int" and any(isinstance(value, bool) for value in values)):
                return kind, columns | {"": np.array(values, dtype=_DTYPES[kind])}
    if not all(isinstance(value, np.ndarray) for value in values):
        raise TypeError(f"costs hold numbers, texts and arrays, one type per field, not {set(map(type, values))}")
    if len({value.dtype for value in values}) > 1 or any(value.dtype.hasobject for value in values):
        raise TypeError("an array field of costs keeps one plain dtype over all rounds")
    return _array_column(values, columns)


def _array_column(values: list[np.ndarray], columns: dict[str, np.ndarray]) -> tuple[str, dict[str, np.ndarray]]:
    distinct: dict[tuple, int] = {}
    which = [distinct.setdefault((value.shape, value.tobytes()), len(distinct)) for value in values]
    if 2 * len(distinct) <= len(values):
        kept = [values[which.index(number)] for number in range(len(distinct))]
        kind, held = _array_column(kept, columns)
        return f"repeated {kind}", held | {".which": np.array(which, dtype=np.uint32)}
    if len({value.shape for value in values}) == 1:
        return "array", columns | {"": np.stack(values)}
    if len({value.ndim for value in values}) > 1:
        raise TypeError("an array field of costs keeps its number of dimensions over all rounds")
    shapes = np.array([value.shape for value in values], dtype=np.int64)
    return "ragged", columns | {"": np.concatenate([value.ravel() for value in values]), ".shapes": shapes}


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
    if column + ".present" in arrays:
        rest = iter(values)
        values = [next(rest) if present else None for present in arrays[column + ".present"].tolist()]
    return values
