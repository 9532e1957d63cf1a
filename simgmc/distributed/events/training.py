"""An asynchronous training on real processes: every rank at its own pace, all looked at when rank 0 says so.

The order of events is kept; the training is the same again by it, without processes:
:func:`simgmc.distributed.events.again.again`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, NamedTuple

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

KEPT_BYTES = 2**28
"""Of what a rank holds at looks before a pause is called for."""


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
        self._looks: list[dict[str, Any]] = []
        """What this rank has held when it was looked at, since the last pause."""
        points = 1 + len(programs.algorithm.other_models(programs.runs[0].worker))
        # Running statistics change while a gradient is computed: those are looked at in pauses alone.
        self._most_looks = 0 if workload.state_dict() else KEPT_BYTES // (8 * workload.d * points)
        self.rank.on_count = self._due
        self.rank.on_look = lambda: self._looks.append(self._held())

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
            if state is not None or not self._pause():
                self.rank.run(self._pause)
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

    def _due(self) -> Literal["", "look", "pause"]:
        """On rank 0: what the gradients that it has heard of call for."""
        now, before, milestones = self._gradients, self._before, self._milestones
        over = milestones.over_by_clock(now)
        if not over and not milestones.due_by_clock(now, before):
            return ""
        self._before = now
        return "pause" if over or len(self._looks) >= self._most_looks or self._checkpoints.due() else "look"

    def _held(self) -> dict[str, Any]:
        """What this rank holds, between two events."""
        rank, programs = self.rank, self.rank.programs
        algorithm = programs.algorithm
        held: dict[str, Any] = {
            "time": self._clock.now(),
            "sent": list(rank.sent),
            "received": list(rank.received),
            "staleness": Counter(rank.staleness),
        }
        rank.staleness = []
        if self._group.rank < self._workload.workers:
            run = programs.runs[self._group.rank]
            held |= {
                "gradients": run.gradients,
                "point": algorithm.model(run.worker).cpu().clone(),
                "others": {name: one.cpu().clone() for name, one in algorithm.other_models(run.worker).items()},
                "metrics": algorithm.metrics(run.worker),
                "buffers": {name: rows[self._group.rank] for name, rows in self._workload.state_dict().items()},
                "blocked": rank.waited(),
            }
        if self._group.rank == rank.rank_of(SERVER):
            model = algorithm.model(programs.server).cpu().clone() if algorithm.centralised else None
            held["server"] = model, algorithm.metrics(programs.server)
        return held

    def _pause(self) -> bool:
        """All ranks stand still, and rank 0 evaluates what they have held and hold; whether training is over."""
        rank, group, watch = self.rank, self._group, self._watch
        own: dict[str, Any] = {
            "looks": [*self._looks, self._held()],
            "events": to_array(rank.events),
            "measured": rank.measured,
            "diverged": rank.programs.diverged,
            "time": self._clock.now(),
        }
        self._looks, rank.events, rank.measured = [], [], []
        every = group.gathered(own)
        verdict: _Verdict | None = None
        if watch is not None:
            over = not watch.see(every, rank.programs.algorithm) or self._milestones.over_by_clock(watch.gradients)
            save = not over and watch.gradients > 0 and self._checkpoints.due()
            name = f"gradient{watch.gradients_of_all}" if save else ""
            verdict = _Verdict(over, max(one["time"] for one in every), name)
        verdict = group.told(verdict)
        if verdict.save:
            state: dict[str, Any] = {"rank": rank.state_dict(), "time": verdict.time, "before": self._before}
            if watch is not None:
                state["watch"] = watch.state()
            self._checkpoints.save(verdict.save, state)
        self._clock.set(verdict.time)
        return verdict.over
