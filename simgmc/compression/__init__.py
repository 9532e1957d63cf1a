"""Compressors and wire formats.

``build(name, layout, **parameters)`` makes a compressor, a callable
``(vector (..., d), random) -> Message``. Importing this package imports no torch.
"""

from simgmc.compression.catalogue import COMPRESSORS, REQUIRED, Entry, Parameter
from simgmc.compression.registry import build, check

__all__ = ["COMPRESSORS", "REQUIRED", "Entry", "Parameter", "build", "check"]
