"""How many coordinates a sparsifier keeps, and over which segments of the vector."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """What every sparsifier is told: how much to keep, and of what.

    Exactly one of ``density`` (fraction of the coordinates, in (0, 1]) and ``count``
    (coordinates). With ``per_tensor`` each tensor of ``layout`` is a segment of its
    own, of which the density (or ``count`` coordinates) is kept; otherwise the whole
    vector is one segment. At least one coordinate of every segment is kept:
    ``max(1, floor(density * n))`` of n.
    """

    density: float | None = None
    count: int | None = None
    per_tensor: bool = False
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if (self.density is None) == (self.count is None):
            raise SimgmcError("a sparsifier needs either a density or a count (exactly one of the two)")
        if self.density is not None and not 0 < self.density <= 1:
            raise SimgmcError(f"density = {self.density}: a fraction above 0 and at most 1 is needed")
        if self.count is not None and self.count < 1:
            raise SimgmcError(f"count = {self.count}: at least 1 coordinate must be kept")
        if self.per_tensor and self.layout is None:
            raise SimgmcError("per_tensor needs the layout of the model's tensors")

    def segments(self, d: int) -> list[tuple[int, int, int]]:
        """``(start, end, kept coordinates)`` of every segment of a vector of d values."""
        if not self.per_tensor:
            return [(0, d, self.kept(d))]
        if self.layout.d != d:
            raise SimgmcError(f"the layout describes {self.layout.d} parameters, the vector has {d}")
        offsets = self.layout.offsets
        return [(start, end, self.kept(end - start)) for start, end in zip(offsets, offsets[1:]) if end > start]

    def kept(self, n: int) -> int:
        """Coordinates kept of a segment of n."""
        if self.count is not None:
            if self.count > n and not self.per_tensor:
                raise SimgmcError(f"count = {self.count}: the vector has only {n} coordinates")
            return min(self.count, n)
        return max(1, min(n, math.floor(self.density * n + 1e-9)))  # 0.29 * 100 is a hair below 29
