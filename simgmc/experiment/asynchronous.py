"""Asynchronous trainings: the simulated clock says what happens first, so every cluster gives another one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.experiment.series import Series, series_of_events
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import (
    Care,
    CostPrediction,
    Finished,
    NotKept,
    Training,
    Tried,
    Watched,
    Window,
    sampled_until,
    sampled_words,
)
from simgmc.experiment.under_way.evaluations import Outcome
from simgmc.experiment.under_way.event_loop import EventLoop
from simgmc.experiment.under_way.events import EventsUnderWay
from simgmc.network.cluster.peers import LAST_OF_INSTANT, Peers
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timeline import Recorder, Span
from simgmc.network.cluster.timing import bottleneck_of, held_up
from simgmc.network.flows.fluid import HoldUps
from simgmc.results.directory.details import PARTS, Details
from simgmc.results.directory.records import Breakdown, SeriesKey
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.tables.explanations import Explanation
from simgmc.scenario import GridPoint
from simgmc.training.journal import Journal
from simgmc.workloads.workload import Workload

if TYPE_CHECKING:  # for annotations alone, as they load torch
    from simgmc.compression.message import Message
    from simgmc.experiment.final_model import FinalModel
    from simgmc.training.per_worker import PerWorkerTrainer
    from simgmc.workloads.gradients.live_memory import Needed

PREDICTED = 10
"""Random gradients a worker that a prediction looks at."""
EXPLAINED = 30
"""Gradients a worker that are explained where their events have to happen again."""
FIRST = 3
"""Random gradients a worker until every kind of message was sent."""
GRADIENT_RECORD = 600
"""Bytes that one gradient leaves: its requests in the journal, mostly."""
KEPT = 2**25
"""Freed blocks up to this size stay with the process (glibc): about one vector of every worker."""


class AsynchronousTraining(Training):
    """A training of one cluster alone, on which every worker has a pace of its own."""

    def trainer(self, workload: Workload) -> PerWorkerTrainer:
        from simgmc.experiment.assembly import build_per_worker_trainer  # loads torch

        return build_per_worker_trainer(self, workload)

    def train(self, workload: Workload, point: GridPoint, care: Care) -> EventsFinished:
        """The cluster brings every request and answer at its moment."""
        milestones = self.milestones(workload.batches_per_epoch)
        care.progress.started(self, milestones.total())
        trainer = self.trainer(workload)
        under_way = EventsUnderWay(
            trainer,
            self.settings(point),
            milestones,
            self.scenario,
            care.checkpoints,
            care.interruption,
            lambda state: care.progress.evaluated(self, state),
            lambda number, time: care.progress.round_done(self, number, time),
            warn=care.progress.warned,
        )
        if under_way.resumed:
            care.progress.resumed(self, under_way.resumed, f"{under_way.resumed} gradients a worker")
        under_way.run()
        from simgmc.experiment.final_model import final_model  # loads torch

        finished = EventsFinished(
            self,
            under_way.outcome,
            series_of_events(under_way.outcome, under_way.loop, trainer.algorithm.stale),
            under_way.journal(),
            final_model(trainer, under_way.outcome),
        )
        trainer.close()
        return finished

    def is_kept(self, stored: Stored, missing: Sequence[GridPoint]) -> bool:
        return not missing and stored.directory.has_journal(self.key)

    def restored(self, stored: Stored) -> Finished:
        raise NotKept(f"{self.title}: is another training on another cluster; run it there with simgmc run")

    # Before the run.

    sends_first_alone = False

    def predict(self, noise: Workload) -> list[CostPrediction]:
        total = self.milestones(noise.batches_per_epoch).total()
        settings, trainer = self.settings(self.points[0]), self.trainer(noise)
        until, began, left_out, some = sampled_until(settings), time.perf_counter(), False, min(PREDICTED, total)
        peers, gradients = self._for_a_moment(trainer, some, sampled=until)
        cut = peers.now >= until and not peers.stopped
        took = time.perf_counter() - began
        if cut and gradients < FIRST and not trainer.diverged:
            peers, gradients = self._for_a_moment(self.trainer(noise), some, disturbed=False)
            left_out = True
        if not gradients and not peers.stopped:
            raise SimgmcError(f"methods.{self.method.name}: diverges before the first gradient is there")
        if peers.stopped:
            total = int(gradients)
        factor = 1.0 if peers.stopped else total / gradients
        sent, server = peers.sent_by_workers * factor, (peers.into_server + peers.out_of_server) * factor
        seconds = peers.now * factor
        took *= seconds / until if cut else factor if until < math.inf else 0.0
        words = sampled_words(settings, seconds, left_out) if cut else ""
        return [
            CostPrediction(
                one, self.method.name, int(total), seconds, sent, server, False, peers.stopped, took, left_out, words
            )
            for one in self.points
        ]

    def send_first(self, noise: Callable[[int], Workload], note: Callable[[int, Message], None]) -> None:
        trainer = self.trainer(noise(self.scenario.workload.workers))
        trainer.on_message = partial(note, 0)
        self._for_a_moment(trainer, FIRST, disturbed=False)
        if trainer.diverged:
            raise DivergenceError(trainer.diverged)

    def try_rounds(self, workload: Workload, rounds: int, enough: float) -> Tried:
        trainer = self.trainer(workload)
        model, models, began = trainer.model(), self.evaluated_models(trainer), time.perf_counter()
        _, gradients = self._for_a_moment(trainer, rounds, began + enough, disturbed=False)
        done = gradients or 1.0  # one that diverges at once is soon over
        return Tried(done, done, time.perf_counter() - began, model, models)

    def _for_a_moment(
        self,
        trainer: PerWorkerTrainer,
        gradients: int,
        until: float = math.inf,
        disturbed: bool = True,
        sampled: float = math.inf,
    ) -> tuple[Peers, float]:
        """So many gradients a worker, on average, or until that moment of the wall clock, or of the simulated one
        (``sampled``); and how many were finished: fewer where training diverges. Not ``disturbed``: on a network that
        does not change.
        """
        settings = self.settings(self.points[0])
        peers, workers = Peers(settings if disturbed else settings.undisturbed), trainer.workload.workers
        if sampled < math.inf:
            peers.clock.call_at(sampled, lambda _: peers.stop(), LAST_OF_INSTANT)

        def after(loop: EventLoop) -> None:
            if sum(loop.gradients) >= gradients * workers or time.perf_counter() >= until:
                peers.stop()

        loop = EventLoop(peers, trainer, after)
        try:
            loop.run()
        except DivergenceError:
            peers.stop()
        finally:
            trainer.close()
        return peers, sum(loop.gradients) / workers

    def memory_needed(self, workload: Workload) -> Needed:
        from simgmc.experiment.under_way import memory_count  # loads torch

        return memory_count.of_events(
            lambda noise: self.smaller(noise.d / workload.d).trainer(noise),
            workload,
            self.scenario,
            self.method,
            self.settings(self.points[0]).undisturbed,
        )

    def record_bytes(self) -> float:
        return GRADIENT_RECORD * self.scenario.workload.workers

    def freed_bytes(self, vector: int) -> float:
        return vector * self.scenario.workload.workers if vector < KEPT else 0

    # After the run.

    def explain(
        self,
        directory: RunDirectory,
        found: Sequence[tuple[GridPoint, Breakdown]],
        details: Callable[[], Mapping[SeriesKey, Details]],
    ) -> Iterator[Explanation]:
        """From the time of its workers, and the bytes over its links: elsewhere it would be another training.

        Where these do not say what held messages up, its first events happen again, by the journal.
        """
        for point, breakdown in found:
            settings, known = replace(self.settings(point), explained=True), details().get(self.series(point))
            parts = {part: getattr(breakdown, f"{part}_s") for part in PARTS}
            bytes_over = {(link.source, link.destination): link.bytes for link in (known.links if known else ())}
            used = {}
            for source, destination, bandwidth in settings.payload_graph.edges(data="bandwidth"):
                room = bandwidth * breakdown.sim_time_s
                used[source, destination] = bytes_over.get((source, destination), 0) / room if room else 0.0
            if settings.notes_hold_ups and breakdown.rounds:
                seconds = breakdown.sim_time_s * min(1.0, EXPLAINED / breakdown.rounds)
                bound_by = held_up(parts, self._hold_ups(directory, settings, seconds), used, self.waiting)
            else:
                bound_by = bottleneck_of(parts, used if bytes_over else {}, self.waiting)
            yield self.explanation(point, bound_by, breakdown.stopped)

    def _hold_ups(self, directory: RunDirectory, settings: ClusterSettings, seconds: float) -> HoldUps:
        """What held messages up in the first seconds. Raises NotKept."""
        try:
            journal = directory.read_journal(self.key)
        except SimgmcError as error:
            raise NotKept(str(error)) from None
        network = _again(Peers(settings), journal, seconds).peers.fabric.network
        assert network.held is not None
        return network.held

    def can_watch(self, directory: RunDirectory) -> bool:
        return True  # a journal that is missing is named when it is read

    def watch(self, directory: RunDirectory, point: GridPoint, breakdown: Breakdown, window: Window) -> Watched:
        """By the journal. Workers have rounds of their own: the window is that in which the chosen ones take place."""
        settings, seconds = self.settings(point), breakdown.sim_time_s
        journal, peers = directory.read_journal(self.key), Peers(settings)
        ends = _again(peers, journal, seconds).round_ends
        total = min(map(len, ends))
        first, last = window(total)
        begin = min(own[first - 1] for own in ends) if first else 0.0
        end = max(own[last] for own in ends)
        # What is under way at the window's end becomes known when it is over.
        after = max(min((time for time in own if time > end), default=seconds) for own in ends)

        def round_at(time: float) -> int:
            return (2 if time > end else 1) if time >= begin else 0 if time >= 2 * begin - end else -1

        recorder = Recorder(1, 1)
        _again(Peers(settings, recorder, round_at), journal, min(after, seconds))
        found = recorder.timeline(settings.workers, np.array([[begin] * len(ends), [end] * len(ends)]))
        own_rounds = {
            host: tuple((n, b, e) for n, (b, e) in enumerate(zip([0.0, *own], own, strict=False)) if begin < e <= end)
            for host, own in zip(settings.workers, ends, strict=True)
        }

        def plain(spans: tuple[Span, ...]) -> tuple[Span, ...]:
            return tuple(replace(span, label=span.label.removeprefix("round 1").removeprefix(": ")) for span in spans)

        bandwidth = np.array(peers.fabric.links.bandwidth)
        used = np.nan_to_num(peers.link_bytes / bandwidth / seconds) if seconds else np.zeros(len(bandwidth))
        loads = zip(peers.fabric.links.names, used.tolist(), peers.link_bytes.tolist(), strict=True)
        return Watched(
            (first, last),
            replace(found, rounds=own_rounds, actions=plain(found.actions), carried=plain(found.carried)),
            {link: share for link, share, carried in loads if carried > 0},
            total,
            seconds,
        )


@dataclass
class EventsFinished:
    """What an asynchronous training gave on its cluster."""

    training: AsynchronousTraining
    outcome: Outcome
    series: Series
    journal: np.ndarray
    """What its programs said to the event loop, see :class:`simgmc.training.journal.Journal`."""
    model: FinalModel | None
    """What it ended with; None where it diverged."""

    def keep(self, directory: RunDirectory) -> None:
        if self.model is not None:
            self.model.keep(directory, self.training)
        directory.write_journal(self.training.key, self.journal)

    def check(self, point: GridPoint) -> None:
        """All of it is known."""

    def on(self, points: Sequence[GridPoint], on_round: Callable[[int, float], None] | None = None) -> Iterator[Series]:
        """Its one cluster is that of all its points."""
        return (self.series for _ in points)


def _again(peers: Peers, journal: np.ndarray, until: float) -> EventLoop:
    """The events of a finished training up to some time, without training."""
    loop = EventLoop(peers, Journal(None, journal), lambda loop: None)
    peers.clock.call_at(until, lambda _: peers.stop(), LAST_OF_INSTANT)
    loop.run()
    return loop
