"""An asynchronous training on real processes: every rank at its own pace, all looked at when rank 0 says so.

The order of events is kept; the training is the same again by it, without processes:
:func:`simgmc.distributed.events.again.again`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs.steps import SERVER
from simgmc.distributed.checkpoints import RankCheckpoints
from simgmc.distributed.clock import Clock
from simgmc.distributed.events.order import to_array
from simgmc.distributed.events.programs import RankPrograms
from simgmc.distributed.events.rank import AsyncRank
from simgmc.distributed.events.watch import Watch
from simgmc.distributed.group import Group, RankLostError
from simgmc.distributed.synchronous import Keeper, Manner
from simgmc.experiment.assembly import build_per_worker_trainer
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.workloads.workload import Workload


class _Verdict(NamedTuple):
    """What rank 0 says after it has looked at all ranks."""

    over: bool
    time: float
    """At which all go on."""
    save: str
    """The name of the checkpoint that is to be written; empty: none is."""


class EventsOnRanks:
    """One training under way, on this rank."""

    def __init__(
        self,
        training: AsynchronousTraining,
        workload: Workload,
        group: Group,
        manner: Manner,
        checkpoints: RankCheckpoints,
        keeper: Keeper | None,
    ):
        """``keeper``: on rank 0 alone."""
        self._training, self._group, self._workload, self._checkpoints = training, group, workload, checkpoints
        programs = build_per_worker_trainer(training, workload, RankPrograms)
        assert isinstance(programs, RankPrograms)
        settings, self._clock = training.settings(training.points[0]), Clock(group)

        def compute_s(number: int) -> float:
            return float(settings.compute_times(number, 0, 1)[group.rank]) if manner.paced else 0.0

        self.rank = AsyncRank(programs, group, self._clock, compute_s)
        self._milestones = training.milestones(workload.batches_per_epoch)
        if self._milestones.seconds is not None:
            raise SimgmcError(
                "workload.evaluate_every in seconds: real processes are evaluated by gradients; give rounds or epochs"
            )
        self._watch = None if keeper is None else Watch(training, workload, keeper)
        self._before = 0.0
        self.rank.on_count = self._due

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one; rank 0 writes what came of it."""
        watch, state = self._watch, self._checkpoints.load(self._workload.device)
        if watch is not None:
            watch.begin(self._milestones.total(), state)
        try:
            if state is None:
                self._clock.set(0.0)
            else:
                self.rank.load_state_dict(state["rank"])
                self._before = state["before"]
                self._clock.set(state["time"])
            if state is not None or not self._look():
                self.rank.run(self._look)
                self.rank.post.close()
        except DivergenceError as error:
            self._group.say("diverged", str(error))
            if watch is not None:
                watch.diverged(str(error))
        except RankLostError:
            if (said := self._group.heard("diverged")) is None:
                raise
            if watch is not None:
                watch.diverged(said)
        if watch is not None:
            watch.over()
        self._checkpoints.remove()

    @property
    def _gradients(self) -> float:
        return sum(self.rank.counts) / len(self.rank.counts)

    def _due(self) -> bool:
        """On rank 0: whether the gradients that it has heard of call for an evaluation, or are all."""
        now, before = self._gradients, self._before
        due = self._milestones.over_by_clock(now) or self._milestones.due_by_clock(now, before)
        if due:
            self._before = now
        return due

    def _look(self) -> bool:
        """All ranks stand still, and rank 0 looks at them; whether training is over."""
        rank, programs, group = self.rank, self.rank.programs, self._group
        algorithm = programs.algorithm
        own: dict[str, Any] = {
            "time": self._clock.now(),
            "sent": list(rank.sent),
            "received": list(rank.received),
            "staleness": Counter(rank.staleness),
            "events": to_array(rank.events),
            "measured": rank.measured,
        }
        if group.rank < self._workload.workers:
            run = programs.runs[group.rank]
            own |= {
                "gradients": run.gradients,
                "point": algorithm.model(run.worker).cpu(),
                "others": {name: one.cpu() for name, one in algorithm.other_models(run.worker).items()},
                "metrics": algorithm.metrics(run.worker),
                "buffers": {name: rows[group.rank] for name, rows in self._workload.state_dict().items()},
                "blocked": rank.waited(),
            }
        if group.rank == rank.rank_of(SERVER):
            model = algorithm.model(programs.server).cpu() if algorithm.centralised else None
            own["server"] = model, algorithm.metrics(programs.server)
        rank.events, rank.measured, rank.staleness = [], [], []
        every = group.gathered(own)
        verdict: _Verdict | None = None
        if self._watch is not None:
            right = self._watch.see(every, algorithm)
            over = not right or self._milestones.over_by_clock(self._watch.gradients)
            save = not over and self._watch.gradients > 0 and self._checkpoints.due()
            name = f"gradient{self._watch.gradients_of_all}" if save else ""
            verdict = _Verdict(over, max(one["time"] for one in every), name)
        verdict = group.told(verdict)
        if verdict.save:
            state: dict[str, Any] = {"rank": rank.state_dict(), "time": verdict.time, "before": self._before}
            if self._watch is not None:
                state["watch"] = self._watch.state()
            self._checkpoints.save(verdict.save, state)
        self._clock.set(verdict.time)
        return verdict.over
