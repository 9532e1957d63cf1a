"""Published files of data sets: found in the data directory, compared with what was published, read.

A data set may be published in several forms (an archive, the folder unpacked from it, compressed
files or not); the first form that is all there is taken. Plain Python.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.files import read_bytes

DATA_VARIABLE = "SIMGMC_DATA"
"""The environment variable that names the data directory."""


@dataclass(frozen=True)
class File:
    """A published file: its path in the data directory, and what is known of it."""

    path: str
    nbytes: int | None = None
    """Size; None where it was not published."""
    algorithm: str = ""
    """Of the checksum; empty where none was published (the format is checked when it is read)."""
    checksum: str = ""


@dataclass(frozen=True)
class Form:
    """One form in which a data set is published.

    ``read`` maps the contents by path to the data set. Where there are ``members`` the only file is a
    compressed tar archive, and ``read`` gets these files out of it.
    """

    files: tuple[File, ...]
    read: Callable[[Mapping[str, bytes]], Any]
    members: tuple[str, ...] = ()

    def __str__(self) -> str:
        paths = [file.path for file in self.files]
        return paths[0] if len(paths) == 1 else ", ".join(paths)


def data_directory(argument: str | os.PathLike | None = None) -> Path | None:
    """The data directory: the argument, else the environment variable SIMGMC_DATA, else None."""
    chosen = argument or os.environ.get(DATA_VARIABLE)
    if not chosen:
        return None
    try:
        return Path(chosen).expanduser()
    except RuntimeError:
        raise SimgmcError(f"data directory {str(chosen)!r}: there is no such user; give the whole path") from None


def find_form(name: str, forms: tuple[Form, ...], data_dir: str | os.PathLike | None, obtain: str) -> tuple[Form, Path]:
    """The first form whose files are all there, each of its published size, and the directory; reads no contents.

    Args:
        name: of the data set.
        data_dir: as of :func:`data_directory`.
        obtain: where the files come from, for the error.

    Raises:
        SimgmcError: there is no directory, no form is all there (says which file of the nearest one
            is missing), or a file has another size.
    """
    directory = data_directory(data_dir)
    if directory is None:
        raise SimgmcError(
            f"dataset {name!r} needs a data directory: give --data-dir or set {DATA_VARIABLE}. It must hold "
            f"{'; or '.join(map(str, forms))}. {obtain}"
        )
    missing = {form: [file for file in form.files if not (directory / file.path).is_file()] for form in forms}
    form = next((form for form in forms if not missing[form]), None)
    if form is None:
        begun = [form for form in forms if len(missing[form]) < len(form.files)]
        nearest = begun[0] if begun else forms[0]
        others = f" and {len(missing[nearest]) - 1} more" if len(missing[nearest]) > 1 else ""
        instead = [str(other) for other in forms if other is not nearest and len(other.files) == 1]
        raise SimgmcError(
            f"dataset {name!r}: missing {missing[nearest][0].path}{others}"
            + (f" (or instead {' or '.join(instead)})" if instead else "")
            + f", looked for in {directory.absolute()} (--data-dir or {DATA_VARIABLE} names another place). {obtain}"
        )
    for file in form.files:
        found = (directory / file.path).stat().st_size
        if file.nbytes is not None and found != file.nbytes:
            raise SimgmcError(
                f"dataset {name!r}: {directory.absolute() / file.path} is damaged: {found} bytes, "
                f"the published file has {file.nbytes}. {obtain}"
            )
    return form, directory


def read_form(name: str, form: Form, directory: Path, obtain: str) -> Any:
    """Read a form, every file compared with its published checksum.

    Raises:
        SimgmcError: a file cannot be read, or its checksum is another one (both are given).
    """
    contents = {}
    for file in form.files:
        path = directory / file.path
        contents[file.path] = content = read_bytes(path, f"file of dataset {name!r}", None)
        if file.checksum:
            found = hashlib.new(file.algorithm, content).hexdigest()
            if found != file.checksum:
                raise SimgmcError(
                    f"dataset {name!r}: {path.absolute()} is damaged: its {file.algorithm} is {found}, "
                    f"that of the published file {file.checksum}; remove it and get it again. {obtain}"
                )
    if form.members:
        ((path, content),) = contents.items()
        contents = unpack(content, path, form.members)
    return form.read(contents)


def unpack(content: bytes, name: str, members: tuple[str, ...]) -> dict[str, bytes]:
    """Named files out of a compressed tar archive, in this order; nothing is written to disk.

    Raises:
        SimgmcError: not a readable archive, or a member is missing.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
            found = {}
            for entry in archive:
                place = entry.name.removeprefix("./")
                if place in members and entry.isfile():
                    found[place] = archive.extractfile(entry).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SimgmcError(f"{name}: not a readable tar archive: {error}") from error
    for member in members:
        if member not in found:
            raise SimgmcError(f"{name}: holds no {member}")
    return {member: found[member] for member in members}
