"""What can be chosen about a collective besides its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Numbers, Option, read_options

SLICES = {
    "slices": Option(
        "slices that a chunk is cut into; unless given 8 (trees: 10 a level; servers: 1), none below a packet",
        int, None, at_most=4096,
    )
}  # fmt: skip
SERVERS = {
    "servers": Option(
        "servers among which the parameters are cut; of sharded-parameter-server one for each worker unless given",
        int, None, at_most=10_000,
    )
}  # fmt: skip
SHARDS = {
    "shards": Option(
        "how the parameters are cut: alike for every server, or in proportion to the bandwidth of the servers' links "
        "(the smaller of both directions); equal unless given",
        str, None, ("equal", "bandwidth"),
    )
}  # fmt: skip
K_OF_N = {
    "k": Option("messages that the server waits for; those of all workers but one unless given", int, None),
    "late": Option(
        "what becomes of a late message: lost, or carried into the round in which it arrives; dropped unless given",
        str, None, ("dropped", "carried"),
    ),
}  # fmt: skip
GROUPS = {
    "groups": Numbers(
        "workers of each site or node, by number; those of the topology's sites, racks, pods or nodes unless given",
        default=None,
        depth=2,
        shape="a list of lists of workers' numbers, such as [[0, 1], [2, 3]]",
    )
}
Groups = tuple[tuple[int, ...], ...]
"""Ranks of each site, rack or node."""
OPTIONS = SLICES | SERVERS | SHARDS | K_OF_N | GROUPS
"""All of them by name; each collective reads its own."""


@dataclass(frozen=True)
class Options:
    """Choices that only some collectives read; each has the usual value as its default."""

    slices: int | None = None
    """Slices a chunk is cut into (sliced rings, trees); None: 8, of trees at least 10 per level, none below a
    packet."""
    servers: int = 1
    """Servers among which the parameters are cut (sharded parameter server)."""
    shards: str | None = None
    """How the parameters are cut: "equal", or in proportion to the servers' "bandwidth"; None: equal."""
    shares: tuple[float, ...] = ()
    """What each server's shard is in proportion to, from the network; empty: all equal."""
    groups: Groups = ()
    """Ranks of each site, rack or node (two-level, nccl-tree); empty: from the topology."""
    k: int | None = None
    """Messages a first-k-of-n server waits for; None: all but one."""
    late: str = "dropped"
    """What becomes of a late message of a first-k-of-n server: "dropped", or "carried" into the
    round that it arrives in."""

    own: tuple[tuple[str, Any], ...] = ()
    """The options of a collective of one's own."""

    def __post_init__(self):
        ranks = [rank for group in self.groups for rank in group]
        if len(set(ranks)) != len(ranks) or any(not group for group in self.groups):
            raise SimgmcError(f"groups = {self.groups}: every worker belongs to exactly one group, none is empty")
        read_options(
            OPTIONS,
            {name: getattr(self, name) or None if name == "groups" else getattr(self, name) for name in OPTIONS},
        )

    def first(self, workers: int) -> int:
        """How many of so many workers' messages a first-k-of-n server waits for. Raises SimgmcError for more than there
        are.
        """
        first = max(workers - 1, 1) if self.k is None else self.k
        if first > workers:
            raise SimgmcError(f"k = {first}: a server cannot wait for more messages than there are workers, {workers}")
        return first


def workers_by_group(groups: Groups, workers: int, name: str) -> Groups:
    """The groups that a collective needs. Raises SimgmcError where there are none, or not every worker is in one."""
    if not groups:
        raise SimgmcError(
            f"{name} needs groups of workers: the network has no sites, racks or pods, and none were stated"
        )
    if sorted(rank for group in groups for rank in group) != list(range(workers)):
        raise SimgmcError(f"groups = {groups}: every one of the {workers} workers belongs to exactly one group")
    return groups
