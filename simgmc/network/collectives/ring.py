"""What an exchange round a ring consists of, in arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ring:
    """One exchange round a ring."""

    chunk: np.ndarray
    """(steps, K) bytes each rank sends at each step."""
    slices: int
    adding: np.ndarray | None = None
    """(adding steps, K) seconds to add what each rank receives at each of the first steps."""
    final: np.ndarray | None = None
    """(K,) seconds of work at the end."""
    lock_step: bool = False
    """A card is free when what it sent has arrived, not when it has left."""
