"""Memory that the allocator keeps: how much the process holds, and giving back what is free."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

MAX_HOLES = 0.05
"""Share by which a training may grow before freed memory is given back. Pages that a round takes again
are then filled again, which costs some milliseconds."""


def held() -> float:
    """Bytes of main memory that this process holds now; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return 0.0
    return float(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Return to the system what has been freed and the allocator (glibc) keeps for later, in pieces that may fit
    nothing.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


class Holes:
    """The holes that rounds leave in the heap (see :mod:`simgmc.costs.log`), given back before they add up to more than
    a share of ``MAX_HOLES``.
    """

    def __init__(self) -> None:
        self._limit: float | None = None

    def look(self) -> None:
        """To be called after every round: takes microseconds, unless memory has grown so much."""
        if self._limit is None:  # what a round needs is there now, also after giving back
            self._limit = held() * (1 + MAX_HOLES)
        elif held() > self._limit:
            give_back()
            self._limit = None
