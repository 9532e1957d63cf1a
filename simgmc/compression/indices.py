"""How the ascending indices of a sparse row are written."""

from __future__ import annotations

import numpy as np

from simgmc.compression import bits
from simgmc.errors import SimgmcError

INDEX_FORMATS = ("32-bit", "log2")


def fixed_bits(format: str, d: int) -> int | None:
    """Bits of one index where all take the same, otherwise None."""
    if format == "32-bit":
        return 32
    if format == "log2":
        return max(1, (d - 1).bit_length())
    if format in INDEX_FORMATS:
        return None
    raise SimgmcError(f"indices = {format!r}: known index formats are {', '.join(INDEX_FORMATS)}")


def describe(format: str, d: int) -> str:
    return f"{fixed_bits(format, d)}-bit index"


def size(format: str, indices: np.ndarray, d: int) -> int:
    """Bytes of one row's indices."""
    return bits.packed_size(len(indices), fixed_bits(format, d))


def encode(format: str, indices: np.ndarray, d: int) -> bytes:
    return bits.pack(indices, fixed_bits(format, d))


def decode(format: str, buffer: memoryview, count: int, d: int) -> tuple[np.ndarray, int]:
    """``(indices int64, bytes read)``."""
    width = fixed_bits(format, d)
    return bits.unpack(buffer, count, width).astype(np.int64), bits.packed_size(count, width)
