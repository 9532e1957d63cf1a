"""Being asked to stop (Ctrl-C, SIGTERM, SIGHUP): a training under way is saved first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SAVED_EVERY = 60.0
"""Seconds of wall time between two savings of a training under way, unless they are stated."""
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_NOTICE = b"\nstopping: this round is finished and saved first (the same again stops at once)\n"


class Interruption:
    """Whether the run was asked to stop, and when it obeys.

    While :meth:`listening`, a signal raises KeyboardInterrupt (with its number as argument) at
    once, but inside :meth:`held` it waits for :meth:`obey` or for the end of that block; a second
    one does not wait. Where signals cannot be heard (outside the main thread) nothing changes.
    """

    def __init__(self, silent: bool = False) -> None:
        """``silent``: whoever passes signals on says so."""
        self._silent = silent
        self._held = False
        self._asked: int | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal waits to be obeyed."""
        return self._asked is not None

    def ask(self) -> None:
        """Ask to stop, as a signal that waits would."""
        self._asked = signal.SIGINT

    def obey(self) -> None:
        """Raise KeyboardInterrupt, if a signal waits."""
        if self._asked is not None:
            number, self._asked = self._asked, None
            raise KeyboardInterrupt(number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals that would otherwise end the process; those that it ignores stay ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        usual = (signal.SIG_DFL, signal.default_int_handler)
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        heard = [number for number in _SIGNALS if before[number] in usual]
        for number in heard:
            signal.signal(number, self._hear)
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, before[number])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Signals wait in here."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.obey()

    def _hear(self, number: int, frame: Any) -> None:
        if not self._held or self._asked is not None:
            self._asked = None
            raise KeyboardInterrupt(number)
        self._asked = number
        if self._silent:
            return
        try:
            os.write(2, _NOTICE)
        except OSError:
            return  # nobody is listening any more, as after SIGHUP
