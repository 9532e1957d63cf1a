"""Synchronous trainings: rounds are trained once, and their costs put on every cluster."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from simgmc.core.errors import DivergenceError, GivenUp, SimgmcError
from simgmc.costs.steps import Average, Compute, Mix, RoundCosts
from simgmc.experiment.series import Series, gradients_of, series_of_rounds
from simgmc.experiment.stored import Stored
from simgmc.experiment.training import (
    Care,
    CostPrediction,
    NotKept,
    Training,
    Tried,
    Watched,
    Window,
    participation,
    sampled_until,
    sampled_words,
)
from simgmc.experiment.under_way.evaluations import GIVEN_UP, Outcome, State
from simgmc.experiment.under_way.rounds import RoundsUnderWay
from simgmc.network import Timing, simulate, simulate_all, simulate_many
from simgmc.network.cluster.timeline import Recorder
from simgmc.results.directory.details import Details
from simgmc.results.directory.records import Breakdown, SeriesKey
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.tables.explanations import Explanation
from simgmc.scenario import GridPoint
from simgmc.workloads.workload import Workload

if TYPE_CHECKING:  # for annotations alone, as they load torch
    from simgmc.compression.message import Message
    from simgmc.experiment.final_model import FinalModel
    from simgmc.training.stacked import StackedTrainer
    from simgmc.workloads.gradients.live_memory import Needed

PREDICTED, STEADY, SETTLED = 10, 5, 0.01
"""Rounds on random gradients that a prediction looks at, at most; rounds that are simulated; and the share by which the
bytes of the last rounds may differ where no more are looked at."""
EXPLAINED = 30
"""Rounds of each series that an explanation looks at."""
_AHEAD = 4
"""Rounds after a watched window that are simulated, for the traffic of workers that are ahead."""
ROUND_RECORD = 400
"""Bytes that the record of one round takes, and of one worker in it:"""
WORKER_RECORD = 40
KEPT = 2**25
"""Freed blocks up to this size stay with the process (glibc): of stacked tensors about two."""


class SynchronousTraining(Training):
    """A training whose mathematics does not depend on the clock, unless it says who takes part."""

    def trainer(self, workload: Workload) -> StackedTrainer:
        from simgmc.experiment.assembly import build_stacked_trainer  # loads torch

        return build_stacked_trainer(self, workload, participation(self.scenario, self.method))

    def train(self, workload: Workload, point: GridPoint, care: Care) -> RoundsFinished:
        """The point's workers pull the rounds, each is trained when the first of them needs it."""
        trainer, milestones = self.trainer(workload), self.milestones(workload.batches_per_epoch)
        most = milestones.total()
        per_round = trainer.algorithm.gradients(most, workload.batches_per_epoch) / most
        care.progress.started(self, milestones.total(per_round))

        def evaluated(state: State) -> None:
            care.progress.evaluated(self, state)

        under_way = RoundsUnderWay(
            trainer, milestones, self.scenario, evaluated, care.checkpoints, care.interruption, care.progress.warned
        )
        if done := under_way.resume():
            care.progress.resumed(self, done, f"round {done}")
            for state in under_way.outcome.states:
                with contextlib.suppress(GivenUp):  # it went on then
                    evaluated(state)

        def round_done(number: int, time: float) -> None:
            under_way.round_done(number, time)
            care.progress.round_done(self, number, time)

        rounds = under_way.rounds()
        timing = simulate(self.settings(point), rounds, round_done)
        under_way.over(len(timing.round_end))
        if len(self.points) > 1 and not self.bound:
            under_way.rest(rounds)  # that cluster stopped before the training's end; another may not
        from simgmc.experiment.final_model import final_model  # loads torch

        return RoundsFinished(
            self, under_way.outcome, first=(point, timing), model=final_model(trainer, under_way.outcome)
        )

    def is_kept(self, stored: Stored, missing: Sequence[GridPoint]) -> bool:
        """Costs that end where every cluster stopped are not enough for another one."""
        try:
            return self.restored(stored).known is None or not missing
        except NotKept:
            return False  # or damaged, or of a training that is not finished

    def restored(self, stored: Stored) -> RoundsFinished:
        """Costs, and the evaluations of that series which has most of them."""
        path, again = stored.directory.path, "give the same simgmc run command again to finish or restore it"
        key = stored.longest(self.method.name, self.seed, {name: cell(value) for name, value in self.values.items()})
        if key is None:
            raise NotKept(f"{path}: the training {self.title!r} is not finished; {again}")
        if not stored.directory.has_costs(self.key):
            raise NotKept(f"{path}: the costs of {self.title!r} are missing; {again}")
        try:
            rounds = stored.directory.read_costs(self.key)
        except SimgmcError as error:
            raise NotKept(f"{error}; {again}") from None
        breakdown, states = stored.finished[key], stored.states(key)
        order, known = [state.round for state in states], breakdown.rounds
        in_order = order[0] == 0 and all(a < b for a, b in itertools.pairwise(order))
        if known > len(rounds) or not in_order or not self._are_costs(rounds):
            raise NotKept(f"{path}: the costs of {self.title!r} do not belong to its evaluations; {again}")
        outcome = Outcome(rounds, states, breakdown.rcc, diverged_round=breakdown.diverged)
        if outcome.diverged_round is not None:
            outcome.diverged = f"round {outcome.diverged_round}"
        if (breakdown.stopped or "").startswith(GIVEN_UP):
            outcome.given_up = breakdown.stopped
        ended = outcome.diverged is not None or outcome.given_up is not None
        whole = known == len(rounds) and (ended or self._is_whole(outcome))
        return RoundsFinished(self, outcome, known=None if whole else known, kept_in=str(path))

    def _are_costs(self, rounds: list[RoundCosts]) -> bool:
        """Whether costs are those of this many workers."""
        workers = self.scenario.workload.workers
        steps = [step for costs in rounds for step in costs]
        mixes = [step for step in steps if isinstance(step, Mix)]
        return (
            all(len(step.up) == workers for step in steps if isinstance(step, Average))
            and all(len(step.nbytes) == workers == len(step.floats) for step in mixes)
            and all(step.edges.ndim == 2 and (not step.edges.size or step.edges.max() < workers) for step in mixes)
        )

    def _is_whole(self, outcome: Outcome) -> bool:
        """Whether stored rounds are all of it; the number of gradients per epoch follows from its last evaluation."""
        gradients = np.cumsum(
            [sum(step.mean for step in costs if isinstance(step, Compute)) for costs in outcome.rounds]
        )
        last = outcome.states[-1]
        if last.round != len(outcome.rounds) or not last.round or not last.epoch > 0:
            return False
        per_epoch = float(gradients[last.round - 1]) / last.epoch
        return self.milestones(per_epoch).over(last.round, math.ceil(gradients[-1] - 1e-9))

    # Before the run.

    sends_first_alone = True

    def predict(self, noise: Workload) -> list[CostPrediction]:
        kinds = list(self._kinds_of_rounds(self.trainer(noise)))
        every = [costs for rounds, _ in kinds for costs in rounds]
        sparse = any(isinstance(step, Average) and not step.summable for costs in every for step in costs)
        predictions = []
        for point in self.points:
            finished, seconds, sent, server, took, stopped = 0, 0.0, 0.0, 0.0, 0.0, None
            settings, cut, left_out = self.settings(point), False, False
            until = sampled_until(settings)
            for rounds, count in kinds:
                began = time.perf_counter()
                timing = simulate(settings, rounds, until=until)
                once, stopped = time.perf_counter() - began, timing.stopped
                if stopped is None and len(timing.round_end) < len(rounds):
                    cut = True
                    if not len(timing.round_end):
                        timing, left_out = simulate(settings.undisturbed, rounds), True
                factor = 1.0 if stopped else count / len(timing.round_end)
                finished += len(timing.round_end) if stopped else count
                took += once * (timing.total * factor / until if left_out else factor)
                seconds += timing.total * factor
                sent += timing.sent_by_workers.sum() * factor
                server += float(timing.into_server.sum() + timing.out_of_server.sum()) * factor
                if stopped:
                    break
            predictions.append(
                CostPrediction(
                    point,
                    self.method.name,
                    finished,
                    seconds,
                    sent,
                    server,
                    sparse and server > 0,
                    stopped,
                    took,
                    left_out,
                    sampled_words(settings, seconds, left_out) if cut else "",
                )
            )
        return predictions

    def _kinds_of_rounds(self, trainer: StackedTrainer) -> Iterator[tuple[list[RoundCosts], int]]:
        """A few rounds whose messages are of one kind, and how many of that kind there are; kind after kind."""
        milestones, begin = self.milestones(trainer.workload.batches_per_epoch), 0
        for end in (*trainer.changes(), math.inf):
            trainer.skip_to(begin)
            before, rounds = trainer.gradients, list[RoundCosts]()
            over = milestones.over(trainer.rounds, trainer.gradients)
            try:
                while not over and len(rounds) < end - begin and not _is_settled(rounds):
                    rounds.append(trainer.next_round().with_everybody())
                    over = milestones.over(trainer.rounds, trainer.gradients)
            except DivergenceError as error:  # at a huge rate noise diverges, too; what went before was sent
                if not rounds and not begin:
                    raise SimgmcError(f"methods.{self.method.name}: {error}") from None
            if not rounds:
                return
            count = len(rounds)
            if not over and count < end - begin:
                each = (trainer.gradients - before) / count
                count = int(min(end - begin, count + milestones.left(trainer.rounds, trainer.gradients, each)))
                # The first round of a method with memory differs from the steady state. What the network draws anew in
                # every round is averaged over several.
                rounds = list(itertools.islice(itertools.cycle(rounds[len(rounds) // 2 :]), STEADY))
            yield rounds, count
            begin += count
            if over or begin < end:
                return

    def try_rounds(self, workload: Workload, rounds: int, enough: float) -> Tried:
        trainer, moments = self.trainer(workload), [time.perf_counter()]
        with contextlib.suppress(DivergenceError):  # one that diverges at once is soon over
            while len(moments) <= rounds and moments[-1] - moments[0] < enough:
                trainer.next_round().with_everybody()
                moments.append(time.perf_counter())
        moments = [*moments, time.perf_counter()] if len(moments) == 1 else moments
        took = [end - begin for begin, end in itertools.pairwise(moments)]
        timed, each = took[1:] or took, max(1.0, trainer.gradients / len(took))
        return Tried(len(timed), each * len(timed), sum(timed), trainer.model(), self.evaluated_models(trainer))

    def send_first(self, noise: Callable[[int], Workload], note: Callable[[int, Message], None]) -> None:
        trainer = self.trainer(noise(1))  # one worker's are like everybody's
        milestones = self.milestones(trainer.workload.batches_per_epoch)
        for begin in (0, *trainer.changes()):
            trainer.skip_to(begin)
            if milestones.over(trainer.rounds, trainer.gradients):
                break
            trainer.on_message = partial(note, begin)
            trainer.next_round().with_everybody()

    def memory_needed(self, workload: Workload) -> Needed:
        from simgmc.experiment.under_way import memory_count  # loads torch

        return memory_count.of_rounds(
            lambda noise: self.smaller(noise.d / workload.d).trainer(noise), workload, self.scenario
        )

    def record_bytes(self) -> float:
        return ROUND_RECORD + WORKER_RECORD * self.scenario.workload.workers

    def freed_bytes(self, vector: int) -> float:
        stacked = vector * self.scenario.workload.workers
        return 2.2 * stacked if stacked < KEPT else 0

    # After the run.

    def explain(
        self,
        directory: RunDirectory,
        found: Sequence[tuple[GridPoint, Breakdown]],
        details: Callable[[], Mapping[SeriesKey, Details]],
    ) -> Iterator[Explanation]:
        """The first rounds of a series are put on the same cluster again, and on one with twice the
        bandwidth, and on one with half the latency."""
        if not directory.has_costs(self.key):
            raise NotKept("its costs are missing")
        try:
            rounds = directory.read_costs(self.key)
        except SimgmcError as error:
            raise NotKept(str(error)) from None
        if not self._are_costs(rounds):
            raise NotKept("its costs are of another number of workers")
        for point, breakdown in found if rounds else ():
            settings, some = self.settings(point), rounds[: min(EXPLAINED, breakdown.rounds)]
            timing = simulate(replace(settings, explained=True), some)
            changed = [] if settings.leaves_out else [settings.scaled(bandwidth=2.0), settings.scaled(latency=0.5)]
            shares = [simulate(other, some).total / timing.total if timing.total else 1.0 for other in changed]
            faster, nearer = shares or (None, None)
            exposed = timing.exposed if float(timing.communication.sum()) > 0 else None
            bound_by = timing.bottleneck(self.waiting)
            yield self.explanation(point, bound_by, breakdown.stopped, exposed, faster, nearer, timing.chosen)

    def can_watch(self, directory: RunDirectory) -> bool:
        return directory.has_costs(self.key)

    def watch(self, directory: RunDirectory, point: GridPoint, breakdown: Breakdown, window: Window) -> Watched:
        costs = directory.read_costs(self.key)
        total = min(breakdown.rounds, len(costs))
        first, last = window(total)
        settings, recorder = self.settings(point), Recorder(first, last)
        timing = simulate(settings, itertools.islice(costs, min(last + 1 + _AHEAD, total)), recorder=recorder)
        whole = simulate(settings, costs)
        used = zip(whole.links, whole.utilisation.tolist(), whole.link_bytes.tolist(), strict=True)
        return Watched(
            (first, last),
            recorder.timeline(settings.workers, timing.round_end),
            {link: share for link, share, carried in used if carried > 0},
            len(whole.round_end),
            whole.total,
        )


@dataclass
class RoundsFinished:
    """The costs of all rounds, which can be put on any cluster, and the evaluations between them."""

    training: SynchronousTraining
    outcome: Outcome
    first: tuple[GridPoint, Timing] | None = None
    """The point whose cluster pulled the rounds, and what came of it."""
    known: int | None = None
    """Rounds up to which evaluations are known, where every cluster so far stopped before the training's end."""
    kept_in: str = ""
    """The run directory that it was restored from."""
    model: FinalModel | None = None
    """What it ended with, where that is known."""

    def keep(self, directory: RunDirectory) -> None:
        if self.model is not None:
            self.model.keep(directory, self.training)
        directory.write_costs(self.training.key, self.outcome.rounds)

    def check(self, point: GridPoint) -> None:
        if self.known is not None:
            timing = simulate(self.training.settings(point), self.outcome.rounds)
            if timing.stopped is None or len(timing.round_end) > self.known:
                raise SimgmcError(
                    f"{self.kept_in}: {self.training.title!r} stopped after round {self.known} on its cluster, "
                    "and what came after was not kept; train on the other cluster with simgmc run"
                )

    def series_of(self) -> Callable[[Timing], Series]:
        """What it gives on the cluster that gave a timing."""
        left_out = participation(self.training.scenario, self.training.method) != "all"
        gradients, detailed = gradients_of(self.outcome.rounds), self.training.shared is None
        return lambda timing: series_of_rounds(self.outcome, gradients, timing, left_out, detailed)

    def on(self, points: Sequence[GridPoint], on_round: Callable[[int, float], None] | None = None) -> Iterator[Series]:
        """The rounds are replayed there, all on several clusters at once; not where they were trained."""
        trained = None if self.first is None else self.first[0]
        others = [self.training.settings(point) for point in points if point is not trained]
        replayed, series_of = simulate_many(others, self.outcome.rounds, on_round), self.series_of()
        for point in points:
            yield series_of(self.first[1] if self.first is not None and point is trained else next(replayed))


def on_all(finished: Sequence[tuple[RoundsFinished, Sequence[GridPoint]]]) -> list[list[Series]]:
    """What several trainings give, each on the clusters of its points: as :meth:`RoundsFinished.on`, all at once."""
    replays = [([one.training.settings(at) for at in points], one.outcome.rounds) for one, points in finished]
    series_of = [one.series_of() for one, _ in finished]
    found: list[dict[int, Series]] = [{} for _ in finished]
    for which, at, timing in simulate_all(replays):
        found[which][at] = series_of[which](timing)
    return [[several[at] for at in range(len(several))] for several in found]


def _is_settled(rounds: Sequence[RoundCosts]) -> bool:
    """Whether further rounds would say no more: enough were looked at, or the last three sent the same."""
    sent = [
        sum(step.up.sum() + step.down if isinstance(step, Average) else step.nbytes.sum() for step in _exchanges(costs))
        for costs in rounds[-3:]
    ]
    return len(rounds) >= PREDICTED or (len(rounds) > 3 and 0 < max(sent) <= (1 + SETTLED) * min(sent))


def _exchanges(costs: RoundCosts) -> Iterator[Average | Mix]:
    return (step for step in costs if isinstance(step, (Average, Mix)))
