"""Optimizers: how parameters follow from gradients, whatever it is that workers send each other.

An optimizer keeps its buffers as attributes of the worker and works on the last dimension alone, so one
serves a worker's own gradients as well as the mean of all. Programs use it so::

    gradient = yield rule.gradient(worker)
    worker.params = rule.step(worker, (yield Average(gradient)))
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from simgmc.algorithms.effects import Gradient
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import Declared, declared
from simgmc.core.layout import Layout
from simgmc.core.registry import Entry, Option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector

Decay = Literal["gradient", "parameters", "update"]
"""Where weight decay goes: into the gradient (L2 term), beside the step (decoupled), or inside an update of its own."""


@dataclass(frozen=True)
class Optimizer(Declared):
    """How parameters follow from gradients. Subclasses are frozen dataclasses whose fields are the options."""

    source: ClassVar[str]
    buffers: ClassVar[tuple[str, ...]] = ()
    """The worker's attributes that hold averages of gradients, (..., d) each: what a method may average or reset."""

    decay_vectors: bool = declared(
        Option("weight decay of tensors of one dimension too: biases, normalisation", bool, True), kw_only=True
    )

    @property
    def decay(self) -> Decay:
        """Where weight decay goes."""
        return "gradient"

    @property
    def is_momentum_sgd(self) -> bool:
        """Whether it is plain SGD with a momentum or none, which methods with an update of their own are built on."""
        return False

    def start(self, worker: Worker) -> None:
        """Give the worker the buffers that the first step finds."""

    def gradient(self, worker: Worker, at: Vector | None = None) -> Gradient:
        """The gradient that a step needs, to be yielded: at the worker's parameters unless said otherwise."""
        return Gradient(worker.params if at is None else at, self.decay == "gradient" and not worker.clip_norm)

    def step(self, worker: Worker, gradient: Vector) -> Vector:
        """Tensor ``(..., d)``: the worker's parameters after a step along this gradient."""
        skipped = _skipped(worker, gradient)
        update = self.update(worker, gradient)
        after = self.decayed(worker) - update
        return after if skipped is None else worker.params.where(skipped, after)

    def displacement(self, worker: Worker, gradient: Vector) -> Vector:
        """Tensor ``(..., d)``: what :meth:`step` subtracts from the worker's parameters, decay included."""
        skipped = _skipped(worker, gradient)
        update = self.update(worker, gradient)
        if self.decay != "parameters" or _is_zero(worker.weight_decay):
            return update
        update = update + self.rate(worker) * worker.weight_decay * worker.params
        return update if skipped is None else update.masked_fill(skipped, 0.0)

    def update(self, worker: Worker, gradient: Vector) -> Vector:
        """Tensor ``(..., d)``: the step without decoupled decay, to be subtracted; buffers advance."""
        if worker.clip_norm:
            gradient = clipped(gradient, worker.clip_norm)
            if self.decay == "gradient":
                gradient = gradient + worker.weight_decay * worker.params
        skipped = _skipped(worker, gradient)
        if skipped is None:
            return self.rule(worker, gradient)
        before = worker.state()
        update = self.rule(worker, gradient)
        for name, now in worker.state().items():
            if now is not before[name]:
                setattr(worker, name, before[name].where(self.places_in(worker, name, skipped), now))
        return update.masked_fill(skipped, 0.0)

    def places_in(self, worker: Worker, name: str, chosen: Vector) -> Vector:
        """Tensor ``(..., n)``: what is chosen of the parameters ``(..., d)``, by the places of a buffer."""
        return chosen

    def rule(self, worker: Worker, gradient: Vector) -> Vector:
        """Tensor ``(..., d)``: the update of a gradient as the paper has it, times the learning rate."""
        raise TypeError(f"{type(self).__name__} has no rule")

    def decayed(self, worker: Worker, params: Vector | None = None) -> Vector:
        """Parameters (the worker's unless given) after decoupled weight decay, if that is where it goes."""
        params = worker.params if params is None else params
        if self.decay != "parameters":
            return params
        return params * (1 - self.rate(worker) * worker.weight_decay)

    def rate(self, worker: Worker) -> float | Vector:
        """The learning rate of this step; a tensor (d,) where parameter groups have rates of their own."""
        return worker.lr if worker.rates is None else worker.lr * worker.rates

    @classmethod
    def entry(cls, name: str) -> Entry:
        """The line of ``simgmc list`` on the optimizer that is registered under that name."""
        summary, _, details = (inspect.getdoc(cls) or "").replace("``", "").partition("\n")
        return Entry(name, summary, cls.source, cls.options(), details=details.strip())

    @classmethod
    def as_option(cls, **described: Any) -> OptimizerOption:
        """A method's field that holds an optimizer of this kind."""
        return OptimizerOption(kind=None, family=cls, **described)


@dataclass(frozen=True)
class OptimizerOption(Option):
    """An option that holds an optimizer, in a scenario by name."""

    family: type[Optimizer] = Optimizer

    @property
    def words(self) -> str:
        """Which ones it may be."""
        return "any optimizer" if self.family is Optimizer else f"an optimizer of the {self.family.__name__} family"

    def accepts(self, value: Any) -> bool:
        """Whether it is one of them."""
        return isinstance(value, self.family)


class Aside(Worker):
    """A worker as a second optimizer of it sees it: buffers under names of their own, another rate, no decay."""

    rates = None
    without_gradient = None
    clip_norm = 0.0
    weight_decay = 0.0

    def __init__(self, worker: Worker, prefix: str, lr: float):
        vars(self).update(_worker=worker, _prefix=prefix, lr=lr)

    @property
    def params(self) -> Vector:  # type: ignore[override]
        """The worker's."""
        return self._worker.params

    @property
    def layout(self) -> Layout:  # type: ignore[override]
        """The worker's."""
        return self._worker.layout

    if not typing.TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return getattr(self._worker, self._prefix + name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(self._worker, self._prefix + name, value)


def clipped(gradient: Vector, norm: float) -> Vector:
    """Each row of ``(..., d)`` scaled down to at most this 2-norm, as ``torch.nn.utils.clip_grad_norm_`` does."""
    return gradient * (norm / (gradient.norm(dim=-1, keepdim=True) + 1e-6)).clamp(max=1.0)


def counted(worker: Worker, gradient: Vector) -> Vector:
    """Tensor ``(..., 1)`` in float64: the steps that each row has taken, this one included; ``worker.steps`` has it.

    A row of its own for every worker, as one that misses a round is put back alone.
    """
    worker.steps = worker.steps + worker.steps.new_ones((*gradient.shape[:-1], 1))
    return worker.steps


def no_steps(worker: Worker) -> Vector:
    """Where the count of :func:`counted` starts."""
    return (worker.params[..., :1] * 0).double()


def tensors(layout: Layout) -> Iterator[tuple[slice, tuple[int, ...]]]:
    """Where each tensor of the model lies in the vector, and its shape."""
    offsets = layout.offsets
    return ((slice(start, end), shape) for start, end, shape in zip(offsets, offsets[1:], layout.shapes))


def _skipped(worker: Worker, gradient: Vector) -> Vector | None:
    """Tensor ``(..., d)``, true where a step does nothing: no gradient, and nothing of a residual instead of it."""
    where = worker.skipped(gradient)
    return None if where is None else where & (gradient == 0)


def _is_zero(number: float | Vector) -> bool:
    return isinstance(number, float) and not number
