"""Sparse messages: each row's own coordinates, ragged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import CodedMessage, DenseMessage
from simgmc.compression.quantisation.levels import ScaledValues
from simgmc.compression.rows import for_each_row, non_finite
from simgmc.compression.wire import indices as index_formats
from simgmc.compression.wire.bits import decode_count, encode_count
from simgmc.compression.wire.values import FloatValues, Values, row_offsets, rows_among
from simgmc.costs.steps import MAX_UNITED


class SparseMessage(CodedMessage):
    """Coordinates and their values, row after row (compressed sparse rows).

    ``indices`` ``(nnz of all rows,)`` int64, ascending within a row; ``offsets``
    ``(rows + 1,)`` int64 numpy, where each row begins; ``values.flat`` goes with
    ``indices``. fp32 values with 32-bit indices are exactly 8 bytes a component.

    The payload is the indices followed by the values. Where the number of components
    does not follow from the payload's length (coded indices or coded values), it comes
    first, 7 bits a byte.
    """

    def __init__(self, shape: Sequence[int], indices: Tensor, values: Values, index_format: str = "32-bit"):
        super().__init__(shape, values)
        self.indices = indices
        self.index_format = index_format

    @property
    def offsets(self) -> np.ndarray:
        return self.values.offsets

    @property
    def summable(self) -> bool:
        return False

    @property
    def same_length(self) -> bool:
        return False

    @property
    def item_bytes(self) -> int:
        return 1 if self._component_bits is None else -(-self._component_bits // 8)

    @cached_property
    def counts(self) -> np.ndarray:
        """(rows,) int64: components sent by each row."""
        return np.diff(self.offsets)

    def dense(self) -> Tensor:
        flat = self.values.flat
        if flat.device.type == "cpu":
            out = torch.from_numpy(np.zeros((self.rows, self.d), flat.numpy().dtype))  # zeroed by the system, lazily
        else:
            out = flat.new_zeros((self.rows, self.d))
        for_each_row(lambda row: out[row].index_copy_(0, *self.row(row)), self.rows, flat.device)
        return out.view(self.shape)

    def subtract_from(self, vector: Tensor, overwrite: bool = False) -> Tensor:
        rest = (vector.detach() if overwrite else vector.detach().clone()).view(self.rows, self.d)
        for_each_row(lambda row: rest[row].index_add_(0, *self.row(row), alpha=-1), self.rows, rest.device)
        return rest.view(self.shape)

    def unsent(self, vector: Tensor) -> Tensor:
        rest = vector.detach().clone().view(self.rows, self.d)
        for_each_row(lambda row: rest[row].index_fill_(0, self.row(row)[0], 0), self.rows, rest.device)
        return rest.view(self.shape)

    def row(self, row: int) -> tuple[Tensor, Tensor]:
        """``(indices, values)`` of one row."""
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.indices[part], self.values.flat[part]

    def mean(self, shares: Sequence[float] | None = None) -> SparseMessage | DenseMessage:
        """The union's non-zeros: coordinates that cancel are not sent. All coordinates, where that is shorter."""
        flat = self.values.flat
        total = torch.zeros(self.d, dtype=flat.dtype, device=flat.device)
        for row in range(self.rows):  # in rank order; a row holds no coordinate twice, so every device adds alike
            total.index_add_(0, *self.row(row), alpha=1 if shares is None else shares[row])
        union, sums = nonzeros(total)
        divisor = self.rows if shares is None else 1
        coding = self.values.averaged(sums / divisor, row_offsets([len(union)]))
        if bool((coding.flat == 0).any()):  # rounded away: by a narrow value format, or below the smallest float
            kept = coding.flat != 0
            union, flat = union[kept], coding.flat[kept]
            coding = self.values.averaged(flat, row_offsets([len(union)]))
        sparse = SparseMessage((1, self.d), union, coding, self.index_format)
        if sparse.nbytes[0] <= self.d * coding.item_bytes:
            return sparse
        return DenseMessage((1, self.d), self.values.averaged(total / divisor, row_offsets([self.d])))

    def partial_sums(self) -> np.ndarray | None:
        rows = self.rows
        if not 1 < rows <= MAX_UNITED or self.item_bytes == 1:
            return None
        index = self.indices.cpu().numpy()
        row = np.repeat(np.arange(rows), self.counts)
        part = index * rows // self.d
        # When the sum of its range goes round, a coordinate is first met at the nearest row that holds it.
        met = (row - part) % rows
        order = np.lexsort((met, index))
        index, part, met = index[order], part[order], met[order]
        first = np.ones(len(index), dtype=bool)
        first[1:] = index[1:] != index[:-1]
        grown = np.zeros((rows, rows), dtype=np.int64)
        np.add.at(grown, (met[first], part[first]), 1)
        return grown.cumsum(axis=0) * self.item_bytes

    def recoded_by(self, code: Callable[[Tensor, np.ndarray], ScaledValues]) -> SparseMessage:
        """The same with its numbers coded in another way; those that become zero are left out."""
        coded = code(self.values.flat, self.offsets)
        sent = coded.flat != 0
        if bool(sent.all()):
            return SparseMessage(self.shape, self.indices, coded, self.index_format)
        before = row_offsets(sent.cpu().numpy())
        return SparseMessage(self.shape, self.indices[sent], coded.kept(sent, before[self.offsets]), self.index_format)

    def _among(self, ranks: Sequence[int]) -> SparseMessage:
        indices = rows_among(self.indices, self.offsets, ranks)
        return SparseMessage((len(ranks), self.d), indices, self.values.among(ranks), self.index_format)

    def joined(self, others: Sequence[SparseMessage]) -> SparseMessage:
        values = self.values.joined([one.values for one in others])
        indices = torch.cat([self.indices, *(one.indices for one in others)])
        return SparseMessage((len(values.offsets) - 1, self.d), indices, values, self.index_format)

    def _recoded(self, rows: Tensor) -> SparseMessage:
        supports, numbers = zip(*(nonzeros(row) for row in rows))
        values = self.values.averaged(torch.cat(numbers), row_offsets([len(one) for one in numbers]))
        return SparseMessage(rows.shape, torch.cat(supports), values, self.index_format)

    @cached_property
    def _component_bits(self) -> int | None:
        """Bits of an index and its value, where both have a fixed number of them."""
        index, value = index_formats.fixed_bits(self.index_format, self.d), self.values.fixed_bits
        return None if index is None or value is None else index + value

    @cached_property
    def _index_bytes(self) -> np.ndarray:
        bits = index_formats.fixed_bits(self.index_format, self.d)
        if bits is not None:
            return -(-self.counts * bits // 8)
        host = self.indices.cpu().numpy()
        rows = [host[a:b] for a, b in zip(self.offsets, self.offsets[1:])]
        return np.array([index_formats.size(self.index_format, row, self.d) for row in rows], np.int64)

    @cached_property
    def nbytes(self) -> np.ndarray:
        nbytes = self._index_bytes + self.values.nbytes
        if self._component_bits is None:
            nbytes = nbytes + np.array([len(encode_count(n)) for n in self.counts], np.int64)
        return nbytes

    @cached_property
    def floats(self) -> np.ndarray:
        """An index weighs as much as a value: 2 floats a component when values are floats."""
        return self.counts + self.values.floats

    @property
    def wire(self) -> str:
        return f"{self.values.wire} + {index_formats.describe(self.index_format, self.d)}"

    def template(self) -> SparseMessage:
        return SparseMessage((0, self.d), self.indices.new_empty(0), self.values.template(), self.index_format)

    def encode(self, row: int = 0) -> bytes:
        host = self.row(row)[0].cpu().numpy()
        count = b"" if self._component_bits is not None else encode_count(len(host))
        return count + index_formats.encode(self.index_format, host, self.d) + self.values.encode(row)

    def decode(self, payloads: Sequence[bytes | memoryview]) -> SparseMessage:
        supports, tails = [], []
        for payload in payloads:
            buffer = memoryview(payload)
            if self._component_bits is not None:
                index, value = index_formats.fixed_bits(self.index_format, self.d), self.values.written_bits
                assert index is not None and value is not None  # as the component's
                count = 8 * len(buffer) // (index + value)
            else:
                count, used = decode_count(buffer)
                buffer = buffer[used:]
            support, used = index_formats.decode(self.index_format, buffer, count, self.d)
            supports.append(support)
            tails.append(buffer[used:])
        values = self.values.decode(tails, [len(support) for support in supports])
        flat = torch.from_numpy(np.concatenate(supports)).to(self.indices.device)
        return SparseMessage((len(payloads), self.d), flat, values, self.index_format)


Kept = list[tuple[np.ndarray, np.ndarray]] | list[tuple[Tensor, Tensor]]
"""(ascending indices, values) of what a sparsifier keeps of each row: on a CPU as arrays, on a device as tensors."""


def sparse_message(
    shape: Sequence[int],
    kept: Kept,
    format: str = "fp32",
    index_format: str = "32-bit",
) -> SparseMessage:
    """The message of ``(ascending indices, values)`` of each row of a tensor of this shape, zeros left out.

    A value that a narrow float format rounds to zero is left out too.
    """
    supports, values = zip(*((torch.as_tensor(support), torch.as_tensor(values)) for support, values in kept))
    offsets = row_offsets([len(one) for one in values])
    support, flat = torch.cat(supports), torch.cat(values)
    coded = FloatValues(flat, offsets, format)
    sent = coded.flat != 0
    finite, whole = torch.stack([torch.isfinite(flat).all(), sent.all()]).tolist()  # a device is waited for once
    if not finite:
        raise non_finite(next(row for row, one in enumerate(values) if not bool(torch.isfinite(one).all())))
    if not whole:
        before = row_offsets(sent.cpu().numpy())
        support, coded = support[sent], FloatValues(coded.flat[sent], before[offsets], format)
    return SparseMessage(shape, support, coded, index_format)


def nonzeros(vector: Tensor) -> tuple[Tensor, Tensor]:
    """``(indices, values)`` of the non-zeros of a vector ``(d,)``."""
    if vector.device.type == "cpu":
        support = torch.from_numpy(np.flatnonzero(vector.numpy() != 0))
    else:
        support = vector.nonzero().flatten()
    return support, vector[support]
