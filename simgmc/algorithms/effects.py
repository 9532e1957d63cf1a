"""Effects: what a worker's program may ask of the world outside it.

An algorithm's round is a generator. It yields one of these and is sent the answer, so the same
program runs for all workers at once, for each by itself, or for one process of a group.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from simgmc.costs.steps import SERVER as SERVER

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector
    from simgmc.compression.message import Message

    Content = Message | Vector
    """What a program sends: a compressor's message, or a tensor ``(..., d)``, which travels dense."""

M = TypeVar("M")
"""What travels: a compressor's message, or a tensor ``(..., d)``, which travels dense; for the clock a
:class:`~simgmc.training.journal.Parcel`."""


@dataclass(frozen=True, eq=False)
class Gradient:
    """A stochastic gradient of the worker's own loss.

    Answer: tensor ``(..., d)``, one gradient per worker. With it ``worker.lr`` becomes the rate of this step, so it
    is read after the answer: ``worker.lr * (yield Gradient(...))`` would take that of the step before.
    """

    at: Vector | None
    """Tensor ``(..., d)``: where. A leading dimension of 1 is a point all workers share. None in a journal."""
    weight_decay: bool = True
    """Whether ``weight_decay * at`` is part of it (not where the decay is decoupled)."""
    component: int | None = None
    """Which of the worker's own components (fixed minibatches, 0 .. ``worker.components - 1``)
    to take instead of the next random minibatch; for finite sums with a table of gradients."""


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of everybody's message, added in rank order.

    Answer: tensor ``(..., d)``, the same for all workers (leading dimension 1).
    """

    message: Content
    """A compressor's message, or a tensor ``(..., d)``, which travels dense."""
    reply: Callable[[Vector], Content] | None = None
    """What a server makes of the mean (tensor ``(1, d)``) before it sends it back: a message
    or a tensor, which is then the answer. Without a server every worker computes it, and must get
    the same: random numbers come from :meth:`Worker.server_randomness`."""


@dataclass(frozen=True, eq=False)
class Mix:
    """The weighted sum of one's own message and those of the neighbours, by the round's mixing
    matrix: row k of ``W @ messages``.

    Answer: tensor ``(..., d)``, one per worker.
    """

    message: Content
    """A compressor's message, or a tensor ``(..., d)``, which travels dense. Every neighbour
    gets the same."""


@dataclass(frozen=True, eq=False)
class Addressed(Generic[M]):
    """A message to one worker or to the server: what the three effects below have in common.

    Only in asynchronous methods.
    """

    to: int
    """A worker's rank, or :data:`~simgmc.costs.steps.SERVER`."""
    message: M


@dataclass(frozen=True, eq=False)
class Exchange(Addressed[M]):
    """Wait until another worker has finished its local steps too, and swap messages with it.

    A worker that waits in an exchange of its own takes part in this one at once. Where several wait
    for the same worker, it exchanges with the one that has waited longest: the other may turn out
    not to be ``to``. Answer: the other's message as tensor ``(..., d)``.
    """


@dataclass(frozen=True, eq=False)
class Request(Addressed[M]):
    """Send a message to a worker or to the server and wait for what its
    :meth:`~simgmc.algorithms.algorithm.Algorithm.serve` replies, now or later.

    The one that is asked goes on computing. Answer: the reply's content as tensor ``(..., d)``.
    """


@dataclass(frozen=True, eq=False)
class Send(Addressed[M]):
    """Send a message one way and go on at once: it lands in the other's inbox. Answer: None."""


@dataclass(frozen=True, eq=False)
class Collect:
    """Take the messages that have landed in the inbox, in the order (round sent, sender).

    Waits until at least ``at_least`` of them have landed since the training's start, those that
    were taken before included (0: does not wait).
    Only in asynchronous methods. Answer: list of :class:`Arrival`.
    """

    at_least: int = 0


class Arrival(NamedTuple):
    """A message from an inbox, with its sender."""

    round: int
    """The sender's round in which it was sent."""
    sender: int
    content: Vector
    """Tensor ``(..., d)``."""


@dataclass(frozen=True, eq=False)
class Start:
    """Begin another effect and go on computing. Answer: a handle for :class:`Wait`."""

    effect: Average | Mix | Request


@dataclass(frozen=True, eq=False)
class Wait:
    """Wait for an effect that was started in this round. Answer: as of that effect."""

    handle: object
    """What the answer to :class:`Start` was."""


@dataclass(frozen=True, eq=False)
class Maximum:
    """The elementwise maximum over workers of a few numbers each (dense fp32 on the wire).

    Answer: tensor ``(..., n)`` with leading dimension 1.
    """

    numbers: Vector
    """Tensor ``(..., n)``."""


Effect = Gradient | Average | Mix | Exchange | Request | Send | Collect | Start | Wait | Maximum
"""What a program may yield."""
