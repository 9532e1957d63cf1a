"""A run seen with all collectives in one place: each method over each collective as a method of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from simgmc.results.series.read import ComparisonPoint, Results, transport_text


class Over(str):
    """The name of a method over one of several collectives: ``GMC over ring``."""

    method: str
    place: int
    """Of the collective among those of the run."""

    def __new__(cls, method: str, transport: str, place: int) -> Over:
        made = super().__new__(cls, f"{method} over {transport}")
        made.method, made.place = method, place
        return made


@dataclass(frozen=True)
class SideBySide(Results):
    """Results whose points are networks, and whose methods say the collective where there are several."""

    @cached_property
    def names(self) -> dict[str, str]:
        """Methods as they are: their names say what carries their messages."""
        return {method: method for method in self.methods}

    def label(self, point: ComparisonPoint) -> str:
        """The grid's values that vary; of one network what is seen on it."""
        return ", ".join(self.values(point)) or "every method over every collective"


def side_by_side(results: Results) -> SideBySide | None:
    """The same series with a method for each method over each collective; None where there are no two collectives."""
    used = dict.fromkeys(one.key.transport for one in results.series if one.key.transport.is_collective)
    places = {transport: place for place, transport in enumerate(used)}
    if len(places) < 2:
        return None
    names = {
        (method, transport): Over(method, transport_text(transport), place)
        for method in results.methods
        for transport, place in places.items()
    }
    series = tuple(
        replace(one, key=replace(one.key, method=names.get((one.key.method, one.key.transport), one.key.method)))
        for one in results.series
    )
    there = {one.key.method for one in series}
    methods = tuple(
        name
        for method in results.methods
        for name in (*(names[method, transport] for transport in places), method)
        if name in there
    )
    points = tuple(dict.fromkeys(ComparisonPoint(None, one.key.grid) for one in series))
    return SideBySide(series, methods, points, results.measure, results.tariff)
