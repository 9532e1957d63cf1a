"""The stacked interpreter: one program run serves all workers, on ``(workers, d)`` tensors.

It performs the effects of a synchronous algorithm's round and writes down what the
round cost. Vectors that all workers share keep a leading dimension of 1 and broadcast.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from simgmc.algorithms import effects
from simgmc.algorithms.worker import Algorithm, Worker
from simgmc.compression.identity import Identity
from simgmc.compression.rows import for_each_row
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs import steps as costs
from simgmc.mixing import Mixing
from simgmc.training.losses import LossSum
from simgmc.training.rounds import Offer, StackedRound, mean_of, provisional
from simgmc.training.trainer import Progress


class StackedTrainer:
    """Trains all workers with one algorithm, round by round.

    ``workload`` gives gradients and evaluations; ``lr_at(epoch)`` the learning rate;
    ``mixing`` says who mixes with whom, for methods that do.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        workload: Any,
        lr_at: Callable[[float], float],
        weight_decay: float = 0.0,
        seed: int = 0,
        mixing: Mixing | None = None,
        participation: costs.Participation = "all",
    ):
        self.participation = participation
        """Who is in a mean, see :mod:`simgmc.training.rounds`."""
        self.held: dict[int, dict[str, Any]] = {}
        """Late messages that are carried, by worker: ``vector`` (d,), ``nbytes`` and ``floats``."""
        self.algorithm = algorithm
        self.workload = workload
        self._lr_at = lr_at
        self._weight_decay = weight_decay
        workers = workload.workers
        self.worker = Worker(workload.initial_parameters()[None], workload.layout, seed, range(workers), workers)
        algorithm.start(self.worker)
        self._dense = Identity(values="fp32")
        self._mixing = mixing
        self.rounds = 0
        self.gradients = 0
        self._previous_lr: float | None = None
        self._losses = LossSum()
        self._round_losses: list[Any] = []
        self.on_message: Callable[[Any], None] = lambda message: None
        """Hears of every message that is sent."""

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.gradients / self.workload.batches_per_epoch

    def run_round(self) -> costs.RoundCosts:
        """Run the next round of all workers, each of them in every mean; return what it cost.

        Raises :class:`DivergenceError` when a message is no longer finite.
        """
        return self.begin_round().whole()

    def begin_round(self) -> StackedRound:
        """Begin the next round, to be told at each exchange who takes part. It is to be finished before the next."""
        return StackedRound(self)

    def walk(self, steps: list[costs.Step]) -> Generator[Offer, Any, None]:
        """The next round, writing down its steps; it yields at each exchange whose mean is to be
        formed, its step the last one then, and is sent the answer."""
        lr = self._lr_at(self.epoch)
        self.worker.begin(self.rounds, self.epoch, lr, self._previous_lr or lr, self._weight_decay)
        self._previous_lr = lr
        program = self.algorithm.round(self.worker)
        answer = None
        while True:
            try:
                effect = program.send(answer)
            except StopIteration:
                return
            offer = self._offered(effect, steps)
            if offer is None:
                answer = self._perform(effect, steps)
                continue
            background = isinstance(effect, effects.Start)
            if background and self.participation != "all":
                raise SimgmcError(f"{self.name} starts an exchange and goes on: all workers have to take part in it")
            steps.append(
                dataclasses.replace(provisional(offer.message, self.held, self.workload.workers), background=background)
            )
            number = len(steps) - 1
            answer = yield offer
            if background:
                answer = number, answer

    def end_round(self, missing: list[int]) -> None:
        """A round is over, which these workers have missed."""
        self.rounds += 1
        there = [rank for rank in range(self.workload.workers) if rank not in missing]
        for losses in self._round_losses:
            self._losses.add(losses[there] if missing else losses)
        self._round_losses.clear()

    def release(self, ranks: frozenset[int]) -> None:
        """Late messages of these workers, if they have any, are in a mean now."""
        for rank in ranks:
            self.held.pop(rank, None)

    @property
    def name(self) -> str:
        """The method's class, for messages."""
        return type(self.algorithm).__name__

    @contextlib.contextmanager
    def divergence_named(self) -> Iterator[None]:
        """Names the round in which a number is no longer finite."""
        try:
            yield
        except DivergenceError as error:
            raise DivergenceError(f"round {self.rounds + 1}: {error}") from None

    def _perform(self, effect: Any, steps: list[costs.Step]) -> Any:
        match effect:
            case effects.Gradient(at=point, weight_decay=decays):
                gradients, losses = self.workload.gradients(point, self.gradients)
                if self._weight_decay and decays:
                    gradients.add_(point, alpha=self._weight_decay)
                self._round_losses.append(losses)
                self.gradients += 1
                steps.append(costs.Compute())
                return gradients
            case effects.Mix(message=message):
                answer, cost = self._mix(message, steps)
                steps.append(cost)
                return answer
            case effects.Start(effect=effects.Mix() as launched):
                answer, cost = self._mix(launched.message, steps)
                steps.append(dataclasses.replace(cost, background=True))
                return len(steps) - 1, answer
            case effects.Wait(handle=(step, answer)):
                steps.append(costs.Wait(step))
                return answer
        raise TypeError(
            f"{type(self.algorithm).__name__} asks for {type(effect).__name__}, which a stacked run cannot do"
        )

    def _offered(self, effect: Any, steps: list[costs.Step]) -> Offer | None:
        """The exchange that an effect asks for, if it is a mean; adds the cost of compressing to ``steps``."""
        match effect:
            case effects.Start(effect=effects.Average(message=message)):
                return Offer(self._sent(message, steps))
            case effects.Average(message=message, reply=reply):
                return Offer(self._sent(message, steps), reply)
            case effects.Maximum(numbers=numbers):
                return Offer(self._sent(numbers, steps), maximum=numbers)
        return None

    def average(self, offer: Offer, membership: costs.Membership) -> tuple[Any, costs.Average]:
        """The answer of an exchange in which these workers take part, and what it costs."""
        message, workers = offer.message, self.workload.workers
        mean = mean_of(message, membership.taken, self.held, workers)
        down = mean if offer.reply is None else self._message(offer.reply(mean.dense()))
        whole = len(membership.taken) == workers
        cost = dataclasses.replace(
            provisional(message, self.held, workers),
            down=int(down.nbytes[0]),
            floats_down=int(down.floats[0]),
            partial=message.partial_sums() if self.participation == "all" else None,
            participants=None if whole else np.isin(np.arange(workers), sorted(membership.taken)),
            receivers=None if whole else membership.receivers,
        )
        if offer.maximum is None:
            return down.dense(), cost
        numbers = offer.maximum
        taken = numbers if whole or len(numbers) == 1 else numbers[sorted(membership.taken)]
        return taken.amax(dim=0, keepdim=True), cost

    def _mix(self, message: Any, steps: list[costs.Step]) -> tuple[torch.Tensor, costs.Mix]:
        """Row k of W @ messages for every worker k, and what it costs; adds the cost of compressing.

        A row is added in rank order, product by product, by one thread: its bits are the same
        for any number of workers in one call and on any number of threads.
        """
        if self.participation != "all":
            raise SimgmcError(f"{self.name} mixes with neighbours: there are no weights for some of them alone")
        if self._mixing is None:
            raise TypeError(f"{type(self.algorithm).__name__} mixes with neighbours: the trainer needs a mixing")
        message = self._sent(message, steps)
        held = message.dense()
        held = held.expand(self.workload.workers, *held.shape[1:])
        answer = torch.empty_like(held, memory_format=torch.contiguous_format)

        def add(rank: int) -> None:
            own = answer[rank].zero_()
            for sender, weight in self._mixing.row(self.rounds, rank):
                own += weight * held[sender]

        for_each_row(add, len(answer), held.device)
        edges = self._mixing.edges[self.rounds % len(self._mixing.edges)]
        return answer, costs.Mix(self._everybody(message.nbytes), edges, self._everybody(message.floats))

    def _sent(self, content: Any, steps: list[costs.Step]) -> Any:
        """The message that travels; adds the cost of compressing to ``steps``."""
        message = self._message(content)
        if message.compressed:
            steps.append(costs.Compress(4 * message.d))
        self.on_message(message)
        return message

    def _message(self, content: Any) -> Any:
        """A tensor travels dense."""
        return self._dense(content, self.worker.randomness()) if isinstance(content, torch.Tensor) else content

    def _everybody(self, sizes: np.ndarray) -> np.ndarray:
        """(workers,): a message that is the same on all workers is sent by each of them."""
        return np.broadcast_to(sizes, (self.workload.workers,)).copy()

    def model(self) -> Any:
        """Tensor (d,): the mean over workers of the point at which the method is evaluated."""
        return self.algorithm.model(self.worker).mean(dim=0)

    def models(self) -> list[Any]:
        """Per worker (d,): its own point at which the method is evaluated; none where all hold the same model."""
        return list(self.algorithm.model(self.worker).unbind(0)) if len(self.worker.params) > 1 else []

    def other_models(self) -> dict[str, Any]:
        """Further points that the method reports, averaged likewise."""
        return {name: point.mean(dim=0) for name, point in self.algorithm.other_models(self.worker).items()}

    def metrics(self) -> dict[str, float]:
        """The method's own numbers since the start, by name, added over workers."""
        return self.algorithm.metrics(self.worker)

    def report(self) -> Progress:
        """Where training stands; starts a new average of the training loss."""
        progress = Progress(self.rounds, self.epoch, *self._losses.state())
        self._losses.clear()
        return progress

    def state_dict(self) -> dict[str, Any]:
        """All that the next rounds depend on, between two rounds: tensors as they are, not copied."""
        return {
            "worker": self.worker.state(),
            "workload": self.workload.state_dict(),
            "rounds": self.rounds,
            "gradients": self.gradients,
            "previous_lr": self._previous_lr,
            "losses": self._losses.state(),
            "held": self.held,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`; the trainer takes its tensors, which are
        on the workload's device.

        Raises SimgmcError for the state of another method or model.
        """
        saved, own = state["worker"], self.worker.state()
        if saved.keys() != own.keys() or saved["params"].shape[-1] != self.workload.d:
            raise SimgmcError(
                f"saved state holds {sorted(saved)} of d = {saved['params'].shape[-1]}, not {sorted(own)} of d = {self.workload.d}"
            )
        for name, value in saved.items():
            setattr(self.worker, name, value)
        self.workload.load_state_dict(state["workload"])
        self.rounds, self.gradients, self._previous_lr = state["rounds"], state["gradients"], state["previous_lr"]
        self._losses.load(state["losses"])
        self.held = dict(state.get("held", {}))
