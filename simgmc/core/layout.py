"""Where each tensor of a model lies in the flat parameter vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

from simgmc.core.errors import SimgmcError


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

    def check(self, d: int) -> None:
        """Raises SimgmcError where a vector of d values is not one that it describes."""
        if d != self.d:
            raise SimgmcError(f"the layout describes {self.d} parameters, the vector has {d}")

    @classmethod
    def flat(cls, d: int, name: str = "w") -> Layout:
        """One tensor of d values."""
        return cls((name,), ((d,),))
