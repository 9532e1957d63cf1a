"""What a collective says of itself: its name, what it can carry, and how its flows are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simgmc.core.registry import Entry
from simgmc.costs.steps import Average
from simgmc.network.collectives.options import Options
from simgmc.network.collectives.schedule import Schedule
from simgmc.network.conditions.work import Cost

Build = Callable[[Average, Cost, Options], Schedule]
"""From the sizes of one exchange, the cost of adding and the options to its flows."""


@dataclass(frozen=True)
class Collective(Entry):
    """One way to average the workers' messages; its options are those of :class:`Options` that it reads."""

    carries: str = "any"
    """"any": messages of any kind and size; "summable": all messages cover the same
    coordinates, so partial sums keep their size."""
    build: Build | None = None
    """None: it stands for another one, picked for each message."""
    servers: int = 0
    """Servers it needs besides the workers; -1: as many as the options say."""
    one_structure: bool = False
    """Whether its graph depends on the number of workers and the options alone, not on sizes."""
    needs_unions: bool = False
    """Whether sparse messages need recorded union sizes (``Average.partial``)."""
    sends_average: bool = False
    """Whether the size of the average matters: someone sends it."""
    changes_average: bool = False
    """Whether it leaves messages out, so that it computes something else than the average."""
    round_a_ring: bool = False
    """Whether every worker sends to the next one alone."""
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
