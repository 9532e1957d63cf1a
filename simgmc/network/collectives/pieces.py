"""Cutting messages into pieces, and the exchange of a worker that is alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, StructureBuilder


def cut(nbytes: int, item_bytes: int, parts: int) -> np.ndarray:
    """(parts,) bytes of a message cut into chunks of whole items, as equal as possible.

    The first chunks are one item larger where it does not divide; bytes that are no whole
    item (a header) travel with the first chunk.
    """
    item = max(int(item_bytes), 1)
    items, header = divmod(int(nbytes), item)
    whole, more = divmod(items, parts)
    chunks = np.full(parts, whole * item, dtype=np.int64)
    chunks[:more] += item
    chunks[0] += header
    return chunks


def cut_by(nbytes: int, item_bytes: int, shares: Sequence[float]) -> np.ndarray:
    """(shares,) bytes of a message cut into chunks of whole items in proportion to the shares.

    Where it does not divide, every chunk's end is at the item nearest to its exact end. Bytes that are no whole item
    travel with the first chunk, as in :func:`cut`.
    """
    item = max(int(item_bytes), 1)
    items, header = divmod(int(nbytes), item)
    exact = np.cumsum(np.asarray(shares) / np.max(shares))
    ends = np.rint(items * (exact / exact[-1])).astype(np.int64)
    chunks = np.diff(ends, prepend=0) * item
    chunks[0] += header
    return chunks


def adding_times(added: np.ndarray, hosts: int, aggregation: Cost) -> np.ndarray:
    """(flows,) seconds of every local adding from the bytes it adds (0: adds nothing).

    A fixed duration is the whole adding of one collective: it is shared out in proportion to
    bytes, so that the average of the ``hosts`` that add spends it once.
    """
    each = float(added.sum()) / hosts
    return np.array([aggregation.share(n, n / each) if n else 0.0 for n in added])


@cache
def alone() -> Schedule:
    """One worker: nobody to exchange with, no flows."""
    return Schedule(StructureBuilder(1).build(), np.zeros(0), np.zeros(0))
