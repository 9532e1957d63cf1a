"""An asynchronous training on real processes: every rank at its own pace, all looked at when rank 0 says so.

The order of events is kept; the training is the same again by it, without processes: :func:`again`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from simgmc.algorithms.worker import Algorithm
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs.steps import SERVER
from simgmc.distributed import measured
from simgmc.distributed.account import Account
from simgmc.distributed.async_rank import AsyncRank, RankPrograms
from simgmc.distributed.clock import Clock
from simgmc.distributed.group import Group, RankLostError
from simgmc.distributed.order import Event, OrderedPrograms, from_array, in_order, to_array
from simgmc.distributed.synchronous import Keeper, Manner
from simgmc.experiment.assembly import build_per_worker_trainer
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.final_model import FinalModel
from simgmc.experiment.series import write_all
from simgmc.experiment.under_way.evaluations import Evaluations, Outcome
from simgmc.results.directory.details import PARTS
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.training.one_by_one import joined_rows
from simgmc.workloads.workload import Workload


class EventsOnRanks:
    """One training under way, on this rank."""

    def __init__(
        self, training: AsynchronousTraining, workload: Workload, group: Group, manner: Manner, keeper: Keeper | None
    ):
        """``keeper``: on rank 0 alone."""
        self._training, self._group, self._workload = training, group, workload
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
        self._watch = None if keeper is None else _Watch(training, workload, keeper)
        self._before = 0.0
        self.rank.on_count = self._due

    def run(self) -> None:
        """Train to the end; rank 0 writes what came of it."""
        watch = self._watch
        if watch is not None:
            watch.begin(self._milestones.total())
        try:
            self._clock.set(0.0)
            if not self._look():
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
                "blocked": dict(rank.blocked),
            }
        if group.rank == rank.rank_of(SERVER):
            model = algorithm.model(programs.server).cpu() if algorithm.centralised else None
            own["server"] = model, algorithm.metrics(programs.server)
        rank.events, rank.measured, rank.staleness = [], [], []
        every = group.gathered(own)
        verdict: tuple[bool, float] | None = None
        if self._watch is not None:
            right = self._watch.see(every, algorithm)
            verdict = (
                not right or self._milestones.over_by_clock(self._watch.gradients),
                max(one["time"] for one in every),
            )
        over, time = group.told(verdict)
        self._clock.set(time)
        return over


class _Watch:
    """Rank 0's part: evaluates, keeps the order of events and what was measured, writes."""

    def __init__(self, training: AsynchronousTraining, workload: Workload, keeper: Keeper):
        self._training, self._workload, self._keeper = training, workload, keeper
        self._outcome = Outcome()
        scenario = training.scenario
        factor, single = scenario.workload.divergence_factor, scenario.report.single_workers
        self._evaluations = Evaluations(
            workload, self._outcome, factor, single, lambda state: keeper.progress.evaluated(training, state)
        )
        self._account = Account(workload.workers)
        self._events: list[Event] = []
        self._file = measured.file_of(keeper.directory, training.key)
        self._model: torch.Tensor | None = None
        self._evaluated = -1

    def begin(self, gradients: int) -> None:
        """The training begins."""
        self._keeper.progress.started(self._training, gradients)
        self._file.unlink(missing_ok=True)
        measured.append(self._file, [])

    @property
    def gradients(self) -> float:
        """Of each worker, on average."""
        return float(self._account.gradients.mean())

    def see(self, every: list[dict[str, Any]], algorithm: Algorithm) -> bool:
        """Take in what ranks have measured, and evaluate what they hold; whether that is in order."""
        account, workload = self._account, self._workload
        for one in every:
            self._events += from_array(one["events"])
            measured.append(self._file, one["measured"])
            for staleness, count in one["staleness"].items():
                account.staleness[staleness] = account.staleness.get(staleness, 0) + count
        account.stale = algorithm.stale
        account.sent, account.out_of_server = (sum(one["sent"][server] for one in every) for server in (0, 1))
        account.received, account.into_server = (sum(one["received"][server] for one in every) for server in (0, 1))
        (at_server,) = (one["server"] for one in every if "server" in one)
        every = every[: workload.workers]
        account.gradients = np.array([one["gradients"] for one in every])
        for rank, one in enumerate(every):
            spent = {"compute": one["time"] - sum(one["blocked"].values())} | one["blocked"]
            account.seconds[rank] = [spent.get(part, 0.0) for part in PARTS]
        account.time = max(one["time"] for one in every)
        points = [one["point"].to(workload.device) for one in every]
        model = at_server[0].to(workload.device) if algorithm.centralised else torch.stack(points).mean(dim=0)
        if every[0]["buffers"]:
            names = every[0]["buffers"]
            workload.load_state_dict({name: _stacked([one["buffers"][name] for one in every]) for name in names})
        self._model, number = model, int(self.gradients)
        if number:
            self._keeper.progress.round_done(self._training, number - 1, account.time)
        if number == self._evaluated:
            return True
        self._evaluated = number
        metrics = [one["metrics"] for one in every] + [at_server[1]]
        try:
            self._evaluations.add(
                number,
                self.gradients / workload.batches_per_epoch,
                [max(0, int(one) - 1) for one in account.gradients] if account.gradients.any() else None,
                model,
                {
                    name: joined_rows([one["others"][name].to(workload.device) for one in every]).mean(dim=0)
                    for name in every[0]["others"]
                },
                [] if algorithm.centralised else points,
                {name: sum(one.get(name, 0.0) for one in metrics) for one in metrics for name in one},
                time=account.time,
                bytes_up=account.sent,
                bytes_down=account.received,
            )
        except DivergenceError as error:
            self.diverged(str(error))
            return False
        return True

    def diverged(self, why: str) -> None:
        """Training has left the finite numbers, or its loss has grown too large."""
        self._outcome.diverged, self._outcome.diverged_round = why, int(self.gradients)

    def over(self) -> None:
        """Write what came of it, and the order of events."""
        training, directory, outcome = self._training, self._keeper.directory, self._outcome
        if outcome.diverged is None and self._model is not None:
            epoch = self.gradients / self._workload.batches_per_epoch
            model = FinalModel(self._workload.model_state(self._model), self._evaluated, epoch)
            model.keep(directory, training)
        write_order(directory, training.key, self._events)
        series = self._account.series(outcome, int(self.gradients))
        for _ in write_all(directory, [training.series(training.points[0])], [series]):
            pass
        self._keeper.progress.ended(training, outcome)


def _stacked(rows: list[Any]) -> Any:
    return torch.stack(rows) if isinstance(rows[0], torch.Tensor) else rows


def write_order(directory: RunDirectory, training_key: str, events: list[Event]) -> None:
    """Keep the order of a training's events: ``measured/KEY.order.npy``."""
    file = measured.file_of(directory, training_key).with_suffix(".order.npy")
    file.parent.mkdir(exist_ok=True)
    np.save(file, to_array(in_order(events)))


def read_order(directory: RunDirectory, training_key: str) -> list[Event]:
    """The events of a training in their order. Raises SimgmcError where they were not kept."""
    file = measured.file_of(directory, training_key).with_suffix(".order.npy")
    try:
        return from_array(np.load(file, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise SimgmcError(f"{file}: cannot be read: {error}") from None


def again(training: AsynchronousTraining, workload: Workload, events: list[Event]) -> OrderedPrograms:
    """The same training once more by its order of events; the programs as they stand at its end."""
    programs = build_per_worker_trainer(training, workload, OrderedPrograms)
    assert isinstance(programs, OrderedPrograms)
    for event in events:
        programs.happen(event)
    return programs
