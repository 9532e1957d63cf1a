"""Top-k: the coordinates of largest magnitude, exactly or by a sampled threshold.

On a CPU every row is one task of the pool. Magnitudes are compared as integers: the
bits of a float without its sign order like its magnitude, and NaN and infinity come
out largest, so they are always among the candidates and cost no extra pass to find.
Exact selection takes a threshold from a small sample, low enough that at least k
coordinates reach it with near certainty, and selects exactly among those few; when
fewer than k reach it, all non-zeros are candidates. The result never depends on the
sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import Message
from simgmc.compression.rows import as_rows, for_each_row, non_finite, refuse_non_finite, scratch
from simgmc.compression.sparse import sparse_message
from simgmc.compression.sparsity import Sparsity
from simgmc.errors import SimgmcError
from simgmc.randomness import Randomness

_CHUNK = 1 << 18
"""Coordinates compared at a time: a chunk stays in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class TopK(Sparsity):
    """The k coordinates of largest magnitude of each row (exact).

    Contraction: ||C(v) - v||^2 <= (1 - k/d) ||v||^2. Among equal magnitudes at the
    threshold the lowest indices win, so exactly k are sent; zeros never are, so a
    vector with fewer than k non-zeros sends those. Source: ALGORITHMS 1.1; Aji and
    Heafield 2017; Stich et al. 2018.
    """

    values: str = "fp32"
    indices: str = "32-bit"

    def __call__(self, vector: Tensor, random: Randomness) -> Message:
        rows = as_rows(vector)
        stretches = self.stretches(rows.shape[1])
        if rows.device.type == "cpu":
            supports = for_each_row(lambda row: _per_stretch(rows[row].numpy(), stretches, row), len(rows))
        else:
            refuse_non_finite(rows)
            parts = [_largest_on_device(rows[:, a:b], k) for a, b, k in stretches]
            supports = [torch.cat([part[row] + a for part, (a, _, _) in zip(parts, stretches)]) for row in range(len(rows))]
        return sparse_message(rows.view(vector.shape), supports, self.values, self.indices)


