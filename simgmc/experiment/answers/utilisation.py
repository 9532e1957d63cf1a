"""Compute utilisation of a finished run's methods on networks of any bandwidth, by replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.costs.steps import RoundCosts
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import Training
from simgmc.network import ClusterSettings, simulate_all
from simgmc.network.cluster.many import without_events
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.traces import BandwidthTrace
from simgmc.results.directory.records import COLLECTIVE_KEY
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.read import same_value, transport_text, value_text
from simgmc.results.series.utilisation import Utilisation, all_needs
from simgmc.scenario import GridPoint

MAX_NETWORKS = 12
"""Networks (bandwidths aside) that are looked at in one go."""
SAMPLED, _BLOCK = 36, 12
"""Rounds of a sample, in blocks of so many that follow each other."""
MAX_SAMPLED = 16
"""Series of which samples are taken in one go."""
_BANDWIDTH = "cluster.bandwidth"


def utilisations(
    directory: RunDirectory, plan: Sequence[Training], at: Mapping[str, Any], place: str
) -> tuple[list[Utilisation], list[str]]:
    """Every method on every network of the run's grid, and the methods that cannot be put on another network.

    The grid's bandwidths are one network: that of the first is scaled, all links alike, and everything else stays.
    Several seeds count together. ``at``: only networks that have these values; ``place``: what messages begin with.

    Raises SimgmcError where nothing can be replayed, or there are too many networks.
    """
    able = [training for training in plan if not training.bound]
    left_out = list(dict.fromkeys(training.method.name for training in plan if training.bound))
    if not able:
        raise SimgmcError(f"{place}: another network gives another training of {', '.join(left_out)}")
    chosen = {id(training): _networks(training, at, place) for training in able}
    labels = dict.fromkeys(_label(one, point) for one in able for point in chosen[id(one)])
    if len(labels) > MAX_NETWORKS:
        raise SimgmcError(
            f"{place}: has {len(labels)} networks, bandwidths aside; choose up to {MAX_NETWORKS} with --at KEY=VALUE: "
            f"{', '.join(dict.fromkeys(key for one in able for key in one.points[0].values))}"
        )
    stored = Stored.read(directory)
    seeds: dict[tuple[str, str], list[tuple[Training, GridPoint]]] = {}
    for training in able:
        for point in chosen[id(training)]:
            seeds.setdefault((training.method.name, _label(training, point)), []).append((training, point))
    found = _utilisations([_of_seeds(stored, same) for same in seeds.values()])
    order = list(labels)
    return sorted(found, key=lambda one: order.index(one.network)), left_out


def sampled(directory: RunDirectory, plan: Sequence[Training]) -> tuple[list[Utilisation], list[str]]:
    """As :func:`utilisations`, at a small part of the cost: from :data:`SAMPLED` rounds of the first seed, spread over
    it; and the methods that are left out, also because only events would tell, which take longer.

    Of a grid with more than :data:`MAX_SAMPLED` series on networks, bandwidths aside, the first of these is taken, with
    each collective; nothing is found where even that is more.
    """
    left_out: dict[str, None] = {}
    firsts = {training.method.name: training for training in reversed(plan)}
    networks = [
        (training, point)
        for training in reversed(firsts.values())
        for point in ([] if training.bound else _networks(training, {}, ""))
    ]
    if len(networks) > MAX_SAMPLED:
        networks = [(training, point) for training, point in networks if _is_of_first(training, point)]
    if len(networks) > MAX_SAMPLED:
        return [], []
    series: list[_Replayed] = []
    for training, point in networks:
        settings = training.settings(point)
        try:
            _require_scalable(settings, training.title)
            rounds = _sample(directory.read_costs(training.key))
        except SimgmcError:  # also where costs are missing: the page says elsewhere that they are
            rounds = []
        series.append(_Replayed(training, point, [(settings, rounds)]))
    able = without_events([one.on[0] for one in series])
    left_out |= {one.training.method.name: None for one, quick in zip(series, able) if not (quick and one.on[0][1])}
    found = _utilisations([one for one, quick in zip(series, able) if quick and one.on[0][1]])
    left_out |= dict.fromkeys(name for name, training in firsts.items() if training.bound)
    order = list(dict.fromkeys(_label(*one) for one in networks))
    names = [training.method.name for training in plan]
    return sorted(found, key=lambda one: order.index(one.network)), sorted(left_out, key=names.index)


def _is_of_first(training: Training, point: GridPoint) -> bool:
    """Whether a point has the values of the training's first, bandwidth and collective aside."""
    free = (_BANDWIDTH, COLLECTIVE_KEY)
    return all(point.values[key] == value for key, value in training.points[0].values.items() if key not in free)


