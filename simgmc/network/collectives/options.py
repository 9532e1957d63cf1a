"""What can be chosen about a collective besides its name."""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.errors import SimgmcError

LATE = ("dropped", "carried")
"""What can become of a late message."""


@dataclass(frozen=True)
class Options:
    """Choices that only some collectives read; each has the usual value as its default."""

    slices: int | None = None
    """Slices a chunk is cut into (sliced rings, trees); None: 8, but none below a packet."""
    servers: int = 1
    """Servers among which the parameters are cut (sharded parameter server)."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Ranks of each site or rack (two-level); empty: from the topology."""
    k: int | None = None
    """Messages a first-k-of-n server waits for; None: all but one."""
    late: str = "dropped"
    """What becomes of a late message of a first-k-of-n server: "dropped", or "carried" into the
    round that it arrives in."""

    def __post_init__(self):
        if self.slices is not None and self.slices < 1:
            raise SimgmcError(f"slices = {self.slices}: must be at least 1")
        if self.servers < 1:
            raise SimgmcError(f"servers = {self.servers}: must be at least 1")
        if self.k is not None and self.k < 1:
            raise SimgmcError(f"k = {self.k}: must be at least 1")
        if self.late not in LATE:
            raise SimgmcError(f"late = {self.late!r}: must be one of {', '.join(LATE)}")
        ranks = [rank for group in self.groups for rank in group]
        if len(set(ranks)) != len(ranks) or any(not group for group in self.groups):
            raise SimgmcError(f"groups = {self.groups}: every worker belongs to exactly one group, none is empty")

    def first(self, workers: int) -> int:
        """How many of so many workers' messages a first-k-of-n server waits for. Raises SimgmcError for more than there are."""
        first = max(workers - 1, 1) if self.k is None else self.k
        if first > workers:
            raise SimgmcError(f"k = {first}: a server cannot wait for more messages than there are workers, {workers}")
        return first
