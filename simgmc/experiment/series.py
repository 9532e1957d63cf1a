"""One finished series, a training on one cluster: what is written of it, and in which order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from simgmc.costs.steps import Compute, RoundCosts
from simgmc.experiment.under_way.evaluations import Outcome, State
from simgmc.experiment.under_way.event_loop import EventLoop
from simgmc.network import Timing
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.results.directory.details import Details, ParticipationRow, traffic
from simgmc.results.directory.records import Breakdown, Evaluation, SeriesKey
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.directory.shared_evaluations import COUNTS, SharedEvaluations

WRITTEN_TOGETHER = 256
"""Series that wait for each other, and"""
LOST_AT_MOST = 1.0
"""seconds for which they do: what a kill may cost."""


@dataclass(frozen=True)
class Series:
    """The evaluations of a training with their times, where its time went, and what every worker and link did."""

    states: Sequence[State]
    """What was found; E evaluations, the same list on every cluster that ends the training with the same round."""
    times: np.ndarray
    """(E,) simulated seconds."""
    bytes_up: np.ndarray
    """(E,) int64: sent by workers until then."""
    bytes_down: np.ndarray
    """(E,) int64: received by workers until then."""
    breakdown: Breakdown
    details: Details | None
    """None where nobody asked."""

    def evaluations(self) -> Iterator[Evaluation]:
        """Its rows in the metrics."""
        numbers = (self.times.tolist(), self.bytes_up.tolist(), self.bytes_down.tolist())
        for state, seconds, up, down in zip(self.states, *numbers, strict=True):
            yield Evaluation(
                round=state.round,
                epoch=state.epoch,
                sim_time_s=seconds,
                train_loss=state.train_loss,
                test_loss=state.test_loss,
                test_accuracy=state.test_accuracy,
                bytes_up=up,
                bytes_down=down,
                rcc=state.rcc,
            )


def write_all(
    directory: RunDirectory, keys: Sequence[SeriesKey], series: Iterable[Series], shared: str | None = None
) -> Iterator[tuple[SeriesKey, Series]]:
    """Writes the series of these keys, as they come; those that come quickly are written together.

    ``shared``: the training under whose key their evaluations are kept together, see
    :mod:`simgmc.results.directory.shared_evaluations`, and nothing of single workers and links; otherwise each is a
    row in the metrics.
    """
    waiting: list[tuple[SeriesKey, Series]] = []
    since = time.monotonic()

    def write() -> list[tuple[SeriesKey, Series]]:
        written = waiting.copy()
        waiting.clear()
        if shared is not None and written:
            directory.add_shared(shared, _shared(written))
        with directory.together():
            for key, one in written:
                others = 0
                if shared is None:
                    for evaluation, state in zip(one.evaluations(), one.states, strict=True):
                        directory.evaluated(key, evaluation, state.others)
                        others += len(state.others)
                # The breakdown says how many rows there are.
                directory.finish(key, one.breakdown, one.details if shared is None else None, others)
        return written

    try:
        for pair in zip(keys, series, strict=True):
            waiting.append(pair)
            if len(waiting) == WRITTEN_TOGETHER or time.monotonic() - since > LOST_AT_MOST:
                yield from write()
                since = time.monotonic()
    finally:
        last = write()
    yield from last


def _shared(written: Sequence[tuple[SeriesKey, Series]]) -> SharedEvaluations:
    longest = max((one for _, one in written), key=lambda one: len(one.states))
    return SharedEvaluations.of(
        list(longest.evaluations()),
        [state.others for state in longest.states],
        [(key, one.times, one.bytes_up, one.bytes_down) for key, one in written],
    )


def gradients_of(rounds: Sequence[RoundCosts]) -> np.ndarray:
    """(R, K) int64: gradients that each worker computes in each round; (R, 1) where all compute equally many."""
    none = np.zeros(1, np.int64)
    each = [sum((step.of_each(1) for step in costs if isinstance(step, Compute)), none) for costs in rounds]
    width = max(map(len, each), default=1)
    return np.stack([np.broadcast_to(one, width) for one in each]) if each else np.zeros((0, 1), np.int64)


def series_of_rounds(
    outcome: Outcome, gradients: np.ndarray, timing: Timing, left_out: bool = False, detailed: bool = True
) -> Series:
    """A synchronous training on the cluster that gave this timing. It may have stopped before the training's end.

    ``gradients``: see :func:`gradients_of`; ``left_out``: whether workers can be left out of its averages;
    ``detailed``: whether what every worker and link did is asked for.
    """
    rounds = len(timing.round_end)
    states: Sequence[State] = outcome.states
    if states and states[-1].round > rounds:
        states = [state for state in states if state.round <= rounds]
    # What was sent, and when it was over, after no round, the first, the second ...
    ends = np.concatenate(([0.0], timing.round_end.max(axis=1)))
    sent, received = (
        np.concatenate(([0], np.cumsum(each).astype(np.int64)))
        for each in (timing.sent_by_workers, timing.received_by_workers)
    )
    after = np.array([state.round for state in states], dtype=np.int64)
    known = np.array([np.nan if state.time is None else state.time for state in states])
    times = np.where(np.isnan(known), ends[after], known)
    seconds = timing.breakdown.sum(axis=0).mean(axis=0)
    breakdown = Breakdown(
        rounds=rounds,
        sim_time_s=timing.total,
        **_seconds(timing.categories, seconds),
        bytes_sent_by_workers=int(timing.sent_by_workers.sum()),
        bytes_received_by_workers=int(timing.received_by_workers.sum()),
        bytes_into_server=int(timing.into_server.sum()),
        bytes_out_of_server=int(timing.out_of_server.sum()),
        rcc=outcome.rcc,
        diverged=outcome.diverged_round if rounds == len(outcome.rounds) else None,
        evaluations=len(states),
        stopped=timing.stopped or (outcome.given_up if rounds == len(outcome.rounds) else None),
        picked="; ".join(f"{name} {count}" for name, count in timing.chosen.items()) or None,
        events_from=timing.by_events,
    )
    details = details_of_rounds(gradients, timing, left_out) if detailed else None
    return Series(states, times, sent[after], received[after], breakdown, details)


def series_of_events(outcome: Outcome, loop: EventLoop, stale: Literal["gradients", "messages"]) -> Series:
    """An asynchronous training whose events are over; ``stale``: what has a staleness in it."""
    peers, spent = loop.peers, loop.spent()
    breakdown = Breakdown(
        rounds=int(sum(loop.gradients) / len(loop.gradients)),
        sim_time_s=peers.now,
        **_seconds(CATEGORIES, spent.mean(axis=0)),
        bytes_sent_by_workers=peers.sent_by_workers,
        bytes_received_by_workers=peers.received_by_workers,
        bytes_into_server=peers.into_server,
        bytes_out_of_server=peers.out_of_server,
        rcc=None,
        diverged=outcome.diverged_round,
        evaluations=len(outcome.states),
        stopped=peers.stopped or outcome.given_up,
    )
    links = traffic(peers.fabric.links.names, peers.link_bytes, peers.link_messages)
    details = Details(spent, np.array(loop.gradients), links, dict(loop.staleness), stale=stale)
    states = outcome.states
    times = np.array([state.time or 0.0 for state in states])
    up, down = (np.array([getattr(state, name) for state in states], dtype=np.int64) for name in COUNTS)
    return Series(states, times, up, down, breakdown, details)


class _Seconds(TypedDict):
    compute_s: float
    compress_s: float
    transfer_s: float
    latency_s: float
    aggregate_s: float
    wait_s: float


def _seconds(parts: Sequence[str], seconds: np.ndarray) -> _Seconds:
    """Mean seconds of a worker, under the names of the breakdown."""
    of = dict(zip(parts, seconds.tolist(), strict=True))
    return {
        "compute_s": of["compute"],
        "compress_s": of["compress"],
        "transfer_s": of["transfer"],
        "latency_s": of["latency"],
        "aggregate_s": of["aggregate"],
        "wait_s": of["wait"],
    }


def details_of_rounds(gradients: np.ndarray, timing: Timing, left_out: bool = False) -> Details:
    """What every worker and link did; a worker computed no gradients in a round that it missed.

    ``gradients``: see :func:`gradients_of`; ``left_out``: whether workers can be left out of averages.
    """
    there = (~timing.absent).astype(np.int64)
    links = traffic(timing.links, timing.link_bytes, timing.link_messages)
    computed = (gradients[: len(there)] * there).sum(axis=0)
    return Details(timing.breakdown.sum(axis=0), computed, links, participation=_participation(timing, left_out))


def _participation(timing: Timing, left_out: bool) -> tuple[ParticipationRow, ...]:
    """How often each worker was left out of an average, where that can be."""
    if not left_out:
        return ()
    found = timing.absent, timing.lost, timing.carried
    columns = [np.zeros(timing.absent.shape, bool) if one is None else one for one in found]
    counts = np.stack([column.sum(axis=0) for column in columns], axis=1)
    return tuple(ParticipationRow(worker, *row) for worker, row in enumerate(counts.tolist()))
