"""Bits in and out of bytes, without a loop over numbers.

Everything is big-endian within a byte and padded with zero bits to whole bytes.
"""

from __future__ import annotations

import numpy as np


def packed_size(count: int, width: int) -> int:
    """Bytes of ``count`` numbers of ``width`` bits."""
    return -(-count * width // 8)


def pack(numbers: np.ndarray, width: int) -> bytes:
    """Non-negative integers below ``2**width`` (width 0..32), in ``ceil(n width / 8)`` bytes.

    Whole bytes of each number come first, one plane of n bytes after the other, least
    significant first; the bits above them follow, packed eight numbers to ``rest`` bytes.
    """
    planes, rest = divmod(width, 8)
    if width == 8:
        return numbers.astype(np.uint8, copy=False).tobytes()
    if width < 8:
        return _pack_small(numbers.astype(np.uint8, copy=False), width) if width else b""
    numbers = np.ascontiguousarray(numbers).astype(np.uint32, copy=False)
    if width in (16, 32):
        return numbers.astype(f"<u{width // 8}", copy=False).tobytes()
    parts = [((numbers >> np.uint32(8 * plane)) & np.uint32(255)).astype(np.uint8).tobytes() for plane in range(planes)]
    if rest:
        top = (numbers >> np.uint32(8 * planes)).astype(np.uint8)
        parts.append(_pack_small(top, rest))
    return b"".join(parts)


def unpack(buffer: bytes | memoryview, count: int, width: int) -> np.ndarray:
    """The ``count`` numbers that :func:`pack` wrote at the buffer's start: uint8 up to 8 bits, else uint32."""
    if width == 8:
        return np.frombuffer(buffer, np.uint8, count)
    if width < 8:
        return _unpack_small(memoryview(buffer), count, width) if width else np.zeros(count, np.uint8)
    if width in (16, 32):
        return np.frombuffer(buffer, f"<u{width // 8}", count).astype(np.uint32)
    planes, rest = divmod(width, 8)
    numbers = np.zeros(count, np.uint32)
    for plane in range(planes):
        numbers |= np.frombuffer(buffer, np.uint8, count, plane * count).astype(np.uint32) << np.uint32(8 * plane)
    if rest:
        top = _unpack_small(memoryview(buffer)[planes * count :], count, rest)
        numbers |= top.astype(np.uint32) << np.uint32(8 * planes)
    return numbers


def _pack_small(numbers: np.ndarray, width: int) -> bytes:
    """Numbers (uint8) of 1..7 bits."""
    if width == 1:
        return np.packbits(numbers).tobytes()
    padded = np.zeros(-(-len(numbers) // 8) * 8, np.uint8)
    padded[: len(numbers)] = numbers
    eights = padded.reshape(-1, 8)
    if width in (2, 4):  # whole numbers fit a byte
        per_byte = 8 // width
        groups = padded.reshape(-1, per_byte)
        packed = groups[:, 0].copy()
        for place in range(1, per_byte):
            packed <<= width
            packed |= groups[:, place]
        return packed[: packed_size(len(numbers), width)].tobytes()
    words = np.zeros(len(eights), np.uint64)
    for place in range(8):
        words <<= np.uint64(width)
        words |= eights[:, place]
    words <<= np.uint64(64 - 8 * width)
    return words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()[: packed_size(len(numbers), width)]


def _unpack_small(buffer: memoryview, count: int, width: int) -> np.ndarray:
    size = packed_size(count, width)
    packed = np.frombuffer(buffer, np.uint8, size)
    if width == 1:
        return np.unpackbits(packed, count=count)
    if width in (2, 4):
        per_byte = 8 // width
        out = np.empty((size, per_byte), np.uint8)
        for place in range(per_byte):
            out[:, place] = (packed >> (8 - width * (place + 1))) & ((1 << width) - 1)
        return out.reshape(-1)[:count]
    groups = -(-count // 8)
    padded = np.zeros(groups * width, np.uint8)
    padded[:size] = packed
    wide = np.zeros((groups, 8), np.uint8)
    wide[:, :width] = padded.reshape(groups, width)
    words = wide.view(">u8").reshape(-1).astype(np.uint64)
    out = np.empty((groups, 8), np.uint8)
    for place in range(8):
        out[:, place] = (words >> np.uint64(64 - width * (place + 1))) & np.uint64((1 << width) - 1)
    return out.reshape(-1)[:count]


def encode_count(count: int) -> bytes:
    """A non-negative integer, 7 bits a byte, least significant first; the last byte is below 128."""
    count = int(count)
    out = bytearray()
    while count > 127:
        out.append(128 | count & 127)
        count >>= 7
    out.append(count)
    return bytes(out)


def decode_count(buffer: memoryview) -> tuple[int, int]:
    """``(count, bytes read)``."""
    count = 0
    for place, byte in enumerate(buffer):
        count |= (byte & 127) << (7 * place)
        if byte < 128:
            return count, place + 1
    raise ValueError("a count ends with a byte below 128")


_TRITS = (np.arange(243)[:, None] // 3 ** np.arange(4, -1, -1) % 3).astype(np.uint8)
"""The five base-3 digits of each byte value below 243."""


def pack_trits(trits: np.ndarray) -> bytes:
    """Numbers 0, 1, 2 (uint8), five to a byte, the last byte filled up with zeros."""
    padded = np.zeros(-(-len(trits) // 5) * 5, np.uint8)
    padded[: len(trits)] = trits
    fives = padded.reshape(-1, 5)
    packed = fives[:, 0].copy()
    for place in range(1, 5):
        packed *= np.uint8(3)
        packed += fives[:, place]
    return packed.tobytes()


def unpack_trits(buffer: bytes | memoryview, count: int) -> np.ndarray:
    """The ``count`` trits (uint8) that :func:`pack_trits` wrote."""
    return np.take(_TRITS, np.frombuffer(buffer, np.uint8, -(-count // 5)), axis=0).reshape(-1)[:count]
