"""An asynchronous training under way: evaluated, checkpointed, and what it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from simgmc.core.errors import DivergenceError, GivenUp, SimgmcError
from simgmc.core.interruption import Interruption
from simgmc.experiment.under_way.evaluations import GIVEN_UP, Evaluations, Milestones, Outcome, State
from simgmc.experiment.under_way.event_loop import EventLoop
from simgmc.experiment.under_way.remarks import Remarks
from simgmc.network import ClusterSettings
from simgmc.network.cluster.peers import LAST_OF_INSTANT, Peers
from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.scenario import Scenario
from simgmc.training.journal import Journal, Programs

if TYPE_CHECKING:  # for annotations alone, as it loads torch
    from simgmc.training.per_worker import PerWorkerTrainer


class EventsUnderWay:
    """One training of a method whose order of events matters.

    An evaluation, or the end, takes place when everything that happens at its instant is over. Its
    round is the number of gradients per worker so far, rounded down; no two have the same.
    A training that was stopped goes on from its checkpoint: the cluster is simulated again up
    to there with the requests of the journal, then the numerics take over where they were.
    """

    def __init__(
        self,
        trainer: PerWorkerTrainer,
        settings: ClusterSettings,
        milestones: Milestones,
        scenario: Scenario,
        checkpoints: Checkpoints | None = None,
        interruption: Interruption | None = None,
        on_evaluation: Callable[[State], None] = lambda state: None,
        on_round: Callable[[int, float], None] = lambda number, time: None,
        programs: Programs | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ):
        """``programs``: who answers the event loop, if that is not the trainer itself. ``warn`` hears of what may not
        be meant."""
        self._trainer = trainer
        self._milestones = milestones
        self._checkpoints = checkpoints
        self._interruption = interruption or Interruption()
        self._on_round = on_round
        self.outcome = Outcome()
        self._programs = programs or trainer
        self._journal = Journal(self._programs)
        self.resumed = 0
        """Gradients per worker that the checkpoint had."""
        self._past = 0
        """Evaluations that the checkpoint holds and that are not made again."""
        factor, single = scenario.workload.divergence_factor, scenario.report.single_workers
        self._evaluations = Evaluations(trainer.workload, self.outcome, factor, single, on_evaluation)
        self._load(on_evaluation)
        self._remarks = Remarks(trainer, warn)
        self._peers = Peers(settings)
        self.loop = EventLoop(self._peers, self._journal, self._after)
        self._before = 0.0
        self._evaluated = -1
        self._awaited = False
        """Whether an evaluation at a stated time is to come."""

    # running --------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end (or until it diverges)."""
        self._peers.clock.call_at(0.0, lambda _: self._evaluate(), LAST_OF_INSTANT)
        try:
            self.loop.run()
            if self.loop.diverged:
                raise DivergenceError(self._trainer.diverged)
            if self._peers.stopped:
                self._evaluate()
        except DivergenceError as error:
            self.outcome.diverged, self.outcome.diverged_round = str(error), int(self._mean_gradients)
        except GivenUp as error:
            self.outcome.given_up = f"{GIVEN_UP} after {int(self._mean_gradients)} gradients a worker: {error}"

    def _at_stated_time(self, seconds: float) -> None:
        """Evaluate at the next multiple of so many simulated seconds (this very instant, if it is one).

        Asked for only where there is something new to see: the multiples in between may be many.
        """

        def evaluate(_: object) -> None:
            self._awaited = False
            self._evaluate()

        self._awaited = True
        now = self._peers.now
        time = math.ceil(now / seconds) * seconds
        self._peers.clock.call_at(time if time >= now else time + seconds, evaluate, LAST_OF_INSTANT)

    @property
    def _mean_gradients(self) -> float:
        return sum(self.loop.gradients) / len(self.loop.gradients)

    def _after(self, loop: EventLoop) -> None:
        """The end of an instant at which gradients were finished."""
        now = self._mean_gradients
        over = self._milestones.over_by_clock(now)
        if over or self._milestones.due_by_clock(now, self._before):
            self._evaluate()
        elif self._milestones.seconds is not None and not self._awaited and int(now) != self._evaluated:
            self._at_stated_time(self._milestones.seconds)
        if int(now) > int(self._before):
            self._remarks.after_round()
            self._on_round(int(now) - 1, self._peers.now)
        self._before = now
        if over:
            self._peers.stop()
            return
        asked = self._interruption.asked
        if self._checkpoints is not None and not self._journal.replaying and (asked or self._checkpoints.due()):
            self._save(self._checkpoints)
        self._interruption.obey()

    def _evaluate(self) -> None:
        trainer, peers = self._trainer, self._peers
        number = int(self._mean_gradients)
        if number == self._evaluated:
            return  # stated times may come more often than gradients, or together with a milestone
        self._evaluated = number
        if self._past:
            self._past -= 1
            return
        self._evaluations.add(
            number,
            trainer.epoch,
            trainer.progress().latest,
            trainer.model(),
            trainer.other_models(),
            trainer.models(),
            others=trainer.metrics(),
            time=peers.now,
            bytes_up=peers.sent_by_workers,
            bytes_down=peers.received_by_workers,
        )
        # A single worker has nobody to send anything to.
        rounds, alone = min(map(len, self.loop.round_ends)), len(self.loop.round_ends) == 1
        self._remarks.after_evaluation(rounds, lambda: alone or trainer.sent > 0)

    def journal(self) -> np.ndarray:
        """What its programs said to the event loop, see :class:`simgmc.training.journal.Journal`."""
        return self._journal.to_array()

    # checkpoints ----------------------------------------------------------------------

    def _save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint of this instant."""
        from simgmc.training.saved_state import to_arrays  # loads torch

        try:
            arrays, plain = to_arrays(self._trainer.state_dict())
        except TypeError as error:  # a model that keeps what no file can hold
            checkpoints.cannot_hold(str(error))
            return
        states = [dataclasses.asdict(state) for state in self.outcome.states]
        where = f"{int(self._mean_gradients)} gradients a worker"
        checkpoints.save(
            {**arrays, "journal": self._journal.to_array()}, {"at": where, "trainer": plain, "states": states}
        )

    def _load(self, on_evaluation: Callable[[State], None]) -> None:
        if self._checkpoints is None or (found := self._checkpoints.load()) is None:
            return
        from simgmc.training.saved_state import from_arrays  # loads torch

        arrays, plain = found
        if "journal" not in arrays:
            raise SimgmcError(
                f"{self._checkpoints.file}: is not a checkpoint of a training under the clock; remove it to train anew"
            )
        self._journal = Journal(self._programs, arrays.pop("journal"))
        self._trainer.load_state_dict(from_arrays(arrays, plain["trainer"], self._trainer.workload.device))
        self.outcome.states += [State(**state) for state in plain["states"]]
        self._past = len(self.outcome.states)
        self.resumed = int(self._trainer.gradients)
        for state in self.outcome.states:
            with contextlib.suppress(GivenUp):  # it went on then
                on_evaluation(state)
