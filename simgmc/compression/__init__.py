"""Compressors and wire formats.

``build(name, layout, **parameters)`` makes a compressor, a callable
``(vector (..., d), random) -> Message``. This module and the registry import no torch.
"""

from simgmc.compression.registry import COMPRESSORS, Entry, Parameter, build, check

__all__ = ["COMPRESSORS", "Entry", "Parameter", "build", "check"]
