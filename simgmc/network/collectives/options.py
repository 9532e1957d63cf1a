"""What can be chosen about a collective besides its name."""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.errors import SimgmcError


@dataclass(frozen=True)
class Options:
    """Choices that only some collectives read; each has the usual value as its default."""

    slices: int | None = None
    """Slices a chunk is cut into (sliced rings, trees); None: 8, but none below a packet."""
    servers: int = 1
    """Servers among which the parameters are cut (sharded parameter server)."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Ranks of each site or rack (two-level); empty: from the topology."""
    first: int | None = None
    """Messages a first-k-of-n server waits for; None: all but one."""
    late: str = "drop"
    """What becomes of a late message of a first-k-of-n server: "drop", or "carry" into the
    next round."""

    def __post_init__(self):
        if self.slices is not None and self.slices < 1:
            raise SimgmcError(f"slices = {self.slices}: must be at least 1")
        if self.servers < 1:
            raise SimgmcError(f"servers = {self.servers}: must be at least 1")
        if self.first is not None and self.first < 1:
            raise SimgmcError(f"first = {self.first}: must be at least 1")
        if self.late not in ("drop", "carry"):
            raise SimgmcError(f"late = {self.late!r}: must be 'drop' or 'carry'")
        ranks = [rank for group in self.groups for rank in group]
        if len(set(ranks)) != len(ranks) or any(not group for group in self.groups):
            raise SimgmcError(f"groups = {self.groups}: every worker belongs to exactly one group, none is empty")
