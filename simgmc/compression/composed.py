"""Sparsify, then quantise the values that were kept (Qsparse-local-SGD, and others)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from simgmc.compression.message import Message, SharedMessage
from simgmc.compression.quantisation.groups import Groups
from simgmc.compression.quantisation.quantise import Quantiser
from simgmc.compression.sparsification.message import SparseMessage
from simgmc.compression.wire.values import row_offsets
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A quantiser on the values that a sparsifier keeps.

    The kept values of a row form one group with one scale (of a shared-seed block also
    buckets). Components that are quantised to zero are not sent, unless all workers
    share the coordinates. Where the sparsifier T keeps ||T(v)||^2 >= a ||v||^2 and the
    quantiser is unbiased with variance w < 1: E||C(v) - v||^2 <= (1 - a (1 - w)) ||v||^2.
    Source: Basu et al. 2019.
    """

    sparsify: Callable[[Tensor, Randomness], Message]
    quantise: Quantiser

    def __post_init__(self) -> None:
        if self.quantise.per_tensor:
            raise SimgmcError("per_tensor belongs to the sparsifier: its kept values are one vector for the quantiser")

    def __call__(self, vector: Tensor, random: Randomness) -> Message:
        kept = self.sparsify(vector, random)
        offsets = kept.values.offsets
        groups = [Groups.whole(int(n), self.quantise.bucket) for n in np.diff(offsets)]
        if isinstance(kept, SharedMessage):
            return SharedMessage(
                kept.shape, kept.indices, self.quantise.code(kept.values.flat, offsets, groups, random)
            )
        if not isinstance(kept, SparseMessage):
            raise SimgmcError("only a sparsifier's values can be quantised in a composition")
        if self.quantise.bucket is not None:
            raise SimgmcError(
                "bucket: the values of a sparse message have one scale; buckets need a shared-seed sparsifier"
            )
        coded = self.quantise.code(kept.values.flat, offsets, groups, random)
        sent = coded.flat != 0
        if bool(sent.all()):
            return SparseMessage(kept.shape, kept.indices, coded, kept.index_format)
        before = row_offsets(sent.cpu().numpy())
        values = coded.kept(sent, before[offsets])
        return SparseMessage(kept.shape, kept.indices[sent], values, kept.index_format)
