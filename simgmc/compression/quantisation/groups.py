"""Groups of coordinates that share one scale: the whole vector, tensors, buckets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.rows import on_device


@dataclass(frozen=True)
class Groups:
    """``segments`` (start, end) that tile a vector, each cut into buckets of ``bucket`` (or left whole)."""

    segments: tuple[tuple[int, int], ...]
    bucket: int | None = None

    @classmethod
    def whole(cls, n: int, bucket: int | None = None) -> Groups:
        return cls(((0, n),), bucket)

    @property
    def sizes(self) -> np.ndarray:
        """(groups,) int64: coordinates of each group."""
        parts = []
        for a, b in self.segments:
            bucket = self.bucket or max(1, b - a)
            parts.append(np.full((b - a) // bucket, bucket))
            if (b - a) % bucket:
                parts.append(np.array([(b - a) % bucket]))
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    @property
    def count(self) -> int:
        if self.bucket is None:
            return sum(1 for a, b in self.segments if b > a)
        return sum(-(-(b - a) // self.bucket) for a, b in self.segments)

    def norms(self, vector: Tensor, order: float) -> Tensor:
        """(groups,): the norm of each group of ``(n,)``, accumulated in float64, at most the largest fp32 number."""
        if order == torch.inf:
            parts = [torch.maximum(part.amax(1), -part.amin(1)).double() for part in self._parts(vector)]
        else:
            parts = [torch.linalg.vector_norm(part, order, dim=1, dtype=torch.float64) for part in self._parts(vector)]
        return (
            torch.cat(parts).clamp(max=torch.finfo(torch.float32).max).to(vector.dtype)
            if parts
            else vector.new_empty(0)
        )

    def sums(self, vector: Tensor) -> Tensor:
        """(groups,) float64: the sum of each group of ``(n,)``."""
        parts = [part.sum(1, dtype=torch.float64) for part in self._parts(vector)]
        return torch.cat(parts) if parts else vector.new_empty(0, dtype=torch.float64)

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """Views ``(groups, size)`` of the vector's groups, in order; every segment's full buckets, then its rest."""
        views = []
        for a, b in self.segments:
            bucket = self.bucket or max(1, b - a)
            full = (b - a) // bucket * bucket
            views += [vector[a : a + full].view(-1, bucket), vector[a + full : b].view(1, -1)]
        return [view for view in views if view.numel()]

    def spread(self, scales: Tensor) -> Tensor:
        """Each group's scale at each of its coordinates, ``(n,)``; one group's scale as ``(1,)``."""
        if len(scales) == 1:
            return scales
        sizes = self.sizes
        return scales.repeat_interleave(on_device(sizes, scales.device), output_size=int(sizes.sum()))
