"""One collective against another: time to target of every method over each of them, in one panel."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simgmc.results.figures import bars, heat_maps, lines
from simgmc.results.series import curves, grids
from simgmc.results.series.beside import side_by_side
from simgmc.results.series.read import Results


def collective_figures(results: Results, target: float, onto: Axes | None = None) -> list[Figure] | None:
    """A map over two numeric keys of the grid, lines along one, else bars; None where there are no two collectives.

    [] where more than :data:`~simgmc.results.series.grids.MAX_POINTS` panels would be needed.
    """
    beside = side_by_side(results)
    if beside is None:
        return None
    if grids.axes_of(beside):
        return heat_maps.winner_maps(beside, target, None, onto)
    if keys := curves.numeric_keys(beside):
        few = grids.group_count(beside, keys[:1]) <= grids.MAX_POINTS
        return lines.target_sweep(beside, keys[0], target, None, onto) if few else []
    return [] if grids.is_large(beside) else bars.target_bars(beside, target, None, onto)
