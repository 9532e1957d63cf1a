"""What a worker's program may ask of the world outside it.

An algorithm's round is a generator that yields these requests and receives the
answer (DESIGN: the same program runs stacked, per worker, or on a process group).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, eq=False)
class Gradient:
    """A stochastic gradient of the worker's own loss.

    Answer: tensor ``(..., d)``, one gradient per worker.
    """

    at: Any
    """Tensor ``(..., d)``: where. A leading dimension of 1 is a point all workers share."""
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

    message: Any
    """A compressor's message, or a tensor ``(..., d)``, which travels dense."""
    reply: Callable[[Any], Any] | None = None
    """What a server makes of the mean (tensor ``(1, d)``) before it sends it back: a message
    or a tensor, which is then the answer. Without a server everybody computes it alike, so
    it draws from :meth:`Worker.server_randomness`."""


@dataclass(frozen=True, eq=False)
class Mix:
    """The weighted sum of one's own message and those of the neighbours, by the round's mixing
    matrix: row k of ``W @ messages``.

    Answer: tensor ``(..., d)``, one per worker.
    """

    message: Any
    """A compressor's message, or a tensor ``(..., d)``, which travels dense. Every neighbour
    gets the same."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """Wait for another worker to have finished its local steps too, and swap messages.

    Whoever waits in a meeting of its own can be met at once, and who gets there while others
    wait for it meets the first of them, so that the other may turn out not to be ``to``. Only
    where the simulated clock drives the training. Answer: the other's message as tensor
    ``(..., d)``.
    """

    to: int
    message: Any
    """A compressor's message, or a tensor ``(..., d)``, which travels dense."""


@dataclass(frozen=True, eq=False)
class Request:
    """Send a message to a worker or to the server and wait for what its
    :meth:`~simgmc.algorithms.worker.Algorithm.serve` replies, now or later.

    The one that is asked goes on computing. Only where the simulated clock drives the
    training. Answer: the reply's content as tensor ``(..., d)``.
    """

    to: int
    """A worker's rank, or :data:`SERVER`."""
    message: Any


@dataclass(frozen=True, eq=False)
class Send:
    """Send a message one way and go on at once: it lands in the other's inbox.

    Only where the simulated clock drives the training. Answer: None.
    """

    to: int
    message: Any


@dataclass(frozen=True, eq=False)
class Collect:
    """What has landed in the inbox and was not collected yet, in the order (round sent, sender).

    Waits until the inbox has received, ever, at least ``at_least`` messages (0: does not wait).
    Only where the simulated clock drives the training. Answer: list of :class:`Arrival`.
    """

    at_least: int = 0


class Arrival(NamedTuple):
    """A message from an inbox, with what its envelope says."""

    round: int
    """The sender's round in which it was sent."""
    sender: int
    content: Any
    """Tensor ``(..., d)``."""


@dataclass(frozen=True, eq=False)
class Start:
    """Start another effect and go on computing. Answer: a handle for :class:`Wait`."""

    effect: Average | Mix | Request


@dataclass(frozen=True, eq=False)
class Wait:
    """Wait for what was launched in this round. Answer: as of that effect."""

    handle: Any


SERVER = -1
"""The server, as one that can be asked."""


@dataclass(frozen=True, eq=False)
class Maximum:
    """The elementwise maximum over workers of a few numbers each (dense fp32 on the wire).

    Answer: tensor ``(..., n)`` with leading dimension 1.
    """

    numbers: Any
    """Tensor ``(..., n)``."""
