"""Selecting coordinates by magnitude.

On a CPU magnitudes are compared as integers: the bits of a float without its sign order
like its magnitude, and NaN and infinity come out largest, so they are always among the
candidates and cost no extra pass to find.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.rows import non_finite, scratch

_CHUNK = 1 << 18
"""Coordinates compared at a time: a chunk stays in a core's cache."""


def largest(vector: np.ndarray, k: int, row: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``(ascending indices, values)`` of the k largest magnitudes (zeros left out) of a float vector ``(n,)``.

    Of equal magnitudes the lowest indices win. A few sampled magnitudes give a threshold
    that at least k coordinates reach with near certainty, and the k largest of those few
    are selected; when fewer than k reach it, all non-zeros are candidates. So the result
    does not depend on the sample. ``row`` is only named in the error about NaN.
    """
    n = len(vector)
    lowest = _sampled_key(vector, k) if k < n // 5 else 1  # 1 is the smallest key of a non-zero
    chosen, values = reaching(vector, lowest, row)
    if len(chosen) < k and lowest > 1:
        chosen, values = reaching(vector, 1, row)
    return cut_to(k, chosen, values)


def cut_to(k: int, chosen: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k largest magnitudes among those chosen (all, if they are no more); the first of equal ones."""
    if len(chosen) <= k:
        return chosen, values
    kept = _largest_keys(keys_of(values), k)
    return chosen[kept], values[kept]


def joined(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], segments: Sequence[tuple[int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """``(ascending indices, values)`` of a vector, from those of each of its segments."""
    if len(parts) == 1:
        return parts[0]
    indices = [chosen + start for (chosen, _), (start, _, _) in zip(parts, segments, strict=True)]
    return np.concatenate(indices), np.concatenate([values for _, values in parts])


def _sampled_key(vector: np.ndarray, k: int) -> int:
    """A key that at least k coordinates very likely reach, and not many more than k."""
    n = len(vector)
    expected = min(k, 64)  # sampled coordinates among the top k
    stride = max(8, k // expected) | 1  # odd: does not walk along the columns of a matrix
    sample = keys_of(np.ascontiguousarray(vector[::stride]))
    hits = len(sample) * k / n
    rank = math.ceil(hits + 4 * math.sqrt(hits) + 1)  # four standard deviations beyond the expected rank
    if rank >= len(sample):
        return 1
    return max(1, int(np.partition(sample, len(sample) - rank)[len(sample) - rank]))


def keys_of(vector: np.ndarray) -> np.ndarray:
    """Integers that order like the magnitudes."""
    if vector.dtype == np.float32:
        return vector.view(np.int32) & np.int32(0x7FFFFFFF)
    return vector.view(np.int64) & np.int64(0x7FFFFFFFFFFFFFFF)


def key_of(magnitude: np.floating) -> int:
    """The key of one magnitude, at least that of the smallest non-zero."""
    return max(1, int(keys_of(np.array([magnitude]))[0]))


def reaching(vector: np.ndarray, key: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """``(ascending indices, values)`` of the coordinates whose key is at least ``key``."""
    integer, mask = (np.int32, 0x7FFFFFFF) if vector.dtype == np.float32 else (np.int64, 0x7FFFFFFFFFFFFFFF)
    keys, reached = scratch("keys", _CHUNK, integer), scratch("reached", _CHUNK, np.bool_)
    found, parts = [], []
    for start in range(0, len(vector), _CHUNK):
        part = vector[start : start + _CHUNK]
        np.bitwise_and(part.view(integer), integer(mask), out=keys[: len(part)])
        np.greater_equal(keys[: len(part)], integer(key), out=reached[: len(part)])
        here = np.flatnonzero(reached[: len(part)])
        parts.append(part[here])  # now, while the chunk is in the cache
        here += start
        found.append(here)
    chosen, values = (one[0] if len(one) == 1 else np.concatenate(one) for one in (found, parts))
    if not np.isfinite(values).all():
        raise non_finite(row)
    return chosen, values


def _largest_keys(keys: np.ndarray, k: int) -> np.ndarray:
    """Ascending places of the k largest keys; of equal keys the first ones. Needs k < len(keys)."""
    threshold = np.partition(keys, len(keys) - k)[len(keys) - k]
    reached = keys >= threshold
    surplus = int(np.count_nonzero(reached)) - k
    if surplus:
        ties = np.flatnonzero(keys == threshold)
        reached[ties[len(ties) - surplus :]] = False
    return np.flatnonzero(reached)


def reached_on_device(magnitude: Tensor, threshold: Tensor | float) -> Tensor:
    """Which magnitudes, zeros left out, are at least a threshold."""
    return (magnitude >= threshold) & (magnitude > 0)


def columns_by_row(chosen: Tensor) -> list[Tensor]:
    """For each row of a mask ``(rows, n)`` the ascending indices of what it chooses; the host waits twice."""
    counts = chosen.sum(1).tolist()
    return list(chosen.nonzero()[:, 1].split(counts))


def joined_on_device(
    rows: Tensor, parts: Sequence[list[Tensor]], segments: Sequence[tuple[int, int, int]]
) -> list[tuple[Tensor, Tensor]]:
    """The same of every row of ``(rows, n)``, from the rows' ascending indices in each segment."""
    supports = [
        torch.cat([part[row] + start for part, (start, _, _) in zip(parts, segments, strict=True)])
        for row in range(len(rows))
    ]
    return [(support, rows[row][support]) for row, support in enumerate(supports)]


def largest_on_device(rows: Tensor, k: int) -> list[Tensor]:
    """For each row of ``(rows, n)`` the ascending indices of the k largest magnitudes, zeros left out.

    Same rule for ties as on the CPU.
    """
    magnitude = rows.abs()
    threshold = magnitude.topk(k, dim=1, sorted=True).values[:, -1:]
    reached = reached_on_device(magnitude, threshold)
    counts = reached.sum(1).tolist()
    for row, count in enumerate(counts):
        if count > k:
            ties = (magnitude[row] == threshold[row]).nonzero().flatten()
            reached[row, ties[len(ties) - (count - k) :]] = False
    columns = reached.nonzero()[:, 1]
    return list(columns.split([min(count, k) for count in counts]))
