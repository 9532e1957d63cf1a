"""All conditions that a scenario can state, in the order in which they are written down."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from simgmc.core.declared import Declared, Tables
from simgmc.core.registry import Entry, Option, Registry
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.crashes import Crashes
from simgmc.network.conditions.jitter import Jitter
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.overlap import Overlap
from simgmc.network.conditions.pauses import Pauses
from simgmc.network.conditions.stragglers import Stragglers

CONDITIONS: tuple[type[Condition], ...] = (
    Overheads,
    Stragglers,
    Pauses,
    Overlap,
    Jitter,
    NetworkChanges,
    Crashes,
)


def _options(kind: type[Declared], before: str = "") -> Iterator[tuple[str, Option]]:
    """The keys of a table and of the tables in it, such as ``failures.down``."""
    for name, option in kind.options().items():
        if isinstance(option, Tables):
            yield from _options(option.entries, f"{before}{name}.")
        else:
            yield before + name, option


def _entry(kind: type[Condition]) -> Entry:
    summary, _, details = (inspect.getdoc(kind) or "").replace("``", "").partition("\n")
    return Entry(kind.key, summary, f"cluster.{kind.key} of a scenario", dict(_options(kind)), details=details.strip())


ENTRIES: Registry[Entry] = Registry("condition", [_entry(kind) for kind in CONDITIONS], listed="conditions")
"""The conditions as ``simgmc list`` shows them; their source is the key that states them."""
