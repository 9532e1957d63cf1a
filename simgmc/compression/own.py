"""What compressors of one's own make their messages with. Imports no torch before a message is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simgmc.compression.wire.formats import FLOAT_BYTES, INDEX_FORMATS
from simgmc.core.errors import SimgmcError, show_value

if TYPE_CHECKING:  # torch takes seconds to load, and who replays a run makes no message
    from torch import Tensor

    from simgmc.compression.message import Message


def keep(vector: Tensor, kept: Tensor, values: str = "fp32", indices: str = "32-bit") -> Message:
    """The message of some of a vector's coordinates: their numbers, and which they are.

    Args:
        vector: ``(..., d)``.
        kept: ``(..., d)`` bool, true for what is sent; zeros are left out all the same.
        values: how numbers are written: fp32 (4 bytes each), fp16 or bf16 (2).
        indices: how coordinates are written: "32-bit" (4 bytes each), "log2", "bitmap" ..., see ``simgmc list
            compressors top-k``.
    """
    # Who replays a run makes no message, and does without torch.
    import torch

    from simgmc.compression.rows import as_rows
    from simgmc.compression.sparsification.message import sparse_message

    _check_format(values, indices)
    if not isinstance(kept, torch.Tensor) or kept.dtype != torch.bool or kept.shape != vector.shape:
        got = f"{kept.dtype} of shape {tuple(kept.shape)}" if isinstance(kept, torch.Tensor) else type(kept).__name__
        raise SimgmcError(
            f"keep(vector, kept): kept must be bool of the vector's shape {tuple(vector.shape)}, not {got}"
        )
    rows, masks = as_rows(vector), kept.reshape(-1, kept.shape[-1])
    supports = [mask.nonzero().flatten() for mask in masks]
    return sparse_message(
        vector.shape, [(support, row[support]) for support, row in zip(supports, rows, strict=True)], values, indices
    )


def share(vector: Tensor, coordinates: Sequence[int] | Tensor, values: str = "fp32") -> Message:
    """The message of coordinates that all workers know, as they drew them from ``random.shared()``: numbers alone.

    Such messages can be added on their way, as an all-reduce does; say so by ``summable = True`` in the class.

    Args:
        vector: ``(..., d)``.
        coordinates: whole numbers below d, none twice, the same on every worker.
        values: as of :func:`keep`.
    """
    # Who replays a run makes no message, and does without torch.
    from simgmc.compression.rows import as_rows
    from simgmc.compression.sparsification.random_sparse import shared_message

    _check_format(values)
    rows, chosen = as_rows(vector), np.asarray(coordinates, dtype=np.int64)
    if (
        chosen.ndim != 1
        or len(set(chosen.tolist())) < len(chosen)
        or (chosen < 0).any()
        or (chosen >= rows.shape[1]).any()
    ):
        d = rows.shape[1]
        raise SimgmcError(f"share(vector, coordinates): coordinates must be different whole numbers below {d}")
    return shared_message(vector, rows, chosen, values)


def encoded(
    vector: Tensor,
    encode: Callable[[Tensor], bytes],
    decode: Callable[[bytes], Any],
    wire: str = "own format",
) -> Message:
    """A message in a format of one's own: ``encode`` gives what travels, ``decode`` what is made of it.

    Args:
        vector: ``(..., d)``.
        encode: from one worker's vector ``(d,)`` to the bytes that it sends, whose number the network is charged.
        decode: from these bytes alone to the d numbers that the receiver has (a tensor, an array or a list).
        wire: the format in a few words, for the header of a run.
    """
    from simgmc.compression.encoded import EncodedMessage  # loads torch

    return EncodedMessage.of(vector, encode, decode, wire)


def _check_format(values: str, indices: str = "32-bit") -> None:
    for what, given, known in (("values", values, tuple(FLOAT_BYTES)), ("indices", indices, INDEX_FORMATS)):
        if given not in known:
            raise SimgmcError(f"{what} = {show_value(given)}: must be one of {', '.join(map(show_value, known))}")
