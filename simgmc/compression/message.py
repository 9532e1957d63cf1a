"""Messages: what a compressor makes of a vector, and what travels.

A message is a *support* (which coordinates) and *values* (how their numbers are
written). The support makes the class: :class:`DenseMessage` covers all coordinates,
:class:`SharedMessage` a set that every worker knows from the shared seed (no indices
on the wire), :class:`simgmc.compression.sparsification.message.SparseMessage` a set of each row's own.
The values are written by a :class:`simgmc.compression.wire.values.Values`.

What is and is not in the bytes: ``encode(row)`` is the payload. What both sides know
beforehand (d, the formats, shared coordinates, the tensors' layout) is not in it, nor
is its length, which the transport's framing carries anyway. So a dense fp32 vector is
exactly 4 d bytes and a value with a 32-bit index exactly 8. Formats that cannot tell
the number of their components from the payload's length (coded indices) begin with
that number, and it is counted.

Rows of a float64 vector keep float64 numbers (that is for tests of identities); their
size is that of the wire format, and ``encode`` refuses them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.wire.values import FloatValues, Values


class Message(ABC):
    """The compressed form of a tensor ``(..., d)``; every leading index is one row.

    Attributes: ``shape`` of the compressed tensor, ``values`` (the coded numbers).
    A message may share memory with the vector it was made of: treat both as read-only.
    """

    shape: tuple[int, ...]
    values: Values
    summable: bool = False
    """All rows cover the same coordinates with values that can be added in flight."""

    compressed: bool = True
    """Whether a compressor had work to do (it has none on a vector sent as it is)."""

    @property
    def d(self) -> int:
        return self.shape[-1]

    @property
    def rows(self) -> int:
        return len(self.values.offsets) - 1

    @property
    def item_bytes(self) -> int:
        """Bytes of the smallest piece that the payload can be cut into."""
        return self.values.item_bytes

    @abstractmethod
    def dense(self) -> Tensor:
        """What the receiver makes of it, in the shape of the compressed tensor."""

    def subtract_from(self, vector: Tensor, overwrite: bool = False) -> Tensor:
        """``vector - self.dense()``, without building the dense form where that is quicker.

        ``overwrite`` allows the result to take the memory of ``vector``, which the caller
        then no longer needs (fresh memory costs more than the subtraction).
        """
        return vector - self.dense()

    @abstractmethod
    def unsent(self, vector: Tensor) -> Tensor:
        """``vector`` (same shape) with zeros at the coordinates that each row's message covers."""

    @abstractmethod
    def mean(self) -> Message:
        """The mean over rows, added in the order of the rows; one row, shape ``(1, d)``."""

    @cached_property
    @abstractmethod
    def nbytes(self) -> np.ndarray:
        """(rows,) int64: length of each row's encoding."""

    @cached_property
    @abstractmethod
    def floats(self) -> np.ndarray:
        """(rows,) int64: size in the papers' unit, one float (an index costs one float too)."""

    @property
    @abstractmethod
    def wire(self) -> str:
        """The wire format in one line."""

    @abstractmethod
    def encode(self, row: int = 0) -> bytes:
        """The payload of one row."""

    @abstractmethod
    def decode(self, payloads: Sequence[bytes]) -> Message:
        """The message whose rows are these payloads, bit for bit.

        All that is agreed beforehand (d, formats, shared coordinates) is taken from
        this message, which may be any message of the same compressor and round.
        """


class DenseMessage(Message):
    """Every coordinate, in order: no indices. Dense fp32 is exactly 4 d bytes."""

    def __init__(self, shape: Sequence[int], values: Values):
        self.shape = tuple(shape)
        self.values = values

    @property
    def summable(self) -> bool:
        return self.values.summable

    @property
    def compressed(self) -> bool:
        return not (isinstance(self.values, FloatValues) and self.values.format == "fp32")

    def dense(self) -> Tensor:
        return self.values.flat.view(self.shape)

    def unsent(self, vector: Tensor) -> Tensor:
        return torch.zeros_like(vector)

    def mean(self) -> DenseMessage:
        return DenseMessage((1, self.d), self.values.mean(self.rows))

    @cached_property
    def nbytes(self) -> np.ndarray:
        return self.values.nbytes

    @cached_property
    def floats(self) -> np.ndarray:
        return self.values.floats

    @property
    def wire(self) -> str:
        return f"dense, {self.values.wire}"

    def encode(self, row: int = 0) -> bytes:
        return self.values.encode(row)

    def decode(self, payloads: Sequence[bytes]) -> DenseMessage:
        return DenseMessage((len(payloads), self.d), self.values.decode(payloads, [self.d] * len(payloads)))


class SharedMessage(Message):
    """The same coordinates in every row, known to all from the shared seed: values only.

    ``indices`` is ``(s,)`` int64, ascending or (a block that wraps around) in block
    order. Zeros among the values travel like any other value.
    """

    def __init__(self, shape: Sequence[int], indices: Tensor, values: Values):
        self.shape = tuple(shape)
        self.indices = indices
        self.values = values

    @property
    def summable(self) -> bool:
        return self.values.summable

    def dense(self) -> Tensor:
        out = torch.zeros(self.rows, self.d, dtype=self.values.flat.dtype, device=self.values.flat.device)
        out[:, self.indices] = self.values.by_row
        return out.view(self.shape)

    def subtract_from(self, vector: Tensor, overwrite: bool = False) -> Tensor:
        rest = (vector.detach() if overwrite else vector.detach().clone()).view(self.rows, self.d)
        rest[:, self.indices] -= self.values.by_row
        return rest.view(self.shape)

    def unsent(self, vector: Tensor) -> Tensor:
        rest = vector.detach().clone().view(self.rows, self.d)
        rest[:, self.indices] = 0
        return rest.view(self.shape)

    def mean(self) -> SharedMessage:
        return SharedMessage((1, self.d), self.indices, self.values.mean(self.rows))

    @cached_property
    def nbytes(self) -> np.ndarray:
        return self.values.nbytes

    @cached_property
    def floats(self) -> np.ndarray:
        return self.values.floats

    @property
    def wire(self) -> str:
        return f"{self.values.wire}, no indices (shared seed)"

    def encode(self, row: int = 0) -> bytes:
        return self.values.encode(row)

    def decode(self, payloads: Sequence[bytes]) -> SharedMessage:
        counts = [len(self.indices)] * len(payloads)
        return SharedMessage((len(payloads), self.d), self.indices, self.values.decode(payloads, counts))
