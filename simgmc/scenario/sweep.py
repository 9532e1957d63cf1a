"""The table ``[sweep]``: what is searched for the best, as values of the grid, and what the best is."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from simgmc.core.errors import SimgmcError, show_key, show_value
from simgmc.scenario.components import Real
from simgmc.scenario.tables import Table

RANGES = ("log", "linear")
DIGITS = 4
"""That a searched value is rounded to."""
_MAX_VALUES = 1000


class Halving(Table):
    """Successive halving by Ray Tune's ASHA: of a method's trainings the best part goes on at each rung."""

    first: Annotated[Real, Field(gt=0)] = 1.0
    """Epochs until the first rung; each further one is ``factor`` times as far."""
    factor: Annotated[int, Field(ge=2)] = 3
    """Of so many trainings one goes on."""


class Sweep(Table):
    """What ``simgmc sweep`` searches: keys with values, or a range of them, as in ``[grid]``; and what is best.

    For instance ``"methods.*.learning_rate" = { log = [0.003, 0.3], points = 7 }`` (or ``linear``).
    """

    optimise: Literal["time to target", "final"] | None = None
    """The best settings of a method reach the target soonest, or end best; unless given the former where
    ``report.target`` is stated."""
    halving: Halving | None = None
    """Trainings that promise little are given up early; all are trained to their end unless given. Needs Ray."""


def split(table: Any, place: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """A ``[sweep]`` table as its own keys, and what it searches as keys of the grid with their values.

    Raises SimgmcError for a range that is none.
    """
    if not isinstance(table, dict):
        raise SimgmcError(f"{place}: sweep = {show_value(table)}: must be a table")
    own = {key: value for key, value in table.items() if key in Sweep.model_fields}
    found: dict[str, list[Any]] = {}

    def flatten(value: Any, key: str) -> None:
        if isinstance(value, list):
            found[key] = value
        elif isinstance(value, dict) and not (set(value) & {*RANGES, "points"}):
            for name, one in value.items():
                flatten(one, f"{key}.{name}" if key else name)
        else:
            found[key] = values_of(value, f"{place}: {show_key(['sweep', key])}")

    flatten({key: value for key, value in table.items() if key not in own}, "")
    return own, found


def values_of(table: Any, place: str) -> list[float]:
    """The values of a range such as ``{ log = [0.003, 0.3], points = 7 }``, both ends included."""
    right = "must be a list of values, or a range such as { log = [0.003, 0.3], points = 7 } (or linear)"
    if not isinstance(table, dict) or len(table) != 2 or "points" not in table:
        raise SimgmcError(f"{place} = {show_value(table)}: {right}")
    kind = next(key for key in table if key != "points")
    ends, points = table[kind], table["points"]
    numbers = isinstance(ends, list) and len(ends) == 2 and all(_is_number(end) for end in ends)
    if kind not in RANGES or not numbers:
        raise SimgmcError(f"{place} = {show_value(table)}: {right}")
    low, high = ends
    if not low < high or (kind == "log" and low <= 0):
        above = ", both above 0" if kind == "log" else ""
        raise SimgmcError(f"{place}.{kind} = {show_value(ends)}: must be a smaller and a larger number{above}")
    if not isinstance(points, int) or isinstance(points, bool) or not 2 <= points <= _MAX_VALUES:
        raise SimgmcError(f"{place}.points = {show_value(points)}: must be a whole number from 2 to {_MAX_VALUES:,}")
    shares = [number / (points - 1) for number in range(points)]
    values = [low * (high / low) ** share if kind == "log" else low + (high - low) * share for share in shares]
    return [float(f"{value:.{DIGITS}g}") for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
