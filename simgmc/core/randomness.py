"""Random draws that depend on what they are for, never on when they are made.

Every generator is built from a key (seed, purpose, round, worker ...), so the same
draw comes out on any number of threads, in any order, and after a resume.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


def generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """A fresh generator for one purpose: same arguments, same draws."""
    words = (seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(purpose.encode()), *key)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


class Randomness:
    """The randomness of one compression: shared between workers, or each worker's own.

    ``workers`` names the worker of each row of the compressed tensor.
    """

    def __init__(self, seed: int, round: int, call: int, workers: Sequence[int]):
        self._key = (seed, round, call)
        self.workers = workers

    def shared(self) -> np.random.Generator:
        """The same draws on every worker (what a seed agreed beforehand gives)."""
        seed, round, call = self._key
        return generator(seed, "compressor, shared", round, call)

    def own(self, row: int) -> np.random.Generator:
        """The draws of the worker in this row, independent of every other worker's."""
        seed, round, call = self._key
        return generator(seed, "compressor, own", round, call, self.workers[row])

    def of_row(self, row: int) -> Randomness:
        """The randomness of the worker in this row alone: the same draws."""
        seed, round, call = self._key
        return Randomness(seed, round, call, (self.workers[row],))
