"""What the figures of a run are drawn from, and what drawing gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from matplotlib.figure import Figure

from simgmc.results.directory.details import Details
from simgmc.results.directory.partition_table import PartitionTable
from simgmc.results.directory.records import SeriesKey
from simgmc.results.figures.trajectories import Surface
from simgmc.results.series.grids import is_large
from simgmc.results.series.loads import Load, loads_of
from simgmc.results.series.read import ComparisonPoint, Results

Figures = dict[str, list[Figure] | None]
"""Figures by file name, a page each. None: the run has nothing of the kind to show. Empty: there would be too many
panels, more than :data:`~simgmc.results.series.grids.MAX_POINTS`."""


@dataclass(frozen=True)
class Material:
    """What the figures of one run are drawn from."""

    results: Results
    target: float | None = None
    """The value to reach of what the run is measured by."""
    baseline: str | None = None
    """The method that findings compare with."""
    surfaces: Mapping[ComparisonPoint, Surface] = field(default_factory=dict)
    """The objective of each grid point where it has two parameters."""
    details: Mapping[SeriesKey, Details] = field(default_factory=dict)
    """What workers and links did; empty of a large grid."""
    partitions: Sequence[PartitionTable] = ()

    @property
    def large(self) -> bool:
        """Whether the grid has too many points for a panel each."""
        return is_large(self.results)

    @cached_property
    def loads(self) -> Sequence[Load]:
        """The details by method and grid point."""
        return loads_of(self.results, self.details)
