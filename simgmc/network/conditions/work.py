"""How long work at one host takes: compressing, adding messages.

It is always stated, as a duration or as a throughput; there is no default of zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.core.errors import SimgmcError


@dataclass(frozen=True)
class Duration:
    """A fixed number of seconds each time."""

    seconds: float

    def __post_init__(self):
        if not 0 <= self.seconds < float("inf"):
            raise SimgmcError(f"duration {self.seconds!r} must be a finite number of seconds, at least 0")

    def of(self, nbytes: float) -> float:
        """Seconds for one piece of work on ``nbytes`` bytes."""
        return self.seconds

    def part(self, nbytes: float, parts: int) -> float:
        """Seconds for one of ``parts`` equal steps of the work, touching ``nbytes`` bytes."""
        return self.seconds / parts

    def share(self, nbytes: float, share: float) -> float:
        """Seconds for a share of the work, touching ``nbytes`` bytes."""
        return self.seconds * share


@dataclass(frozen=True)
class Throughput:
    """Bytes handled per second."""

    bytes_per_second: float

    def __post_init__(self):
        if not self.bytes_per_second > 0:
            raise SimgmcError(f"throughput {self.bytes_per_second!r} must be above 0 bytes/s")

    def of(self, nbytes: float) -> float:
        """Seconds for one piece of work on ``nbytes`` bytes."""
        return nbytes / self.bytes_per_second

    def part(self, nbytes: float, parts: int) -> float:
        """Seconds for one of several steps of the work, the one that touches ``nbytes`` bytes."""
        return nbytes / self.bytes_per_second

    def share(self, nbytes: float, share: float) -> float:
        """Seconds for the share of the work that touches ``nbytes`` bytes."""
        return nbytes / self.bytes_per_second


Cost = Duration | Throughput
"""Compressing: a duration is per message, a throughput counts the uncompressed bytes that the
compressor reads. Adding: a duration is that of all the adding in one collective, a throughput
counts the encoded bytes that are added."""
