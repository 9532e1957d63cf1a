"""A finished run's trainings on networks that it was not run on, in memory alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.units import Quantity
from simgmc.experiment.plan import trainings
from simgmc.experiment.series import Series as Replayed
from simgmc.experiment.stored import Stored
from simgmc.experiment.synchronous import RoundsFinished, on_all
from simgmc.experiment.training import Training
from simgmc.network.cluster.many import without_events
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.read import Results, Series, compared_at
from simgmc.scenario import GridPoint, ScenarioFile

DENSE = {
    "bandwidth": tuple(10 ** (step / 2) for step in range(-4, 5)),
    "latency": tuple(10 ** (step / 2) for step in range(-2, 3)),
    "compute.gradient": (0.1, 10**-0.5, 1.0, 10**0.5, 10.0),
}
"""The grid around a run's network, times what its cluster states; where all rounds are simulated without events, so
that hundreds of networks take seconds. Elsewhere:"""
COARSE = {"bandwidth": (0.01, 0.1, 1.0, 10.0, 100.0), "latency": (0.1, 1.0, 10.0)}
_FROM_NOTHING = ("0 s", "1 ms", "10 ms", "100 ms")
"""Latencies where it states none."""


def as_read(training: Training, point: GridPoint, one: Replayed, column: str) -> Series:
    """A series as reading a run gives it: its times, and what the run is measured by."""
    columns = {"sim_time_s": one.times, column: _values(one, column)}
    columns |= {"bytes_up": one.bytes_up, "bytes_down": one.bytes_down}
    return Series(training.series(point), columns, one.breakdown)


def _values(series: Replayed, column: str) -> np.ndarray:
    """(E,) what the run is measured by."""
    found = (
        getattr(state, column, None) if hasattr(state, column) else state.others.get(column) for state in series.states
    )
    return np.array([math.nan if value is None else float(value) for value in found])


def around(directory: RunDirectory, file: ScenarioFile, results: Results) -> tuple[Results, list[str]]:
    """The run on a grid around its network, and the methods that cannot be put there.

    Bandwidth, latency and the time of a gradient vary, whichever the cluster states; collectives and the grid's other
    keys stay.
    Raises SimgmcError where nothing varies, or nothing can be replayed.
    """
    stored, column = Stored.read(directory), results.measure.column
    own = [training for training in trainings(file.points) if not training.bound]
    grid = list(_grid(file, DENSE if all(_quick(training, stored) for training in own) else COARSE))
    if not grid:
        raise SimgmcError(
            f"{file.place}: the cluster states neither a bandwidth nor a latency that could vary; replay the run over "
            'a grid first, such as --set \'grid.cluster.compute.gradient=["5 ms", "10 ms", "20 ms"]\''
        )
    after = file.with_settings([(f"grid.{key}", values) for key, values in grid])
    plan = trainings(after.points)
    able = [training for training in plan if not training.bound]
    left_out = list(dict.fromkeys(training.method.name for training in plan if training.bound))
    if not able:
        raise SimgmcError(f"{file.place}: another network gives another training of {', '.join(left_out)}")
    found = tuple(
        as_read(one.training, point, series, column)
        for one, points, several in replayed([(training, training.points) for training in able], stored)
        for point, series in zip(points, several, strict=True)
    )
    return Results(found, results.methods, compared_at(found), results.measure, results.tariff, results.time), left_out


TOGETHER = 4096
"""Series of trainings that are restored, and put on their clusters together, about, and"""
NUMBERS = 2**23
"""numbers in their rounds, about."""


def replayed(
    trainings: Iterable[tuple[Training, Sequence[GridPoint]]], stored: Stored
) -> Iterator[tuple[RoundsFinished, Sequence[GridPoint], Iterable[Replayed]]]:
    """Trainings that no clock drives, restored, and their series on the clusters of these points, each training's to be
    read to their end before the next."""
    several: list[tuple[RoundsFinished, Sequence[GridPoint]]] = []
    series = numbers = 0
    for training, points in trainings:
        finished = training.restored(stored)
        assert isinstance(finished, RoundsFinished)
        own = len(finished.outcome.rounds) * training.scenario.workload.workers
        if several and (series + len(points) > TOGETHER or numbers + own > NUMBERS):
            yield from _of_all(several)
            several, series, numbers = [], 0, 0
        several.append((finished, points))
        series, numbers = series + len(points), numbers + own
    yield from _of_all(several)


def _of_all(
    several: Sequence[tuple[RoundsFinished, Sequence[GridPoint]]],
) -> Iterator[tuple[RoundsFinished, Sequence[GridPoint], Iterable[Replayed]]]:
    if len(several) == 1:  # of many series, perhaps: as they come
        (finished, points) = several[0]
        yield finished, points, finished.on(points)
        return
    for (finished, points), series in zip(several, on_all(several), strict=True):
        yield finished, points, series


def _quick(training: Training, stored: Stored) -> bool:
    rounds = training.restored(stored).outcome.rounds
    return all(without_events([(training.settings(point), rounds) for point in training.points]))


def _grid(file: ScenarioFile, factors: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, list[str]]]:
    cluster = file.points[0].scenario.cluster
    known = {"bandwidth": cluster.bandwidth, "latency": cluster.latency, "compute.gradient": cluster.compute.gradient}
    for key, some in factors.items():
        if (stated := known[key]) is not None:
            yield f"cluster.{key}", _times(stated, some) if float(stated) else list(_FROM_NOTHING)


def _times(quantity: Quantity, factors: Sequence[float]) -> list[str]:
    """So many times a quantity, in its own unit; once is as it was written."""
    number, unit = _WRITTEN.fullmatch(quantity.text.strip()).groups()  # type: ignore[union-attr]  # it was parsed
    return [
        quantity.text if factor == 1.0 else f"{float(f'{float(number) * factor:.3g}'):g} {unit}" for factor in factors
    ]


_WRITTEN = re.compile(r"([-+.\d]+(?:[eE][-+]?\d+)?)\s*(\S+)")
"""A number and its unit."""
