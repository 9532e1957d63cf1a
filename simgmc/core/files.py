"""Files from outside: one reader for all of them, which takes regular files of a bounded size and nothing else."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from simgmc.core.errors import SimgmcError, reason

MAX_BYTES = 32 * 2**20
"""What a file may hold that is read as a whole and taken apart: no network, trace or matrix in text comes near it."""
_KINDS = {
    stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip


_copies: dict[str, Path] = {}
"""What is read in a file's place, by the file's absolute name."""


@contextlib.contextmanager
def reading_copies(copies: Mapping[str, Path]) -> Iterator[None]:
    """For a while, these copies are read in place of the files of these absolute names."""
    before = dict(_copies)
    _copies.update(copies)
    try:
        yield
    finally:
        _copies.clear()
        _copies.update(before)


def _place(file: str | Path) -> Path:
    """What is read in a file's place: the file itself, unless there is a copy for it."""
    return _copies.get(os.path.abspath(file)) or Path(file) if _copies and "\0" not in str(file) else Path(file)


def state(file: str | Path) -> tuple[str | int, ...] | None:
    """What is another where :func:`read_bytes` would read another file, or a changed one; None: there is none."""
    try:
        place = _place(file).absolute()
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return str(place), found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size


def is_there(file: str | Path) -> bool:
    """Whether :func:`read_bytes` would find a regular file."""
    return _place(file).is_file()


def read_bytes(file: str | Path, what: str, limit: int | None = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        what: what it is for the user, such as ``network file``; errors say it.
        limit: bytes that it may have; None: as many as it says that it has.

    Raises:
        SimgmcError: it cannot be read, is no regular file (a device, a pipe: they may never end), or is larger.
    """
    try:
        with open_regular(_place(file)) as stream:
            size = os.fstat(stream.fileno()).st_size
            if limit is not None and size > limit:
                raise unreadable(
                    file, what, f"it has {size / 2**20:,.0f} MiB, and must be at most {limit / 2**20:g} MiB"
                )
            content = stream.read((size if limit is None else limit) + 1)
    except (OSError, ValueError) as error:
        raise unreadable(file, what, reason(error)) from None
    if limit is not None and len(content) > limit:
        raise unreadable(file, what, f"it must be at most {limit / 2**20:g} MiB")
    return content


def read_text(file: str | Path, what: str, limit: int = MAX_BYTES) -> str:
    """The text of a regular file in UTF-8, with or without a mark of it. Raises as :func:`read_bytes`."""
    try:
        return read_bytes(file, what, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unreadable(file, what, f"it must be text in UTF-8; byte {error.start} is not") from None


def unreadable(file: str | Path, what: str, why: str) -> SimgmcError:
    """The error that a file cannot be read."""
    return SimgmcError(f"cannot read the {what} {shown(file)}: {why}")


def shown(file: str | Path) -> str:
    """A file's name on one line."""
    name = str(file)
    return name if name.isprintable() else repr(name)


def open_regular(path: str | Path) -> io.BufferedReader:
    """A regular file, open for reading. Raises OSError, for a device or a pipe too (they may never end), and ValueError
    for a name with a NUL.

    Neither the look before nor the opening waits for a pipe's other end; the open file is looked at again.
    """
    _refuse_unless_regular(os.stat(path))
    stream = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # noqa: SIM115 - whoever asked closes it
    try:
        _refuse_unless_regular(os.fstat(stream.fileno()))
    except OSError:
        stream.close()
        raise
    return stream


def _refuse_unless_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, and must be a regular file")
