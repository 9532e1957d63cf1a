"""What is to be trained, and for which points of a scenario's grid.

A synchronous method's mathematics does not depend on the clock. So it is trained once for all grid
points that differ only in the cluster, in other methods, or in a graph that it does not use; the costs
of its rounds are replayed on the other clusters. Where the clock drives the training, or says who takes
part in it, every cluster gives another training.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from simgmc.algorithms import ALGORITHMS
from simgmc.core.errors import SimgmcError, show_value
from simgmc.costs.steps import Participation
from simgmc.network import ClusterSettings
from simgmc.results.directory.run_directory import COLLECTIVE_KEY, SeriesKey
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.cluster import MEASURED, DeviceProfile
from simgmc.scenario.workload import Method


@dataclasses.dataclass(frozen=True)
class Training:
    """One training run and the clusters that it is timed on."""

    method: Method
    seed: int
    points: tuple[GridPoint, ...]
    """The grid points at which the method computes the same."""
    keys: tuple[str, ...] = ()
    """The grid's keys that change what it computes."""

    @property
    def scenario(self) -> Scenario:
        """The training half is that of every point."""
        return self.points[0].scenario

    @property
    def key(self) -> str:
        """Name of this training in the run directory."""
        return ", ".join([self.method.name, f"seed {self.seed}", *(f"{k} {v}" for k, v in self.values.items())])

    @property
    def title(self) -> str:
        """The same for people, values as a scenario writes them."""
        values = (
            f"{key} = {value if isinstance(value, str) else show_value(value)}" for key, value in self.values.items()
        )
        return ", ".join([self.method.name, f"seed {self.seed}", *values])

    @property
    def asynchronous(self) -> bool:
        """Whether the simulated clock drives it."""
        return ALGORITHMS[self.method.algorithm].asynchronous

    @property
    def values(self) -> dict[str, Any]:
        """The grid values that make it another training than the method's others."""
        point = self.points[0]
        keys = (*self.keys, *_cluster_keys(point, self.method)) if self.bound else self.keys
        return {key: value for key, value in point.values.items() if key in keys}

    @property
    def participation(self) -> Participation:
        """Who is in an average, where the clock does not drive the training."""
        return participation(self.scenario, self.method)

    @property
    def bound(self) -> bool:
        """Whether it is a training of its one cluster alone."""
        return bound(self.points[0], self.method)

    def series(self, point: GridPoint) -> SeriesKey:
        """The series that this training gives on a point's cluster; the same on those that differ only
        in a collective that the method does not use."""
        return _series(point, self.method, self.seed)

    def covers(self, point: GridPoint) -> bool:
        """Whether one of its series is that of a point."""
        return self.series(point) in map(self.series, self.points)


def training_values(point: GridPoint) -> dict[str, Any]:
    """The grid values that change what some method computes, not only when."""
    return {key: value for key, value in point.values.items() if not _of_cluster(key)}


def _of_cluster(key: str) -> bool:
    return key.split(".")[0] == "cluster"


def _cluster_keys(point: GridPoint, method: Method) -> list[str]:
    """The grid's keys of the cluster that matter to a method: not the collective where it uses none."""
    uses_it = point.scenario.transport(method).is_collective
    return [key for key in point.values if _of_cluster(key) and (uses_it or key != COLLECTIVE_KEY)]


def _series(point: GridPoint, method: Method, seed: int) -> SeriesKey:
    return SeriesKey(method.name, point.scenario.transport(method), seed, point.values)


def bound(point: GridPoint, method: Method) -> bool:
    """Whether every cluster gives another training: the clock drives it, says who takes part in it, or when it is evaluated."""
    timed = point.scenario.workload.evaluation_interval()[1] == "seconds"
    return timed or ALGORITHMS[method.algorithm].asynchronous or participation(point.scenario, method) != "all"


def participation(scenario: Scenario, method: Method) -> Participation:
    """Who is in the averages of a synchronous method."""
    if ALGORITHMS[method.algorithm].asynchronous:
        return "all"
    return scenario.cluster.participation(scenario.workload.workers)


def trainings(points: list[GridPoint]) -> list[Training]:
    """All trainings of a scenario file, in the order in which they run."""
    groups: dict[str, list[GridPoint]] = {}
    for point in points:
        groups.setdefault(repr(training_values(point)), []).append(point)
    keys = _keys_by_method([group[0] for group in groups.values()])
    found: dict[tuple[str, int, str], tuple[Method, tuple[str, ...], list[GridPoint]]] = {}
    for group in groups.values():
        scenario = group[0].scenario
        for seed in scenario.seeds:
            for method, own in zip(scenario.methods, keys, strict=False):
                values = repr([group[0].values[key] for key in own])
                found.setdefault((method.name, seed, values), (method, own, []))[2].extend(group)
    return [
        Training(method, seed, tuple(share), own)
        for (_, seed, _), (method, own, mine) in found.items()
        for share in _shares(mine, method)
    ]


def _keys_by_method(points: list[GridPoint]) -> list[tuple[str, ...]]:
    """By a method's place in the scenario: the grid's keys that change what it computes, and those of one value.

    ``points``: one of each combination of values that a training may depend on.
    """
    values = [training_values(point) for point in points]
    others = {
        key: [repr({other: one for other, one in own.items() if other != key}) for own in values] for key in values[0]
    }
    found = []
    for number in range(max(len(point.scenario.methods) for point in points)):
        computed = [_computed(point.scenario, number) for point in points] if others else []
        different = {
            key: len(set(zip(alike, computed, strict=True))) - len(set(alike)) for key, alike in others.items()
        }
        found.append(tuple(key for key, more in different.items() if more or len(set(others[key])) == len(points)))
    return found


def _computed(scenario: Scenario, number: int) -> str:
    """All that the number-th method's training follows from, but for the clock."""
    if number >= len(scenario.methods):
        return ""
    method = scenario.methods[number]
    shared = scenario.gossip if scenario.has_graph(method) and method.gossip is None else None
    return repr((scenario.workload, scenario.optimizer, method, shared))


def _shares(points: list[GridPoint], method: Method) -> list[list[GridPoint]]:
    """Points at which a method computes the same: those on whose clusters it can be replayed, and each
    cluster for itself where it cannot. Of points that it has the same series for the first."""
    own = list({_series(point, method, 0): point for point in reversed(points)}.values())[::-1]
    shares: dict[str | None, list[GridPoint]] = {}
    for point in own:
        cluster = repr([point.values[key] for key in _cluster_keys(point, method)]) if bound(point, method) else None
        shares.setdefault(cluster, []).append(point)
    return sorted(shares.values(), key=lambda share: bound(share[0], method))


def times_are_stated(points: list[GridPoint]) -> bool:
    """Whether no cluster has a time left to be measured or taken from a profile."""
    compute = [point.scenario.cluster.compute for point in points]
    return not any(
        isinstance(one, DeviceProfile) or MEASURED in (one.gradient, one.compression, one.aggregation)
        for one in compute
    )


def require_stated_times(points: list[GridPoint], place: str) -> None:
    """Raises SimgmcError where a time would have to be measured: only a training can."""
    if not times_are_stated(points):
        raise SimgmcError(
            f"{place}: cluster.compute: nothing is trained here, so no time can be measured or taken from a profile; "
            'state the times, such as cluster.compute = { gradient = "10 ms", compression = "1 ms", aggregation = "1 GB/s" }'
        )


def cluster_settings(scenario: Scenario, method: Method, seed: int) -> ClusterSettings:
    """The network half of one point; compute times must be stated (resolved) by now."""
    return scenario.cluster.settings(scenario.workload.workers, seed, method.compression_time)
