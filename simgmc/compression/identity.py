"""No compression: the vector itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from simgmc.compression.message import DenseMessage
from simgmc.compression.rows import as_rows, refuse_non_finite
from simgmc.compression.wire.values import FloatValues, even_offsets
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Every coordinate as a float; fp32 loses nothing, fp16 and bf16 round to nearest."""

    values: str

    def __call__(self, vector: Tensor, random: Randomness) -> DenseMessage:
        rows = as_rows(vector)
        refuse_non_finite(rows)
        return DenseMessage(vector.shape, FloatValues(rows.view(-1), even_offsets(*rows.shape), self.values))
