"""The measured time of a training: it stands still while the training is evaluated or saved."""

from __future__ import annotations

import time

from simgmc.distributed.group import Group, Place


class Clock:
    """Seconds since the training began: the same on all ranks of a machine; between machines to a barrier's width."""

    def __init__(self, group: Group):
        self._group = group
        self._zero = time.monotonic()

    def now(self) -> float:
        """Seconds of training until now."""
        return time.monotonic() - self._zero

    def set(self, seconds: float) -> None:
        """All ranks go on together from this time."""
        self._group.wait_for_all()
        self._zero = time.monotonic() - seconds
        host, zero = self._group.told((Place.here().host, self._zero))
        if host == Place.here().host:
            self._zero = zero
