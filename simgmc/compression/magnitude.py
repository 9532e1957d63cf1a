"""Selecting coordinates by magnitude.

On a CPU magnitudes are compared as integers: the bits of a float without its sign order
like its magnitude, and NaN and infinity come out largest, so they are always among the
candidates and cost no extra pass to find.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from simgmc.compression.rows import non_finite, scratch

_CHUNK = 1 << 18
"""Coordinates compared at a time: a chunk stays in a core's cache."""


def largest(vector: np.ndarray, k: int, row: int = 0) -> np.ndarray:
    """Ascending indices of the k largest magnitudes (zeros left out) of a float vector ``(n,)``.

    Of equal magnitudes the lowest indices win. A few sampled magnitudes give a threshold
    that at least k coordinates reach with near certainty, and the k largest of those few
    are selected; when fewer than k reach it, all non-zeros are candidates. So the result
    does not depend on the sample. ``row`` is only named in the error about NaN.
    """
    n = len(vector)
    lowest = 1  # the smallest key of a non-zero
    if k < n // 5:
        lowest = _sampled_key(vector, k)
    chosen, keys = reaching(vector, lowest, row)
    if len(chosen) < k and lowest > 1:
        chosen, keys = reaching(vector, 1, row)
    return chosen if len(chosen) <= k else chosen[largest_keys(keys, k)]


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
    """``(ascending indices, keys)`` of the coordinates whose key is at least ``key``."""
    integer, mask = (np.int32, 0x7FFFFFFF) if vector.dtype == np.float32 else (np.int64, 0x7FFFFFFFFFFFFFFF)
    signed = vector.view(integer)
    keys, reached = scratch("keys", _CHUNK, integer), scratch("reached", _CHUNK, np.bool_)
    found = []
    for start in range(0, len(signed), _CHUNK):
        part = signed[start : start + _CHUNK]
        np.bitwise_and(part, integer(mask), out=keys[: len(part)])
        np.greater_equal(keys[: len(part)], integer(key), out=reached[: len(part)])
        found.append(np.flatnonzero(reached[: len(part)]) + start)
    chosen = np.concatenate(found) if len(found) != 1 else found[0]
    chosen_keys = signed[chosen] & integer(mask)
    if len(chosen) and not np.isfinite(chosen_keys.max().view(vector.dtype)):
        raise non_finite(row)
    return chosen, chosen_keys


def largest_keys(keys: np.ndarray, k: int) -> np.ndarray:
    """Ascending places of the k largest keys; of equal keys the first ones. Needs k < len(keys)."""
    threshold = np.partition(keys, len(keys) - k)[len(keys) - k]
    reached = keys >= threshold
    surplus = int(np.count_nonzero(reached)) - k
    if surplus:
        ties = np.flatnonzero(keys == threshold)
        reached[ties[len(ties) - surplus :]] = False
    return np.flatnonzero(reached)


def largest_on_device(rows: Tensor, k: int) -> list[Tensor]:
    """For each row of ``(rows, n)`` the ascending indices of the k largest magnitudes, zeros left out.

    Same rule for ties as on the CPU.
    """
    magnitude = rows.abs()
    threshold = magnitude.topk(k, dim=1, sorted=True).values[:, -1:]
    reached = (magnitude >= threshold) & (magnitude > 0)
    counts = reached.sum(1).tolist()
    for row, count in enumerate(counts):
        if count > k:
            ties = (magnitude[row] == threshold[row]).nonzero().flatten()
            reached[row, ties[len(ties) - (count - k) :]] = False
    columns = reached.nonzero()[:, 1]
    return list(columns.split([min(count, k) for count in counts]))
