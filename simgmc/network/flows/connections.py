"""Messages between two workers go in order, as over one TCP connection or one NCCL channel.

Of each ordered pair of hosts one message at a time takes bandwidth; the next begins when its last
byte has left. Connections share links by max-min fairness, messages of one connection do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from simgmc.network.flows.fluid import FluidNetwork, Transfer


class Connections:
    """The connections of all ordered pairs of hosts, on one network."""

    def __init__(self, network: FluidNetwork):
        self._network = network
        self._waiting: dict[tuple[str, str], deque[Sequence[Transfer]]] = {}
        """Of every pair that has a message under way: those that come after it."""

    def start(self, pair: tuple[str, str], message: Sequence[Transfer]) -> None:
        """A message from the first to the second host is ready, in one part or several that go side by side: it goes
        when all before it have left.
        """
        if pair in self._waiting:
            self._waiting[pair].append(message)
        else:
            self._waiting[pair] = deque()
            self._go(message)

    def _go(self, message: Sequence[Transfer]) -> None:
        for part in message:
            self._network.start(part)

    def left(self, pair: tuple[str, str]) -> None:
        """The last byte of the pair's message under way has left."""
        if self._waiting[pair]:
            self._go(self._waiting[pair].popleft())
        else:
            del self._waiting[pair]
