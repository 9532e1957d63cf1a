"""A synchronous training on real processes: rounds on every rank, evaluated on rank 0 while the clock stands still."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs.log import RoundLog, from_bytes
from simgmc.costs.steps import RoundCosts
from simgmc.distributed import measured
from simgmc.distributed.account import Account
from simgmc.distributed.carriers import Carriers
from simgmc.distributed.checkpoints import RankCheckpoints
from simgmc.distributed.clock import Clock
from simgmc.distributed.group import Group, RankLostError
from simgmc.distributed.ranks import RankTrainer
from simgmc.distributed.server import Servers
from simgmc.experiment.assembly import build_stacked_trainer
from simgmc.experiment.final_model import final_model
from simgmc.experiment.series import write_all
from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.experiment.training import Progress, Training
from simgmc.experiment.under_way.evaluations import Evaluations, Outcome, State
from simgmc.experiment.under_way.rounds import CommunicationCost
from simgmc.network.cluster.schedules import options_of
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.workloads.workload import Workload


@dataclass(frozen=True)
class Manner:
    """How a run on real processes is to go."""

    in_rank_order: bool
    """Whether everything is added in rank order, in the place of the group's own all-reduce."""
    paced: bool
    """Whether a gradient lasts as long as on the scenario's cluster."""
    checkpoint_every: float


@dataclass(frozen=True)
class Keeper:
    """Where rank 0 writes, and who hears of it."""

    directory: RunDirectory
    progress: Progress


@dataclass(frozen=True)
class _Verdict:
    """What rank 0 says after it has looked at a state."""

    diverged: bool
    save: bool


class RoundsOnRanks:
    """One training under way, on this rank."""

    def __init__(
        self,
        training: SynchronousTraining,
        workload: Workload,
        group: Group,
        manner: Manner,
        checkpoints: RankCheckpoints,
        keeper: Keeper | None,
    ):
        """``keeper``: on rank 0 alone."""
        self._training, self._group, self._checkpoints = training, group, checkpoints
        self._clock = Clock(group)
        self._trainer = trainer = rank_trainer(training, workload, group, manner, self._clock)
        self._milestones = training.milestones(workload.batches_per_epoch)
        if self._milestones.seconds is not None:
            raise SimgmcError(
                "workload.evaluate_every in seconds: real processes are evaluated between rounds; give rounds or epochs"
            )
        self._watch = None if keeper is None else _Watch(training, trainer, keeper)
        self._went_on: tuple[float, tuple[int, int] | None] = (0.0, None)
        """When the clock went on last, and what the interface had sent and received then."""

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one; rank 0 writes what came of it."""
        trainer, milestones, watch = self._trainer, self._milestones, self._watch
        state = self._checkpoints.load(trainer.workload.device)
        if watch is not None:
            watch.begin(milestones.total(), state)
        diverged = False
        try:
            if state is None:
                self._go_on(0.0)
                diverged = self._pause()
            else:
                trainer.load_state_dict(state["trainer"])
                self._go_on(state["time"])
            while not diverged and not milestones.over(trainer.rounds, trainer.gradients):
                before = trainer.gradients
                trainer.run_round()
                if milestones.due(trainer.rounds, trainer.gradients, before):
                    diverged = self._pause()
            trainer.on_over()
        except DivergenceError as error:
            self._group.say("diverged", f"{error}")
            if watch is not None:
                watch.diverged(str(error), trainer.rounds + 1)
        except RankLostError:
            if (said := self._group.heard("diverged")) is None:
                raise
            if watch is not None:
                watch.diverged(said, trainer.rounds + 1)
        finally:
            trainer.close()
        if watch is not None:
            watch.over()
        self._checkpoints.remove()

    def _pause(self) -> bool:
        """Stop the clock, let rank 0 evaluate, save if it says so, go on; whether it has diverged."""
        times = self._group.gathered(self._stop(), everywhere=True)
        steps, rounds = self._trainer.look()
        verdict: _Verdict | None = None
        if self._watch is not None:
            verdict = _Verdict(not self._watch.see(times, steps, rounds), self._checkpoints.due())
        verdict = self._group.told(verdict)
        if verdict.save and not verdict.diverged:
            state: dict[str, Any] = {"trainer": self._trainer.state_dict(), "time": max(times)}
            if self._watch is not None:
                state["watch"] = self._watch.state()
            self._checkpoints.save(f"round{self._trainer.rounds}", state)
        self._go_on(max(times))
        return verdict.diverged

    def _go_on(self, seconds: float) -> None:
        self._clock.set(seconds)
        self._went_on = seconds, measured.interface()

    def _stop(self) -> float:
        """The clock's time. What left the interface since it went on is complete once all ranks are here."""
        now, (since, before) = self._clock.now(), self._went_on
        self._group.wait_for_all()
        if before is not None and (after := measured.interface()) is not None:
            rank, last = self._group.rank, self._trainer.rounds - 1
            moved = after[0] - before[0], after[1] - before[1]
            calls = measured.calls_text({measured.Call("barrier", 0, self._group.size): 1})
            step = measured.Step(rank, last, -1, "interface", "", since, now, *moved, 0, calls=calls)
            self._trainer.measured.append(step)
        return now


