"""Whole trajectories with everything that happened on the way, each computed once."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from simgmc.algorithms import Algorithm, effects
from simgmc.algorithms.algorithm import Program
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.mixing import Mixing
from simgmc.training.stacked import StackedTrainer
from tests.algorithms.noisy_quadratic import Quadratic

ROUNDS = 210
FEWER = 60
"""Rounds that show with a further compressor what all of :data:`ROUNDS` show with ``top-k``."""
WEIGHT_DECAY = 1e-3
PROBLEM = Quadratic()
IDENTITY = build("identity")


def varying(epoch: float) -> float:
    """Up and down by two thirds, different in every round."""
    return 0.03 + 0.02 * math.cos(epoch / 3)


def constant(epoch: float) -> float:
    return 0.04


def in_steps(epoch: float) -> float:
    """Varying, but constant over half an epoch: five gradients of each worker."""
    return varying(math.floor(2 * epoch + 1e-9) / 2)


def compressors(workload: Any = PROBLEM) -> dict[str, Any]:
    """What to compress with where an identity holds for any compressor."""
    return {
        "top-k": build("top-k", count=2),
        "sampled top-k": build("sampled-top-k", count=3, sample=0.5),
        "random-k, own seeds": build("random-k", count=2, seed="own"),
        "RBGS": build("rbgs", count=3),
        "top-k per tensor": build("top-k", workload.layout, density=0.3, per_tensor=True),
        "sign": build("sign"),
        "qsgd, contractive": build("qsgd", levels=4, contractive=True),
        "top-k, exempt vectors": build("top-k", workload.layout, density=0.3, exempt_vectors=True),
        "identity": IDENTITY,
    }


COMPRESSORS = compressors()


def rounds_with(name: str) -> int:
    """How many rounds show that an identity holds with a compressor."""
    return ROUNDS if name == "top-k" else FEWER


@dataclass
class Round:
    """What happened in one round."""

    lr: float
    """Learning rate at its start."""
    state: dict[str, Any]
    """The workers' state before it."""
    points: list[Tensor] = field(default_factory=list)
    """Where gradients were taken, in order."""
    gradients: list[Tensor] = field(default_factory=list)
    """(K, d) each, with weight decay where it belongs."""
    rates: list[float] = field(default_factory=list)
    """Learning rate of each gradient's step."""
    messages: list[Any] = field(default_factory=list)
    """Messages averaged or mixed, of all workers."""
    answers: list[Tensor] = field(default_factory=list)
    """What came back of each."""


@dataclass
class Trajectory:
    """All rounds of a run."""

    algorithm: Algorithm
    trainer: StackedTrainer
    rounds: list[Round]

    @property
    def end(self) -> dict[str, Any]:
        """The workers' state after the last round."""
        return self.trainer.worker.state()

    def of(self, name: str) -> list[Tensor]:
        """A named tensor of the state before every round and at the end: rounds + 1 of them."""
        return [one.state[name] for one in self.rounds] + [self.end[name]]

    @functools.cached_property
    def params(self) -> Tensor:
        """(rounds + 1, K, d)."""
        workers = self.trainer.workload.workers
        return torch.stack([params.expand(workers, -1) for params in self.of("params")])

    @property
    def common(self) -> Tensor:
        """(rounds + 1, d): the parameters of a method whose workers all hold the same."""
        params = self.of("params")
        assert all(len(one) == 1 for one in params)
        return torch.cat(params)

    @property
    def mean(self) -> Tensor:
        """(rounds + 1, d): the mean model."""
        return self.params.mean(1)


class _Recorded:
    """An algorithm whose programs note what they ask for and get."""

    def __init__(self, algorithm: Algorithm):
        self._algorithm = algorithm
        self.record: Round

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def round(self, worker: Worker) -> Program:
        program, answer = self._algorithm.round(worker), None
        with contextlib.suppress(StopIteration):
            while True:
                effect = program.send(answer)
                answer = yield effect
                match effect:
                    case effects.Gradient(at=point):
                        self.record.points.append(point)
                        self.record.gradients.append(answer.clone())
                        self.record.rates.append(worker.lr)
                    case effects.Average() | effects.Mix():
                        self.record.answers.append(answer)
                    case effects.Start(effect=effects.Average()):
                        self.record.answers.append(answer[1])


@functools.cache
def run(
    algorithm: Algorithm,
    lr_at: Callable[[float], float] = varying,
    rounds: int = ROUNDS,
    weight_decay: float = WEIGHT_DECAY,
    workload: Any = PROBLEM,
    seed: int = 0,
    mixing: Mixing | None = None,
) -> Trajectory:
    """Train; equal arguments give the same object."""
    recorded = _Recorded(algorithm)
    trainer = StackedTrainer(recorded, workload, lr_at, weight_decay, seed, mixing)
    past = []
    for _ in range(rounds):
        recorded.record = Round(lr_at(trainer.epoch), trainer.worker.state())
        trainer.on_message = recorded.record.messages.append
        trainer.next_round().with_everybody()
        past.append(recorded.record)
    return Trajectory(algorithm, trainer, past)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; relative to the largest magnitude where that is above 1."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((a - b).abs().max() / b.abs().max().clamp(min=1.0))
