"""Sparsify, then quantise the values that were kept (Qsparse-local-SGD, and others)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
from torch import Tensor

from simgmc.compression.compressor import at_density, density_of
from simgmc.compression.message import SharedMessage
from simgmc.compression.quantisation.groups import Groups
from simgmc.compression.quantisation.levels import ScaledValues
from simgmc.compression.quantisation.quantise import Quantiser
from simgmc.compression.sparsification.message import SparseMessage
from simgmc.core.randomness import Randomness


class Sparsifier(Protocol):
    """A compressor that keeps some of the coordinates."""

    def __call__(self, vector: Tensor, random: Randomness, /) -> SparseMessage | SharedMessage: ...


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A quantiser on the values that a sparsifier keeps.

    The kept values of a row form one group with one scale (of a shared-seed block also
    buckets). Components that are quantised to zero are not sent, unless all workers
    share the coordinates. Where the sparsifier T keeps ||T(v)||^2 >= a ||v||^2 and the
    quantiser is unbiased with variance w < 1: E||C(v) - v||^2 <= (1 - a (1 - w)) ||v||^2.
    Source: Basu et al. 2019.
    """

    sparsify: Sparsifier
    quantise: Quantiser

    @property
    def density(self) -> float | None:
        """Of the sparsifier, if it is set by one."""
        return density_of(self.sparsify)

    def at_density(self, density: float) -> Composed:
        """The same with another density of the sparsifier."""
        return replace(self, sparsify=cast(Sparsifier, at_density(self.sparsify, density)))

    def __call__(self, vector: Tensor, random: Randomness) -> SparseMessage | SharedMessage:
        def code(flat: Tensor, offsets: np.ndarray) -> ScaledValues:
            groups = [Groups.whole(int(n), self.quantise.bucket) for n in np.diff(offsets)]
            return self.quantise.code(flat, offsets, groups, random)

        return self.sparsify(vector, random).recoded_by(code)
