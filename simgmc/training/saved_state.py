"""A trainer's state, to and from what a checkpoint file holds.

The file holds named numpy arrays and one plain value. Any nesting of dicts, lists and tuples of
tensors, numpy arrays, numbers, text and None becomes such a pair, and comes back equal: types,
dtypes, shapes and bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from simgmc.workloads.gradients.held import InMemory, Outside

_KNOWN = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128,
}  # fmt: skip
"""Dtypes that numpy has too."""
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""What another dtype (bfloat16, float8) is stored as, by its bytes."""


def to_arrays(state: Any) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays and the plain value from which :func:`from_arrays` makes the same state.

    Arrays may share memory with the state. Raises TypeError, with its place, for what cannot be stored.
    """
    arrays: dict[str, np.ndarray] = {}
    return arrays, _taken(state, "state", arrays)


def from_arrays(arrays: dict[str, np.ndarray], plain: Any, device: torch.device | str = "cpu") -> Any:
    """The state, its tensors in memory of their own on ``device``.

    Arrays are taken out of the dict one by one, so that no more than one is in memory twice.
    """
    if isinstance(plain, dict):
        ((kind, held),) = plain.items()
        if kind == "tensor":
            name, dtype = held
            array = arrays.pop(name)
            tensor = torch.empty(array.shape, dtype=getattr(torch, dtype))
            bits = tensor if tensor.dtype in _KNOWN else tensor.view(_BITS[tensor.itemsize])
            bits.copy_(torch.from_numpy(array))
            return tensor.to(device)
        if kind == "array":
            return arrays.pop(held).copy()
        if kind == "number":
            return arrays.pop(held)[()]
        if kind == "dict":
            return {key: from_arrays(arrays, value, device) for key, value in held}
        items = [from_arrays(arrays, value, device) for value in held]
        return tuple(items) if kind == "tuple" else items
    return plain


def _taken(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu().contiguous()
        bits = tensor if tensor.dtype in _KNOWN else tensor.view(_BITS[tensor.itemsize])
        arrays[place] = bits.numpy()
        return {"tensor": [place, str(tensor.dtype).removeprefix("torch.")]}
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"array": place}
    if isinstance(value, np.generic):
        arrays[place] = np.asarray(value)
        return {"number": place}
    if isinstance(value, Mapping):
        if not all(isinstance(key, (str, int)) and not isinstance(key, bool) for key in value):
            raise TypeError(f"{place}: keys must be text or whole numbers, not {[*value]}")
        # The number keeps the places of 1 and "1" apart.
        return {
            "dict": [
                [key, _taken(one, f"{place}.{number}:{key}", arrays)] for number, (key, one) in enumerate(value.items())
            ]
        }
    if type(value) in (list, tuple):
        return {type(value).__name__: [_taken(one, f"{place}[{index}]", arrays) for index, one in enumerate(value)]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (InMemory, Outside)):
        raise TypeError(value.words)
    raise TypeError(f"{place}: a {type(value).__name__} cannot be stored in a checkpoint")
