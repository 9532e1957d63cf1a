"""Numbers written as signs or as a few levels, with one fp32 scale for each group.

``SignValues``: one bit a number. ``LevelValues``: a whole number of 2 s + 1 levels,
-s .. s, in one of the ``LEVEL_FORMATS``:

- ``fixed``: 1 + ceil(log2(s + 1)) bits a number;
- ``trits`` (s = 1 only): five numbers a byte, 1.6 bits a number;
- ``elias-dense``: level + 1 in Elias omega, then the signs of the non-zeros;
- ``elias-sparse``: the number of non-zeros, gaps and levels of these in Elias omega, signs;
- ``auto``: the shortest of these for each row, named in one leading byte.

The payload begins with the group's scales (4 bytes each).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.quantisation.groups import Groups
from simgmc.compression.rows import for_each_row
from simgmc.compression.wire import bits
from simgmc.compression.wire.codes import EliasOmega
from simgmc.compression.wire.formats import LEVEL_FORMATS
from simgmc.compression.wire.values import (
    Values,
    even_offsets,
    float_bytes,
    floats_from,
    joined_offsets,
    offsets_among,
    row_offsets,
    rows_among,
    written_bytes,
)
from simgmc.core.errors import SimgmcError

_OMEGA = EliasOmega()


class ScaledValues(Values):
    """Symbols ``(total,)``, and scales of the groups of each row."""

    item_bytes = 1
    summable = False
    agreed = False
    """Whether the receiver knows the scales already, so that they do not travel."""

    def __init__(self, symbols: Tensor, scales: Sequence[Tensor], groups: Sequence[Groups], offsets: np.ndarray):
        self.symbols = symbols
        self.scales = list(scales)
        self.groups = list(groups)
        self.offsets = offsets

    def _row(self, row: int) -> Tensor:
        return self.symbols[int(self.offsets[row]) : int(self.offsets[row + 1])]

    @abstractmethod
    def _numbers(self, row: int, out: Tensor) -> None:
        """Write the decoded numbers of one row to ``out``."""

    @abstractmethod
    def _like(self, symbols: Tensor, scales: Sequence[Tensor], groups: Sequence[Groups], offsets: np.ndarray) -> Self:
        """Other symbols and scales in the same format."""

    def kept(self, sent: Tensor, offsets: np.ndarray) -> Self:
        """The symbols where ``sent`` is true, with the scales of rows that have one each."""
        groups = [Groups.whole(int(n)) for n in np.diff(offsets)]
        scales = [own[: group.count] for own, group in zip(self.scales, groups)]
        return self._like(self.symbols[sent], scales, groups, offsets)

    def template(self) -> Self:
        # Scales that travel are told by the payload; how many there are, by the groups.
        scale = self.scales[0] if self._known_scales else torch.zeros_like(self.scales[0])
        return self._like(self.symbols.new_empty(0), [scale], self.groups[:1], even_offsets(0, 0))

    @property
    def _known_scales(self) -> bool:
        """Whether the receiver has the scales already, as all agreed on them or there are none."""
        return self.agreed

    def among(self, ranks: Sequence[int]) -> Self:
        symbols = rows_among(self.symbols, self.offsets, ranks)
        scales, groups = [self.scales[rank] for rank in ranks], [self.groups[rank] for rank in ranks]
        return self._like(symbols, scales, groups, offsets_among(self.offsets, ranks))

    def joined(self, others: Sequence[Self]) -> Self:
        every = (self, *others)
        if self.agreed and not all(torch.equal(one.scales[0], self.scales[0]) for one in others):
            raise SimgmcError("share_scale: workers agree on a scale, so their messages have to be made all at once")
        scales, groups = [one for each in every for one in each.scales], [one for each in every for one in each.groups]
        return self._like(torch.cat([one.symbols for one in every]), scales, groups, joined_offsets(every))

    def _voted(self, symbols: Tensor, offsets: np.ndarray) -> Self:
        """What workers have voted for, with the scale that signs alone have."""
        groups = [Groups.whole(int(n)) for n in np.diff(offsets)]
        return self._like(symbols, self.scales[:1] * len(groups), groups, offsets)

    @cached_property
    def flat(self) -> Tensor:
        out = torch.empty(len(self.symbols), dtype=self.scales[0].dtype, device=self.symbols.device)
        parts = [out[int(a) : int(b)] for a, b in zip(self.offsets, self.offsets[1:])]
        for_each_row(lambda row: self._numbers(row, parts[row]), len(parts), out.device)
        return out

    @cached_property
    def _scale_bytes(self) -> np.ndarray:
        return np.array([0 if self.agreed else 4 * len(scales) for scales in self.scales], np.int64)

    def _encoded_scales(self, row: int) -> bytes:
        return b"" if self.agreed else float_bytes(self.scales[row])

    def _decode_scales(self, payload: bytes | memoryview, count: int, row: int) -> tuple[Tensor, Groups, memoryview]:
        """Groups of a row are agreed beforehand: those of this message's row, or one for ragged rows."""
        groups = self.groups[min(row, len(self.groups) - 1)]
        if sum(b - a for a, b in groups.segments) != count:
            groups = Groups.whole(count, groups.bucket)
        if self.agreed:
            return self.scales[min(row, len(self.scales) - 1)], groups, memoryview(payload)
        dtype = self.scales[0].dtype
        size = written_bytes(dtype) * groups.count
        scales = torch.from_numpy(floats_from(payload[:size], dtype=dtype)).to(self.symbols.device)
        return scales, groups, memoryview(payload)[size:]


