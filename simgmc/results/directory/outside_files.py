"""Files from outside that a run was read from (networks, traces ...): kept with it, and read there by a replay.

``files.csv`` has a line for each: its path, its SHA-256, and its copy in ``files/``.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from simgmc.core.errors import SimgmcError
from simgmc.core.files import read_bytes, read_text

LIST, FOLDER = "files.csv", "files"
_COLUMNS = ("path", "sha256", "copy")
_LIMIT = 2**30


def check_unchanged(directory: Path, files: Sequence[Path]) -> None:
    """Raises SimgmcError where a file is another one than when the run in the directory began."""
    known = {path: digest for path, digest, _ in _listed(directory)}
    for file in files:
        before = known.get(str(file.absolute()))
        if before is not None and _digest(read_bytes(file, "file", _LIMIT)) != before:
            raise SimgmcError(
                f"{file} has changed since the run in {directory} began; put it back, or choose another --out "
                "(or --overwrite)"
            )


def changed(directory: Path) -> list[str]:
    """The files that are there and are not what they were when the run in the directory began."""
    there = ((path, digest) for path, digest, _ in _listed(directory) if Path(path).is_file())
    return [path for path, digest in there if _digest(read_bytes(path, "file", _LIMIT)) != digest]


def keep(directory: Path, files: Sequence[Path], write: Callable[[Path, bytes], object]) -> None:
    """Copies into a run directory what its scenario was read from. ``write``: replaces a file at once."""
    rows = {path: (path, digest, copy) for path, digest, copy in _listed(directory)}
    for file in files:
        content = read_bytes(file, "file", _LIMIT)
        digest = _digest(content)
        copy = f"{FOLDER}/{digest[:16]}-{file.name}"
        (directory / FOLDER).mkdir(exist_ok=True)
        write(directory / copy, content)
        rows[str(file.absolute())] = (str(file.absolute()), digest, copy)
    if rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows.values()])
        write(directory / LIST, text.getvalue().encode())


def copies(directory: Path) -> dict[str, Path]:
    """The copies of a run by the absolute paths that its scenario names. Raises SimgmcError for one that is damaged."""
    found = {}
    for path, digest, copy in _listed(directory):
        if _digest(read_bytes(directory / copy, "copy", _LIMIT)) != digest:
            raise SimgmcError(f"{directory / copy}: is not the copy of {path} that {LIST} tells of; put it back")
        found[path] = directory / copy
    return found


def _listed(directory: Path) -> list[tuple[str, str, str]]:
    if not (directory / LIST).is_file():
        return []
    rows = list(csv.reader(io.StringIO(read_text(directory / LIST, "list of files"))))
    inside = all(len(row) == 3 and row[2].startswith(f"{FOLDER}/") and row[2].count("/") == 1 for row in rows[1:])
    if not rows or tuple(rows[0]) != _COLUMNS or not inside:
        raise SimgmcError(f"{directory / LIST}: must have the columns {', '.join(_COLUMNS)}; it is damaged")
    return [(path, digest, copy) for path, digest, copy in rows[1:]]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
