"""Checkpoints: the state of a training under way, in one file that is whole or not there.

A file is, in this order: a magic line and the format's version, the length of a JSON text, that
text (whose state it is, a plain value, and name, dtype and shape of every array), the arrays'
bytes in C order, and a BLAKE2b digest of all that. No pickle. Written beside the file it
replaces, flushed to the disk, then renamed, and the one before is kept until then and after.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.files import open_regular
from simgmc.core.interruption import SAVED_EVERY
from simgmc.results.directory.own_files import STATE_ENDS
from simgmc.results.directory.rows import PARTIAL

CHECKPOINTS = "checkpoint"
"""Where they lie in a run directory."""
MAX_SHARE = 0.02
"""Of the wall time may go into writing checkpoints; slower writing makes them rarer."""

_MAGIC = b"simgmc checkpoint\n"
_VERSION = 2
_DIGEST_BYTES = 32
_PIECE = 1 << 20
"""Bytes that are read at a time to see whether a file is whole."""
_KINDS = "biufc"
"""Of dtypes that can be stored: truth values, integers, floating point, complex."""


def check_interval(every: float) -> None:
    """Refuses seconds between two checkpoints that are none (SimgmcError)."""
    if not isinstance(every, (int, float)) or not every >= 0:
        raise SimgmcError(
            f"checkpoint_every = {every}: must be a number of seconds of at least 0 "
            "(0: whenever there is something new)"
        )


class Checkpoints:
    """The checkpoints of one training, in ``directory`` (made when it is needed).

    ``key`` names the training, in any words: its files are found and checked by it. What a state
    is made of is the caller's affair: named numpy arrays, which come back with the same dtype
    (byte order included), shape (0-d included) and bits, and one plain value (None, truth values,
    numbers, text, lists, dicts with text as keys), which comes back equal, NaN and infinities
    included. Anything else is a TypeError when it is saved. Use it like this::

        checkpoints = Checkpoints(run / "checkpoint", "GMC, seed 3", every=60.0)
        saved = checkpoints.load()
        if saved is not None:
            arrays, plain = saved           # arrays are copies, writable
        for each step of the training:
            ...
            if checkpoints.due():           # wall time decides when, never what
                checkpoints.save(arrays, plain)
        ...                                 # results are written
        checkpoints.remove()

    ``every``: seconds of wall time between two; 0 makes each :meth:`due` say yes. Otherwise the
    interval is stretched where collecting and writing a state (from a ``due()`` that said yes to
    the end of ``save()``) would take more than :data:`MAX_SHARE` of the time. ``save()`` may
    also be called without ``due()``, for instance when the run is asked to stop.

    ``warn`` hears of files that cannot be used, one message each.
    """

    def __init__(
        self,
        directory: str | Path,
        key: str,
        every: float = SAVED_EVERY,
        warn: Callable[[str], None] = lambda message: None,
    ):
        check_interval(every)
        self.key, self.every = key, every
        self._warn = warn
        current, before = (_file_stem(key) + end for end in STATE_ENDS)
        self.file = Path(directory) / current
        """The newest state."""
        self.before = Path(directory) / before
        """The one before it."""
        self.seconds = 0.0
        """What the last checkpoint took."""
        self._ended = time.monotonic()
        self._began: float | None = None
        self._said = False
        self._whole = False  # whether self.file is known to be readable, so that it is worth keeping

    def cannot_hold(self, what: str) -> None:
        """Nothing is saved now, which is said the first time: a training that is stopped goes on from an earlier
        state, or begins again."""
        if not self._said:
            self._said = True
            self._warn(
                f"{self.key}: no checkpoint is written from here on: none can hold {what}. A run that is stopped goes "
                "back to before that, with the same numbers"
            )

    @property
    def files(self) -> tuple[Path, Path]:
        """The newest state, and the one before it; they may not be there."""
        return self.file, self.before

    @property
    def interval(self) -> float:
        """Seconds from the end of one checkpoint to the next."""
        return max(self.every, self.seconds / MAX_SHARE) if self.every else 0.0

    def due(self) -> bool:
        """Whether it is time to save; the stopwatch of what that takes then runs."""
        now = time.monotonic()
        if now - self._ended < self.interval:
            return False
        self._began = now
        return True

    def save(self, arrays: Mapping[str, np.ndarray], plain: Any) -> None:
        """Write a state; when this returns it is on the disk, and the one before is kept beside it.

        Raises SimgmcError where it cannot be written (no space, no permission): then the states
        saved before are as they were.
        """
        began = time.monotonic() if self._began is None else self._began
        partial = self.file.with_name(self.file.name + PARTIAL)
        try:
            try:
                with self._opened(partial) as stream:
                    for piece in encoded(self.key, arrays, plain):
                        stream.write(piece)
                    stream.flush()
                    os.fsync(stream.fileno())
                if self._whole:
                    os.replace(self.file, self.before)
                    self._whole = False
                os.replace(partial, self.file)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            _flush_directory(self.file.parent)
        except OSError as error:
            raise SimgmcError(
                f"cannot write {self.file}: {reason(error)}; what was saved before is kept: "
                "give the same command again once it can be written"
            ) from None
        self._whole = True
        self._began, self._ended = None, time.monotonic()
        self.seconds = self._ended - began

    def load(self, arrays: bool = True) -> tuple[dict[str, np.ndarray], Any] | None:
        """The newest state that is whole, as (arrays, plain); None where there is none.

        ``arrays``: False leaves them out, and so takes no memory. A file that is cut short,
        damaged, of another training or of another version of this format is named to ``warn``,
        and the one before is taken; where neither can be used, that is said too.
        """
        problems = []
        for file in (self.file, self.before):
            try:
                with open_regular(file) as stream:
                    found = decoded(stream, self.key, arrays)
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"{file} cannot be read: {reason(error)}")
            except ValueError as error:
                problems.append(f"{file} cannot be used: it {error}")
            else:
                self._whole = file == self.file
                for problem in problems:
                    self._warn(f"{problem}; the checkpoint before it is used")
                return found
        for problem in problems:
            self._warn(f"{problem}; no other checkpoint is left: {self.key!r} starts anew")
        return None

    def remove(self) -> None:
        """Remove the training's checkpoints, and the directory with the last of them.

        Raises SimgmcError where a file cannot be removed.
        """
        self._whole = False
        for file in (self.file, self.before, self.file.with_name(self.file.name + PARTIAL)):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise SimgmcError(f"cannot remove {file}: {reason(error)}") from None
        try:
            self.file.parent.rmdir()
        except OSError:
            return  # it was never there, or others' checkpoints are still in it

    def _opened(self, partial: Path) -> io.BufferedWriter:
        """The file to write; another training, which ends, may remove the directory as soon as it is made."""
        while True:
            self._make_directory()
            try:
                return partial.open("wb")
            except FileNotFoundError:
                if not self.file.parent.parent.is_dir():
                    raise

    def _make_directory(self) -> None:
        if not self.file.parent.is_dir():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            _flush_directory(self.file.parent.parent)


def encoded(key: str, arrays: Mapping[str, np.ndarray], plain: Any) -> Iterator[bytes | memoryview]:
    """The pieces of a checkpoint file; the same state gives the same bytes."""
    _check_plain(plain, "plain")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name}: a checkpoint holds numpy arrays of numbers, not {kind}")
    table = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({"key": key, "plain": plain, "arrays": table}).encode()
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for piece in (_MAGIC, _VERSION.to_bytes(4, "little"), len(text).to_bytes(8, "little"), text):
        digest.update(piece)
        yield piece
    for array in arrays.values():
        if array.size:
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            digest.update(content)
            yield content
    yield digest.digest()


def decoded(stream: io.BufferedIOBase, key: str, arrays: bool = True) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays (none, unless they are wanted) and plain value of a checkpoint file.

    Takes no memory beside theirs. Raises ValueError that says what is the matter with it, to
    follow the word "it".
    """
    end = _checked(stream)
    version, length = (int.from_bytes(stream.read(size), "little") for size in (4, 8))
    if version != _VERSION:
        raise ValueError(f"has format {version}, this version of simgmc reads {_VERSION}")
    found: dict[str, np.ndarray] = {}
    try:
        head = json.loads(stream.read(length))
        if head["key"] != key:
            raise ValueError(f"is of another training, {head['key']!r}")
        for name, dtype, shape in head["arrays"] if arrays else ():
            kind = np.dtype(dtype)
            if math.prod(shape) * kind.itemsize > end - stream.tell():
                raise KeyError(name)
            array = found[name] = np.empty(shape, kind)
            if array.size:
                stream.readinto(array.reshape(-1).view(np.uint8).data)
        return found, head["plain"]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("is damaged") from None


