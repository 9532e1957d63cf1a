"""The names of the wire formats: what scenarios choose from, and what encoders are told. Imports no torch."""

from __future__ import annotations

FLOAT_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
"""Formats of one float, with its bytes."""
INDEX_FORMATS = ("32-bit", "log2", "delta-gamma", "delta-delta", "golomb-rice", "bitmap", "auto")
"""Formats of a sparse row's indices, see :mod:`simgmc.compression.wire.indices`."""
FIXED_INDEX_FORMATS = ("32-bit", "log2")
"""Those that give every index the same number of bits."""
LEVEL_FORMATS = ("fixed", "trits", "elias-dense", "elias-sparse", "auto")
"""Formats of quantised levels, see :mod:`simgmc.compression.quantisation.levels`."""
