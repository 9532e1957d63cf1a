"""The collectives by name; each is declared in the file that has its flows, in that file's ``COLLECTIVES``."""

from __future__ import annotations

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Registry
from simgmc.costs.steps import Average
from simgmc.network.collectives import (
    lock_step_ring,
    recursive,
    servers,
    sliced_ring,
    sparse,
    trees,
    two_level,
)
from simgmc.network.collectives.collective import CollectiveEntry, adopted
from simgmc.network.collectives.options import SERVERS, SLICES, Options
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule

FIRST_K = servers.FIRST_K
AUTO = "auto"

COLLECTIVES: Registry[CollectiveEntry] = Registry(
    "collective",
    (
        *sliced_ring.COLLECTIVES,
        *lock_step_ring.COLLECTIVES,
        *servers.COLLECTIVES,
        *recursive.COLLECTIVES,
        *trees.COLLECTIVES,
        *two_level.COLLECTIVES,
        *sparse.COLLECTIVES,
    ),
    adopted,
    "simgmc.collectives",
)

CHOICES: Registry[CollectiveEntry] = Registry(
    "collective",
    (
        *COLLECTIVES.values(),
        CollectiveEntry(
            AUTO,
            "whichever is the fastest on this network for a message of that size",
            "-",
            SLICES | SERVERS,
            details="Tried are those of this list. One of one's own, or of an installed package, is not: nothing but "
            "its name says that a scenario means it. A grid over both, "
            '`cluster.collective = ["auto", "my_net:Mine"]`, says which is faster.',
            servers=-1,
            needs_everybody="it chooses by the size of the average, which is known only when it is known who takes "
            "part; name the collective",
        ),
    ),
    adopted,
    "simgmc.collectives",
    listed="collectives",
)
"""What a cluster may name: the collectives, and that one be picked for each message."""


def check(name: str, summable: bool) -> None:
    """Refuse messages that a collective cannot carry, saying which could."""
    if COLLECTIVES[name].carries == "summable" and not summable:
        others = ", ".join(entry.name for entry in COLLECTIVES.values() if entry.carries == "any")
        raise SimgmcError(
            f"collective {name!r} adds messages on their way, but these messages cover different coordinates "
            f"on every worker: use one that carries any message ({others}), or a compressor whose support all workers "
            "share"
        )


def schedule(name: str, average: Average, aggregation: Cost, options: Options = Options()) -> Schedule:
    """The flows of one exchange. ``aggregation``: what adding messages costs."""
    check(name, average.summable)
    build = COLLECTIVES[name].build
    assert build is not None
    return build(average, aggregation, options)
