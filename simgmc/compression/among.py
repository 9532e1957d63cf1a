"""Messages of some of the workers: rows of one message, and late ones of earlier rounds among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import torch
from torch import Tensor

from simgmc.compression.exemption import PartlyDense
from simgmc.compression.low_rank import LowRankMessage, dense_message
from simgmc.compression.message import DenseMessage, Message, SharedMessage
from simgmc.compression.quantisation.groups import Groups
from simgmc.compression.quantisation.levels import SignValues
from simgmc.compression.sparsification.message import SparseMessage, sparse_message
from simgmc.compression.wire.values import FloatValues, Values, row_offsets
from simgmc.core.errors import SimgmcError


def among(message: Message, ranks: Sequence[int]) -> Message:
    """The rows of these workers alone, in this order, bit for bit (a row that all share stays one)."""
    if message.rows == 1:
        return message
    picked = copy(message)
    for stale in ("nbytes", "floats", "counts", "_index_bytes"):
        picked.__dict__.pop(stale, None)
    picked.shape = (len(ranks), message.d)
    if isinstance(message, PartlyDense):
        picked.exempt, picked.inner = among(message.exempt, ranks), among(message.inner, ranks)
        return picked
    if isinstance(message, SparseMessage):
        picked.indices = _rows(message.indices, message.values, ranks)
    picked.values = _picked(message.values, ranks)
    return picked


def with_late(message: Message, ranks: Sequence[int], late: Mapping[int, Tensor]) -> Message:
    """The same, but the rows of the workers in ``late`` are these vectors ``(d,)``, as decoded.

    Fit to be averaged: numbers written in another way than floats are floats here. Raises
    SimgmcError where the coordinates are those of a round, the same for all its messages.
    """
    refuse_shared(message)
    dense = message.dense().reshape(-1, message.d)
    rows = [late[rank] if rank in late else dense[rank if len(dense) > 1 else 0] for rank in ranks]
    return _recoded(message, torch.stack(rows))


def refuse_shared(message: Message) -> None:
    """Raises SimgmcError for a message that could not be averaged with one of a later round."""
    if isinstance(message, SharedMessage) or (
        isinstance(message, PartlyDense) and isinstance(message.inner, SharedMessage)
    ):
        raise SimgmcError(
            'late = "carried": these messages cover coordinates that all workers draw anew in every round, so a late one fits no '
            'other round; use late = "dropped", or a compressor whose messages name their coordinates'
        )


def _recoded(message: Message, rows: Tensor) -> Message:
    """Rows ``(n, d)`` as messages of the same kind."""
    if isinstance(message, PartlyDense):
        parts = (
            torch.cat([rows[:, column] for column in columns], 1) if columns else rows[:, :0]
            for columns in message.columns
        )
        exempt, inner = (_recoded(one, part) for one, part in zip((message.exempt, message.inner), parts))
        return PartlyDense(rows.shape, message.columns, exempt, inner)
    if isinstance(message, LowRankMessage):
        return dense_message(rows, (len(rows),))
    format = message.values.format if isinstance(message.values, FloatValues) else "fp32"
    if isinstance(message, SparseMessage):
        support = [row.nonzero().flatten() for row in rows]
        return sparse_message(
            rows.shape, [(index, row[index]) for index, row in zip(support, rows)], format, message.index_format
        )
    offsets = row_offsets([rows.shape[1]] * len(rows))
    if isinstance(message.values, SignValues) and message.values.vote:
        scales, groups = message.values.scales[:1] * len(rows), [Groups.whole(rows.shape[1])] * len(rows)
        return DenseMessage(
            rows.shape, SignValues(rows.reshape(-1) > 0, scales, groups, offsets, message.values.unit, True)
        )
    return DenseMessage(rows.shape, FloatValues(rows.reshape(-1), offsets, format))


def _rows(flat: Tensor, values: Values, ranks: Sequence[int]) -> Tensor:
    """Of something that goes with a message's numbers: what belongs to these rows."""
    return torch.cat([flat[int(values.offsets[rank]) : int(values.offsets[rank + 1])] for rank in ranks])


def _picked(values: Values, ranks: Sequence[int]) -> Values:
    offsets = row_offsets([int(values.offsets[rank + 1] - values.offsets[rank]) for rank in ranks])
    if isinstance(values, FloatValues):
        return FloatValues(_rows(values.flat, values, ranks), offsets, values.format)
    picked = copy(values)
    for stale in ("flat", "nbytes", "floats", "_scale_bytes"):
        picked.__dict__.pop(stale, None)
    picked.symbols, picked.offsets = _rows(values.symbols, values, ranks), offsets
    picked.scales = [values.scales[rank] for rank in ranks]
    picked.groups = [values.groups[rank] for rank in ranks]
    return picked
