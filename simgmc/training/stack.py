"""All workers of a training, their vectors stacked, and what one round leaves to the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TypedDict

from torch import Tensor

from simgmc.algorithms.algorithm import Algorithm
from simgmc.algorithms.optimizers import GradientSettings
from simgmc.algorithms.worker import Worker
from simgmc.compression.message import Message
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Participation
from simgmc.mixing import Mixing
from simgmc.training.put_back import put_back
from simgmc.training.treatment import Treatment
from simgmc.workloads.as_begun import AsBegun
from simgmc.workloads.workload import Workload


class HeldMessage(TypedDict):
    """A late message that is carried into a later mean."""

    vector: Tensor
    """(d,), as decoded."""
    nbytes: int
    """Of its encoding."""
    floats: int
    """The papers' count."""


class Stack:
    """All workers of a training, their vectors stacked: what a round begins with and leaves to the next."""

    def __init__(
        self,
        algorithm: Algorithm,
        workload: Workload,
        lr_at: Callable[[float], float],
        weight_decay: float = 0.0,
        seed: int = 0,
        mixing: Mixing | None = None,
        participation: Participation = "all",
        gradients: float = math.inf,
        settings: GradientSettings | None = None,
        rank: int | None = None,
    ):
        """
        Args:
            lr_at: the learning rate, by epoch.
            mixing: who mixes with whom, for methods that do.
            participation: who is in a mean.
            gradients: how many of each worker the training has, where that is known: its last round is cut there.
            settings: what becomes of gradients, by default nothing.
            rank: the one worker whose vectors are here, where each has a process of its own; by default all are.
        """
        self.algorithm = algorithm
        self.workload = workload
        self.lr_at = lr_at
        self.as_begun = AsBegun(schedule=lr_at)
        self.last_lr: float | None = None
        """Learning rate of the last step so far."""
        self.treatment = Treatment.of(weight_decay, settings or GradientSettings(), algorithm, workload)
        """What becomes of gradients on their way to the program."""
        self.mixing = mixing
        self.participation = participation
        self.gradients_in_all = gradients
        workers = workload.workers
        self.ranks: Sequence[int] = range(workers) if rank is None else (rank,)
        """Whose vectors are here."""
        self.worker = Worker(workload.initial_parameters()[None], workload.layout, seed, self.ranks, workers)
        self.treatment.prepare(self.worker)
        accumulate = self.treatment.accumulate
        self.worker.hold_samples(
            [one / accumulate for one in workload.steps_per_pass],
            workload.batches_per_epoch / accumulate,
            self.put_back,
        )
        algorithm.start(self.worker)
        self.rounds = 0
        """Rounds finished."""
        self.gradients: float = 0
        """Gradients that every worker has computed; on average, where local steps are unequally many."""
        self.taken = [0] * workers
        """Minibatches that each worker has taken."""
        self.held: dict[int, HeldMessage] = {}
        """Late messages that are carried, by worker."""
        self.on_message: Callable[[Message], None] = lambda message: None
        """Hears of every message that is sent."""

    @property
    def name(self) -> str:
        """The method, for messages."""
        return getattr(self.algorithm, "title", type(self.algorithm).__name__)

    @property
    def one_by_one(self) -> str:
        """Why workers' programs run one by one; empty where one program serves all of them."""
        return getattr(self.worker, "one_by_one", "")

    def changes(self) -> tuple[int, ...]:
        """See :meth:`~simgmc.algorithms.algorithm.Algorithm.changes`."""
        return self.algorithm.changes(self._rounds_per_epoch)

    def skip_to(self, rounds: int) -> None:
        """As if so many rounds were over: what is sent then may be of another kind. Workers hold what they held."""
        self.rounds = rounds
        self.gradients = self.treatment.accumulate * self.algorithm.gradients(rounds, self._rounds_per_epoch)

    @property
    def _rounds_per_epoch(self) -> float:
        """Of methods whose rounds have one gradient."""
        return self.workload.batches_per_epoch / self.treatment.accumulate

    def shares_among(self, ranks: Sequence[int]) -> list[float] | None:
        """What each of these workers weighs in an average of theirs, 1 in all; None where all weigh the same."""
        shares = self.workload.shares
        if shares is None or not ranks:
            return None
        chosen = [shares[rank] for rank in ranks]
        return None if len(set(chosen)) == 1 else [share / sum(chosen) for share in chosen]

    @property
    def whole(self) -> bool:
        """Whether all workers' vectors are here."""
        return len(self.ranks) == self.workload.workers

    def put_back(self, now: object, before: object, ranks: list[int]) -> object:
        """A vector of the worker with the rows of these workers as they were."""
        if self.whole:
            return put_back(now, before, ranks)
        return before if self.ranks[0] in ranks else now

    def next_gradients(self, point: Tensor) -> Tensor:
        """(workers, d): every worker's gradient on its next minibatch; of those workers that are here."""
        if self.whole and len(set(self.taken)) == 1:
            gradients, _ = self.workload.gradients(point, self.taken[0])
        else:
            rows = point.expand(len(self.ranks), -1).contiguous()
            gradients = self.gradients_of(self.ranks, rows)
        self.taken = [one + 1 for one in self.taken]
        return gradients

    def gradients_of(self, ranks: Sequence[int], rows: Tensor) -> Tensor:
        """(n, d): these workers' gradients on their next minibatches, each at its own row."""
        gradients, _ = self.workload.gradients_of(ranks, rows, [self.taken[rank] for rank in ranks])
        return gradients

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.gradients / self.workload.batches_per_epoch

    def mean(self, message: Message, taken: list[int]) -> Message:
        """The mean over those who take part, in rank order; where a late message is held, of that one."""
        late = {rank: self.held[rank]["vector"] for rank in taken if rank in self.held}
        if late:
            message = message.with_late(taken, late)
        elif len(taken) < self.workload.workers:
            message = message.among(taken)
        shares = self.shares_among(taken)
        if shares is None or message.rows == 1:
            return message.mean()
        if message.weights_refusal is not None:
            raise SimgmcError(
                f'workload.weights = "samples": {self.name} averages messages that cannot weigh workers by '
                f'their samples: {message.weights_refusal}; give weights = "equal"'
            )
        return message.mean(shares)

    def hold(self, message: Message, ranks: Collection[int]) -> None:
        """Keep late messages, as vectors, for the mean of a later round."""
        if not ranks:
            return
        dense = message.dense().reshape(-1, message.d)
        for rank in sorted(ranks):
            row = rank if message.rows > 1 else 0
            self.held[rank] = HeldMessage(
                vector=dense[row].clone(), nbytes=int(message.nbytes[row]), floats=int(message.floats[row])
            )
