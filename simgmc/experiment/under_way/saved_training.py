"""A synchronous training between two rounds, to and from its checkpoints."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from simgmc.costs import log as stored_costs
from simgmc.costs.log import RoundLog
from simgmc.experiment.under_way.evaluations import Outcome, State
from simgmc.results.directory.checkpoint import Checkpoints

if TYPE_CHECKING:  # for annotations alone, as they load torch
    from torch import Tensor

    from simgmc.training.stacked import StackedTrainer


class Held(TypedDict):
    """What an evaluation needs of a state between two rounds."""

    round: int
    epoch: float
    train_loss: float | None
    model: Tensor
    points: dict[str, Tensor]
    workers: list[Tensor]
    rcc: float | None


class SavedTraining:
    """Saves and restores a trainer and what its rounds have left so far.

    The simulated cluster is not saved: it is given the costs of the finished rounds again and
    comes to the same point.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        trainer: StackedTrainer,
        outcome: Outcome,
        log: RoundLog,
    ):
        """``log``: the outcome's rounds."""
        self._checkpoints, self._trainer, self._outcome, self._log = checkpoints, trainer, outcome, log

    def due(self) -> bool:
        """Whether it is time to save."""
        return self._checkpoints.due()

    def save(self, waiting: dict[int, Held], losses: dict[int, tuple[float, int]]) -> None:
        """Save the state after a round, its evaluation (where one was due) included, and those that
        wait to be evaluated, with the losses until then."""
        from simgmc.training.saved_state import to_arrays  # loads torch

        state = {
            "trainer": self._trainer.state_dict(),
            "states": [dataclasses.asdict(state) | {"others": dict(state.others)} for state in self._outcome.states],
            "costs": [np.frombuffer(piece, np.uint8) for piece in self._log.pieces()],
            "waiting": waiting,
            "losses": losses,
        }
        arrays, plain = to_arrays(state)
        self._checkpoints.save(arrays, {"at": f"round {len(self._log)}", "state": plain})

    def restore(self, waiting: dict[int, Held], losses: dict[int, tuple[float, int]]) -> bool:
        """Go back to the last state that was saved; False where there is none.

        Raises SimgmcError where the state is not one of this trainer's.
        """
        from simgmc.training.saved_state import from_arrays  # loads torch

        found = self._checkpoints.load()
        if found is None:
            return False
        arrays, plain = found
        state = from_arrays(arrays, plain["state"], self._trainer.workload.device)
        self._trainer.load_state_dict(state["trainer"])
        pieces = [stored_costs.from_bytes(piece.tobytes(), str(self._checkpoints.file)) for piece in state["costs"]]
        self._log[:] = [costs for piece in pieces for costs in piece]
        self._outcome.states[:] = [State(**one) for one in state["states"]]
        waiting |= state["waiting"]
        losses |= state["losses"]
        return True
