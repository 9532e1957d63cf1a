"""Compressors and wire formats.

``build(name, layout, **options)`` makes a compressor, a callable
``(vector (..., d), random) -> Message``. Importing this package imports no torch. May import core and costs.
"""

from simgmc.compression.build import build, build_adapted
from simgmc.compression.catalogue import COMPRESSORS

__all__ = ["COMPRESSORS", "build", "build_adapted"]
