"""Compressors of the user's own: used for all rows at once where that is proven to be the same, else row by row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simgmc.compression.compressor import Compressor
from simgmc.compression.message import Message
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.core.randomness import Randomness, generator
from simgmc.training.own_programs import ReadsNumbers, blamed, compressing
from simgmc.workloads.seeding import drawing_from

_SIZE, _ROWS = 257, 3
"""Of the vectors that the proof compresses."""


class OwnCompressor:
    """A compressor of the user's own, as methods call it.

    Made for one vector, it may be right for many rows at once, which is quicker. On random vectors whose rows are
    alike in nothing, both ways have to give the same bytes and numbers, and all at once it may not look at numbers in
    Python: else each row is compressed by itself. Which it is follows from the class and its options alone.
    """

    def __init__(self, title: str, own: Compressor):
        self._title, self._own = title, own
        self.by_row = not self._same_at_once()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __call__(self, vector: Tensor, random: Randomness) -> Message:
        with compressing():
            if vector.dim() > 1 and self.by_row:
                return self._row_by_row(vector, random)
            return self._message(vector, random)

    def _row_by_row(self, vector: Tensor, random: Randomness) -> Message:
        rows = vector.reshape(-1, vector.shape[-1])
        first, *others = [self._message(row, random.of_row(number)) for number, row in enumerate(rows)]
        with blamed(self._title):
            message = first.joined(others)
        message.shape = tuple(vector.shape)
        return message

    def _message(self, vector: Tensor, random: Randomness) -> Message:
        drawn = int(random.own(0).integers(2**63))
        with blamed(self._title), drawing_from(drawn, vector.device):
            message = self._own(vector, random)
        if not isinstance(message, Message):
            raise SimgmcError(
                f"{self._title}: returns {type(message).__name__}, not a message: what keep(...), shared(...) or "
                "encoded(...) makes"
            )
        if tuple(message.shape) != tuple(vector.shape):
            raise SimgmcError(
                f"{self._title}: of a vector of shape {tuple(vector.shape)} it makes a message of shape "
                f"{tuple(message.shape)}"
            )
        return message

    def _same_at_once(self) -> bool:
        scale = torch.tensor([[1.0], [30.0], [0.01]])
        for number in range(4):
            drawn = torch.from_numpy(generator(number, "own compressor").standard_normal((_ROWS, _SIZE))).float()
            vector = drawn * scale.roll(number, 0) + (number == 3) * scale
            random = Randomness(number, 0, 1, range(_ROWS))
            try:
                apart = self._row_by_row(vector.clone(), random)
            except DivergenceError:
                continue
            watch = ReadsNumbers()
            try:
                with watch:
                    together = self._message(vector.clone(), random)
            except SimgmcError:
                return False
            same_bytes = together.rows == apart.rows and bool((together.nbytes == apart.nbytes).all())
            if watch.place or not same_bytes or not torch.equal(together.dense(), apart.dense()):
                return False
        return True
