"""One writer at a time in a run directory: a lock that the operating system gives back when its holder ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simgmc.core.errors import SimgmcError, reason

try:
    import fcntl
except ImportError:  # no flock on this system: runs are not kept apart there
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"
"""The file in the run directory that the writer holds; it is there while a run writes, or after one was killed."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Makes the directory if needed and holds it; the lock is given back at the end, or when the process is killed.

    Raises SimgmcError where another process writes there, or the directory cannot be made.
    """
    path = Path(path)
    file = path / LOCK_NAME
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise SimgmcError(f"cannot make the run directory {path}: {reason(error)}") from None
    if fcntl is None:
        yield
        return
    descriptor = _held(path, file)
    try:
        yield
    finally:
        # Removed while it is still held: whoever opened it meanwhile sees that it is gone, see _held.
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _held(path: Path, file: Path) -> int:
    """The descriptor of the locked file."""
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SimgmcError(f"cannot write to {file}: {reason(error)}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
        except FileNotFoundError:
            pass  # another writer ended between opening and locking: try again
        except BlockingIOError:
            os.close(descriptor)
            raise SimgmcError(
                f"{path}: another simgmc run or replay is writing there now; wait for it, "
                "or choose another directory with --out"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise SimgmcError(f"cannot lock {file}: {reason(error)}") from None
        os.close(descriptor)
