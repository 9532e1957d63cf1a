"""What a worker's program may ask of the world outside it.

An algorithm's round is a generator that yields these requests and receives the
answer (DESIGN: the same program runs stacked, per worker, or on a process group).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Gradient:
    """A stochastic gradient of the worker's own loss.

    Answer: tensor ``(..., d)``, one gradient per worker.
    """

    at: Any
    """Tensor ``(..., d)``: where. A leading dimension of 1 is a point all workers share."""
    weight_decay: bool = True
    """Whether ``weight_decay * at`` is part of it (not where the decay is decoupled)."""


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
class Launch:
    """Start an :class:`Average` and go on computing. Answer: a handle for :class:`Join`."""

    message: Any


@dataclass(frozen=True, eq=False)
class Join:
    """Wait for a launched average of this round. Answer: as of :class:`Average`."""

    handle: Any


@dataclass(frozen=True, eq=False)
class Maximum:
    """The elementwise maximum over workers of a few numbers each (dense fp32 on the wire).

    Answer: tensor ``(..., n)`` with leading dimension 1.
    """

    numbers: Any
    """Tensor ``(..., n)``."""
