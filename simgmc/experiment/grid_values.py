"""Which of a grid's values change what a method computes, and which only when: what makes points one training."""

from __future__ import annotations

from typing import Any

from simgmc.algorithms import ALGORITHMS
from simgmc.costs.steps import Participation
from simgmc.results.directory.records import COLLECTIVE_KEY, SeriesKey, grid_texts
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.workload import Method


def is_asynchronous(method: Method) -> bool:
    """Whether a method is asynchronous: the simulated clock then drives its training."""
    return ALGORITHMS[method.algorithm].asynchronous


def participation(scenario: Scenario, method: Method) -> Participation:
    """Who is in the averages of a synchronous method."""
    return "all" if is_asynchronous(method) else scenario.cluster.participation(scenario.workload.workers)


def bound(point: GridPoint, method: Method) -> bool:
    """Whether every cluster gives another training: time drives it, or says who takes part, or when it is evaluated."""
    timed = point.scenario.workload.evaluation_interval()[1] == "seconds"
    return timed or is_asynchronous(method) or participation(point.scenario, method) != "all"


def training_values(point: GridPoint) -> dict[str, Any]:
    """The grid values that change what some method computes, not only when."""
    return {key: value for key, value in point.values.items() if not _of_cluster(key)}


def cluster_keys(point: GridPoint, method: Method) -> list[str]:
    """The grid's keys of the cluster that matter to a method: not the collective where it uses none."""
    uses_it = point.scenario.transport(method).is_collective
    return [key for key in point.values if _of_cluster(key) and (uses_it or key != COLLECTIVE_KEY)]


def series_key(point: GridPoint, method: Method, seed: int) -> SeriesKey:
    """The series of a method on a point's cluster."""
    return SeriesKey(method.name, point.scenario.transport(method), seed, grid_texts(point.values))


def _of_cluster(key: str) -> bool:
    return key.split(".")[0] == "cluster"
