"""How many coordinates a sparsifier keeps, and over which segments of the vector."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """What every sparsifier is told: how much to keep, and of what.

    Exactly one of ``density`` (fraction of the coordinates, in (0, 1]) and ``count``
    (coordinates) is not None. With a ``layout`` each of its tensors is a segment of its
    own, of which the density (or ``count`` coordinates) is kept; without one the whole
    vector is one segment. At least one coordinate of every segment is kept:
    ``max(1, floor(density * n))`` of n.
    """

    density: float | None
    count: int | None
    layout: Layout | None

    def at_density(self, density: float) -> Self:
        """The same with another density."""
        return replace(self, density=density, count=None)

    def segments(self, d: int) -> list[tuple[int, int, int]]:
        """``(start, end, kept coordinates)`` of every segment of a vector of d values."""
        if self.layout is None:
            return [(0, d, self.kept(d))]
        self.layout.check(d)
        offsets = self.layout.offsets
        return [(start, end, self.kept(end - start)) for start, end in zip(offsets, offsets[1:]) if end > start]

    def kept(self, n: int) -> int:
        """Coordinates kept of a segment of n."""
        if self.count is not None:
            if self.count > n and self.layout is None:
                raise SimgmcError(f"count = {self.count}: the vector has only {n} coordinates")
            return min(self.count, n)
        assert self.density is not None  # where there is no count
        return max(1, min(n, math.floor(self.density * n + 1e-9)))  # 0.29 * 100 is a hair below 29
