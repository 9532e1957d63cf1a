"""A synchronous training under way: rounds as the cluster asks for them, and what they leave."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict, TypeVar

import numpy as np

from simgmc.core.errors import DivergenceError, GivenUp
from simgmc.core.heap import Holes
from simgmc.core.interruption import Interruption
from simgmc.costs.log import RoundLog, from_bytes
from simgmc.costs.steps import Average, Compute, Membership, Mix, Round, RoundCosts, Step, with_everybody
from simgmc.experiment.under_way.evaluations import GIVEN_UP, Evaluations, Milestones, Outcome, State
from simgmc.experiment.under_way.remarks import Remarks
from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.scenario import Scenario

if TYPE_CHECKING:  # for annotations alone, as they load torch
    from torch import Tensor

    from simgmc.training.rounds import StackedRound
    from simgmc.training.stacked import StackedTrainer

T = TypeVar("T")


class Held(TypedDict):
    """What an evaluation needs of a state between two rounds."""

    round: int
    epoch: float
    latest: Sequence[int] | None
    model: Tensor
    points: dict[str, Tensor]
    workers: list[Tensor]
    rcc: float | None
    statistics: Mapping[str, Tensor] | None


class CommunicationCost:
    """Counts the relative communication cost: GMC paper eq. (9), reading U.

    Floats that the server receives and sends, one copy per worker, over the 2 K d that
    dense messages would take in every iteration; an iteration is one gradient on every
    worker. Messages that no average takes do not count, nor copies for workers that are not
    there. Without a server, in gossip, the floats that all workers send and receive: a dense
    message to each of n neighbours in every iteration is n.
    """

    def __init__(self, workers: int, d: int):
        self._workers, self._d = workers, d
        self._floats = 0
        self._gradients: float = 0

    def add(self, costs: RoundCosts) -> None:
        """Count one more round."""
        for step in costs:
            if isinstance(step, Average):
                self._floats += step.floats_in_all
            elif isinstance(step, Mix):
                self._floats += 2 * int(step.floats[step.edges[:, 0]].sum())
            elif isinstance(step, Compute):
                self._gradients += step.mean

    @property
    def ratio(self) -> float | None:
        """The cost so far; None before the first gradient."""
        return self._floats / (2 * self._workers * self._d * self._gradients) if self._gradients else None


class _Noted:
    """A round under way; tells the training what it cost once it is over, and where it diverges."""

    def __init__(self, under_way: StackedRound, owner: RoundsUnderWay, number: int):
        self._under_way, self._owner, self._number = under_way, owner, number
        self._counted = False

    def step(self, number: int) -> Step | None:
        """As of the round."""
        step = self._noting(lambda: self._under_way.step(number))
        if self._under_way.over:
            self.finish()
        return step

    def resolve(self, number: int, membership: Membership) -> Average:
        """As of the round."""
        return self._noting(lambda: self._under_way.resolve(number, membership))

    def finish(self) -> None:
        """Everybody has left the round, or is through with it."""
        if not self._counted:
            self._counted = True
            self._owner.count(self._under_way.finish(), self._number)

    def _noting(self, do: Callable[[], T]) -> T:
        try:
            return do()
        except DivergenceError as error:
            self._owner.diverged_in(self._number, error)
            raise


class RoundsUnderWay:
    """Trains round by round, as the first cluster asks for rounds, and keeps the outcome.

    Training ends early where a number is no longer finite, or where an evaluation finds a
    loss too far above the start's (see :class:`~simgmc.experiment.under_way.evaluations.Evaluations`). Between two
    rounds it is saved from time to time, and when the run is asked to stop.
    """

    def __init__(
        self,
        trainer: StackedTrainer,
        milestones: Milestones,
        scenario: Scenario,
        on_evaluation: Callable[[State], None],
        checkpoints: Checkpoints | None = None,
        interruption: Interruption | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ):
        """``warn`` hears of what may not be meant."""
        self._remarks = Remarks(trainer, warn)
        self._trainer = trainer
        self._milestones = milestones
        self._communication = CommunicationCost(trainer.workload.workers, trainer.workload.d)
        self._log = RoundLog()
        self.outcome = Outcome(self._log)
        factor, single = scenario.workload.divergence_factor, scenario.report.single_workers
        self._evaluations = Evaluations(trainer.workload, self.outcome, factor, single, on_evaluation)
        self._checkpoints = checkpoints
        self._interruption = interruption or Interruption()
        self._waiting: dict[int, Held] = {}
        """What an evaluation needs of states whose time is not known yet, by the rounds finished."""
        self._holes = Holes()
        self._time = 0.0
        self._diverged: DivergenceError | GivenUp | None = None
        self.diverged_within = False
        """Whether training diverged in the middle of a round, as it was told who takes part."""

    def resume(self) -> int:
        """Go on from the last checkpoint, if there is one; returns the rounds that are finished.

        Raises SimgmcError where the saved state is not one of this trainer's.
        """
        from simgmc.training.saved_state import from_arrays  # loads torch

        if self._checkpoints is None or (found := self._checkpoints.load()) is None:
            return 0
        arrays, plain = found
        state = from_arrays(arrays, plain["state"], self._trainer.workload.device)
        self._trainer.load_state_dict(state["trainer"])
        for piece in state["costs"]:
            self._log.extend(from_bytes(piece.tobytes(), str(self._checkpoints.file)))
        self.outcome.states[:] = [State(**one) for one in state["states"]]
        self._waiting |= state["waiting"]
        for costs in self._log:
            self._communication.add(costs)
        self.outcome.rcc = self._communication.ratio
        return len(self._log)

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint after a round: its evaluation is in it, where one was due.

        The simulated cluster is not saved: it is given the costs of the finished rounds again and
        comes to the same point.
        """
        from simgmc.training.saved_state import to_arrays  # loads torch

        state = {
            "trainer": self._trainer.state_dict(),
            "states": [dataclasses.asdict(state) | {"others": dict(state.others)} for state in self.outcome.states],
            "costs": [np.frombuffer(piece, np.uint8) for piece in self._log.pieces()],
            "waiting": self._waiting,
        }
        try:
            arrays, plain = to_arrays(state)
        except TypeError as error:  # a model that keeps what no file can hold
            checkpoints.cannot_hold(str(error))
            return
        checkpoints.save(arrays, {"at": f"round {len(self._log)}", "state": plain})

    def rounds(self) -> Iterator[Round]:
        """The costs of every round, computed when they are asked for; first those of finished ones.

        Each is to be over before the next is asked for.
        """
        trainer, milestones, outcome = self._trainer, self._milestones, self.outcome
        for number in range(len(self._log)):
            self._interruption.obey()
            yield self._log[number]
        number = trainer.rounds
        try:
            if not outcome.states:
                self._evaluations.add(**self._now())
            while not milestones.over(trainer.rounds, trainer.gradients):
                before, number = trainer.gradients, trainer.rounds + 1
                under_way = _Noted(trainer.next_round(), self, number)
                yield under_way
                if outcome.diverged is not None:
                    return
                under_way.finish()
                self._remarks.after_round()
                if self._diverged is not None:
                    raise self._diverged
                if milestones.due(trainer.rounds, trainer.gradients, before):
                    self._evaluations.add(**self._now())
                    self._remarks.after_evaluation(trainer.rounds, self._sends)
                self._keep()
        except DivergenceError as error:
            outcome.diverged, outcome.diverged_round = str(error), number
        except GivenUp as error:
            outcome.given_up = f"{GIVEN_UP} after round {trainer.rounds}: {error}"

    def _sends(self) -> bool:
        """Whether any round so far had a message."""
        return any(isinstance(step, (Average, Mix)) for costs in self._log for step in costs)

    def rest(self, rounds: Iterator[Round]) -> None:
        """Train to the end where no cluster asks for rounds any more."""
        with contextlib.suppress(DivergenceError):
            for left in rounds:
                with_everybody(left, self._trainer.workload.workers)

    def diverged_in(self, number: int, error: DivergenceError) -> None:
        """Training has diverged in a round. Where the clock says who takes part, some workers may have begun it."""
        self.diverged_within = self._trainer.participation != "all"
        self.outcome.diverged, self.outcome.diverged_round = str(error), number

    def count(self, costs: RoundCosts, number: int) -> None:
        """Keep what a round cost."""
        self._log.append(costs)
        self._communication.add(costs)
        self.outcome.rcc = self._communication.ratio
        if self._milestones.seconds is not None:
            self._waiting[number] = self._now() | {"statistics": self._trainer.workload.state_dict()}

    def over(self, rounds: int) -> None:
        """The cluster is done and has seen so many rounds to their end. Where training diverged in the
        middle of one, rounds and evaluations that some workers never finished are not kept."""
        states = self.outcome.states
        if self.diverged_within:
            del self._log[rounds:]
            states[:] = [state for state in states if state.round <= rounds]
        states.sort(key=lambda state: state.round)

    def _keep(self) -> None:
        if self._checkpoints is not None and (self._interruption.asked or self._checkpoints.due()):
            self.save(self._checkpoints)
        self._holes.look()
        self._interruption.obey()

    def round_done(self, number: int, time: float) -> None:
        """The cluster's last worker finished a round (from 0) at this simulated time: evaluate the
        state before it, where a stated time lies in between."""
        step, before = self._milestones.seconds, self._time
        self._time = time
        if step is None or self._diverged is not None:
            return
        held = self._waiting.pop(number, None)  # after `number` rounds: the state until now
        stated = math.ceil(before / step - 1e-12) * step
        if held is not None and stated < time and number not in {state.round for state in self.outcome.states}:
            try:
                self._evaluations.add(**held, time=stated)
            except (DivergenceError, GivenUp) as error:
                self._diverged = error

    def _now(self) -> Held:
        """What an evaluation needs of the present state."""
        trainer = self._trainer
        progress = trainer.progress()
        return {
            "round": progress.round,
            "epoch": progress.epoch,
            "latest": progress.latest,
            "model": trainer.model(),
            "points": trainer.other_models(),
            "workers": trainer.models(),
            "rcc": self.outcome.rcc,
            "statistics": None,
        }
