"""How the ascending indices of a sparse row are written.

``32-bit`` and ``log2`` give every index the same number of bits. The ``delta-`` formats
write the gaps between indices (the first index plus one, then the differences) with a
code for positive integers. ``bitmap`` is one bit for each of the d coordinates.
``auto`` takes the shortest of all for each row and says which in one leading byte.
"""

from __future__ import annotations

import numpy as np

from simgmc.compression.wire import bits
from simgmc.compression.wire.codes import EliasDelta, EliasGamma, GolombRice
from simgmc.compression.wire.formats import INDEX_FORMATS

_DESCRIPTIONS = {
    "delta-gamma": "Elias-gamma coded index gaps",
    "delta-delta": "Elias-delta coded index gaps",
    "golomb-rice": "Golomb-Rice coded index gaps",
    "bitmap": "bitmap of the coordinates",
    "auto": "indices in the shortest format of each message",
}


def fixed_bits(format: str, d: int) -> int | None:
    """Bits of one index where all take the same, otherwise None."""
    if format == "32-bit":
        return 32
    if format == "log2":
        return max(1, (d - 1).bit_length())
    return None


def describe(format: str, d: int) -> str:
    """A few words for the wire format's line."""
    width = fixed_bits(format, d)
    return _DESCRIPTIONS[format] if width is None else f"{width}-bit index"


def size(format: str, indices: np.ndarray, d: int) -> int:
    """Bytes of one row's indices, without writing them."""
    width = fixed_bits(format, d)
    if width is not None:
        return bits.packed_size(len(indices), width)
    if format == "bitmap":
        return -(-d // 8)
    if format == "auto":
        return 1 + min(size(one, indices, d) for one in INDEX_FORMATS[:-1])
    return _coder(format, len(indices), d).size(_gaps(indices))


def encode(format: str, indices: np.ndarray, d: int) -> bytes:
    """The bytes of one row's indices (int64, ascending, below d)."""
    width = fixed_bits(format, d)
    if width is not None:
        return bits.pack(indices, width)
    if format == "bitmap":
        present = np.zeros(d, np.bool_)
        present[indices] = True
        return np.packbits(present).tobytes()
    if format == "auto":
        place = _shortest(indices, d)
        return bytes([place]) + encode(INDEX_FORMATS[place], indices, d)
    return _coder(format, len(indices), d).encode(_gaps(indices))


def decode(format: str, buffer: memoryview, count: int, d: int) -> tuple[np.ndarray, int]:
    """``(indices int64, bytes read)`` of a row with ``count`` components."""
    width = fixed_bits(format, d)
    if width is not None:
        return bits.unpack(buffer, count, width).astype(np.int64), bits.packed_size(count, width)
    if format == "bitmap":
        used = -(-d // 8)
        return np.flatnonzero(np.unpackbits(np.frombuffer(buffer, np.uint8, used), count=d)), used
    if format == "auto":
        support, used = decode(INDEX_FORMATS[buffer[0]], buffer[1:], count, d)
        return support, used + 1
    gaps, used = _coder(format, count, d).decode(buffer, count)
    return np.cumsum(gaps) - 1, used


def _shortest(indices: np.ndarray, d: int) -> int:
    sizes = [size(format, indices, d) for format in INDEX_FORMATS[:-1]]
    return sizes.index(min(sizes))


def _gaps(indices: np.ndarray) -> np.ndarray:
    return np.diff(indices, prepend=-1)


def _coder(format: str, count: int, d: int) -> EliasGamma | EliasDelta | GolombRice:
    if format == "delta-gamma":
        return EliasGamma()
    if format == "delta-delta":
        return EliasDelta()
    return GolombRice.for_gaps(count, d)
