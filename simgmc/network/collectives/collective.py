"""What a collective says of itself: its name, what it can carry, and how its flows are made; and what one's own is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from simgmc.core.declared import Part, require_class
from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.core.registry import Entry
from simgmc.costs.steps import Average
from simgmc.network.collectives.flows import Flows
from simgmc.network.collectives.options import OPTIONS, Options
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule

Build = Callable[[Average, Cost, Options], Schedule]
"""From the sizes of one exchange, the cost of adding and the options to its flows."""


@dataclass(frozen=True)
class CollectiveEntry(Entry):
    """One way to average the workers' messages; its options are those of :class:`Options` that it reads."""

    carries: str = "any"
    """"any": messages of any kind and size; "summable": all messages cover the same
    coordinates, so partial sums keep their size."""
    build: Build | None = None
    """None: it stands for another one, picked for each message."""
    servers: int = 0
    """Servers it needs besides the workers; -1: as many as the options say."""
    needs_unions: bool = False
    """Whether sparse messages need recorded union sizes (``Average.partial``)."""
    sends_average: bool = False
    """Whether the size of the average matters: someone sends it."""
    changes_average: bool = False
    """Whether it leaves messages out, so that it computes something else than the average."""
    round_a_ring: bool = False
    """Whether every worker sends to the next one alone."""
    all_to_all: bool = False
    """Whether every worker sends to every other."""
    groups_needed: int = 0
    """Sites, racks or nodes of workers that it needs at least."""
    needs_everybody: str = ""
    """Why no worker can be left out of it; empty: one can."""

    def servers_needed(self, options: Options) -> int:
        """How many server hosts an exchange with these options uses."""
        return options.servers if self.servers < 0 else self.servers


def either(all_reduce: Build, all_gather: Build) -> Build:
    """The all-reduce where messages can be summed on the way, the all-gather otherwise."""

    def build(average: Average, aggregation: Cost, options: Options) -> Schedule:
        return (all_reduce if average.summable else all_gather)(average, aggregation, options)

    return build


THAKUR = "Thakur, Rabenseifner & Gropp, IJHPCA 2005"


@dataclass(frozen=True)
class Collective(Part):
    """A collective of one's own: a frozen dataclass of its options, and the flows of one exchange."""

    carries: ClassVar[Literal["any", "summable"]] = "any"
    """"summable": messages that all cover the same coordinates, so that partial sums keep their size."""
    servers: ClassVar[int] = 0
    """Servers that it needs besides the workers."""
    needs_everybody: ClassVar[str] = ""
    """Why no worker can be left out of it; empty: one can."""

    def send(self, flows: Flows, average: Average, aggregation: Cost) -> None:
        """Say what is sent, from whom to whom and after what, until every worker has the average.

        Args:
            flows: takes the transfers, and the work between them.
            average: the sizes of one exchange: ``average.up[k]`` bytes of worker k's message, ``average.down`` of the
                average as a server would send it, ``average.summable``.
            aggregation: ``aggregation.of(nbytes)`` seconds to add messages of so many bytes.
        """
        raise NotImplementedError


def adopted(name: str, found: Any) -> CollectiveEntry:
    """The entry of a collective of one's own. Raises SimgmcError for what is none."""
    require_class(name, found, Collective, "send")
    if taken := sorted(set(found.options()) & set(OPTIONS)):
        raise SimgmcError(f"{name}: its option {taken[0]} has the name of one of other collectives; call it otherwise")

    def build(average: Average, aggregation: Cost, options: Options) -> Schedule:
        flows = Flows(len(average.up), found.servers)
        own = found(**dict(options.own))
        guarded(f"collective {name}", "send failed", lambda: own.send(flows, average, aggregation))
        try:
            return flows.schedule()
        except SimgmcError as error:
            raise SimgmcError(f"collective {name}: {error}") from None

    return CollectiveEntry(
        **found.described(name),
        carries=found.carries,
        build=build,
        servers=found.servers,
        sends_average=True,
        needs_everybody=found.needs_everybody,
    )
