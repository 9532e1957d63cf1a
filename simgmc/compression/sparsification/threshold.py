"""Every coordinate above a fixed magnitude."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from simgmc.compression.rows import as_rows, for_each_row, refuse_non_finite
from simgmc.compression.sparsification.magnitude import columns_by_row, key_of, reached_on_device, reaching
from simgmc.compression.sparsification.message import Kept, SparseMessage, sparse_message
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Every coordinate of at least a fixed magnitude (hard threshold).

    The number sent is whatever reaches ``threshold``; zeros never are. Absolute error
    at most ``threshold`` per coordinate. Source: Strom 2015; Dutta et al. 2020; Sahu
    et al. 2021.
    """

    threshold: float
    values: str
    indices: str

    def __call__(self, vector: Tensor, random: Randomness) -> SparseMessage:
        rows = as_rows(vector)
        kept: Kept
        if rows.device.type == "cpu":
            key = key_of(rows.numpy().dtype.type(self.threshold))
            kept = for_each_row(lambda row: reaching(rows[row].numpy(), key, row), len(rows))
        else:
            refuse_non_finite(rows)
            chosen = columns_by_row(reached_on_device(rows.abs(), self.threshold))
            kept = [(support, row[support]) for support, row in zip(chosen, rows, strict=True)]
        return sparse_message(vector.shape, kept, self.values, self.indices)
