"""Models, data, partitions and the gradient engine: what every worker computes.

The registries (:mod:`~simgmc.training.datasets`, :mod:`~simgmc.training.partitions`,
:mod:`~simgmc.training.models`) are plain Python and numpy, so that scenarios are listed
and checked without loading torch; everything else needs it.
"""
