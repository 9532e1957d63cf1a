"""The worker that an algorithm's program runs on, and how many local steps it makes in a round."""

from __future__ import annotations

import copy
import dataclasses
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simgmc.algorithms.effects import SERVER
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness, generator
from simgmc.core.registry import Option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector


@dataclasses.dataclass(frozen=True)
class Epochs:
    """A period in passes of each worker over its own samples."""

    number: float

    def __str__(self) -> str:
        return f"{self.number:g} epoch{'' if self.number == 1 else 's'}"


Period = int | Epochs
"""Local steps of a round: so many, or as many as each worker's passes over its own samples take."""


@dataclasses.dataclass(frozen=True)
class PeriodOption(Option):
    """An option that holds a :data:`Period`; in passes it is written ``"1 epoch"``."""

    @property
    def words(self) -> str:
        """How it is written."""
        return f'{super().words}, or passes of each worker over its own samples, such as "1 epoch"'

    def accepts(self, value: Any) -> bool:
        """Whether it is written so."""
        return isinstance(value, Epochs) or _epochs(value) is not None or super().accepts(value)

    def read(self, value: Any) -> Any:
        """As :class:`Epochs` where it is in passes."""
        return super().read(value) if _epochs(value) is None else _epochs(value)


def _epochs(text: Any) -> Epochs | None:
    number, _, unit = text.strip().partition(" ") if isinstance(text, str) else ("", "", "")
    try:
        passes = float(number)
    except ValueError:
        return None
    return Epochs(passes) if unit.strip() in ("epoch", "epochs") and 1e-6 <= passes <= 1e6 else None


def steps_in(period: Period, per_epoch: float) -> float:
    """Local steps of a round, ``per_epoch`` of them being a pass over the data."""
    return max(1.0, period.number * per_epoch) if isinstance(period, Epochs) else period


@dataclasses.dataclass(frozen=True)
class UnequalStep:
    """A local step that not all workers make."""

    ranks: tuple[int, ...]
    """Who makes it."""
    gradients: float
    """How far it brings the training, in gradients of each worker on average."""
    last: bool
    """Whether it is the round's last."""


