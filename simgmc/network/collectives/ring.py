"""What an exchange round a ring consists of, in arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Ring:
    """One exchange of K ranks round a ring: at step s rank i sends piece i - s (modulo K) to the next."""

    pieces: np.ndarray
    """(K,) bytes of each piece; or (additions, K) where they grow with each of the first steps."""
    steps: int
    slices: int
    work: np.ndarray | None = None
    """Seconds to add what a rank receives at each of the first K - 1 steps, in the shape of ``pieces``."""
    final: np.ndarray | None = None
    """(K,) seconds of work at the end."""
    lock_step: bool = False
    """A card is free when what it sent has arrived, not when it has left."""

    @property
    def adding_steps(self) -> int:
        """How many of the first steps end in adding."""
        return 0 if self.work is None else self.pieces.shape[-1] - 1

    def sent(self, step: int) -> np.ndarray:
        """(K,) bytes that each rank sends at a step."""
        return _turned(self._pieces, step, step)

    @cached_property
    def sent_in_all(self) -> np.ndarray:
        """(K,) bytes that each rank sends."""
        total = np.zeros(self.pieces.shape[-1])
        for step in range(self.steps):
            total += self.sent(step)
        return total

    def adding(self, step: int) -> np.ndarray:
        """(K,) seconds that each rank takes to add what it receives at a step."""
        assert self._work is not None
        return _turned(self._work, step, step + 1)

    @cached_property
    def _pieces(self) -> np.ndarray:
        return np.concatenate((self.pieces, self.pieces), axis=-1)

    @cached_property
    def _work(self) -> np.ndarray | None:
        return None if self.work is None else np.concatenate((self.work, self.work), axis=-1)


def _turned(twice: np.ndarray, step: int, by: int) -> np.ndarray:
    """The row of a step, turned by so many ranks; without a copy, as each row is there twice."""
    row = twice if twice.ndim == 1 else twice[min(step, len(twice) - 1)]
    workers = len(row) // 2
    start = workers - by % workers
    return row[start : start + workers]
