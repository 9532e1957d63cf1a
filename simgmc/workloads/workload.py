"""What every workload gives a training: gradients of all workers, evaluations, and its size. No torch at run time.

K workers, d parameters in one flat vector. A worker's step-th minibatch is a pure function of (seed, step, worker).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from simgmc.core.layout import Layout

if TYPE_CHECKING:  # for annotations alone: evaluations are read without torch
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and the share of right answers on the whole test set (per token, for text).

    A problem without a test set gives its objective as the loss and no accuracy. ``others``
    are further values by name (gap, distance).
    """

    loss: float
    accuracy: float | None
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PassBytes:
    """Bytes of tensors at the worst moment of one worker's gradient, of one test batch, of taking one minibatch."""

    gradient: int = 0
    evaluation: int = 0
    batch: int = 0
    model: int = 0
    """Of the model as it is kept in the end."""
    workspace: int = 0
    """Of what a thread holds beside tensors, in either pass."""


def named(layout: Layout, point: Tensor) -> dict[str, Tensor]:
    """The tensors of a point (d,) that is all there is of a model, on the CPU, copied."""
    places = zip(layout.names, layout.shapes, layout.offsets, layout.offsets[1:], strict=False)
    point = point.detach().cpu()
    return {name: point[start:end].clone().view(shape) for name, shape, start, end in places}


class Beginning(Protocol):
    """See :class:`simgmc.workloads.as_begun.AsBegun`."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint has of the user's objects."""

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises SimgmcError where a checkpoint is of others."""


class Workload(Protocol):
    """What is trained: see :class:`simgmc.workloads.classification.ClassificationWorkload` for one on data."""

    @property
    def workers(self) -> int:
        """K."""

    @property
    def d(self) -> int:
        """Number of parameters."""

    @property
    def layout(self) -> Layout:
        """Where each tensor of the model lies in the flat vector."""

    @property
    def device(self) -> torch.device:
        """Of every tensor that goes in or comes out."""

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters, gradients and losses."""

    @property
    def batches_per_epoch(self) -> float:
        """Steps of all workers in which as many samples are drawn as the workers hold together."""

    @property
    def steps_per_pass(self) -> Sequence[float]:
        """(K,): gradients in which each worker goes through its own samples once."""

    @property
    def shares(self) -> tuple[float, ...] | None:
        """What every worker's message weighs in an average, 1 in all; None where all weigh the same."""

    @property
    def components(self) -> int:
        """Into how many fixed parts every worker's own loss is cut, for methods of finite sums; 0: it is not."""

    @property
    def flops(self) -> int:
        """Floating-point operations of one worker's gradient."""

    @property
    def route(self) -> str:
        """How gradients are computed, for the header: "split", "pool", "closed form" and so on."""

    @property
    def reasons(self) -> Sequence[str]:
        """Why no faster route is taken; empty where none would be."""

    @property
    def notes(self) -> Sequence[str]:
        """What the header says of the model besides."""

    @property
    def precision(self) -> str:
        """The arithmetic inside a gradient, for the header."""

    @property
    def as_begun(self) -> Beginning | None:
        """How the user's own objects are, beside what a state has; None where there are none."""

    @property
    def threads(self) -> int:
        """Threads that compute gradients on the CPU; 1 on a device."""

    @property
    def at_once(self) -> int:
        """Workers whose activations are held at the same time."""

    @property
    def pass_bytes(self) -> PassBytes:
        """What the passes of one worker hold."""

    def initial_parameters(self) -> Tensor:
        """(d,), in memory of its own."""

    def gradients(self, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Every worker's gradient (K, d) and loss (K,) on its step-th minibatch; ``at`` is (1, d) or (K, d)."""

    def gradient(self, worker: int, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One worker's gradient (d,) and loss () at ``at`` (d,)."""

    def gradients_of(self, ranks: Sequence[int], at: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gradients (n, d) and losses (n,) of some workers, each at its own point of ``at`` (n, d) and step."""

    def absent(self, worker: int) -> Sequence[int]:
        """Numbers of the tensors of :attr:`layout` that got no gradient in the worker's latest pass."""

    def component_gradient(self, worker: int, at: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Gradient (d,) and loss () of one of a worker's :attr:`components` at ``at`` (d,)."""

    def evaluate(self, point: Tensor, worker: int | None = None) -> Evaluation:
        """What a model (d,) is worth; nothing of the training state changes.

        Running statistics are those of ``worker``, or averaged over all.
        """

    def minibatch_loss(self, point: Tensor, steps: Sequence[int]) -> float:
        """Loss at ``point`` (d,) of every worker's minibatch of a step of its own, in evaluation mode.

        The mean over workers, who weigh as in averages; nothing of the training state changes.
        """

    def model_state(self, point: Tensor) -> dict[str, Tensor]:
        """The model that :meth:`evaluate` scores at ``point`` (d,), as named tensors on the CPU, copied."""

    def state_dict(self) -> dict[str, Tensor]:
        """What changes besides the parameters, every tensor (K, ...), copied."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state from :meth:`state_dict`."""
