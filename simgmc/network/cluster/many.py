"""The same rounds on many clusters, and many rounds on each: walked together, or simulated side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from simgmc.core.processes.side_by_side import side_by_side
from simgmc.costs.steps import RoundCosts
from simgmc.network.cluster.cluster import Cluster, known, simulate
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timing import Timing
from simgmc.network.cluster.walks.alike import Identities, form, kind, sizes
from simgmc.network.cluster.walks.at_once import AtOnce, HandedOver
from simgmc.network.cluster.walks.provable import nothing_but_messages
from simgmc.network.exchanges.accounts import CATEGORIES

_NUMBERS = 2**24
"""Numbers that the walks through rounds on many networks keep at a time, about: 8 bytes each."""


def simulate_many(
    settings: Sequence[ClusterSettings],
    rounds: Sequence[RoundCosts],
    on_round: Callable[[int, float], None] | None = None,
) -> Iterator[Timing]:
    """Simulated time of the same rounds on many clusters, in their order: the bits of :func:`simulate` on each.

    Clusters that differ in numbers alone are walked together, where no exchange can meet another on any link; the
    others are simulated by events, in processes side by side where that is worth it. ``on_round`` is told of the rounds
    on a single one of these, as in :func:`simulate`.
    """
    for _, _, timing in simulate_all([(settings, rounds)], on_round):
        yield timing


def simulate_all(
    replays: Sequence[tuple[Sequence[ClusterSettings], Sequence[RoundCosts]]],
    on_round: Callable[[int, float], None] | None = None,
) -> Iterator[tuple[int, int, Timing]]:
    """Several replays, each of rounds on many clusters: which one, which of its clusters, and what it gives there, as
    :func:`simulate_many`; of a single one in order.

    Replays whose rounds differ in the sizes of messages alone are walked together, too.
    """
    rows = list(_rows(replays))
    if len(replays) > 1:
        rows.sort(key=lambda row: (row.alike, row.walk))
    kept = max((len(rounds) * len(settings[0].workers) for settings, rounds in replays if settings), default=0)
    for batch in _batched(rows, max(1, _NUMBERS // max(1, kept * (len(CATEGORIES) + 2)))):
        alike: dict[tuple[str, str], dict[int, int]] = {}
        walks = {row.walk: row for row in batch}
        for row in walks.values():
            several = alike.setdefault(row.alike, {})
            several[row.walk] = len(several)
        walked = {
            name: _walk_all(*zip(*((walks[walk].settings, walks[walk].rounds) for walk in several), strict=True))
            for name, several in alike.items()
            if name[0] and len(several) > 1
        }
        jobs: dict[int, _Job] = {}
        for walk, row in walks.items():
            if (together := walked.get(row.alike)) is None:
                jobs[walk] = row.settings, row.rounds, None
            elif (before := together.handed_over.get(alike[row.alike][walk])) is not None:
                jobs[walk] = row.settings, row.rounds[before.first :], before
        on_one = _simulated if len(jobs) > 1 else partial(_simulated, on_round=on_round)
        simulated = side_by_side(on_one, list(jobs.values()))
        found: dict[int, Timing] = {}
        left = Counter(row.walk for row in batch)
        for row in batch:
            if row.walk not in found:
                place = alike[row.alike][row.walk]
                found[row.walk] = next(simulated) if row.walk in jobs else walked[row.alike].timing(place)
            left[row.walk] -= 1
            yield row.replay, row.at, found[row.walk] if left[row.walk] else found.pop(row.walk)


class _Row(NamedTuple):
    """One of a replay's clusters."""

    replay: int
    at: int
    settings: ClusterSettings
    rounds: Sequence[RoundCosts]
    alike: tuple[str, str]
    """What those have in common that are walked together: the first empty where it is not walked."""

    walk: int
    """The same of rows that take the same time."""


def _rows(replays: Sequence[tuple[Sequence[ClusterSettings], Sequence[RoundCosts]]]) -> Iterator[_Row]:
    """Every replay on each of its clusters; clusters that are the same to the clock, and rounds, are one object."""
    identities, clusters = Identities(), dict[tuple[object, ...], ClusterSettings]()
    walks: dict[tuple[int, int], int] = {}
    sequences: dict[tuple[str, str, bytes], Sequence[RoundCosts]] = {}
    for number, (settings, rounds) in enumerate(replays):
        name, sent = form(rounds) if len(replays) > 1 else "", dict[str, bytes]()
        for at, one in enumerate(settings):
            if not nothing_but_messages(one):
                yield _Row(number, at, one, rounds, ("", name), walks.setdefault((id(one), id(rounds)), len(walks)))
                continue
            if one.collective not in sent:
                sent[one.collective] = sizes(rounds, one.collective)
            same = sequences.setdefault((one.collective, name, sent[one.collective]), rounds)
            alike = kind(one), name
            there = clusters.setdefault((*alike, *identities.of(one)), one)
            walk = walks.setdefault((id(there), id(same)), len(walks))
            yield _Row(number, at, there, same, alike, walk)


_Job = tuple[ClusterSettings, Sequence[RoundCosts], HandedOver | None]
"""A cluster, the rounds to be simulated, and those that were walked on it before."""


def _simulated(job: _Job, on_round: Callable[[int, float], None] | None = None) -> Timing:
    one, rounds, before = job
    if before is None:
        return simulate(one, rounds, on_round)
    return Cluster(one).run(rounds, on_round, before)


def without_events(replays: Sequence[tuple[ClusterSettings, Sequence[RoundCosts]]]) -> list[bool]:
    """Of each of these, whether all rounds can be simulated there without events, and so on many such clusters
    together."""
    alike: dict[tuple[str, str], list[_Row]] = {}
    for row in _rows([([settings], rounds) for settings, rounds in replays]):
        alike.setdefault(row.alike, []).append(row)
    found = [False] * len(replays)
    for name, several in alike.items():
        if name[0]:
            walked = _walk_all([row.settings for row in several], [row.rounds for row in several])
            for row, whole in zip(several, walked.on.tolist(), strict=True):
                found[row.replay] = whole
    return found


def _walk_all(settings: Sequence[ClusterSettings], rounds: Sequence[Sequence[RoundCosts]]) -> AtOnce:
    """All of its rounds on each of these clusters, for as long as no exchange may meet another."""
    sequences = {id(one): one for one in rounds}
    places = {key: place for place, key in enumerate(sequences)}
    walked, workers = AtOnce(settings, [places[id(one)] for one in rounds]), len(settings[0].workers)
    for costs in zip(*(known(iter(one), workers) for one in sequences.values()), strict=False):
        walked.walk(*costs)
        if not walked.on.any():
            break
    return walked


def _batched(rows: Iterable[_Row], most: int) -> Iterator[Sequence[_Row]]:
    """Pieces in order, with at most so many different walks."""
    batch: list[_Row] = []
    walks: set[int] = set()
    for row in rows:
        if len(walks) == most and row.walk not in walks:
            yield batch
            batch, walks = [], set()
        batch.append(row)
        walks.add(row.walk)
    if batch:
        yield batch
