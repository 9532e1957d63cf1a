"""What a message with nothing in it takes, measured between two processes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Empty:
    """Between the first two ranks of a group, in seconds."""

    round_trip: float | None
    """Of a packet, there and back, the least of a connection; None where the kernel does not tell."""
    message: float
    """Of an empty message, one way: half of what one takes there and another back, the median."""
    each: float
    """Of every further empty message where many are sent one behind the other."""
    rate: float
    """Bytes/s of a large message."""

    @property
    def network(self) -> float | None:
        """Of a packet, one way."""
        return None if self.round_trip is None else self.round_trip / 2

    @property
    def software(self) -> float | None:
        """What an empty message takes beside the network."""
        return None if self.network is None else max(self.message - self.network, 0.0)
