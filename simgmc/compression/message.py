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
size is that of the wire format, while ``encode`` writes in full, in 8 bytes, what takes 4 in fp32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.wire.values import FloatValues, Values, even_offsets
from simgmc.core.errors import SimgmcError


class Message(ABC):
    """The compressed form of a tensor ``(..., d)``; every leading index is one row.

    A message may share memory with the vector it was made of: treat both as read-only.
    """

    shape: tuple[int, ...]
    """Of the compressed tensor."""

    @property
    def d(self) -> int:
        """Coordinates of one row."""
        return self.shape[-1]

    @property
    @abstractmethod
    def rows(self) -> int:
        """Messages that this is: one for each worker, or 1 that is the same on all."""

    @property
    def compressed(self) -> bool:
        """Whether a compressor had work to do (it has none on a vector sent as it is)."""
        return True

    @property
    def late_refusal(self) -> str | None:
        """Why no message of an earlier round can be averaged with this one; None where it can."""
        return None

    @property
    def weights_refusal(self) -> str | None:
        """Why the mean of such messages cannot weigh workers unequally; None where it can."""
        return None

    @property
    @abstractmethod
    def summable(self) -> bool:
        """Whether all rows cover the same coordinates with values that can be added in flight."""

    @property
    @abstractmethod
    def item_bytes(self) -> int:
        """Bytes of the smallest piece that the payload can be cut into."""

    @property
    @abstractmethod
    def nbytes(self) -> np.ndarray:
        """(rows,) int64: length of each row's encoding."""

    @property
    @abstractmethod
    def floats(self) -> np.ndarray:
        """(rows,) int64: size in the papers' unit, one float (an index costs one float too)."""

    @property
    @abstractmethod
    def wire(self) -> str:
        """The wire format in one line."""

    @property
    def same_length(self) -> bool:
        """Whether the payloads of all rows, and of all workers' messages, are equally long whatever they say."""
        return False

    @abstractmethod
    def template(self) -> Message:
        """The same without rows: all that both sides know beforehand, and :meth:`decode` needs."""

    @abstractmethod
    def encode(self, row: int = 0) -> bytes:
        """The payload of one row."""

    @abstractmethod
    def decode(self, payloads: Sequence[bytes | memoryview]) -> Message:
        """The message whose rows are these payloads, bit for bit.

        All that is agreed beforehand (d, formats, shared coordinates) is taken from
        this message, which may be any message of the same compressor and round.
        """

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

    def masked(self, vector: Tensor) -> Tensor:
        """As :meth:`unsent`, but coordinates that are exempt from compression keep their numbers."""
        return self.unsent(vector)

    @abstractmethod
    def mean(self, shares: Sequence[float] | None = None) -> Message:
        """The mean over rows, added in the order of the rows; one row, shape ``(1, d)``.

        ``shares``: what each row weighs, 1 in all; equally much where not stated. Of messages with a
        :attr:`weights_refusal` there is no other.
        """

    def partial_sums(self) -> np.ndarray | None:
        """(rows, rows) int64: encoded sizes of partial sums, as :attr:`simgmc.costs.steps.Average.partial`.

        Entry [s, c] is for the sum of rows c, c+1 ... c+s (mod rows), restricted to the c-th of
        as many equal ranges of coordinates. None where messages can be summed in place, where a
        component has no fixed size (coded indices), and for one or too many rows.
        """
        return None

    def among(self, ranks: Sequence[int]) -> Message:
        """The rows of these workers alone, in this order, bit for bit (a row that all share stays one)."""
        return self if self.rows == 1 else self._among(ranks)

    @abstractmethod
    def _among(self, ranks: Sequence[int]) -> Message:
        """As :meth:`among`, of a message with a row for every worker."""

    @abstractmethod
    def joined(self, others: Sequence[Self]) -> Self:
        """These rows and those of other messages of the same compressor and round, one after the other: ``(n, d)``."""

    def with_late(self, ranks: Sequence[int], late: Mapping[int, Tensor]) -> Message:
        """The same, but the rows of the workers in ``late`` are these vectors ``(d,)``, as decoded.

        Fit to be averaged: numbers written in another way than floats are floats here. Raises
        SimgmcError where there is a :attr:`late_refusal`.
        """
        if self.late_refusal is not None:
            raise SimgmcError(self.late_refusal)
        dense = self.dense().reshape(-1, self.d)
        rows = [late[rank] if rank in late else dense[rank if len(dense) > 1 else 0] for rank in ranks]
        return self._recoded(torch.stack(rows))

    @abstractmethod
    def _recoded(self, rows: Tensor) -> Message:
        """Decoded rows ``(n, d)`` as messages of the same kind, fit to be averaged."""


