"""A module on another device or of another precision, with all that lies in the same memory still lying there together.

``module.to(...)`` converts parameters and buffers one by one: a view of a parameter that is kept as an attribute (its
transpose for a decoder, ``parameter.detach()``, a buffer made of it) would stay behind and follow it no more.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError
from simgmc.workloads.gradients.private_copy import Copier, address, memory_of
from simgmc.workloads.gradients.snapshot import held_by_attributes


def converted(module: nn.Module, device: torch.device, dtype: torch.dtype, mine: Set[torch.dtype]) -> nn.Module:
    """The module with all tensors of these dtypes as ``dtype``; parameters, buffers and what views them on the device.

    Raises SimgmcError, naming the attribute, for what can not follow.
    """
    memory = _Memory(device, dtype, mine)
    before = held_by_attributes(module)
    module._apply(memory.moved)
    registered = [*module.parameters(), *module.buffers()]
    known = {id(one) for one in registered}
    pairs = [
        (one, other)
        for path, one in before
        if id(one) not in known and (other := memory.followed(path, one)) is not one
    ]
    return Copier(kept=registered, instead=pairs)(module) if pairs else module


class _Memory:
    """What tensors and the memory in which they lie have become."""

    def __init__(self, device: torch.device, dtype: torch.dtype, mine: Set[torch.dtype]):
        self._device, self._dtype, self._mine = device, dtype, mine
        self._made: dict[Any, tuple[Any, Tensor]] = {}  # with what it was made of, whose id must not be another's

    def moved(self, tensor: Tensor) -> Tensor:
        """A parameter or buffer; what two modules hold stays one."""
        if id(tensor) not in self._made:
            self._made[id(tensor)] = tensor, self._within(tensor, self._device)
        return self._made[id(tensor)][1]

    def followed(self, path: str, value: Any) -> Any:
        """What an attribute holds; itself where nothing of it has changed."""
        if isinstance(value, np.ndarray):
            return self._array(path, value)
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._made:
            return self._made[id(value)][1]
        base = value._base
        if base is not None and value.grad_fn is not None and base.is_leaf:  # a copy is a view of what this has become
            with torch.enable_grad():
                return base.as_strided(value.size(), value.stride(), value.storage_offset())
        made = self._within(value, self._device if memory_of(value) in self._made else value.device)
        if made is value:
            return value
        trains = value.requires_grad and value.is_leaf
        return nn.Parameter(made, trains) if isinstance(value, nn.Parameter) else made.requires_grad_(trains)

    def _array(self, path: str, array: np.ndarray) -> np.ndarray:
        """The numbers of a tensor, by numpy."""
        if memory_of(array) not in self._made:
            return array
        before, whole = self._made[memory_of(array)]
        if whole.device.type != "cpu":
            raise SimgmcError(
                f"{path} is a numpy array of a parameter's own numbers, which are on {whole.device} now: keep the "
                "parameter, and ask for its numbers in forward"
            )
        times = whole.itemsize / before.itemsize
        begin = int((address(array) - before.untyped_storage().data_ptr()) * times)
        strides = [int(one * times) for one in array.strides]
        return np.ndarray(array.shape, whole.numpy().dtype, whole.view(torch.uint8).numpy(), begin, strides)

    def _within(self, tensor: Tensor, device: torch.device) -> Tensor:
        dtype = self._dtype if tensor.dtype in self._mine else tensor.dtype
        key = memory_of(tensor)
        if _simple(tensor) and key not in self._made:
            with torch.no_grad():
                whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
                self._made[key] = whole, whole.to(device, dtype)
        before, whole = self._made.get(key, (tensor, tensor))
        if not _simple(tensor) or before.dtype != tensor.dtype:
            return tensor.to(device, dtype)
        if whole is before:
            return tensor
        with torch.no_grad():
            made = torch.empty(0, dtype=whole.dtype, device=whole.device)
            return made.set_(whole.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def _simple(tensor: Tensor) -> bool:
    """Whether it is nothing but numbers in memory."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and not tensor.is_quantized
    return plain and not tensor.is_conj() and not tensor.is_neg()
