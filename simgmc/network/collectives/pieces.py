"""Cutting messages into pieces, and the exchange of a worker that is alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from simgmc.costs.steps import Average
from simgmc.network.conditions.work import Cost
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder

Span = tuple[int, int]
"""Pieces of a message in a row: the first, and the first that is not among them."""
_NONE = (0, 0)


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


class PiecesBuilder:
    """Flows that each carry some pieces of the message, and work that adds some."""

    def __init__(self, workers: int):
        self._build = StructureBuilder(workers)
        self._carried: list[Span] = []
        self._added: list[Span] = []

    def send(self, source: int, destination: int, after: Sequence[int], pieces: Span, gates: Sequence[int] = ()) -> int:
        """Some pieces from one rank to another; returns the flow's number."""
        self._carried.append(pieces)
        self._added.append(_NONE)
        return self._build.flow(source, destination, after, gates=gates)

    def add(self, rank: int, after: Sequence[int], pieces: Span, gates: Sequence[int] = ()) -> int:
        """A rank adds what arrived of some pieces; returns the work's number."""
        self._carried.append(_NONE)
        self._added.append(pieces)
        return self._build.local(rank, after, gates)

    def finish(self, rank: int, flows: Sequence[int]) -> None:
        """The arrivals that finish a rank's part."""
        self._build.finish(rank, flows)

    def build(self, pieces: int) -> Pieces:
        """All of it, of a message that is cut into so many pieces."""
        return Pieces(self._build.build(), np.array(self._carried), np.array(self._added), pieces)


@dataclass(frozen=True, eq=False)
class Pieces:
    """Flows by the pieces of a message that they carry and add."""

    structure: Structure
    carried: np.ndarray
    """(flows, 2) the :data:`Span` of each flow."""
    added: np.ndarray
    """(flows, 2) likewise what each adds."""
    count: int
    """Pieces of a message."""

    def schedule(self, average: Average, hosts: int, aggregation: Cost) -> Schedule:
        """The flows of messages of one size; ``hosts`` of them add."""
        ends = np.concatenate([[0], np.cumsum(cut(average.up[0], average.item_bytes, self.count))]).astype(float)
        nbytes, added = (ends[spans[:, 1]] - ends[spans[:, 0]] for spans in (self.carried, self.added))
        return Schedule(self.structure, nbytes, adding_times(added, hosts, aggregation))


@cache
def alone() -> Schedule:
    """One worker: nobody to exchange with, no flows."""
    return Schedule(StructureBuilder(1).build(), np.zeros(0), np.zeros(0))
