"""Weight decay leaves parameters alone that got no gradient, as ``torch.optim`` does where ``grad`` is None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def spare(gradients: Tensor, workload: Any, ranks: Sequence[int]) -> None:
    """Takes the decay out of these workers' rows (n, d) again where a parameter got no gradient in the latest pass."""
    for row, rank in enumerate(ranks):
        for number in _absent(workload, rank):
            gradients[row, slice(*workload.layout.offsets[number : number + 2])] = 0


def of_worker(weight_decay: float, workload: Any, ranks: Sequence[int]) -> float | Tensor:
    """For methods that decay by themselves: by parameter (d,) where some got no gradient on any of these workers."""
    absent = set(_absent(workload, ranks[0])).intersection(*(_absent(workload, rank) for rank in ranks[1:]))
    if not weight_decay or not absent:
        return weight_decay
    each = torch.full((workload.d,), weight_decay, device=workload.device, dtype=workload.dtype)
    for number in absent:
        each[slice(*workload.layout.offsets[number : number + 2])] = 0
    return each


def _absent(workload: Any, rank: int) -> Sequence[int]:
    absent = getattr(workload, "absent", None)  # where gradients have a closed form, every parameter has one
    return absent(rank) if absent else ()
