"""Long simulations say how far they are, to whoever listens: nothing else would be heard of a round of many events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

BEAT = 2**15
"""Instants of a simulation between two beats: a second, about."""

_listeners: list[Callable[[float], None]] = []


def beat(seconds: float) -> None:
    """A simulation has come to this simulated time."""
    if _listeners:
        _listeners[-1](seconds)


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Tell the listener, and no one who listened before, until this ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
