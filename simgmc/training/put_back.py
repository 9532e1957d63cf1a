"""Some workers' rows of a stacked vector as they were."""

from __future__ import annotations

from torch import Tensor

EACH = "each worker's"
"""The key under which a stacked worker holds a list of what is no tensor, where not all workers have the same."""


def put_back(now: object, before: object, ranks: list[int]) -> object:
    """A stacked vector with the rows of these workers as they were; what all share stays."""
    if isinstance(now, dict) and isinstance(before, dict) and set(now) == set(before) == {EACH}:
        return {EACH: [before[EACH][k] if k in ranks else one for k, one in enumerate(now[EACH])]}
    if not isinstance(now, Tensor) or not isinstance(before, Tensor) or len(now) == 1 or now is before:
        return now
    now = now.clone()
    now[ranks] = before[ranks] if len(before) > 1 else before
    return now