def _sample(rounds: Sequence[RoundCosts]) -> Sequence[RoundCosts]:
    """Blocks of rounds from the first to the last; all, where they are few."""
    if len(rounds) <= SAMPLED:
        return rounds
    starts = np.linspace(0, len(rounds) - _BLOCK, SAMPLED // _BLOCK).astype(int).tolist()
    return [rounds[number] for start in starts for number in range(start, start + _BLOCK)]


def _networks(training: Training, at: Mapping[str, Any], place: str) -> list[GridPoint]:
    """A point for each network, those that differ in bandwidth alone being one."""
    points: dict[str, GridPoint] = {}
    for point in training.points:
        for key in at:
            if key not in point.values:
                raise SimgmcError(f"{place}: {show_value(key)} does not vary; {suggestion(key, point.values)}")
        if all(_fits(training, key, point.values[key], value) for key, value in at.items()):
            rest = {key: value for key, value in point.values.items() if key != _BANDWIDTH or key in at}
            points.setdefault(repr(rest), point)
    if at and not points and training.scenario.transport(training.method).is_collective:
        values = ", ".join(f"{key} = {cell(value)}" for key, value in at.items())
        raise SimgmcError(f"{place}: no grid point has {values}")
    return list(points.values())


def _fits(training: Training, key: str, value: Any, wanted: Any) -> bool:
    if key == COLLECTIVE_KEY and not training.scenario.transport(training.method).is_collective:
        return True
    return same_value(cell(value), wanted)


def _label(training: Training, point: GridPoint) -> str:
    keys = (key for key in point.values if key not in (_BANDWIDTH, COLLECTIVE_KEY))
    values = [value_text(cell(point.values[key])) for key in keys]
    return ", ".join([transport_text(point.scenario.transport(training.method)), *values])


class _Replayed(NamedTuple):
    """A method on a network: the rounds of each seed there."""

    training: Training
    point: GridPoint
    on: Sequence[tuple[ClusterSettings, Sequence[RoundCosts]]]


def _of_seeds(stored: Stored, seeds: Sequence[tuple[Training, GridPoint]]) -> _Replayed:
    on = [(one.settings(at), one.restored(stored).outcome.rounds) for one, at in seeds]
    for settings, _ in on:
        _require_scalable(settings, seeds[0][0].title)
    return _Replayed(*seeds[0], on)


def _utilisations(several: Sequence[_Replayed]) -> list[Utilisation]:
    """Of methods on networks, all replayed together; the seeds of one count together."""

    def measured(asked: Mapping[int, Sequence[float]]) -> dict[int, Sequence[float]]:
        replays = [
            (number, ([settings.scaled(bandwidth=factor) for factor in factors], rounds))
            for number, factors in asked.items()
            for settings, rounds in several[number].on
        ]
        seconds = {number: np.zeros((2, len(factors))) for number, factors in asked.items()}  # computing, in all
        for which, place, timing in simulate_all([replay for _, replay in replays]):
            computing = timing.breakdown[..., timing.categories.index("compute")].sum()
            seconds[replays[which][0]][:, place] += computing, timing.breakdown.sum()
        return {
            number: np.divide(computing, spent, out=np.zeros_like(spent), where=spent > 0).tolist()
            for number, (computing, spent) in seconds.items()
        }

    found = []
    for one, needs in zip(several, all_needs(len(several), measured), strict=True):
        stated, transport = one.point.scenario.cluster.bandwidth, one.point.scenario.transport(one.training.method)
        bandwidth = None if stated is None else float(stated)
        found.append(
            Utilisation(one.training.method.name, transport, _label(one.training, one.point), bandwidth, needs)
        )
    return found


def _require_scalable(settings: ClusterSettings, title: str) -> None:
    """Refuse links whose bandwidth a file states in bit/s: scaling the network would leave them as they are."""
    if any(one.file.absolute for one in _traces(settings)):
        raise SimgmcError(
            f"{title}: a bandwidth trace states bandwidths in Mbit/s, so that the network cannot be scaled; give it "
            "factors of the nominal value"
        )


def _traces(settings: ClusterSettings) -> Iterator[BandwidthTrace]:
    changes = settings.condition(NetworkChanges)
    yield from () if changes is None else changes.traces
