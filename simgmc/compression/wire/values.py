"""How numbers are written: as floats of 32 or 16 bits.

Other codings (signs, trits, levels) are in ``simgmc.compression.quantisation.levels`` and behave alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.wire.formats import FLOAT_BYTES
from simgmc.core.errors import SimgmcError


class Values(ABC):
    """The coded numbers of all rows of a message, one after the other.

    ``flat`` ``(total,)``: the numbers as the receiver decodes them. ``offsets``
    ``(rows + 1,)`` int64 numpy: where each row's numbers begin in it.
    """

    offsets: np.ndarray
    item_bytes: int
    summable: bool
    fixed_bits: int | None = None
    """Bits of one number where all take the same and nothing else is sent, otherwise None."""

    @property
    def written_bits(self) -> int | None:
        """The same in what :meth:`encode` gives, where float64 numbers are written in full."""
        return self.fixed_bits

    @property
    def same_length(self) -> bool:
        """Whether all rows of as many numbers are encoded in as many bytes, whatever the numbers are."""
        return self.fixed_bits is not None

    @abstractmethod
    def template(self) -> Values:
        """The same without rows: all that :meth:`decode` takes from it."""

    @property
    @abstractmethod
    def flat(self) -> Tensor:
        """(total,): the numbers of all rows as the receiver decodes them."""

    @property
    def by_row(self) -> Tensor:
        """``(rows, n)`` view of ``flat``, where all rows hold the same number of values."""
        rows = len(self.offsets) - 1
        return self.flat.view(rows, self.flat.numel() // rows)

    @property
    @abstractmethod
    def wire(self) -> str:
        """The format of one number, in a few words."""

    @property
    @abstractmethod
    def nbytes(self) -> np.ndarray:
        """(rows,) int64: encoded bytes of each row's numbers."""

    @property
    def floats(self) -> np.ndarray:
        """(rows,) int64: how many 32-bit floats they weigh, rounded up."""
        return -(-self.nbytes // 4)

    @abstractmethod
    def encode(self, row: int) -> bytes:
        """The bytes of one row's numbers."""

    @abstractmethod
    def decode(self, payloads: Sequence[bytes | memoryview], counts: Sequence[int]) -> Values:
        """The numbers in these payloads, ``counts`` of them in each, in this format."""

    @abstractmethod
    def among(self, ranks: Sequence[int]) -> Values:
        """The numbers of these rows alone, in this order, coded as they are."""

    @abstractmethod
    def joined(self, others: Sequence[Self]) -> Self:
        """These rows and those of others that are coded alike, one after the other."""

    def averaged(self, flat: Tensor, offsets: np.ndarray) -> Values:
        """The coding of a mean of such numbers: fp32, unless the format carries sums."""
        return FloatValues(flat, offsets)

    @property
    def weights_refusal(self) -> str | None:
        """Why their mean cannot weigh rows unequally; None where it can."""
        return None

    def mean(self, rows: int, shares: Sequence[float] | None = None) -> Values:
        """The mean over rows that all hold the same coordinates, added in their order.

        ``shares``: what each row weighs, 1 in all; equally much where not stated.
        """
        stacked = self.by_row
        if shares is None:
            total = stacked[:1].clone()
            for row in stacked[1:]:
                total += row
            total = total.div_(rows).view(-1)
        else:
            total = stacked[0] * shares[0]
            for row, share in zip(stacked[1:], shares[1:], strict=True):
                total.add_(row, alpha=share)
        return self.averaged(total, even_offsets(1, total.numel()))


class FloatValues(Values):
    """One float each. fp16 and bf16 round to nearest and saturate (fp16 at +-65504).

    The mean of half-precision numbers is added in fp32 and rounded once, so that the
    way back costs what the way there does.
    """

    summable = True

    def __init__(self, flat: Tensor, offsets: np.ndarray, format: str = "fp32"):
        self._flat = round_to(flat, format)
        self.offsets = offsets
        self.format = format
        self.item_bytes = FLOAT_BYTES[format]
        self.fixed_bits = 8 * self.item_bytes

    @property
    def written_bits(self) -> int:
        return 8 * written_bytes(self.flat.dtype, self.format)

    def template(self) -> FloatValues:
        return FloatValues(self.flat.new_empty(0), even_offsets(0, 0), self.format)

    @property
    def flat(self) -> Tensor:
        return self._flat

    @property
    def wire(self) -> str:
        return f"{self.format} value"

    @cached_property
    def nbytes(self) -> np.ndarray:
        return np.diff(self.offsets) * self.item_bytes

    @cached_property
    def floats(self) -> np.ndarray:
        return np.diff(self.offsets)

    def encode(self, row: int) -> bytes:
        return float_bytes(self.flat[int(self.offsets[row]) : int(self.offsets[row + 1])], self.format)

    def decode(self, payloads: Sequence[bytes | memoryview], counts: Sequence[int]) -> FloatValues:
        parts = [floats_from(payload, self.format, self.flat.dtype) for payload in payloads]
        flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return FloatValues(torch.from_numpy(flat).to(self.flat.device), row_offsets(counts), self.format)

    def among(self, ranks: Sequence[int]) -> FloatValues:
        return FloatValues(rows_among(self.flat, self.offsets, ranks), offsets_among(self.offsets, ranks), self.format)

    def joined(self, others: Sequence[FloatValues]) -> FloatValues:
        every = (self, *others)
        return FloatValues(torch.cat([one.flat for one in every]), joined_offsets(every), self.format)

    def averaged(self, flat: Tensor, offsets: np.ndarray) -> FloatValues:
        return FloatValues(flat, offsets, self.format)


def row_offsets(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """``[0, c0, c0 + c1, ...]``, int64."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def even_offsets(rows: int, count: int) -> np.ndarray:
    """The offsets of rows that all hold ``count`` numbers, int64."""
    return np.arange(rows + 1, dtype=np.int64) * count


def joined_offsets(every: Sequence[Values]) -> np.ndarray:
    """The offsets of all rows of these, one after the other."""
    return row_offsets(np.concatenate([np.diff(one.offsets) for one in every]))


def offsets_among(offsets: np.ndarray, ranks: Sequence[int]) -> np.ndarray:
    """The offsets of these rows alone, in this order."""
    return row_offsets(np.diff(offsets)[list(ranks)])


def rows_among(flat: Tensor, offsets: np.ndarray, ranks: Sequence[int]) -> Tensor:
    """Of a flat tensor that holds row after row, these rows alone, in this order."""
    return torch.cat([flat[int(offsets[rank]) : int(offsets[rank + 1])] for rank in ranks])


def round_to(flat: Tensor, format: str) -> Tensor:
    """The nearest numbers that the format can write, in the tensor's own dtype."""
    if format == "fp32":
        return flat
    narrow = {"fp16": torch.float16, "bf16": torch.bfloat16}[format]
    most = torch.finfo(narrow).max
    return flat.clamp(-most, most).to(narrow).to(flat.dtype)


def written_bytes(dtype: torch.dtype, format: str = "fp32") -> int:
    """Bytes in which :func:`float_bytes` writes a number: float64 numbers that no format rounds take 8."""
    return 8 if dtype == torch.float64 and format == "fp32" else FLOAT_BYTES[format]


def float_bytes(flat: Tensor, format: str = "fp32") -> bytes:
    """Little-endian bytes of numbers that the format can write exactly; float64 numbers in full in place of fp32."""
    if flat.dtype not in (torch.float32, torch.float64):
        raise SimgmcError(f"only float32 and float64 numbers can be written, not {flat.dtype}")
    if format == "fp16":
        return flat.half().cpu().numpy().astype("<f2", copy=False).tobytes()
    array = flat.cpu().numpy()
    if format == "fp32":
        return array.astype("<f8" if flat.dtype == torch.float64 else "<f4", copy=False).tobytes()
    array = array.astype(np.float32, copy=False)
    return (array.view(np.uint32) >> 16).astype("<u2").tobytes()  # bf16: the upper half of fp32


def floats_from(payload: bytes | memoryview, format: str = "fp32", dtype: torch.dtype = torch.float32) -> np.ndarray:
    """The numbers that :func:`float_bytes` wrote of a tensor of this dtype."""
    wide = np.float64 if dtype == torch.float64 else np.float32
    if format == "fp32":
        return np.frombuffer(payload, "<f8" if dtype == torch.float64 else "<f4").astype(wide)
    if format == "fp16":
        return np.frombuffer(payload, "<f2").astype(wide)
    return (np.frombuffer(payload, "<u2").astype(np.uint32) << 16).view(np.float32).astype(wide, copy=False)
