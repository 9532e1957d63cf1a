"""A plane of the grid as two axes: where the values of its keys lie, where cells end, which numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from simgmc.core.quantities import axis_unit
from simgmc.results.figures import panels
from simgmc.results.series.grids import Group, Key


@dataclass(frozen=True)
class Scale:
    """Where a key's values lie on an axis: at their logarithms, at themselves, or evenly spaced."""

    kind: str
    places: np.ndarray
    """(values,) ascending."""

    @classmethod
    def of(cls, key: Key) -> Scale:
        """Logarithmic or linear, whichever spaces the values more evenly; evenly where neither does well.

        Evenly: in no more than 0.6 relative deviation of the steps, so that 1, 2, 5, 10 ... are
        logarithmic and 0, 1, 10, 100 are neither.
        """
        values = np.array(key.values)
        choices = {"linear": values} | ({"log": np.log10(values)} if (values > 0).all() else {})
        uneven = {kind: float(np.std(np.diff(at)) / np.mean(np.diff(at))) for kind, at in choices.items()}
        kind = min(uneven, key=uneven.get)
        return cls(kind, choices[kind]) if uneven[kind] <= 0.6 else cls("even", np.arange(len(values), dtype=float))

    @property
    def edges(self) -> np.ndarray:
        """(values + 1,): half way between neighbours, and as far beyond the first and the last."""
        middle = (self.places[1:] + self.places[:-1]) / 2
        return np.concatenate([[2 * self.places[0] - middle[0]], middle, [2 * self.places[-1] - middle[-1]]])


def _ticks(key: Key, scale: Scale) -> tuple[list[float], list[str], str]:
    """Places and texts of numbers, and the axis's name with the unit."""
    values = np.array(key.values)
    size, unit = _unit(key)
    low, high = scale.edges[[0, -1]]
    if scale.kind == "log" and high - low >= 1.5:
        step = math.ceil((high - low) / 6)
        start = math.ceil(low - math.log10(size))
        round_ones = [10.0**power * size for power in range(start, math.floor(high - math.log10(size)) + 1, step)]
        places = [math.log10(value) for value in round_ones]
    else:
        chosen = np.linspace(0, len(values) - 1, min(len(values), 6)).round().astype(int)
        places, round_ones = scale.places[chosen].tolist(), values[chosen].tolist()
    texts = [panels.plain(float(f"{value / size:.4g}")) for value in round_ones]
    return places, texts, f"{key.text} ({unit})" if unit else key.text


def _unit(key: Key) -> tuple[float, str]:
    positive = [value for value in key.values if value > 0] or [1.0]
    if key.unit == "s":
        return axis_unit("time", min(positive), max(positive), log=True)
    if key.unit:
        size, prefixed = axis_unit("bytes", min(positive), max(positive), log=True)
        return size, prefixed.removesuffix("B") + key.unit
    return 1.0, ""


def frame(axis: Axes, plane: Group, *, bottom: bool, left: bool) -> None:
    """Limits and ticks of both axes; ``bottom``, ``left``: whether they are named."""
    across, up = (Scale.of(key) for key in plane.keys)
    for one, key, scale, named in ((axis.xaxis, plane.keys[0], across, bottom), (axis.yaxis, plane.keys[1], up, left)):
        places, texts, name = _ticks(key, scale)
        one.set_major_locator(FixedLocator(places))
        one.set_major_formatter(FixedFormatter(texts))
        one.set_minor_locator(FixedLocator(scale.places.tolist()))
        one.set_minor_formatter(FixedFormatter([]))
        if named:
            one.set_label_text(name)
    axis.set_xlim(across.edges[[0, -1]])
    axis.set_ylim(up.edges[[0, -1]])
    axis.grid(visible=False)
    axis.tick_params(which="both", top=False, right=False)
    for spine in axis.spines.values():
        spine.set_visible(True)