class CodedMessage(Message):
    """A message whose numbers are all coded alike: its size is that of its values, unless it says otherwise."""

    def __init__(self, shape: Sequence[int], values: Values):
        self.shape = tuple(shape)
        self.values = values

    @property
    def rows(self) -> int:
        return len(self.values.offsets) - 1

    @property
    def weights_refusal(self) -> str | None:
        return self.values.weights_refusal

    @property
    def summable(self) -> bool:
        return self.values.summable

    @property
    def item_bytes(self) -> int:
        return self.values.item_bytes

    @property
    def nbytes(self) -> np.ndarray:
        return self.values.nbytes

    @property
    def floats(self) -> np.ndarray:
        return self.values.floats

    @property
    def same_length(self) -> bool:
        return self.values.same_length

    def encode(self, row: int = 0) -> bytes:
        return self.values.encode(row)


class DenseMessage(CodedMessage):
    """Every coordinate, in order: no indices. Dense fp32 is exactly 4 d bytes."""

    @property
    def compressed(self) -> bool:
        return not (isinstance(self.values, FloatValues) and self.values.format == "fp32")

    @property
    def wire(self) -> str:
        return f"dense, {self.values.wire}"

    def template(self) -> DenseMessage:
        return DenseMessage((0, self.d), self.values.template())

    def decode(self, payloads: Sequence[bytes | memoryview]) -> DenseMessage:
        return DenseMessage((len(payloads), self.d), self.values.decode(payloads, [self.d] * len(payloads)))

    def dense(self) -> Tensor:
        return self.values.flat.view(self.shape)

    def unsent(self, vector: Tensor) -> Tensor:
        return torch.zeros_like(vector)

    def mean(self, shares: Sequence[float] | None = None) -> DenseMessage:
        return DenseMessage((1, self.d), self.values.mean(self.rows, shares))

    def _among(self, ranks: Sequence[int]) -> DenseMessage:
        return DenseMessage((len(ranks), self.d), self.values.among(ranks))

    def joined(self, others: Sequence[DenseMessage]) -> DenseMessage:
        values = self.values.joined([one.values for one in others])
        return DenseMessage((len(values.offsets) - 1, self.d), values)

    def _recoded(self, rows: Tensor) -> DenseMessage:
        return DenseMessage(rows.shape, self.values.averaged(rows.reshape(-1), even_offsets(*rows.shape)))


def dense_message(rows: Tensor, leading: Sequence[int]) -> DenseMessage:
    """Rows ``(rows, n)`` as they are, in the shape ``(*leading, n)``."""
    return DenseMessage((*leading, rows.shape[1]), FloatValues(rows.reshape(-1), even_offsets(*rows.shape)))


class SharedMessage(CodedMessage):
    """The same coordinates in every row, known to all from the shared seed: values only.

    ``indices`` is ``(s,)`` int64, ascending or (a block that wraps around) in block
    order. Zeros among the values travel like any other value.
    """

    def __init__(self, shape: Sequence[int], indices: Tensor, values: Values):
        super().__init__(shape, values)
        self.indices = indices

    @property
    def late_refusal(self) -> str:
        return (
            'late = "carried": these messages cover coordinates that all workers draw anew in every round, so a late '
            'one fits no other round; use late = "dropped", or a compressor whose messages name their coordinates'
        )

    @property
    def wire(self) -> str:
        return f"{self.values.wire}, no indices (shared seed)"

    def template(self) -> SharedMessage:
        return SharedMessage((0, self.d), self.indices, self.values.template())

    def decode(self, payloads: Sequence[bytes | memoryview]) -> SharedMessage:
        counts = [len(self.indices)] * len(payloads)
        return SharedMessage((len(payloads), self.d), self.indices, self.values.decode(payloads, counts))

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

    def mean(self, shares: Sequence[float] | None = None) -> SharedMessage:
        return SharedMessage((1, self.d), self.indices, self.values.mean(self.rows, shares))

    def recoded_by(self, code: Callable[[Tensor, np.ndarray], Values]) -> SharedMessage:
        """The same coordinates with their numbers coded in another way.

        ``code(numbers (total,), offsets (rows + 1,))`` gives the values.
        """
        return SharedMessage(self.shape, self.indices, code(self.values.flat, self.values.offsets))

    def _among(self, ranks: Sequence[int]) -> SharedMessage:
        return SharedMessage((len(ranks), self.d), self.indices, self.values.among(ranks))

    def joined(self, others: Sequence[SharedMessage]) -> SharedMessage:
        if not all(torch.equal(one.indices, self.indices) for one in others):
            raise SimgmcError(
                "workers send values without indices, of different coordinates: draw these from random.shared()"
            )
        values = self.values.joined([one.values for one in others])
        return SharedMessage((len(values.offsets) - 1, self.d), self.indices, values)

    def _recoded(self, rows: Tensor) -> SharedMessage:
        numbers = rows[:, self.indices]
        values = self.values.averaged(numbers.reshape(-1), even_offsets(*numbers.shape))
        return SharedMessage(rows.shape, self.indices, values)
