"""Where each tensor of a model lies in the flat parameter vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod


@dataclass(frozen=True)
class Layout:
    """Names and shapes of a model's tensors, in the order in which the vector holds them."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Start of each tensor, and at the end d."""
        return (0, *accumulate(self.sizes))

    @property
    def d(self) -> int:
        """Number of parameters."""
        return self.offsets[-1]

    @classmethod
    def flat(cls, d: int, name: str = "w") -> Layout:
        """One tensor of d values."""
        return cls((name,), ((d,),))
