"""What an exchange round a ring consists of, in arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Ring:
    """One exchange of K ranks round a ring: at step s rank i sends piece i - s (modulo K) to the next."""

    pieces: np.ndarray
    """(K,) bytes of each piece; or (additions, K) where they grow with each of the first steps; or, of a ring on N
    networks each, (1 or additions, N, K)."""
    steps: int
    slices: int
    work: np.ndarray | None = None
    """Seconds to add what a rank receives at each of the first K - 1 steps, in as many dimensions as ``pieces``."""
    final: np.ndarray | None = None
    """(K,) or (N, K) seconds of work at the end."""
    lock_step: bool = False
    """A card is free when what it sent has arrived, not when it has left."""

    @property
    def adding_steps(self) -> int:
        """How many of the first steps end in adding."""
        return 0 if self.work is None else self.pieces.shape[-1] - 1

    def sent(self, step: int) -> np.ndarray:
        """(K,) or (N, K) bytes that each rank sends at a step."""
        return _turned(self._pieces, step, step)

    @cached_property
    def sent_in_all(self) -> np.ndarray:
        """(K,) or (N, K) bytes that each rank sends."""
        return sum((self.sent(step) for step in range(self.steps)), np.zeros(self.pieces.shape[-1]))

    def adding(self, step: int) -> np.ndarray:
        """(K,) or (N, K) seconds that each rank takes to add what it receives at a step."""
        assert self._work is not None
        return _turned(self._work, step, step + 1)

    @property
    def form(self) -> tuple[object, ...]:
        """What rings have in common that can be :func:`stacked`."""
        return (
            self.pieces.shape, self.steps, self.slices, self.lock_step,
            None if self.work is None else self.work.shape, self.final is None,
        )  # fmt: skip

    @cached_property
    def _pieces(self) -> np.ndarray:
        return np.concatenate((self.pieces, self.pieces), axis=-1)

    @cached_property
    def _work(self) -> np.ndarray | None:
        return None if self.work is None else np.concatenate((self.work, self.work), axis=-1)


def _turned(twice: np.ndarray, step: int, by: int) -> np.ndarray:
    """The row of a step, turned by so many ranks; without a copy, as each row is there twice."""
    row = twice if twice.ndim == 1 else twice[min(step, len(twice) - 1)]
    workers = row.shape[-1] // 2
    start = workers - by % workers
    return row[..., start : start + workers]


def stacked(rings: Sequence[Ring], of: np.ndarray) -> Ring:
    """Rings of one form on N networks, as one; ``of``: (N,) which of them each network has."""

    def rows(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([one if one.ndim == 2 else one[None] for one in values], axis=1)[:, of]

    works = [one.work for one in rings if one.work is not None]
    finals = [one.final for one in rings if one.final is not None]
    return replace(
        rings[0],
        pieces=rows([one.pieces for one in rings]),
        work=rows(works) if works else None,
        final=np.stack(finals)[of] if finals else None,
    )