def rank_trainer(
    training: SynchronousTraining, workload: Workload, group: Group, manner: Manner, clock: Clock
) -> RankTrainer:
    """The trainer of this rank's worker. Raises SimgmcError for what real processes cannot do."""
    refuse_left_out(training)
    trainer = build_stacked_trainer(training, workload, "all", RankTrainer, rank=group.rank)
    assert isinstance(trainer, RankTrainer)
    settings = training.settings(training.points[0])
    collective = training.scenario.cluster.collective
    sites = options_of(settings).groups if collective == "two-level" else ()

    def compute_s(round: int, step: int) -> float:
        return float(settings.compute_times(round, step, 1)[group.rank]) if manner.paced else 0.0

    servers: Servers | None = None
    if group.processes > group.size and needs_server(training):
        servers = Servers(group, workload.workers, range(group.size, group.processes))
        servers.begin(workload.shares)
        trainer.on_over = servers.over
    carriers = Carriers(group, workload.workers, collective, manner.in_rank_order, sites, servers)
    trainer.prepare(group, carriers, clock, compute_s)
    return trainer


class _Watch:
    """Rank 0's part: evaluates, keeps costs and measurements, writes."""

    def __init__(self, training: SynchronousTraining, trainer: RankTrainer, keeper: Keeper):
        self._training, self._trainer, self._keeper = training, trainer, keeper
        self._log = RoundLog()
        self._outcome = Outcome(self._log)
        workload, scenario = trainer.workload, training.scenario
        self._communication = CommunicationCost(workload.workers, workload.d)
        factor, single = scenario.workload.divergence_factor, scenario.report.single_workers
        self._evaluations = Evaluations(workload, self._outcome, factor, single, self._evaluated)
        self._account = Account(workload.workers)
        self._file = measured.file_of(keeper.directory, training.key)

    def _evaluated(self, state: State) -> None:
        self._keeper.progress.evaluated(self._training, state)

    def begin(self, rounds: int, state: dict[str, Any] | None) -> None:
        """The training begins, or goes on from a checkpoint."""
        self._keeper.progress.started(self._training, rounds)
        kept = []
        if state is not None:
            watch = state["watch"]
            for piece in watch["costs"]:
                self._log.extend(from_bytes(piece.tobytes(), "checkpoint"))
            self._account = Account.restored(watch["account"])
            self._outcome.states += [State(**one) for one in watch["states"]]
            for costs in self._log:
                self._communication.add(costs)
            self._outcome.rcc = self._communication.ratio
            if self._file.exists():
                steps = measured.read(self._keeper.directory, self._training.key)
                kept = [one for one in steps if one.round < len(self._log)]
            self._keeper.progress.resumed(self._training, len(self._log), f"round {len(self._log)}")
        self._file.unlink(missing_ok=True)
        measured.append(self._file, kept)

    def see(self, times: Sequence[float], steps: Sequence[measured.Step], rounds: Sequence[RoundCosts]) -> bool:
        """Take in what ranks have measured, and evaluate what they hold; whether that is in order."""
        trainer, mixing = self._trainer, self._trainer.mixing

        def senders(round: int, rank: int) -> list[int]:
            return [] if mixing is None else [sender for sender, _ in mixing.row(round, rank)]

        self._account.add(steps, senders)
        time = self._account.come_to(times)
        measured.append(self._file, steps)
        for costs in rounds:
            self._log.append(costs)
            self._communication.add(costs)
        self._outcome.rcc = self._communication.ratio
        progress = trainer.progress()
        if rounds:
            self._keeper.progress.round_done(self._training, len(self._log) - 1, time)
        try:
            self._evaluations.add(
                progress.round,
                progress.epoch,
                progress.latest,
                trainer.model(),
                trainer.other_models(),
                trainer.models(),
                trainer.metrics(),
                rcc=self._outcome.rcc,
                time=time,
                bytes_up=self._account.sent,
                bytes_down=self._account.received,
            )
        except DivergenceError as error:
            self.diverged(str(error), progress.round)
            return False
        return True

    def diverged(self, why: str, round: int) -> None:
        """The training has left the finite numbers, or its loss has grown too large."""
        self._outcome.diverged, self._outcome.diverged_round = why, round

    def state(self) -> dict[str, Any]:
        """What :meth:`begin` takes."""
        return {
            "states": [dataclasses.asdict(one) | {"others": dict(one.others)} for one in self._outcome.states],
            "costs": [np.frombuffer(piece, np.uint8) for piece in self._log.pieces()],
            "account": self._account.state(),
        }

    def over(self) -> None:
        """Write what came of it."""
        training, directory, outcome = self._training, self._keeper.directory, self._outcome
        if (model := final_model(self._trainer, outcome)) is not None:
            model.keep(directory, training)
        directory.write_costs(training.key, self._log)
        series = self._account.series(outcome, len(self._log))
        for _ in write_all(directory, [training.series(training.points[0])], [series]):
            pass
        self._keeper.progress.ended(training, outcome)


def needs_server(training: Training) -> bool:
    """Whether the scenario's network has a server for its messages."""
    scenario = training.scenario
    return bool(scenario.cluster.server_names(scenario.exchange(training.method)))


def refuse_left_out(training: SynchronousTraining) -> None:
    """Raises SimgmcError where the scenario's cluster leaves workers out of rounds: real ones are all there."""
    if training.participation != "all":
        raise SimgmcError(
            "cluster: leaves workers out of rounds (crashes, or a server that waits for the first k): real processes "
            "all take part; leave that out"
        )
