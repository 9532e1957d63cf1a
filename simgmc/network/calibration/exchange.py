"""Sizes of one exchange that no training made: dense vectors, or sparse ones with supports drawn at random."""

from __future__ import annotations

import numpy as np

from simgmc.costs.steps import Average

FLOAT_BYTES = 4
ENTRY_BYTES = 8
"""Of one entry of a sparse message: a 32-bit value and a 32-bit index."""


def dense(workers: int, nbytes: float) -> Average:
    """Everybody sends a vector of so many bytes in 32-bit floats."""
    up, floats = np.full(workers, round(nbytes)), round(nbytes) // FLOAT_BYTES
    return Average(up, round(nbytes), True, FLOAT_BYTES, np.full(workers, floats), floats)


def sparse(workers: int, nbytes: float, density: float) -> Average:
    """Everybody sends a share of the entries of a vector that has so many bytes when dense, each its own.

    Supports are taken as drawn independently: of d coordinates, k a worker, a sum of s messages has
    d (1 - (1 - k/d)^s). The average is sent dense where that is shorter.
    """
    coordinates = max(1, round(nbytes) // FLOAT_BYTES)
    kept = min(coordinates, max(1, round(density * coordinates)))
    united = coordinates * (1.0 - (1.0 - kept / coordinates) ** np.arange(1, workers + 1))
    partial = np.repeat(np.ceil(united / workers * ENTRY_BYTES)[:, None], workers, axis=1).astype(np.int64)
    down = min(round(united[-1] * ENTRY_BYTES), coordinates * FLOAT_BYTES)
    up, floats = np.full(workers, kept * ENTRY_BYTES), np.full(workers, 2 * kept)
    return Average(up, down, False, ENTRY_BYTES, floats, 2 * round(united[-1]), partial)
