"""Top-k: the coordinates of largest magnitude, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from simgmc.compression.rows import as_rows, for_each_row, refuse_non_finite
from simgmc.compression.sparsification.magnitude import joined, joined_on_device, largest, largest_on_device
from simgmc.compression.sparsification.message import Kept, SparseMessage, sparse_message
from simgmc.compression.sparsification.sparsity import Sparsity
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class TopK(Sparsity):
    """The k coordinates of largest magnitude of each row (exact).

    Contraction: ||C(v) - v||^2 <= (1 - k/d) ||v||^2. Among equal magnitudes at the
    threshold the lowest indices win, so exactly k are sent; zeros never are, so a
    vector with fewer than k non-zeros sends those. Source: Aji and
    Heafield 2017; Stich et al. 2018.
    """

    values: str
    indices: str

    def __call__(self, vector: Tensor, random: Randomness) -> SparseMessage:
        rows = as_rows(vector)
        segments = self.segments(rows.shape[1])
        kept: Kept
        if rows.device.type == "cpu":
            kept = for_each_row(lambda row: _per_segment(rows[row].numpy(), segments, row), len(rows))
        else:
            refuse_non_finite(rows)
            parts = [largest_on_device(rows[:, a:b], k) for a, b, k in segments]
            kept = joined_on_device(rows, parts, segments)
        return sparse_message(vector.shape, kept, self.values, self.indices)


def _per_segment(vector: np.ndarray, segments: list[tuple[int, int, int]], row: int) -> tuple[np.ndarray, np.ndarray]:
    return joined([largest(vector[a:b], k, row) for a, b, k in segments], segments)
