"""Dense exemption: tensors of one dimension or fewer travel uncompressed.

Biases and normalisation parameters are few and matter much; the DGC authors' code
never compresses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.compressor import Compressor, at_density, density_of
from simgmc.compression.identity import Identity
from simgmc.compression.message import Message
from simgmc.compression.rows import as_rows
from simgmc.compression.wire.values import written_bytes
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness


def without_vectors(layout: Layout) -> Layout:
    """The layout of the tensors that remain: those of two dimensions or more."""
    kept = [(name, shape) for name, shape in zip(layout.names, layout.shapes) if len(shape) > 1]
    return Layout(tuple(name for name, _ in kept), tuple(shape for _, shape in kept))


@dataclass(frozen=True, kw_only=True)
class DenseExemption:
    """``compressor`` on the tensors of two dimensions and more, the others in fp32.

    ``compressor`` sees one vector: the compressed tensors one after the other, which is
    what :func:`without_vectors` describes.
    """

    compressor: Compressor
    layout: Layout

    def __post_init__(self) -> None:
        if not any(len(shape) > 1 for shape in self.layout.shapes):
            raise SimgmcError("exempt_vectors: the model has no tensor of two dimensions, nothing would be compressed")

    @cached_property
    def columns(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The columns of the vector that are ``(exempt, compressed)``, neighbours joined."""
        segments: tuple[list[slice], list[slice]] = ([], [])
        offsets = self.layout.offsets
        for shape, a, b in zip(self.layout.shapes, offsets, offsets[1:]):
            kind = segments[len(shape) > 1]
            if kind and kind[-1].stop == a:
                a = kind.pop().start
            kind.append(slice(a, b))
        return tuple(segments[0]), tuple(segments[1])

    @property
    def density(self) -> float | None:
        """Of the compressor, if it is set by one."""
        return density_of(self.compressor)

    def at_density(self, density: float) -> DenseExemption:
        """The same with another density of the compressor."""
        return replace(self, compressor=at_density(self.compressor, density))

    def __call__(self, vector: Tensor, random: Randomness) -> Message:
        rows = as_rows(vector)
        self.layout.check(rows.shape[1])
        exempt, compressed = self.columns
        inner = self.compressor(_take(rows, compressed), random)
        if not exempt:
            inner.shape = tuple(vector.shape)
            return inner
        return PartlyDense(vector.shape, self.columns, Identity(values="fp32")(_take(rows, exempt), random), inner)


class PartlyDense(Message):
    """Two messages for two sets of columns: ``exempt`` in fp32, and ``inner``. The payload has them in this order."""

    def __init__(
        self,
        shape: Sequence[int],
        columns: tuple[tuple[slice, ...], tuple[slice, ...]],
        exempt: Message,
        inner: Message,
    ):
        self.shape = tuple(shape)
        self.columns = columns
        self.exempt = exempt
        self.inner = inner

    @property
    def rows(self) -> int:
        return self.exempt.rows

    @property
    def summable(self) -> bool:
        return self.inner.summable

    @property
    def late_refusal(self) -> str | None:
        return self.inner.late_refusal

    @property
    def item_bytes(self) -> int:
        return min(self.exempt.item_bytes, self.inner.item_bytes)

    def dense(self) -> Tensor:
        return self._join(self.exempt.dense(), self.inner.dense())

    def unsent(self, vector: Tensor) -> Tensor:
        exempt, compressed = self._parts(vector.reshape(self.rows, self.d))
        return self._join(torch.zeros_like(exempt), self.inner.unsent(compressed))

    def masked(self, vector: Tensor) -> Tensor:
        exempt, compressed = self._parts(vector.reshape(self.rows, self.d))
        return self._join(exempt, self.inner.masked(compressed))

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The exempt and the other columns of rows ``(n, d)``."""
        exempt, compressed = self.columns
        return _take(rows, exempt), _take(rows, compressed)

    def _join(self, exempt: Tensor, compressed: Tensor) -> Tensor:
        out = exempt.new_empty(self.rows, self.d)
        for columns, part in zip(self.columns, (exempt, compressed)):
            start = 0
            for column in columns:
                size = column.stop - column.start
                out[:, column] = part[:, start : start + size]
                start += size
        return out.view(self.shape)

    @property
    def weights_refusal(self) -> str | None:
        return self.inner.weights_refusal

    def mean(self, shares: Sequence[float] | None = None) -> PartlyDense:
        return PartlyDense((1, self.d), self.columns, self.exempt.mean(shares), self.inner.mean(shares))

    def _among(self, ranks: Sequence[int]) -> PartlyDense:
        parts = self.exempt.among(ranks), self.inner.among(ranks)
        return PartlyDense((len(ranks), self.d), self.columns, *parts)

    def joined(self, others: Sequence[PartlyDense]) -> PartlyDense:
        exempt, inner = (
            self.exempt.joined([one.exempt for one in others]),
            self.inner.joined([one.inner for one in others]),
        )
        return PartlyDense((exempt.rows, self.d), self.columns, exempt, inner)

    def _recoded(self, rows: Tensor) -> PartlyDense:
        exempt, compressed = self._parts(rows)
        return PartlyDense(rows.shape, self.columns, self.exempt._recoded(exempt), self.inner._recoded(compressed))

    @cached_property
    def nbytes(self) -> np.ndarray:
        return self.exempt.nbytes + self.inner.nbytes

    @cached_property
    def floats(self) -> np.ndarray:
        return self.exempt.floats + self.inner.floats

    @property
    def wire(self) -> str:
        return f"{self.inner.wire}; one-dimensional tensors dense, fp32"

    @property
    def same_length(self) -> bool:
        return self.inner.same_length

    def template(self) -> PartlyDense:
        return PartlyDense((0, self.d), self.columns, self.exempt.template(), self.inner.template())

    def encode(self, row: int = 0) -> bytes:
        return self.exempt.encode(row) + self.inner.encode(row)

    def decode(self, payloads: Sequence[bytes | memoryview]) -> PartlyDense:
        size = self.exempt.d * written_bytes(self.exempt.dense().dtype)
        exempt = self.exempt.decode([payload[:size] for payload in payloads])
        inner = self.inner.decode([payload[size:] for payload in payloads])
        return PartlyDense((len(payloads), self.d), self.columns, exempt, inner)


def _take(rows: Tensor, columns: tuple[slice, ...]) -> Tensor:
    return torch.cat([rows[:, column] for column in columns], 1) if columns else rows[:, :0]
