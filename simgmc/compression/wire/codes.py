"""Variable-length codes for positive integers: Elias gamma, delta, omega, Golomb-Rice.

Code words are those of the literature, bit for bit; only their order in the stream
differs: the parts of equal meaning of all numbers stand together (first all unary
lengths, then all mantissas ...), each part padded to a whole byte. That costs at most
a few bytes a message and lets encoder and decoder treat all numbers at once.

Every coder has ``size(numbers)`` in bytes, ``encode(numbers)`` and
``decode(buffer, count) -> (numbers, bytes read)``; numbers are int64, at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simgmc.compression.wire.bits import pack, packed_size, unpack


def floor_log2(numbers: np.ndarray) -> np.ndarray:
    """floor(log2 n), int64, for 1 <= n < 2**53 (exact: the exponent of a float64)."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64) - 1


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)
"""Ones in each byte value."""


def _bytes(bits: int) -> int:
    return -(-int(bits) // 8)


def _write_unary(numbers: np.ndarray) -> bytes:
    """n - 1 zeros and a one, for every n >= 1."""
    if not len(numbers):
        return b""
    ends = np.cumsum(numbers)
    bits = np.zeros(int(ends[-1]), np.uint8)
    bits[ends - 1] = 1
    return np.packbits(bits).tobytes()


def _read_unary(buffer: memoryview, count: int) -> tuple[np.ndarray, int]:
    if not count:
        return np.empty(0, np.int64), 0
    stream = np.frombuffer(buffer, np.uint8)
    # Bytes up to the one that holds the count-th one.
    used = int(np.searchsorted(np.cumsum(_ONES[stream], dtype=np.int64), count)) + 1
    ends = np.flatnonzero(np.unpackbits(stream[:used]))[:count]
    return np.diff(ends, prepend=-1), used


def write_fields(numbers: np.ndarray, widths: np.ndarray) -> bytes:
    """The lowest ``widths`` (0..63) bits of each number, one after the other."""
    total = int(widths.sum())
    if not total:
        return b""
    used = widths > 0
    widths = widths[used].astype(np.int64)
    values = numbers[used].astype(np.uint64) & ((np.uint64(1) << widths.astype(np.uint64)) - np.uint64(1))
    ends = np.cumsum(widths)
    first, last = (ends - widths) >> 6, (ends - 1) >> 6
    words = np.zeros((total + 63) >> 6, np.uint64)
    # A field ends in word `last`, shifted up by what is left of that word ...
    starts = np.flatnonzero(np.diff(last, prepend=-1))
    room = ((last + 1) << 6) - ends
    words[last[starts]] = np.bitwise_or.reduceat(values << room.astype(np.uint64), starts)
    # ... and at most one field of a word spills its upper bits into the word before.
    spilling = first < last
    spilled = (np.int64(64) - room[spilling]).astype(np.uint64)
    words[first[spilling]] |= values[spilling] >> spilled
    return words.astype(">u8").tobytes()[: _bytes(total)]


def read_fields(buffer: memoryview, widths: np.ndarray) -> tuple[np.ndarray, int]:
    """The numbers (int64) of these widths (0..63 bits), and the bytes read."""
    total = int(widths.sum())
    size = _bytes(total)
    padded = np.zeros(((total + 63) >> 6) * 8 + 8, np.uint8)
    padded[:size] = np.frombuffer(buffer, np.uint8, size)
    words = padded.view(">u8").astype(np.uint64)
    widths = widths.astype(np.int64)
    starts = np.cumsum(widths) - widths
    word, offset = starts >> 6, (starts & 63).astype(np.uint64)
    window = words[word] << offset
    crossing = np.flatnonzero(((starts & 63) + widths) > 64)
    window[crossing] |= words[word[crossing] + 1] >> (np.uint64(64) - offset[crossing])
    shift = (np.int64(64) - widths).astype(np.uint64)
    empty = widths == 0
    shift[empty] = 0
    out = (window >> shift).astype(np.int64)
    out[empty] = 0
    return out, size


class EliasGamma:
    """n: floor(log2 n) in unary, then the bits below its leading one: 2 floor(log2 n) + 1 bits."""

    def size(self, numbers: np.ndarray) -> int:
        lengths = int(floor_log2(numbers).sum())
        return _bytes(lengths + len(numbers)) + _bytes(lengths)

    def encode(self, numbers: np.ndarray) -> bytes:
        lengths = floor_log2(numbers)
        return _write_unary(lengths + 1) + write_fields(numbers, lengths)

    def decode(self, buffer: memoryview, count: int) -> tuple[np.ndarray, int]:
        unary, used = _read_unary(buffer, count)
        tails, more = read_fields(buffer[used:], unary - 1)
        return (np.int64(1) << (unary - 1)) | tails, used + more


class EliasDelta:
    """n: floor(log2 n) + 1 in Elias gamma, then the bits below its leading one."""

    def size(self, numbers: np.ndarray) -> int:
        lengths = floor_log2(numbers)
        return EliasGamma().size(lengths + 1) + _bytes(lengths.sum())

    def encode(self, numbers: np.ndarray) -> bytes:
        lengths = floor_log2(numbers)
        return EliasGamma().encode(lengths + 1) + write_fields(numbers, lengths)

    def decode(self, buffer: memoryview, count: int) -> tuple[np.ndarray, int]:
        lengths, used = EliasGamma().decode(buffer, count)
        tails, more = read_fields(buffer[used:], lengths - 1)
        return (np.int64(1) << (lengths - 1)) | tails, used + more


class EliasOmega:
    """n as a chain of binary groups, each giving the length of the next, closed by a zero (QSGD's code).

    Group by group for all numbers at once: the leading bit of a number's group (1: there
    is one, 0: the chain has ended), then the rest of the groups.
    """

    @staticmethod
    def _chain(numbers: np.ndarray) -> list[np.ndarray]:
        """The groups of every number, innermost (n itself) first; 0 where there is none."""
        chain, group = [], np.where(numbers > 1, numbers, 0)
        while group.any():
            chain.append(group)
            lengths = np.where(group > 0, floor_log2(np.maximum(group, 1)), 0)
            group = np.where(lengths > 1, lengths, 0)
        return chain

    def _layers(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray | slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Step by step: whose chain is still open, which of these go on, who they are, and their groups."""
        goes_on = numbers > 1
        who = np.flatnonzero(goes_on)  # few: most levels of a quantised vector are zero, coded as 1
        chain = self._chain(numbers[who].astype(np.int64))
        depth = np.zeros(len(who), np.int64)
        for group in chain:
            depth += group > 0
        table = np.stack(chain) if chain else np.zeros((1, 0), np.int64)
        open_: np.ndarray | slice = slice(None)
        places, step = np.arange(len(who)), 0
        while len(goes_on):
            yield open_, goes_on, who[places], table[depth[places] - 1 - step, places]
            open_, step = who[places], step + 1
            goes_on = depth[places] > step
            places = places[goes_on]

    def size(self, numbers: np.ndarray, times: np.ndarray | None = None) -> int:
        """Bytes; ``times`` says how often each number occurs (default once)."""
        times = np.ones(len(numbers), np.int64) if times is None else times
        numbers, times = numbers[times > 0], times[times > 0]
        return sum(
            _bytes(times[open_].sum()) + _bytes((times[who] * floor_log2(groups)).sum())
            for open_, _, who, groups in self._layers(numbers)
        )

    def encode(self, numbers: np.ndarray) -> bytes:
        parts = []
        for _, goes_on, _, groups in self._layers(numbers):
            parts += [np.packbits(goes_on).tobytes(), write_fields(groups, floor_log2(groups))]
        return b"".join(parts)

    def decode(self, buffer: memoryview, count: int) -> tuple[np.ndarray, int]:
        numbers, active, open_, position = np.ones(count, np.int64), None, count, 0
        while open_:
            size = _bytes(open_)
            flags = np.unpackbits(np.frombuffer(buffer, np.uint8, size, position), count=open_).view(np.bool_)
            position += size
            active = np.flatnonzero(flags) if active is None else active[flags]
            widths = numbers[active]
            tails, used = read_fields(buffer[position:], widths)
            position += used
            numbers[active] = (np.int64(1) << widths) | tails
            open_ = len(active)
        return numbers, position


@dataclass(frozen=True)
class GolombRice:
    """n: (n - 1) >> shift in unary, then its lowest ``shift`` bits."""

    shift: int

    @classmethod
    def for_gaps(cls, count: int, d: int) -> GolombRice:
        """The best shift for the gaps between ``count`` random coordinates of d: known to both sides (Kiely 2004)."""
        if max(1, count) >= d:
            return cls(0)
        golden = (math.sqrt(5) - 1) / 2
        return cls(max(0, 1 + math.floor(math.log2(math.log(golden) / math.log1p(-max(1, count) / d)))))

    def size(self, numbers: np.ndarray) -> int:
        return _bytes((((numbers - 1) >> self.shift) + 1).sum()) + _bytes(len(numbers) * self.shift)

    def encode(self, numbers: np.ndarray) -> bytes:
        rests = (numbers - 1) & ((1 << self.shift) - 1)
        return _write_unary(((numbers - 1) >> self.shift) + 1) + pack(rests, self.shift)

    def decode(self, buffer: memoryview, count: int) -> tuple[np.ndarray, int]:
        unary, used = _read_unary(buffer, count)
        rests = unpack(buffer[used:], count, self.shift).astype(np.int64)
        return ((unary - 1) << self.shift) + rests + 1, used + packed_size(count, self.shift)
