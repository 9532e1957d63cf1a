"""A batch as a model takes it: one tensor, or several in a tuple or a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from simgmc.core.errors import SimgmcError

TARGETS = ("labels", "label", "targets", "target")
"""Keys under which a sample that is a dict has its target."""


def call(module: nn.Module, inputs: Any) -> Any:
    """``module(*inputs)`` of a tuple or list, ``module(**inputs)`` of a dict, ``module(inputs)`` of all else."""
    if type(inputs) in (tuple, list):
        return module(*inputs)
    return module(**inputs) if isinstance(inputs, Mapping) else module(inputs)


def in_parts(place: str, sample: Any) -> tuple[Any, Any]:
    """Inputs and target of a sample or a batch: of a pair its parts, of a longer tuple the last is the target.

    A dict has it under one of :data:`TARGETS`. Raises SimgmcError for anything else.
    """
    if isinstance(sample, Mapping):
        keys = [key for key in TARGETS if key in sample]
        if len(keys) != 1 or len(sample) < 2:
            raise SimgmcError(
                f"{place}: is a dict of {', '.join(map(repr, sample))}: the target must be under one of the keys "
                f"{', '.join(TARGETS)}, and inputs under others"
            )
        return {key: value for key, value in sample.items() if key != keys[0]}, sample[keys[0]]
    if not isinstance(sample, (tuple, list)) or len(sample) < 2:
        raise SimgmcError(f"{place}: is {type(sample).__name__}, not a pair (values, label)")
    return (sample[0] if len(sample) == 2 else tuple(sample[:-1])), sample[-1]


def on(part: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The same on a device, floating-point numbers as ``dtype``."""
    return tree_map(
        lambda one: one.to(device, dtype if one.is_floating_point() else None) if isinstance(one, Tensor) else one, part
    )


def contiguous(part: Any) -> Any:
    """With every tensor contiguous, as ``torch.utils.data.DataLoader`` gives it."""
    return tree_map(lambda one: one.contiguous() if isinstance(one, Tensor) else one, part)


def size(part: Any) -> int:
    """Samples of a batch: of its first tensor."""
    tensors = [one for one in tree_leaves(part) if isinstance(one, Tensor) and one.ndim]
    return len(tensors[0]) if tensors else 1


def described(inputs: Any) -> str:
    """``shape (8, 20) (float32)``; of several tensors ``(input_ids (8, 12) int64, mask (8, 12) bool)``."""
    if isinstance(inputs, Tensor):
        return f"shape {tuple(inputs.shape)} ({str(inputs.dtype).removeprefix('torch.')})"
    named = (
        inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs) if type(inputs) in (tuple, list) else ()
    )
    shown = [
        f"{name} {tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}"
        if isinstance(one, Tensor)
        else f"{name} {type(one).__name__}"
        for name, one in named
    ]
    return f"inputs ({', '.join(shown)})" if shown else type(inputs).__name__
