"""Sparsifiers that do not look at the values: random coordinates and random blocks.

With a seed that all workers share they send values only, and the mean of the
compressed vectors is the compressed mean: a ring all-reduce can carry them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from simgmc.compression.message import SharedMessage
from simgmc.compression.rows import as_rows, for_each_row, on_device, refuse_non_finite
from simgmc.compression.sparsification.message import SparseMessage, sparse_message
from simgmc.compression.sparsification.sparsity import Sparsity
from simgmc.compression.wire.values import FloatValues, even_offsets
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class RandomK(Sparsity):
    """k coordinates drawn uniformly without replacement.

    ``seed``: ``"shared"``, the same coordinates on all workers, no indices sent; or
    ``"own"``, each worker its own, indices sent. As it is, a contraction,
    E||C(v) - v||^2 = (1 - k/d) ||v||^2; with ``unbiased`` the values are scaled by n/k
    and E C(v) = v, E||C(v) - v||^2 = (d/k - 1) ||v||^2.
    Source: Stich et al. 2018; Wangni et al. 2018.
    """

    seed: str
    unbiased: bool
    values: str
    indices: str

    def __call__(self, vector: Tensor, random: Randomness) -> SparseMessage | SharedMessage:
        rows = as_rows(vector)
        segments = self.segments(rows.shape[1])
        scale = np.concatenate([np.full(k, (b - a) / k) for a, b, k in segments]) if self.unbiased else None
        if self.seed == "shared":
            return shared_message(vector, rows, _uniform(random.shared(), segments), self.values, scale)
        factors = None if scale is None else on_device(scale, rows.device).to(rows.dtype)

        def pick(row: int) -> tuple[Tensor, Tensor]:
            support = on_device(_uniform(random.own(row), segments), rows.device)
            values = rows[row][support]
            return support, values if factors is None else values * factors

        return sparse_message(vector.shape, for_each_row(pick, len(rows), rows.device), self.values, self.indices)


@dataclass(frozen=True, kw_only=True)
class RBGS(Sparsity):
    """Random blockwise gradient sparsification: s consecutive coordinates from a shared random start.

    All workers draw the same start and keep ``start .. start + s - 1``, wrapping around
    at the end; only values are sent. E||C(v) - v||^2 = (1 - s/d) ||v||^2, not rescaled;
    mean C(v_k) = C(mean v_k). With a layout each tensor has its own start.
    Source: Vogels et al. 2019; Xu and Huang 2022; the GMC paper, 5.
    """

    values: str

    def __call__(self, vector: Tensor, random: Randomness) -> SharedMessage:
        rows = as_rows(vector)
        draws = random.shared()
        blocks = []
        for a, b, size in self.segments(rows.shape[1]):
            start = int(draws.integers(b - a))
            block = np.arange(start, start + size)
            blocks.append(np.where(block < b - a, block, block - (b - a)) + a)
        return shared_message(vector, rows, np.concatenate(blocks), self.values)


@dataclass(frozen=True, kw_only=True)
class GRBS:
    """CSER's globally randomised blockwise sparsifier: one aligned block of each tensor, or none.

    A tensor (n, m, ...) is cut into ``ratio_in`` segments along its first axis and
    ``ratio_out`` along its second (as even as whole numbers allow); the shared seed
    picks one block, and with probability 1/``ratio_layer`` the tensor takes part at
    all. Compression ratio R = ratio_in ratio_out ratio_layer; every coordinate is sent
    with probability exactly 1/R (of a one-dimensional tensor, ratio_in and ratio_out
    cut the same axis): E||C(v) - v||^2 = (1 - 1/R) ||v||^2. Without a layout the
    vector is one tensor. Source: Xie et al. 2020.
    """

    ratio_in: int
    ratio_out: int
    ratio_layer: float
    layout: Layout | None
    values: str

    def __call__(self, vector: Tensor, random: Randomness) -> SharedMessage:
        rows = as_rows(vector)
        d = rows.shape[1]
        layout = self.layout or Layout.flat(d)
        layout.check(d)
        draws = random.shared()
        blocks = [np.empty(0, np.int64)]
        for shape, offset in zip(layout.shapes, layout.offsets):
            takes_part = draws.random() < 1 / self.ratio_layer
            place = draws.integers([self.ratio_in, self.ratio_out])  # drawn in any case: the streams stay in step
            if takes_part:
                blocks.append(self._block(shape, place) + offset)
        return shared_message(vector, rows, np.concatenate(blocks), self.values)

    def _block(self, shape: tuple[int, ...], place: np.ndarray) -> np.ndarray:
        """Flat indices, ascending, of the block at this place of the grid."""
        n = shape[0] if shape else 1
        if len(shape) < 2:
            ratio = self.ratio_in * self.ratio_out
            cell = int(place[0]) * self.ratio_out + int(place[1])
            return np.arange(cell * n // ratio, (cell + 1) * n // ratio)
        m, rest = shape[1], math.prod(shape[2:])
        first = np.arange(int(place[0]) * n // self.ratio_in, (int(place[0]) + 1) * n // self.ratio_in)
        second = np.arange(int(place[1]) * m // self.ratio_out, (int(place[1]) + 1) * m // self.ratio_out)
        return ((first[:, None, None] * m + second[:, None]) * rest + np.arange(rest)).reshape(-1)


def shared_message(
    vector: Tensor, rows: Tensor, indices: np.ndarray, format: str, scale: np.ndarray | None = None
) -> SharedMessage:
    """The values of all rows at shared coordinates, optionally scaled."""
    support = on_device(indices.astype(np.int64, copy=False), rows.device)
    picked = rows[:, support]
    if scale is not None:
        picked = picked * on_device(scale, picked.device).to(picked.dtype)
    refuse_non_finite(picked)
    values = FloatValues(picked.reshape(-1), even_offsets(len(rows), len(indices)), format)
    return SharedMessage(vector.shape, support, values)


def _uniform(draws: np.random.Generator, segments: list[tuple[int, int, int]]) -> np.ndarray:
    """k of the n coordinates of every segment, ascending."""
    parts = [np.sort(draws.choice(b - a, k, replace=False, shuffle=False)) + a for a, b, k in segments]
    return np.concatenate(parts).astype(np.int64)
