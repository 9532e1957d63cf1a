"""The collectives by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from simgmc.costs import Average
from simgmc.errors import SimgmcError
from simgmc.network.collectives.parameter_server import parameter_server
from simgmc.network.collectives.ring import ring_all_gather, ring_all_reduce
from simgmc.network.conditions import Cost
from simgmc.network.schedule import Schedule


@dataclass(frozen=True)
class Collective:
    """One way to average the workers' messages."""

    name: str
    summary: str
    """What it does, in one line."""
    source: str
    """Where it was described."""
    carries: str
    """"any": messages of any kind and size; "summable": all messages cover the same
    coordinates, so partial sums keep their size."""
    servers: int
    """Servers it needs besides the workers."""
    build: Callable[[Average, Cost], Schedule]


def _ring(average: Average, aggregation: Cost) -> Schedule:
    return (ring_all_reduce if average.summable else ring_all_gather)(average, aggregation)


COLLECTIVES: dict[str, Collective] = {
    entry.name: entry
    for entry in (
        Collective(
            "parameter-server",
            "one server: every worker pushes, the server adds, everyone pulls the encoded average",
            "Li et al., OSDI 2014",
            "any",
            1,
            parameter_server,
        ),
        Collective(
            "ring",
            "ring all-reduce where messages can be summed on the way, ring all-gather otherwise",
            "Patarasuk & Yuan, JPDC 2009",
            "any",
            0,
            _ring,
        ),
        Collective(
            "ring-all-reduce",
            "reduce-scatter and all-gather round a ring, in lock-step",
            "Patarasuk & Yuan, JPDC 2009",
            "summable",
            0,
            ring_all_reduce,
        ),
        Collective(
            "ring-all-gather",
            "every message goes round the ring, in lock-step; each worker adds them all",
            "Thakur, Rabenseifner & Gropp, IJHPCA 2005",
            "any",
            0,
            ring_all_gather,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Every collective's name."""
    return tuple(COLLECTIVES)


def find(name: str) -> Collective:
    """The collective of that name; an unknown one is refused with the nearest names."""
    try:
        return COLLECTIVES[name]
    except KeyError:
        near = difflib.get_close_matches(name, COLLECTIVES, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise SimgmcError(f"unknown collective {name!r}: must be one of {', '.join(COLLECTIVES)}{hint}") from None


def check(name: str, summable: bool) -> None:
    """Refuse messages that a collective cannot carry, saying which could."""
    collective = find(name)
    if collective.carries == "summable" and not summable:
        others = ", ".join(entry.name for entry in COLLECTIVES.values() if entry.carries == "any")
        raise SimgmcError(
            f"collective {name!r} adds messages on their way, but these messages cover different coordinates "
            f"on every worker: use one that carries any message ({others}), or a compressor whose support all workers share"
        )


def schedule(name: str, average: Average, aggregation: Cost) -> Schedule:
    """The flows of one exchange. ``aggregation``: what adding messages costs."""
    check(name, average.summable)
    return find(name).build(average, aggregation)