class Worker:
    """One worker's state, or all workers' stacked: the program cannot tell which.

    An algorithm keeps its tensors as attributes of the worker; :meth:`state` has all of them, so
    that a run can be saved between any two rounds.
    """

    params: Vector
    """Tensor ``(..., d)``: the model, in one flat vector."""
    lr: float
    """Learning rate of this step: that of the last gradient, or of the round's start before its first."""
    previous_lr: float
    """Learning rate of the last step before this round (of this round's start, in the first)."""
    gradients_left: float
    """Gradients of each worker until the training ends; infinite where its length is not stated in gradients."""
    weight_decay: float | Vector
    """Coefficient of the L2 term; a tensor (d,) where parameters have their own, or get no gradient."""
    without_gradient: Vector | None
    """Tensor (..., d), true where the latest gradient was none, so that a step leaves the parameter alone."""
    rates: Vector | None
    """Tensor (d,): factors on the learning rate, where parameters have their own, for optimizers."""
    clip_norm: float
    """What an optimizer clips the norm of its gradients to before it adds weight decay; 0: it does not."""
    round: int
    """Rounds finished so far."""
    epoch: float
    """Passes over the training data so far."""
    workers: int
    """How many workers there are."""
    layout: Layout
    """Where the model's tensors lie in the vector."""
    neighbours: tuple[int, ...]
    """Whom this worker can send to in this round, or exchange messages with (one worker's run only)."""
    sources: tuple[int, ...]
    """Who may send to this worker in this round: those whose neighbour it is (one worker's run only)."""
    components: int
    """Where losses are means of a finite number of components: how many the worker's own has, the
    same for all workers; on the server those of all workers together."""

    if typing.TYPE_CHECKING:  # a method's own tensors are attributes of their own

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    _CONTEXT = frozenset(
        {
            "lr",
            "previous_lr",
            "gradients_left",
            "weight_decay",
            "without_gradient",
            "rates",
            "clip_norm",
            "round",
            "epoch",
            "workers",
            "layout",
            "neighbours",
            "sources",
            "components",
        }
    )

    def __init__(self, params: Vector, layout: Layout, seed: int, ranks: Sequence[int], workers: int):
        self.params = params
        self.layout = layout
        self.workers = workers
        self.neighbours = ()
        self.sources = ()
        self.components = 0
        self.gradients_left = math.inf
        self.rates = None
        self.without_gradient = None
        self.clip_norm = 0.0
        self._seed = seed
        self._ranks = ranks
        self._calls = 0
        self._applied: list[int] = []
        self._passes: Sequence[float] = ()
        self._per_epoch = math.nan
        self._put_back: Callable[[object, object, list[int]], object] = lambda now, before, ranks: now
        self._unequal_step: UnequalStep | None = None

    @property
    def rank(self) -> int:
        """This worker's number (one worker's run only); the server's is :data:`~simgmc.costs.steps.SERVER`."""
        (rank,) = self._ranks
        return rank if rank < self.workers else SERVER

    def applied(self, staleness: int) -> None:
        """Note that a gradient was applied to a model that others had changed so many times
        since it was read (or that a message was added so many rounds late, see
        :attr:`~simgmc.algorithms.algorithm.Algorithm.stale`)."""
        self._applied.append(staleness)

    def take_staleness(self) -> tuple[int, ...]:
        """What :meth:`applied` has noted since this was last asked for."""
        noted, self._applied = tuple(self._applied), []
        return noted

    def begin(self, round: int, epoch: float, lr: float, previous_lr: float, weight_decay: float | Vector) -> None:
        """Set the context of the round about to run."""
        self.round, self.epoch = round, epoch
        self.lr, self.previous_lr, self.weight_decay = lr, previous_lr, weight_decay
        self.without_gradient = None
        self._calls = 0

    def skipped(self, gradient: Vector) -> Vector | None:
        """Tensor ``(..., d)``, true where a step along this gradient leaves parameters alone; None if nowhere.

        A step that all workers share leaves alone what no worker has a gradient of.
        """
        where = self.without_gradient
        if where is not None and where.ndim > 1 and len(where) > len(gradient):
            where = where.all(dim=0, keepdim=True)
        return where

    def stepped(self, before: Vector, after: Vector) -> Vector:
        """Tensor ``(..., d)``: what a step makes of parameters or a buffer; as before where it leaves them alone."""
        where = self.skipped(after)
        return after if where is None else before.where(where, after)

    def steps_left(self, steps: int) -> int:
        """So many local steps of a round, or as many of them as the training still has: its last round is cut short."""
        return int(min(steps, self.gradients_left)) if self.gradients_left > 0 else steps

    @property
    def unequal_step(self) -> UnequalStep | None:
        """The local step under way, where not all workers make it."""
        return self._unequal_step

    def hold_samples(
        self, passes: Sequence[float], per_epoch: float, put_back: Callable[[object, object, list[int]], object]
    ) -> None:
        """Tell how many gradients are a pass of each worker over its own samples, and of all over the data.

        ``put_back(now, before, ranks)``: a stacked vector with these workers' rows as they were.
        """
        self._passes, self._per_epoch, self._put_back = passes, per_epoch, put_back

    def local_steps(self, period: Period) -> Iterator[int]:
        """The local steps of a round, one by one; the last round of a training is cut short.

        Where workers make unequally many, as each goes through its own samples, who has made its own stays as it is.
        """
        if not isinstance(period, Epochs):
            yield from range(self.steps_left(period))
            return
        if not self._passes:
            raise SimgmcError(f'period = "{period}" needs workers that run all at once; state it in steps')
        passes = period.number
        counts = [max(1, round(passes * one)) for one in self._passes]
        if len(set(counts)) == 1:
            yield from range(self.steps_left(counts[0]))
            return
        if math.isfinite(self.gradients_left):
            passes = min(passes, self.gradients_left / self._per_epoch)
            counts = [max(1, round(passes * one)) for one in self._passes]
        for step in range(max(counts)):
            there = [rank for rank, count in enumerate(counts) if step < count]
            self._unequal_step = UnequalStep(
                tuple(there), passes * self._per_epoch / max(counts), step + 1 == max(counts)
            )
            done = [rank for rank, count in enumerate(counts) if step >= count]
            before = self.state()
            yield step
            for name, value in self.state().items() if done else ():
                setattr(self, name, self._put_back(value, before.get(name, value), done))
        self._unequal_step = None

    def zeros(self) -> Vector:
        """A zero vector like the parameters: where every residual and momentum starts."""
        return self.params * 0

    def randomness(self) -> Randomness:
        """Randomness for the next compression of this round."""
        self._calls += 1
        return Randomness(self._seed, self.round, self._calls, self._ranks)

    def draws(self, purpose: str) -> np.random.Generator:
        """This worker's own random numbers for one purpose in this round, the same at every call
        (one worker's run only)."""
        return generator(self._seed, purpose, self.round, *self._ranks)

    def server_randomness(self) -> Randomness:
        """Randomness for what a server compresses: the same draws on every worker.

        Without a server every worker computes the server's part, and must get the same.
        """
        self._calls += 1
        return Randomness(self._seed, self.round, self._calls, (self.workers,))

    def state(self) -> dict[str, Any]:
        """The named tensors that make up the worker between rounds."""
        return {
            name: value for name, value in vars(self).items() if not name.startswith("_") and name not in self._CONTEXT
        }

    _KEPT = ("round", "epoch", "lr", "previous_lr", "neighbours", "sources")

    def snapshot(self) -> dict[str, Any]:
        """The worker as it stands in a round, for :meth:`restore`.

        Lists and dicts are copied; tensors are not, as programs make new ones.
        """
        state = {name: _own(value) for name, value in self.state().items()}
        return {"state": state, "context": [getattr(self, name) for name in self._KEPT], "calls": self._calls}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        for name in set(self.state()) - set(snapshot["state"]):
            delattr(self, name)
        for name, value in snapshot["state"].items():
            setattr(self, name, _own(value))
        for name, value in zip(self._KEPT, snapshot["context"], strict=True):
            setattr(self, name, tuple(value) if name in ("neighbours", "sources") else value)
        self._calls = snapshot["calls"]


def _own(value: Any) -> Any:
    """A container of one's own."""
    return copy.copy(value) if isinstance(value, (list, dict)) else value
