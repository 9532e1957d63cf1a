"""What every trainer can do, however it runs its workers' programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from simgmc.algorithms.algorithm import Algorithm
from simgmc.workloads.workload import Workload

if TYPE_CHECKING:  # for annotations alone, as they load torch
    from torch import Tensor

    from simgmc.compression.message import Message


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    round: int
    """Rounds finished; where every worker has its own rounds, gradients per worker, rounded down."""
    epoch: float
    """Passes over the training data, by gradients computed."""
    latest: Sequence[int] | None
    """(K,): each worker's latest minibatch, by its step; None before the first gradient."""


class Trainer(Protocol):
    """Trains one algorithm on one workload.

    :class:`~simgmc.training.stacked.StackedTrainer` runs one program for all workers, round by round;
    :class:`~simgmc.training.per_worker.PerWorkerTrainer` one per worker, in the order of simulated time.
    """

    algorithm: Algorithm
    workload: Workload
    """Gives gradients and evaluations."""
    on_message: Callable[[Message], None]
    """Hears of every message that is sent."""

    @property
    def name(self) -> str:
        """The method, for messages."""

    @property
    def one_by_one(self) -> str:
        """Why a program that could serve all workers runs for each by itself; empty where that is not so."""

    @property
    def gradients(self) -> float:
        """Gradients per worker so far, on average."""

    @property
    def epoch(self) -> float:
        """Passes over the training data so far, by gradients computed."""

    def model(self) -> Tensor:
        """(d,): the point at which the method is evaluated, its mean over workers or the server's."""

    def models(self) -> list[Tensor]:
        """Per worker (d,): its own such point; empty where all workers hold the same or the server's counts."""

    def other_models(self) -> dict[str, Tensor]:
        """Further points (d,) that the method reports, by name, averaged likewise."""

    def metrics(self) -> dict[str, float]:
        """The method's own numbers since the start, by name, added over workers."""

    def progress(self) -> Progress:
        """Where training stands."""

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, as nested tensors (not copied) and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`, whose tensors are on the workload's device.

        Raises SimgmcError for the state of another method or model.
        """
