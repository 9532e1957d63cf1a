"""A device that is none: tensors that say they are on it and are held by the CPU.

Every operation is computed, but one that mixes the device's tensors with the CPU's is refused, as
CUDA does (but for single numbers), and what would make the host wait for a device is counted.
It stands in for CUDA where there is none; torch's own ``meta`` device lends it the name.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

FAR = torch.device("meta")
_COPIES = ("aten::_to_copy", "aten::copy_")
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_")
_WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select", "aten::_unique2")


class FarTensor(Tensor):
    """A tensor on that device; ``held`` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> FarTensor:
        how = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype, "device": FAR}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, **how)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self) -> Any:
        raise TypeError("a device's tensor becomes no array: .cpu() is missing")

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()


class FarDevice(TorchDispatchMode):
    """While it lasts there is such a device; ``waits`` counts what the host waits for, by operation."""

    waits: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        FarDevice.waits = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    far = any(isinstance(one, FarTensor) for one in tensors)
    to = kwargs.get("device")
    there = far if to is None else torch.device(to) == FAR
    near = [one for one in tensors if not isinstance(one, FarTensor) and one.dim() > 0]
    if far and near and name not in _COPIES:
        raise RuntimeError(
            f"{name}: tensors on the device and on the CPU, of shape {[tuple(one.shape) for one in near]}"
        )
    masked = name in _INDEXING and any(
        isinstance(one, FarTensor) and one.dtype == torch.bool for one in args[1] if one is not None
    )
    sized = name == "aten::repeat_interleave" and kwargs.get("output_size") is None
    crossing = name in _COPIES and far != (there and not near)
    if far and (name in _WAITING or masked or sized) or crossing and any(one.numel() for one in tensors):
        FarDevice.waits[name] += 1
    held = tree_map(lambda one: one.held if isinstance(one, FarTensor) else one, (args, kwargs))
    if to is not None:
        held[1]["device"] = torch.device("cpu")
    result = func(*held[0], **held[1])
    if name == "aten::copy_":
        there = isinstance(args[0], FarTensor)
    return tree_map(lambda one: FarTensor(one) if isinstance(one, Tensor) and there else one, result)


def uniforms_of_the_host(like: Tensor, draws: np.random.Generator) -> Tensor:
    """In the place of what a device draws by itself: the CPU's draws, so that the two can be compared."""
    kind = np.float32 if like.dtype == torch.float32 else np.float64
    return torch.from_numpy(draws.random(len(like), dtype=kind)).to(like.device)
