"""What a compressor is, as methods and trainers see it. Imports no torch."""

from __future__ import annotations

import typing
from typing import Protocol, runtime_checkable

from simgmc.core.randomness import Randomness

if typing.TYPE_CHECKING:
    from torch import Tensor

    from simgmc.compression.message import Message

    Vector = Tensor
    """A tensor ``(..., d)``, d numbers for each worker: what methods compute with, which never import torch."""


class Compressor(Protocol):
    """What makes messages: a frozen dataclass of its options, with this call."""

    def __call__(self, vector: Vector, random: Randomness, /) -> Message:
        """The message of a vector ``(..., d)``, float32 or float64: one row for every leading index.

        Raises DivergenceError where the vector holds NaN or infinity.
        """


@runtime_checkable
class SetByDensity(Protocol):
    """A compressor with a density, or with a sparsifier inside it that has one."""

    @property
    def density(self) -> float | None:
        """Fraction of the coordinates that is kept; None where it is set otherwise."""

    def at_density(self, density: float, /) -> Compressor:
        """The same with another density."""


def density_of(compressor: object) -> float | None:
    """The density that a compressor is set by, if it is."""
    return compressor.density if isinstance(compressor, SetByDensity) else None


def at_density(compressor: object, density: float) -> Compressor:
    """A compressor with another density. Raises TypeError where it is not set by one."""
    if not isinstance(compressor, SetByDensity):
        raise TypeError(f"{type(compressor).__name__} has no density")
    return compressor.at_density(density)


@runtime_checkable
class DecodedNearby(Protocol):
    """A compressor whose receiver decodes a message near a vector of its own, such as a lattice's."""

    def received(self, points: Vector, reference: Vector, /) -> Vector:
        """What a receiver that holds ``reference`` makes of a message of ``points`` (both ``(..., d)``)."""
