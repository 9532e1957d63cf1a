"""The stacked interpreter: one program run serves all workers, on ``(workers, d)`` tensors.

It performs the effects of a synchronous algorithm's round and writes down what the
round cost. Vectors that all workers share keep a leading dimension of 1 and broadcast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from simgmc import costs
from simgmc.algorithms import effects
from simgmc.algorithms.worker import Algorithm, Worker
from simgmc.compression.identity import Identity
from simgmc.compression.union import union_growth
from simgmc.errors import DivergenceError


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

    ``workload`` gives gradients and evaluations; ``lr_at(epoch)`` the learning rate.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        workload: Any,
        lr_at: Callable[[float], float],
        weight_decay: float = 0.0,
        seed: int = 0,
    ):
        self.algorithm = algorithm
        self.workload = workload
        self._lr_at = lr_at
        self._weight_decay = weight_decay
        workers = workload.workers
        self.worker = Worker(workload.initial_parameters()[None], workload.layout, seed, range(workers), workers)
        algorithm.start(self.worker)
        self._dense = Identity()
        self.rounds = 0
        self.gradients = 0
        self._previous_lr: float | None = None
        self._losses: list[Any] = []
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
            case effects.Launch(effect=effects.Average(message=message)):
                answer, cost = self._average(message, None, steps)
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
        message = self._message(message)
        if message.compressed:
            steps.append(costs.Compress(4 * message.d))
        self.on_message(message)
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

    def _message(self, content: Any) -> Any:
        """A tensor travels dense."""
        return self._dense(content, self.worker.randomness()) if isinstance(content, torch.Tensor) else content

    def _everybody(self, sizes: np.ndarray) -> np.ndarray:
        """(workers,): a message that is the same on all workers is sent by each of them."""
        return np.broadcast_to(sizes, (self.workload.workers,)).copy()

    def model(self) -> Any:
        """Tensor (d,): the mean over workers of the point at which the method is evaluated."""
        return self.algorithm.model(self.worker).mean(dim=0)

    def other_models(self) -> dict[str, Any]:
        """Further points that the method reports, averaged likewise."""
        return {name: point.mean(dim=0) for name, point in self.algorithm.other_models(self.worker).items()}

    def report(self) -> Progress:
        """Where training stands; starts a new average of the training loss."""
        total, count = 0.0, 0
        for losses in self._losses:
            total += float(losses.double().sum())
            count += losses.numel()
        self._losses.clear()
        return Progress(self.rounds, self.epoch, total / count if count else math.nan)
