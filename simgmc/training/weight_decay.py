"""Weight decay leaves parameters alone that got no gradient, as ``torch.optim`` does where ``grad`` is None."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from simgmc.workloads.workload import Workload


def spare(gradients: Tensor, workload: Workload, ranks: Sequence[int]) -> None:
    """Takes the decay out of these workers' rows (n, d) again where a parameter got no gradient in the latest pass."""
    for row, rank in enumerate(ranks):
        for number in workload.absent(rank):
            gradients[row, slice(*workload.layout.offsets[number : number + 2])] = 0


def of_worker(weight_decay: float, workload: Workload, ranks: Sequence[int]) -> float | Tensor:
    """For methods that decay by themselves: by parameter (d,) where some got no gradient on any of these workers."""
    absent = set(workload.absent(ranks[0])).intersection(*(workload.absent(rank) for rank in ranks[1:]))
    if not weight_decay or not absent:
        return weight_decay
    each = torch.full((workload.d,), weight_decay, device=workload.device, dtype=workload.dtype)
    for number in absent:
        each[slice(*workload.layout.offsets[number : number + 2])] = 0
    return each
