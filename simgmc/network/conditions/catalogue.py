"""All conditions that a scenario can state, in the order in which they are written down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from simgmc.core.declared import OWN, Declared, Tables, described_class, require_class
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


@dataclass(frozen=True)
class OwnConditionEntry(Entry):
    """A condition of one's own."""

    condition: type[Condition] = field(kw_only=True)


def _entry(kind: type[Condition]) -> Entry:
    summary, details = described_class(kind)
    return Entry(kind.key, summary, f"cluster.{kind.key} of a scenario", dict(_options(kind)), details=details)


def _adopted(name: str, found: Any) -> OwnConditionEntry:
    """The entry of a condition of one's own. Raises SimgmcError for what is none."""
    require_class(name, found, Condition, "")
    if "key" not in vars(found):
        found.key = name
    summary, details = described_class(found)
    source = getattr(found, "source", OWN)
    return OwnConditionEntry(name, summary, source, dict(_options(found)), details=details, condition=found)


ENTRIES: Registry[Entry] = Registry(
    "condition", [_entry(kind) for kind in CONDITIONS], _adopted, "simgmc.conditions", listed="conditions"
)
"""The conditions as ``simgmc list`` shows them; their source is the key that states them."""