def _checked(stream: io.BufferedIOBase) -> int:
    """Where the digest of a checkpoint file begins, if it is right; the stream is then behind the magic line."""
    end = stream.seek(0, os.SEEK_END) - _DIGEST_BYTES
    stream.seek(0)
    magic = stream.read(len(_MAGIC))
    if not _MAGIC.startswith(magic) or not magic:
        raise ValueError("is empty" if not magic else "is not a checkpoint")
    if end < len(_MAGIC) + 12:
        raise ValueError("is cut short")
    digest = hashlib.blake2b(magic, digest_size=_DIGEST_BYTES)
    while piece := stream.read(min(_PIECE, end - stream.tell())):
        digest.update(piece)
    if digest.digest() != stream.read():
        raise ValueError("is cut short or damaged: its checksum is wrong")
    stream.seek(len(_MAGIC))
    return end


def _check_plain(value: Any, place: str) -> None:
    """Raises TypeError for what would not come back equal."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{place}: a checkpoint's dicts have text as keys, not {key!r}")
            _check_plain(one, f"{place}.{key}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _check_plain(one, f"{place}[{index}]")
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(f"{place}: a checkpoint holds numbers, text, lists and dicts, not {type(value).__name__}")


def _file_stem(key: str) -> str:
    """A file's name for any text, without its end; a long one is cut, and told apart by its hash."""
    name = quote(key, safe=" ()+=,@")
    return name if len(name) <= 150 else f"{name[:117]}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _flush_directory(path: Path) -> None:
    """Make renames in a directory last through a power failure, where the file system knows how."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
