"""Messages in a format of the user's own: bytes, and what is decoded from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import DenseMessage, Message, dense_message
from simgmc.compression.rows import as_rows, refuse_non_finite
from simgmc.core.errors import SimgmcError

Decode = Callable[[bytes], Any]


class EncodedMessage(Message):
    """The payload of every row, and its numbers as they are decoded. A mean of such travels as fp32."""

    summable = False
    item_bytes = 1

    def __init__(self, shape: Sequence[int], payloads: Sequence[bytes], numbers: Tensor, decoder: Decode, wire: str):
        self.shape = tuple(shape)
        self._payloads, self._numbers = list(payloads), numbers
        self._decoder, self._wire = decoder, wire

    @classmethod
    def of(cls, vector: Tensor, encode: Callable[[Tensor], bytes], decoder: Decode, wire: str) -> EncodedMessage:
        """The message of a vector ``(..., d)``. Raises SimgmcError for functions that do not give what they ought."""
        rows = as_rows(vector)
        refuse_non_finite(rows)
        payloads = [encode(row) for row in rows]
        for payload in payloads:
            if not isinstance(payload, (bytes, bytearray, memoryview)):
                raise SimgmcError(f"encoded(): encode gives {type(payload).__name__}, not bytes")
        payloads = [bytes(payload) for payload in payloads]
        numbers = torch.stack([_decoded(payload, decoder, rows) for payload in payloads])
        return cls(vector.shape, payloads, numbers, decoder, wire)

    @property
    def rows(self) -> int:
        return len(self._payloads)

    @cached_property
    def nbytes(self) -> np.ndarray:
        return np.array([len(payload) for payload in self._payloads], np.int64)

    @property
    def floats(self) -> np.ndarray:
        return -(-self.nbytes // 4)

    @property
    def wire(self) -> str:
        return self._wire

    def template(self) -> EncodedMessage:
        return EncodedMessage((0, self.d), [], self._numbers.new_empty((0, self.d)), self._decoder, self._wire)

    def encode(self, row: int = 0) -> bytes:
        return self._payloads[row]

    def decode(self, payloads: Sequence[bytes | memoryview]) -> EncodedMessage:
        held = [bytes(payload) for payload in payloads]
        numbers = torch.stack([_decoded(payload, self._decoder, self._numbers) for payload in held])
        return EncodedMessage((len(held), self.d), held, numbers, self._decoder, self._wire)

    def dense(self) -> Tensor:
        return self._numbers.view(self.shape)

    def unsent(self, vector: Tensor) -> Tensor:
        return torch.zeros_like(vector)

    def mean(self, shares: Sequence[float] | None = None) -> DenseMessage:
        return self._recoded(self._numbers).mean(shares)

    def _among(self, ranks: Sequence[int]) -> EncodedMessage:
        payloads = [self._payloads[rank] for rank in ranks]
        return EncodedMessage((len(ranks), self.d), payloads, self._numbers[list(ranks)], self._decoder, self._wire)

    def joined(self, others: Sequence[EncodedMessage]) -> EncodedMessage:
        every = (self, *others)
        payloads = [payload for one in every for payload in one._payloads]
        numbers = torch.cat([one._numbers for one in every])
        return EncodedMessage((len(payloads), self.d), payloads, numbers, self._decoder, self._wire)

    def _recoded(self, rows: Tensor) -> DenseMessage:
        return dense_message(rows, (len(rows),))


def _decoded(payload: bytes, decoder: Decode, rows: Tensor) -> Tensor:
    """The numbers (d,) of a payload, as those of the rows are. Raises SimgmcError where they are not as many."""
    numbers = torch.as_tensor(decoder(payload)).to(rows.device, rows.dtype).flatten()
    if len(numbers) != rows.shape[1]:
        raise SimgmcError(f"encoded(): decode gives {len(numbers)} numbers for a vector of {rows.shape[1]}")
    return numbers