class SignValues(ScaledValues):
    """+scale or -scale: one bit a number, set for +. ``symbols`` is bool, true for +.

    Without scales (``unit``) the numbers are +1 and -1 and only signs travel. With
    ``vote`` the mean is the majority's sign, +1 at a tie, again one bit a number.
    """

    def __init__(
        self,
        symbols: Tensor,
        scales: Sequence[Tensor],
        groups: Sequence[Groups],
        offsets: np.ndarray,
        unit: bool = False,
        vote: bool = False,
    ):
        super().__init__(symbols, scales, groups, offsets)
        self.unit = unit
        self.vote = vote

    same_length = True

    @property
    def _known_scales(self) -> bool:
        return self.unit

    def _like(
        self, symbols: Tensor, scales: Sequence[Tensor], groups: Sequence[Groups], offsets: np.ndarray
    ) -> SignValues:
        return SignValues(symbols, scales, groups, offsets, self.unit, self.vote)

    def _numbers(self, row: int, out: Tensor) -> None:
        scale = self.groups[row].spread(self.scales[row])
        torch.where(self._row(row), scale, -scale, out=out)

    @property
    def wire(self) -> str:
        return "1-bit sign" if self.unit else "1-bit sign + fp32 scale per group"

    @cached_property
    def nbytes(self) -> np.ndarray:
        signs = -(-np.diff(self.offsets) // 8)
        return signs if self.unit else signs + self._scale_bytes

    def encode(self, row: int) -> bytes:
        scales = b"" if self.unit else float_bytes(self.scales[row])
        return scales + np.packbits(self._row(row).cpu().numpy()).tobytes()

    def decode(self, payloads: Sequence[bytes | memoryview], counts: Sequence[int]) -> SignValues:
        symbols, scales, groups = [], [], []
        for row, (payload, count) in enumerate(zip(payloads, counts)):
            if self.unit:
                scale, group, tail = self.scales[0], Groups.whole(count), memoryview(payload)
            else:
                scale, group, tail = self._decode_scales(payload, count, row)
            signs = np.unpackbits(np.frombuffer(tail, np.uint8), count=count).astype(np.bool_)
            symbols.append(torch.from_numpy(signs))
            scales.append(scale)
            groups.append(group)
        plus = torch.cat(symbols).to(self.symbols.device)
        return self._like(plus, scales, groups, row_offsets(counts))

    @property
    def weights_refusal(self) -> str | None:
        return "in a vote every worker has one" if self.vote else None

    def averaged(self, flat: Tensor, offsets: np.ndarray) -> Values:
        """With ``vote`` the signs of the means: the majority's, +1 at a tie."""
        return self._voted(flat >= 0, offsets) if self.vote else super().averaged(flat, offsets)


class LevelValues(ScaledValues):
    """``scale * level / s`` with level in -s .. s. ``symbols`` holds the levels as signed integers.

    With ``shared_scales`` all rows use the same scales, so their levels add up to whole
    numbers, and the mean of K rows is again a level, of K s. ``agreed``: everybody knows the scales
    from an exchange before this one, so they do not travel.
    """

    def __init__(
        self,
        symbols: Tensor,
        scales: Sequence[Tensor],
        groups: Sequence[Groups],
        offsets: np.ndarray,
        levels: int,
        format: str = "fixed",
        shared_scales: bool = False,
        agreed: bool = False,
    ):
        super().__init__(symbols, scales, groups, offsets)
        self.levels = levels
        self.format = "fixed" if format == "trits" and levels > 1 else format
        self.shared_scales = shared_scales
        self.agreed = agreed

    @property
    def same_length(self) -> bool:
        return self.format in ("fixed", "trits")

    def _like(
        self, symbols: Tensor, scales: Sequence[Tensor], groups: Sequence[Groups], offsets: np.ndarray
    ) -> LevelValues:
        return LevelValues(symbols, scales, groups, offsets, self.levels, self.format, self.shared_scales, self.agreed)

    def _numbers(self, row: int, out: Tensor) -> None:
        # Divided first, by a tensor (CUDA multiplies by the reciprocal of a number): so the highest level is exactly
        # the scale.
        out.copy_(self._row(row)).div_(out.new_full((), self.levels))
        out *= self.groups[row].spread(self.scales[row])

    @property
    def width(self) -> int:
        """Bits of one number in the fixed format."""
        return 1 + self.levels.bit_length()

    @property
    def wire(self) -> str:
        how = {
            "fixed": f"{self.width}-bit level",
            "trits": "base-3 trit (1.6 bits)",
            "auto": "level in the shortest coding",
        }
        scales = "" if self.agreed else " + fp32 scale per group"
        return how.get(self.format, f"{self.format} coded level") + scales

    @cached_property
    def nbytes(self) -> np.ndarray:
        counts = np.diff(self.offsets)
        if self.format in ("fixed", "trits"):
            return self._scale_bytes + np.array([self._fixed_size(self.format, int(n)) for n in counts], np.int64)
        sizes = for_each_row(
            lambda row: self._size(self.format, self._row(row).cpu().numpy(), int(counts[row])), len(counts)
        )
        return self._scale_bytes + np.array(sizes, np.int64)

    def _fixed_size(self, format: str, count: int) -> int:
        """Bytes of so many levels in a format that gives all the same."""
        return bits.packed_size(count, self.width) if format == "fixed" else -(-count // 5)

    def _size(self, format: str, levels: np.ndarray, count: int) -> int:
        if format in ("fixed", "trits"):
            return self._fixed_size(format, count)
        if format == "auto":
            return 1 + min(self._size(one, levels, count) for one in self._candidates())
        times = np.bincount(np.abs(levels), minlength=1)
        nonzero = count - int(times[0])
        if format == "elias-dense":
            return _OMEGA.size(np.arange(1, len(times) + 1), times) + -(-nonzero // 8)
        gaps = np.diff(np.flatnonzero(levels), prepend=-1)
        magnitudes = _OMEGA.size(np.arange(1, len(times)), times[1:])
        return len(bits.encode_count(nonzero)) + _OMEGA.size(gaps) + magnitudes + -(-nonzero // 8)

    def _candidates(self) -> tuple[str, ...]:
        return tuple(one for one in LEVEL_FORMATS[:-1] if one != "trits" or self.levels == 1)

    def encode(self, row: int) -> bytes:
        levels = self._row(row).cpu().numpy()
        return self._encoded_scales(row) + self._encode(self.format, levels)

    def _encode(self, format: str, levels: np.ndarray) -> bytes:
        if format == "auto":
            sizes = [self._size(one, levels, len(levels)) for one in self._candidates()]
            shortest = self._candidates()[sizes.index(min(sizes))]
            return bytes([LEVEL_FORMATS.index(shortest)]) + self._encode(shortest, levels)
        if format == "fixed":
            return bits.pack(np.add(levels, self.levels, dtype=np.int32), self.width)
        if format == "trits":
            return bits.pack_trits((levels + 1).astype(np.uint8))
        support = np.flatnonzero(levels)
        signs = np.packbits(levels[support] > 0).tobytes()
        if format == "elias-dense":
            return _OMEGA.encode(np.add(np.abs(levels), 1, dtype=np.int32)) + signs
        gaps = np.diff(support, prepend=-1)
        magnitudes = np.abs(levels[support]).astype(np.int64)
        return bits.encode_count(len(support)) + _OMEGA.encode(gaps) + _OMEGA.encode(magnitudes) + signs

    def decode(self, payloads: Sequence[bytes | memoryview], counts: Sequence[int]) -> LevelValues:
        symbols, scales, groups = [], [], []
        for row, (payload, count) in enumerate(zip(payloads, counts)):
            scale, group, tail = self._decode_scales(payload, count, row)
            levels = self._decode(self.format, tail, count)
            symbols.append(torch.from_numpy(levels.astype(level_dtype(self.levels))))
            scales.append(scale)
            groups.append(group)
        flat = torch.cat(symbols).to(self.symbols.device)
        return self._like(flat, scales, groups, row_offsets(counts))

    def _decode(self, format: str, buffer: memoryview, count: int) -> np.ndarray:
        if format == "auto":
            return self._decode(LEVEL_FORMATS[buffer[0]], buffer[1:], count)
        if format == "fixed":
            return bits.unpack(buffer, count, self.width).astype(np.int32) - self.levels
        if format == "trits":
            return bits.unpack_trits(buffer, count).view(np.int8) - np.int8(1)
        if format == "elias-dense":
            levels, used = _OMEGA.decode(buffer, count)
            levels -= 1
            support = np.flatnonzero(levels)
        else:
            nonzero, start = bits.decode_count(buffer)
            gaps, used = _OMEGA.decode(buffer[start:], nonzero)
            magnitudes, more = _OMEGA.decode(buffer[start + used :], nonzero)
            used += start + more
            support = np.cumsum(gaps) - 1
            levels = np.zeros(count, np.int64)
            levels[support] = magnitudes
        plus = np.unpackbits(np.frombuffer(buffer[used:], np.uint8), count=len(support))
        levels[support] *= 2 * plus.astype(np.int64) - 1
        return levels

    @property
    def weights_refusal(self) -> str | None:
        return "their levels are added as whole numbers on the way" if self.shared_scales else None

    def mean(self, rows: int, shares: Sequence[float] | None = None) -> Values:
        if not self.shared_scales:
            return super().mean(rows, shares)
        total = self.symbols.view(rows, -1).sum(0, dtype=torch.int32)
        levels = self.levels * rows
        offsets = even_offsets(1, len(total))
        total = total.to(getattr(torch, level_dtype(levels)))
        return LevelValues(total, self.scales[:1], self.groups[:1], offsets, levels, self.format, True, self.agreed)


class TernarySignValues(LevelValues):
    """+scale, 0 or -scale in 1.6 bits: signs of which 0 is one. Without scales (``unit``) only signs travel.

    With ``vote`` the mean is the sign of the sum, 0 at a tie and where nobody has one.
    """

    def __init__(
        self,
        symbols: Tensor,
        scales: Sequence[Tensor],
        groups: Sequence[Groups],
        offsets: np.ndarray,
        unit: bool = False,
        vote: bool = False,
    ):
        super().__init__(symbols, scales, groups, offsets, 1, "trits", agreed=unit)
        self.vote = vote

    def _like(
        self, symbols: Tensor, scales: Sequence[Tensor], groups: Sequence[Groups], offsets: np.ndarray
    ) -> TernarySignValues:
        return TernarySignValues(symbols, scales, groups, offsets, self.agreed, self.vote)

    @property
    def weights_refusal(self) -> str | None:
        return "in a vote every worker has one" if self.vote else None

    def averaged(self, flat: Tensor, offsets: np.ndarray) -> Values:
        return self._voted(flat.sign().to(torch.int8), offsets) if self.vote else super().averaged(flat, offsets)


def level_dtype(levels: int) -> str:
    """The narrowest signed integer that holds -levels .. levels."""
    return "int8" if levels < 2**7 else "int16" if levels < 2**15 else "int32"
