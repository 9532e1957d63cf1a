"""Messages between two workers go in order, as over one TCP connection or one NCCL channel.

Of each ordered pair of hosts one message at a time takes bandwidth; the next begins when its last
byte has left. Connections share links by max-min fairness, messages of one connection do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Connections:
    """The connections of all ordered pairs of hosts, on one network."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], deque[Callable[[], None]]] = {}
        """Of every pair that has a message under way: what starts those that come after it."""

    def start(self, pair: tuple[str, str], go: Callable[[], None]) -> None:
        """A message from the first to the second host is ready: it goes when all before it have left."""
        if pair in self._waiting:
            self._waiting[pair].append(go)
        else:
            self._waiting[pair] = deque()
            go()

    def left(self, pair: tuple[str, str]) -> None:
        """The last byte of the pair's message under way has left."""
        if self._waiting[pair]:
            self._waiting[pair].popleft()()
        else:
            del self._waiting[pair]
