"""How the supports of sparse messages unite when they are summed on their way."""

from __future__ import annotations

import numpy as np

from simgmc.compression.message import Message
from simgmc.compression.sparsification.message import SparseMessage
from simgmc.costs.steps import MAX_UNITED


def union_growth(message: Message) -> np.ndarray | None:
    """(rows, rows) int64: encoded sizes of partial sums, as :attr:`simgmc.costs.steps.Average.partial`.

    Entry [s, c] is for the sum of rows c, c+1 ... c+s (mod rows), restricted to the c-th of
    as many equal ranges of coordinates. None where messages can be summed in place, where a
    component has no fixed size (coded indices), and for one or too many rows.
    """
    rows = message.rows
    if not isinstance(message, SparseMessage) or not 1 < rows <= MAX_UNITED or message.item_bytes == 1:
        return None
    index = message.indices.cpu().numpy()
    row = np.repeat(np.arange(rows), message.counts)
    part = index * rows // message.d
    # When the sum of its range goes round, a coordinate is first met at the nearest row that holds it.
    met = (row - part) % rows
    order = np.lexsort((met, index))
    index, part, met = index[order], part[order], met[order]
    first = np.ones(len(index), dtype=bool)
    first[1:] = index[1:] != index[:-1]
    grown = np.zeros((rows, rows), dtype=np.int64)
    np.add.at(grown, (met[first], part[first]), 1)
    return grown.cumsum(axis=0) * message.item_bytes
