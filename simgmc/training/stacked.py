"""The stacked interpreter: one program run serves all workers, on ``(workers, d)`` tensors.

It performs the effects of a synchronous algorithm's round and writes down what the
round cost. Vectors that all workers share keep a leading dimension of 1 and broadcast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simgmc import costs
from simgmc.algorithms import effects
from simgmc.algorithms.worker import Algorithm, Worker
from simgmc.compression.identity import Identity
from simgmc.compression.rows import for_each_row
from simgmc.compression.union import union_growth
from simgmc.errors import DivergenceError, SimgmcError
from simgmc.mixing import Mixing


@dataclass(frozen=True)
class Progress:
    """Where a training run stands between two rounds."""

    round: int
    """Rounds finished."""
    epoch: float
    """Passes over the training data, by gradients computed."""
    train_loss: float
    """Mean minibatch loss since the last report (nan where none was computed)."""


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
    ):
        self.algorithm = algorithm
        self.workload = workload
        self._lr_at = lr_at
        self._weight_decay = weight_decay
        workers = workload.workers
        self.worker = Worker(workload.initial_parameters()[None], workload.layout, seed, range(workers), workers)
        algorithm.start(self.worker)
        self._dense = Identity()
        self._mixing = mixing
        self.rounds = 0
        self.gradients = 0
        self._previous_lr: float | None = None
        self._losses: list[Any] = []
        self._counted = (0.0, 0)  # sum and number of the losses before those
        self.on_message: Callable[[Any], None] = lambda message: None
        """Hears of every message that is sent."""

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return self.gradients / self.workload.batches_per_epoch

    def run_round(self) -> costs.RoundCosts:
        """Run the next round of all workers; return what it cost.

        Raises :class:`DivergenceError` when a message is no longer finite.
        """
        lr = self._lr_at(self.epoch)
        self.worker.begin(self.rounds, self.epoch, lr, self._previous_lr or lr, self._weight_decay)
        steps: list[costs.Step] = []
        program = self.algorithm.round(self.worker)
        answer = None
        try:
            while True:
                answer = self._perform(program.send(answer), steps)
        except StopIteration:
            pass
        except DivergenceError as error:
            raise DivergenceError(f"round {self.rounds + 1}: {error}") from None
        self._previous_lr = lr
        self.rounds += 1
        return tuple(steps)

    def _perform(self, effect: Any, steps: list[costs.Step]) -> Any:
        match effect:
            case effects.Gradient(at=point, weight_decay=decays):
                gradients, losses = self.workload.gradients(point, self.gradients)
                if self._weight_decay and decays:
                    gradients.add_(point, alpha=self._weight_decay)
                self._losses.append(losses)
                self.gradients += 1
                steps.append(costs.Compute())
                return gradients
            case effects.Average(message=message, reply=reply):
                answer, cost = self._average(message, reply, steps)
                steps.append(cost)
                return answer
            case effects.Mix(message=message):
                answer, cost = self._mix(message, steps)
                steps.append(cost)
                return answer
            case effects.Launch(effect=effects.Average() | effects.Mix() as launched):
                if isinstance(launched, effects.Mix):
                    answer, cost = self._mix(launched.message, steps)
                else:
                    answer, cost = self._average(launched.message, None, steps)
                steps.append(dataclasses.replace(cost, background=True))
                return len(steps) - 1, answer
            case effects.Join(handle=(step, answer)):
                steps.append(costs.Join(step))
                return answer
            case effects.Maximum(numbers=numbers):
                _, cost = self._average(numbers, None, steps)
                steps.append(cost)
                return numbers.amax(dim=0, keepdim=True)
        raise TypeError(f"{type(self.algorithm).__name__} asks for {type(effect).__name__}, which a stacked run cannot do")

    def _average(self, message: Any, reply: Any, steps: list[costs.Step]) -> tuple[Any, costs.Average]:
        """The answer and what it costs; adds the cost of compressing to ``steps``."""
        message = self._sent(message, steps)
        mean = message.mean()
        down = mean if reply is None else self._message(reply(mean.dense()))
        cost = costs.Average(
            up=self._everybody(message.nbytes),
            down=int(down.nbytes[0]),
            summable=message.summable,
            item_bytes=message.item_bytes,
            floats_up=self._everybody(message.floats),
            floats_down=int(down.floats[0]),
            partial=union_growth(message),
        )
        return down.dense(), cost

    def _mix(self, message: Any, steps: list[costs.Step]) -> tuple[torch.Tensor, costs.Mix]:
        """Row k of W @ messages for every worker k, and what it costs; adds the cost of compressing.

        A row is added in rank order, product by product, by one thread: its bits are the same
        for any number of workers in one call and on any number of threads.
        """
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

    def report(self) -> Progress:
        """Where training stands; starts a new average of the training loss."""
        total, count = self._count_losses()
        self._counted = (0.0, 0)
        return Progress(self.rounds, self.epoch, total / count if count else math.nan)

    def _count_losses(self) -> tuple[float, int]:
        """Sum and number of the losses since the last report, added in the order in which they came."""
        total, count = self._counted
        for losses in self._losses:
            total += float(losses.double().sum())
            count += losses.numel()
        self._losses.clear()
        self._counted = total, count
        return self._counted

    def state_dict(self) -> dict[str, Any]:
        """All that the next rounds depend on, between two rounds: tensors as they are, not copied."""
        return {
            "worker": self.worker.state(),
            "workload": self.workload.state_dict(),
            "rounds": self.rounds,
            "gradients": self.gradients,
            "previous_lr": self._previous_lr,
            "losses": self._count_losses(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`; the trainer takes its tensors, which are
        on the workload's device.

        Raises SimgmcError for the state of another method or model.
        """
        saved, own = state["worker"], self.worker.state()
        if saved.keys() != own.keys() or saved["params"].shape[-1] != self.workload.d:
            raise SimgmcError(f"saved state holds {sorted(saved)} of d = {saved['params'].shape[-1]}, not {sorted(own)} of d = {self.workload.d}")
        for name, value in saved.items():
            setattr(self.worker, name, value)
        self.workload.load_state_dict(state["workload"])
        self.rounds, self.gradients, self._previous_lr = state["rounds"], state["gradients"], state["previous_lr"]
        self._losses.clear()
        self._counted = tuple(state["losses"])
