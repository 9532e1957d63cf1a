"""The running statistics of the model that is evaluated, from those of the workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

MEAN, VARIANCE = "running_mean", "running_var"
"""How torch's norms call theirs."""


def averaged(buffers: Mapping[str, Tensor], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Every floating-point buffer (...) of the mean model, from those of the workers (K, ...).

    They are averaged, but variances as those of all workers' samples together: the mean of the workers' variances
    plus the variance of their means. Where workers hold different data the latter may be most of it. ``shares``:
    what each worker weighs, 1 in all; equally much where not stated.
    """

    def mean(rows: Tensor) -> Tensor:
        return rows.mean(0) if shares is None else torch.tensordot(rows.new_tensor(shares), rows, 1)

    found = {name: mean(rows) for name, rows in buffers.items() if rows.is_floating_point()}
    for name in found:
        module, _, kind = name.rpartition(".")
        means = buffers.get(f"{module}.{MEAN}" if module else MEAN)
        if kind == VARIANCE and means is not None and means.shape == buffers[name].shape:
            found[name] = found[name] + mean((means - mean(means)).square())
    return found
