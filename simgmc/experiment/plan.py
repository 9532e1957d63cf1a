"""What is to be trained, and for which points of a scenario's grid.

A synchronous method's mathematics does not depend on the clock. So it is trained once for all grid
points that differ only in the cluster, in other methods, or in a graph that it does not use; the costs
of its rounds are replayed on the other clusters. Where the clock drives the training, or says who takes
part in it, every cluster gives another training.
"""

from __future__ import annotations

from simgmc.core.errors import SimgmcError
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.grid_values import bound, cluster_keys, is_asynchronous, series_key, training_values
from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.experiment.training import Training
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.cluster.compute import MEASURED, DeviceProfile
from simgmc.scenario.workload import Method


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
        _kind(method)(method, seed, tuple(share), own)
        for (_, seed, _), (method, own, mine) in found.items()
        for share in _shares(mine, method)
    ]


def of_one_seed(points: list[GridPoint]) -> list[Training]:
    """Those of the first seed."""
    return [training for training in trainings(points) if training.seed == points[0].scenario.seeds[0]]


def _kind(method: Method) -> type[Training]:
    return AsynchronousTraining if is_asynchronous(method) else SynchronousTraining


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
    """Points at which a method computes the same: all on whose clusters it can be replayed are one share, and each
    cluster on which it cannot is one. Several points can have the same series: then the first of them is in a share."""
    own = list({series_key(point, method, 0): point for point in reversed(points)}.values())[::-1]
    shares: dict[str | None, list[GridPoint]] = {}
    for point in own:
        cluster = repr([point.values[key] for key in cluster_keys(point, method)]) if bound(point, method) else None
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
            "state the times, such as "
            'cluster.compute = { gradient = "10 ms", compression = "1 ms", aggregation = "1 GB/s" }'
        )