@dataclass(frozen=True, kw_only=True)
class SampledTopK(Sparsity):
    """Coordinates above a threshold that a random sample suggests: about k of them.

    Of m = max(``sample`` * n, 2 / ``sample``) sampled coordinates the ceil(m k / n)-th
    largest magnitude is the threshold, and every non-zero that reaches it is sent. The
    number sent is only about k (coefficient of variation about 1/sqrt(m k / n)).

    ``sampling``: ``"uniform"``, a random subset without replacement (the GMC paper,
    5.1), or ``"strided"``, every so-many-th coordinate from a random start (the DGC
    authors' code). ``correct`` applies the corrections of that code: up to ten times,
    when more than 1.3 k were selected the exact top k among them is taken, when fewer
    than 0.8 k the threshold is lowered to 0.8 of itself; at last at most k are kept,
    those with the lowest indices. Without corrections at most ``limit`` * k are sent
    (the exact largest among the selected): a sample of zeros must not send everything.
    Each worker draws its own sample. Source: ALGORITHMS 1.2; Lin et al. 2018.
    """

    sample: float = 0.01
    sampling: str = "uniform"
    correct: bool = False
    limit: float = 10.0
    values: str = "fp32"
    indices: str = "32-bit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sample <= 1:
            raise SimgmcError(f"sample = {self.sample}: a fraction above 0 and at most 1 is needed")
        if self.sampling not in ("uniform", "strided"):
            raise SimgmcError(f"sampling = {self.sampling!r}: 'uniform' or 'strided' is needed")
        if not self.limit >= 1:
            raise SimgmcError(f"limit = {self.limit}: at least 1 (times k) is needed")

    def __call__(self, vector: Tensor, random: Randomness) -> Message:
        rows = as_rows(vector)
        stretches = self.stretches(rows.shape[1])
        on_host = rows.device.type == "cpu"
        if not on_host:
            refuse_non_finite(rows)

        def select(row: int) -> np.ndarray | Tensor:
            draws = random.own(row)
            if on_host:
                parts = [self._select(rows[row, a:b].numpy(), k, draws, row) + a for a, b, k in stretches]
                return np.concatenate(parts)
            return torch.cat([self._select_on_device(rows[row, a:b], k, draws) + a for a, b, k in stretches])

        return sparse_message(rows.view(vector.shape), for_each_row(select, len(rows), rows.device), self.values, self.indices)

    def _sample(self, n: int, k: int, draws: np.random.Generator) -> tuple[np.ndarray | slice, int]:
        """The sampled coordinates, and the rank of the threshold among them."""
        m = min(n, max(math.ceil(self.sample * n), math.ceil(2 / self.sample)))
        if self.sampling == "strided":
            stride = n // m
            places = slice(int(draws.integers(stride)), None, stride)
            m = len(range(*places.indices(n)))
        else:
            places = np.sort(draws.choice(n, m, replace=False, shuffle=False))
        return places, max(1, math.ceil(m * k / n))

    def _select(self, vector: np.ndarray, k: int, draws: np.random.Generator, row: int) -> np.ndarray:
        places, rank = self._sample(len(vector), k, draws)
        sampled = np.abs(vector[places])
        threshold = np.partition(sampled, len(sampled) - rank)[len(sampled) - rank]
        chosen, keys = _reaching(vector, _key(threshold), row)
        if not self.correct:
            most = int(self.limit * k)
            return chosen if len(chosen) <= most else chosen[_largest(keys, most)]
        for _ in range(10):
            if len(chosen) > 1.3 * k:
                chosen = chosen[_largest(keys, k)]
                break
            if len(chosen) >= 0.8 * k:
                break
            threshold = threshold * vector.dtype.type(0.8)
            chosen, keys = _reaching(vector, _key(threshold), row)
        return chosen[:k]

    def _select_on_device(self, vector: Tensor, k: int, draws: np.random.Generator) -> Tensor:
        places, rank = self._sample(len(vector), k, draws)
        magnitude = vector.abs()
        sampled = magnitude[places if isinstance(places, slice) else torch.from_numpy(places).to(vector.device)]
        threshold = sampled.topk(rank, sorted=True).values[-1]
        chosen = ((magnitude >= threshold) & (magnitude > 0)).nonzero().flatten()
        if not self.correct:
            most = int(self.limit * k)
            return chosen if len(chosen) <= most else chosen[_largest_on_device(vector[chosen][None], most)[0]]
        for _ in range(10):
            if len(chosen) > 1.3 * k:
                chosen = chosen[_largest_on_device(vector[chosen][None], k)[0]]
                break
            if len(chosen) >= 0.8 * k:
                break
            threshold = threshold * 0.8
            chosen = ((magnitude >= threshold) & (magnitude > 0)).nonzero().flatten()
        return chosen[:k]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Every coordinate of at least a fixed magnitude (hard threshold).

    The number sent is whatever reaches ``threshold``; zeros never are. Absolute error
    at most ``threshold`` per coordinate. Source: Strom 2015; Dutta et al. 2020; Sahu
    et al. 2021.
    """

    threshold: float
    values: str = "fp32"
    indices: str = "32-bit"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise SimgmcError(f"threshold = {self.threshold}: a finite magnitude, 0 or more, is needed")

    def __call__(self, vector: Tensor, random: Randomness) -> Message:
        rows = as_rows(vector)
        if rows.device.type == "cpu":
            key = _key(rows.numpy().dtype.type(self.threshold))
            supports = for_each_row(lambda row: _reaching(rows[row].numpy(), key, row)[0], len(rows))
        else:
            refuse_non_finite(rows)
            supports = [((row.abs() >= self.threshold) & (row != 0)).nonzero().flatten() for row in rows]
        return sparse_message(rows.view(vector.shape), supports, self.values, self.indices)


def _per_stretch(vector: np.ndarray, stretches: list[tuple[int, int, int]], row: int) -> np.ndarray:
    parts = [largest(vector[a:b], k, row) + a for a, b, k in stretches]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def largest(vector: np.ndarray, k: int, row: int = 0) -> np.ndarray:
    """Ascending indices of the k largest magnitudes (zeros left out) of a float vector ``(n,)``.

    ``row`` is only named in the error about NaN and infinity.
    """
    n = len(vector)
    lowest = 1  # the smallest key of a non-zero
    if k < n // 5:
        lowest = _sampled_key(vector, k)
    chosen, keys = _reaching(vector, lowest, row)
    if len(chosen) < k and lowest > 1:
        chosen, keys = _reaching(vector, 1, row)
    return chosen if len(chosen) <= k else chosen[_largest(keys, k)]


def _sampled_key(vector: np.ndarray, k: int) -> int:
    """A key that at least k coordinates very likely reach, and not many more than k."""
    n = len(vector)
    expected = min(k, 64)  # sampled coordinates among the top k
    stride = max(8, k // expected) | 1  # odd: does not walk along the columns of a matrix
    sample = _keys(np.ascontiguousarray(vector[::stride]))
    hits = len(sample) * k / n
    rank = math.ceil(hits + 4 * math.sqrt(hits) + 1)  # four standard deviations beyond the expected rank
    if rank >= len(sample):
        return 1
    return max(1, int(np.partition(sample, len(sample) - rank)[len(sample) - rank]))


def _keys(vector: np.ndarray) -> np.ndarray:
    """Integers that order like the magnitudes."""
    if vector.dtype == np.float32:
        return vector.view(np.int32) & np.int32(0x7FFFFFFF)
    return vector.view(np.int64) & np.int64(0x7FFFFFFFFFFFFFFF)


def _key(magnitude: np.floating) -> int:
    """The key of one magnitude, at least that of the smallest non-zero."""
    return max(1, int(_keys(np.array([magnitude]))[0]))


def _reaching(vector: np.ndarray, key: int, row: int) -> tuple[np.ndarray, np.ndarray]:
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


def _largest(keys: np.ndarray, k: int) -> np.ndarray:
    """Ascending places of the k largest keys; of equal keys the first ones. Needs k < len(keys)."""
    threshold = np.partition(keys, len(keys) - k)[len(keys) - k]
    reached = keys >= threshold
    surplus = int(np.count_nonzero(reached)) - k
    if surplus:
        ties = np.flatnonzero(keys == threshold)
        reached[ties[len(ties) - surplus :]] = False
    return np.flatnonzero(reached)


def _largest_on_device(rows: Tensor, k: int) -> list[Tensor]:
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
