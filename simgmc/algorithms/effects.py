"""What a worker's program may ask of the world outside it.

An algorithm's round is a generator that yields these requests and receives the
answer (DESIGN: the same program runs stacked, per worker, or on a process group).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Gradient:
    """A stochastic gradient of the worker's own loss, weight decay included.

    Answer: tensor ``(..., d)``, one gradient per worker.
    """

    at: Any
    """Tensor ``(..., d)``: where. A leading dimension of 1 is a point all workers share."""


@dataclass(frozen=True, eq=False)
class Average:
    """The mean of everybody's message, added in rank order.

    Answer: tensor ``(..., d)``, the same for all workers (leading dimension 1).
    """

    message: Any
    """A compressor's message, or a tensor ``(..., d)``, which travels dense."""
