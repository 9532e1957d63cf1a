"""All conditions that a scenario can state, in the order in which they are written down."""

from __future__ import annotations

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
