"""Top-k by a sampled threshold, as DGC and the GMC paper select."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.rows import as_rows, for_each_row, on_device, refuse_non_finite
from simgmc.compression.sparsification.magnitude import (
    columns_by_row,
    cut_to,
    joined,
    joined_on_device,
    key_of,
    largest_on_device,
    reached_on_device,
    reaching,
)
from simgmc.compression.sparsification.message import Kept, SparseMessage, sparse_message
from simgmc.compression.sparsification.sparsity import Sparsity
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class SampledTopK(Sparsity):
    """Coordinates above a threshold that a random sample suggests: about k of them.

    The threshold is the r-th largest magnitude of m sampled coordinates, and every non-zero that
    reaches it is sent: r (n + 1) / (m + 1) of n on average. A sample of max(``sample`` * n,
    2 / ``sample``) gives r, rounded up, and is then enlarged to m = r (n + 1) / k - 1, so that k
    are sent on average (rounding up alone would send up to twice k). The number sent is only about
    k (coefficient of variation about 1 / sqrt(r)).

    ``sampling``: ``"uniform"``, a random subset without replacement (the GMC paper,
    5.1), or ``"strided"``, every so-many-th coordinate from a random start (the DGC
    authors' code). ``correct`` applies the corrections of that code: up to ten times,
    when more than 1.3 k were selected the exact top k among them is taken, when fewer
    than 0.8 k the threshold is lowered to 0.8 of itself; at last at most k are kept,
    those with the lowest indices. Without corrections at most ``limit`` * k are sent
    (the exact largest among the selected): a sample of zeros must not send everything.
    Each worker draws its own sample. Source: Lin et al. 2018.
    """

    sample: float
    sampling: str
    correct: bool
    limit: float
    values: str
    indices: str

    def __call__(self, vector: Tensor, random: Randomness) -> SparseMessage:
        rows = as_rows(vector)
        segments = self.segments(rows.shape[1])
        kept: Kept
        if rows.device.type == "cpu":

            def select(row: int) -> tuple[np.ndarray, np.ndarray]:
                draws = random.own(row)
                return joined([self._select(rows[row, a:b].numpy(), k, draws, row) for a, b, k in segments], segments)

            kept = for_each_row(select, len(rows))
        else:
            own = [random.own(row) for row in range(len(rows))]
            samples = [
                [self._sample(b - a, k, draws) for a, b, k in segments] for draws in own
            ]  # while the device is busy
            refuse_non_finite(rows)
            parts = [
                self._select_on_device(rows[:, a:b], k, drawn) for (a, b, k), drawn in zip(segments, zip(*samples))
            ]
            kept = joined_on_device(rows, parts, segments)
        return sparse_message(vector.shape, kept, self.values, self.indices)

    def _sample(self, n: int, k: int, draws: np.random.Generator) -> tuple[np.ndarray | slice, int]:
        """The sampled coordinates, and the rank of the threshold among them."""
        m = min(n, max(math.ceil(self.sample * n), math.ceil(2 / self.sample)))
        rank = math.ceil(m * k / n)
        m = max(rank, min(n, round(rank * (n + 1) / k) - 1))
        if self.sampling == "strided":
            stride = max(1, round(n / m))
            return slice(int(draws.integers(stride)), None, stride), rank
        return np.sort(draws.choice(n, m, replace=False, shuffle=False)), rank

    def _select(
        self, vector: np.ndarray, k: int, draws: np.random.Generator, row: int
    ) -> tuple[np.ndarray, np.ndarray]:
        places, rank = self._sample(len(vector), k, draws)
        sampled = np.abs(vector[places])
        threshold = np.partition(sampled, len(sampled) - rank)[len(sampled) - rank]
        chosen, values = reaching(vector, key_of(threshold), row)
        if not self.correct:
            return cut_to(int(self.limit * k), chosen, values)
        for _ in range(10):
            if len(chosen) > 1.3 * k:
                chosen, values = cut_to(k, chosen, values)
                break
            if len(chosen) >= 0.8 * k:
                break
            threshold = threshold * vector.dtype.type(0.8)
            chosen, values = reaching(vector, key_of(threshold), row)
        return chosen[:k], values[:k]

    def _select_on_device(
        self, rows: Tensor, k: int, samples: Sequence[tuple[np.ndarray | slice, int]]
    ) -> list[Tensor]:
        """For each row of ``(rows, n)`` what :meth:`_select` chooses, given its sample."""
        magnitude = rows.abs()
        threshold = _thresholds(magnitude, samples)
        lowered = torch.zeros_like(threshold, dtype=torch.bool)
        for _ in range(10 if self.correct else 0):
            lowered = reached_on_device(magnitude, threshold).sum(1, keepdim=True) < 0.8 * k
            if not bool(lowered.any()):
                break
            threshold = torch.where(lowered, threshold * 0.8, threshold)
        reached = reached_on_device(magnitude, threshold)
        chosen = columns_by_row(reached)
        most, kept = (1.3 * k, k) if self.correct else (int(self.limit * k),) * 2
        over = [row for row, one in enumerate(chosen) if len(one) > most]
        if over and self.correct:  # of a row whose threshold was lowered to the last, the first ones are sent
            late = lowered.flatten().tolist()
            over = [row for row in over if not late[row]]
        if over:
            there = on_device(np.array(over), rows.device)
            for row, fewer in zip(over, largest_on_device(magnitude[there] * reached[there], kept)):
                chosen[row] = fewer
        return [one[:k] for one in chosen] if self.correct else chosen


def _thresholds(magnitude: Tensor, samples: Sequence[tuple[np.ndarray | slice, int]]) -> Tensor:
    """(rows, 1): of each row the magnitude of its rank among those sampled; nobody waits for it."""
    rows, n = magnitude.shape
    places = [np.arange(*one.indices(n)) if isinstance(one, slice) else one for one, _ in samples]
    filled = np.full((rows, max(map(len, places))), n)  # a strided sample may hold one coordinate less
    for row, one in enumerate(places):
        filled[row, : len(one)] = one
    there = on_device(filled, magnitude.device)
    sampled = magnitude.gather(1, there.clamp(max=n - 1)).masked_fill(there == n, 0)
    ranks = on_device(np.array([[rank - 1] for _, rank in samples]), magnitude.device)
    return sampled.topk(max(rank for _, rank in samples), dim=1, sorted=True).values.gather(1, ranks)
