"""Low rank: every matrix of the model by two thin factors (PowerSGD).

PowerSGD averages twice a round, so it is not one message but a protocol, written to be
used from an algorithm's program; both averages are dense and can ride a ring:

    p = yield Average(low_rank.left(wanted, q))       # P = M Q, and the small tensors
    p, rest = low_rank.orthogonalise(p)
    q = yield Average(low_rank.right(wanted, p))      # Q = M^T P, kept for the next round
    update = low_rank.expand(p, q, rest)              # P Q^T

A tensor (n, a, b, ...) is the matrix (n, a b ...). Tensors of one dimension, and those
that the factors would not make smaller, travel as they are with the first average.
Source: Vogels et al. 2019. r (n + m) floats a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import CodedMessage, DenseMessage, dense_message
from simgmc.compression.rows import as_rows, for_each_row, on_device, refuse_non_finite
from simgmc.compression.wire.values import FloatValues, Values, even_offsets
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness


@dataclass(frozen=True)
class Matrix:
    """Where a matrix (n, m) of rank r lies: in the vector, in the left and in the right factors."""

    at: int
    n: int
    m: int
    r: int
    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """The pieces of PowerSGD for one model; as a compressor, each worker's own factors.

    Called like any compressor it does one step of power iteration from a shared random
    start: C(M) = P P^T M, a projection (||C(v) - v||^2 = ||v||^2 - ||C(v)||^2), with
    each worker's own P: such messages cannot be summed.
    """

    layout: Layout
    rank: int

    @cached_property
    def matrices(self) -> tuple[Matrix, ...]:
        """The tensors that are sent as two factors."""
        found, left, right = [], 0, 0
        for shape, at in zip(self.layout.shapes, self.layout.offsets):
            n, m = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, 0)
            r = min(self.rank, n, m)
            if 0 < r * (n + m) < n * m:
                found.append(Matrix(at, n, m, r, left, right))
                left, right = left + n * r, right + m * r
        return tuple(found)

    @cached_property
    def whole(self) -> tuple[tuple[int, int], ...]:
        """``(start, end)`` of the tensors that are sent as they are."""
        factored = {matrix.at for matrix in self.matrices}
        offsets = self.layout.offsets
        return tuple((a, b) for a, b in zip(offsets, offsets[1:]) if a not in factored and b > a)

    @property
    def left_size(self) -> int:
        """Numbers in all left factors P."""
        return sum(matrix.n * matrix.r for matrix in self.matrices)

    @property
    def right_size(self) -> int:
        """Numbers in all right factors Q."""
        return sum(matrix.m * matrix.r for matrix in self.matrices)

    def start(self, draws: np.random.Generator, like: Tensor) -> Tensor:
        """(1, right_size): the first Q, standard normal, the same on all workers that use the same draws."""
        return on_device(draws.standard_normal((1, self.right_size)), like.device).to(like.dtype)

    def left(self, vector: Tensor, q: Tensor) -> DenseMessage:
        """``(..., left_size + whole tensors)``: P = M Q of every matrix, then the tensors sent as they are."""
        rows, q = self._rows(vector), _stacked(q)
        out = rows.new_empty(len(rows), self.left_size + sum(b - a for a, b in self.whole))

        def fill(row: int) -> None:
            right = q[row % len(q)]
            for matrix in self.matrices:
                part = out[row, matrix.left : matrix.left + matrix.n * matrix.r].view(matrix.n, matrix.r)
                torch.mm(self._matrix(rows[row], matrix), self._right(right, matrix), out=part)
            place = self.left_size
            for a, b in self.whole:
                out[row, place : place + b - a] = rows[row, a:b]
                place += b - a

        for_each_row(fill, len(rows), rows.device)
        return dense_message(out, vector.shape[:-1])

    def orthogonalise(self, left: Tensor) -> tuple[Tensor, Tensor]:
        """Answer of the first average -> ``(P with orthonormal columns, whole tensors)``.

        By Householder QR, which completes the columns of a matrix of lower rank.
        """
        factors, rest = left[..., : self.left_size], left[..., self.left_size :]
        out = torch.empty_like(factors)
        for matrix in self.matrices:
            part = slice(matrix.left, matrix.left + matrix.n * matrix.r)
            thin = factors[..., part].unflatten(-1, (matrix.n, matrix.r))
            out[..., part] = torch.linalg.qr(thin).Q.flatten(-2)
        return out, rest

    def right(self, vector: Tensor, p: Tensor) -> DenseMessage:
        """``(..., right_size)``: Q = M^T P of every matrix."""
        rows, p = self._rows(vector), _stacked(p)
        out = rows.new_empty(len(rows), self.right_size)

        def fill(row: int) -> None:
            left = p[row % len(p)]
            for matrix in self.matrices:
                part = out[row, matrix.right : matrix.right + matrix.m * matrix.r].view(matrix.m, matrix.r)
                torch.mm(self._matrix(rows[row], matrix).T, self._left(left, matrix), out=part)

        for_each_row(fill, len(rows), rows.device)
        return dense_message(out, vector.shape[:-1])

    def expand(self, p: Tensor, q: Tensor, rest: Tensor) -> Tensor:
        """``(..., d)``: P Q^T of every matrix, and the tensors sent as they are."""
        shape = q.shape[:-1]
        p, q, rest = _stacked(p), _stacked(q), _stacked(rest)
        out = q.new_empty(len(q), self.layout.d)

        def fill(row: int) -> None:
            for matrix in self.matrices:
                left, right = self._left(p[row % len(p)], matrix), self._right(q[row], matrix)
                torch.mm(left, right.T, out=self._matrix(out[row], matrix))
            place = 0
            for a, b in self.whole:
                out[row, a:b] = rest[row % len(rest), place : place + b - a]
                place += b - a

        for_each_row(fill, len(out), out.device)
        return out.view(*shape, self.layout.d)

    def __call__(self, vector: Tensor, random: Randomness) -> LowRankMessage:
        rows = self._rows(vector)
        p, rest = self.orthogonalise(self.left(rows, self.start(random.shared(), rows)).dense())
        q = self.right(rows, p).dense()
        flat = torch.cat([p, q, rest], 1)
        return LowRankMessage(vector.shape, FloatValues(flat.view(-1), even_offsets(*flat.shape)), self)

    def _rows(self, vector: Tensor) -> Tensor:
        rows = as_rows(vector)
        self.layout.check(rows.shape[1])
        refuse_non_finite(rows)
        return rows

    @staticmethod
    def _matrix(vector: Tensor, matrix: Matrix) -> Tensor:
        return vector[matrix.at : matrix.at + matrix.n * matrix.m].view(matrix.n, matrix.m)

    @staticmethod
    def _left(p: Tensor, matrix: Matrix) -> Tensor:
        return p[matrix.left : matrix.left + matrix.n * matrix.r].view(matrix.n, matrix.r)

    @staticmethod
    def _right(q: Tensor, matrix: Matrix) -> Tensor:
        return q[matrix.right : matrix.right + matrix.m * matrix.r].view(matrix.m, matrix.r)


class LowRankMessage(CodedMessage):
    """Each row's own factors P and Q, and its tensors that travel as they are, in fp32."""

    def __init__(self, shape: Sequence[int], values: Values, low_rank: LowRank):
        super().__init__(shape, values)
        self.low_rank = low_rank

    @property
    def summable(self) -> bool:
        return False

    def dense(self) -> Tensor:
        flat = self.values.by_row
        sizes = [self.low_rank.left_size, self.low_rank.right_size]
        p, q, rest = flat.split([*sizes, flat.shape[1] - sum(sizes)], 1)
        return self.low_rank.expand(p, q, rest).view(self.shape)

    def unsent(self, vector: Tensor) -> Tensor:
        return torch.zeros_like(vector)

    def mean(self, shares: Sequence[float] | None = None) -> DenseMessage:
        """Dense: a mean of low-rank matrices has no low rank."""
        return self._recoded(self.dense().view(self.rows, self.d)).mean(shares)

    def _among(self, ranks: Sequence[int]) -> LowRankMessage:
        return LowRankMessage((len(ranks), self.d), self.values.among(ranks), self.low_rank)

    def joined(self, others: Sequence[LowRankMessage]) -> LowRankMessage:
        values = self.values.joined([one.values for one in others])
        return LowRankMessage((len(values.offsets) - 1, self.d), values, self.low_rank)

    def _recoded(self, rows: Tensor) -> DenseMessage:
        return dense_message(rows, (len(rows),))

    def template(self) -> LowRankMessage:
        return LowRankMessage((0, self.d), self.values.template(), self.low_rank)

    @property
    def wire(self) -> str:
        return f"fp32 factors of rank {self.low_rank.rank}"

    def decode(self, payloads: Sequence[bytes | memoryview]) -> LowRankMessage:
        assert self.values.written_bits is not None  # floats
        counts = [8 * len(payload) // self.values.written_bits for payload in payloads]
        return LowRankMessage((len(payloads), self.d), self.values.decode(payloads, counts), self.low_rank)


def _stacked(factors: Tensor) -> Tensor:
    """``(..., n) -> (rows, n)``, n possibly 0."""
    return factors.reshape(math.prod(factors.shape[:-1]), factors.shape[-1])
