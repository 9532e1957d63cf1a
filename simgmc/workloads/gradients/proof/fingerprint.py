"""What tells modules apart that may need another route: structure, code, attributes, and what their code reads."""

from __future__ import annotations

import types
import weakref
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from simgmc.workloads.gradients.private_copy import Copier
from simgmc.workloads.gradients.snapshot import OWN, Snapshot, around

_PLAIN = (type(None), bool, int, str, bytes, complex, torch.dtype, torch.device, torch.Size, type, types.ModuleType)
_FEW = 64
"""Numbers of a buffer that count by their values, as a flag or a counter; of larger ones the shape does."""


def fingerprint(module: nn.Module) -> Hashable | None:
    """Equal for modules built alike, whatever their weights are; None where one holds what cannot be compared."""
    numbers: dict[int, int] = {}
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for _, tensor in tensors:
        numbers.setdefault(id(tensor), len(numbers))
    found: list[Hashable] = [
        (
            name, numbers[id(one)], type(one), tuple(one.shape), one.stride(), one.dtype, one.requires_grad,
            bool(one._backward_hooks or getattr(one, "_post_accumulate_grad_hooks", None)),
            plain_token(vars(one)),
            tuple(one.flatten().tolist()) if one.numel() <= _FEW and not isinstance(one, nn.Parameter) else None,
        )
        for name, one in tensors
    ]  # fmt: skip
    met: dict[int, tuple[int, Any]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        held = {key: value for key, value in vars(part).items() if key not in OWN}
        of_part = plain_token(held, numbers, met)
        if of_part is None or isinstance(part, torch.jit.ScriptModule):
            return None
        absent = tuple(key for key, one in (*part._parameters.items(), *part._buffers.items()) if one is None)
        found.append((name, type(part), type(part).forward, part.training, tuple(part._modules), absent, of_part))
    if any(id(one) not in numbers for one in module.parameters()):
        return None
    common = Snapshot()  # what all modules have in common is the same object in every one
    for path, value in around(module):
        common.look(path, value, None)
    return (*found, *common.tokens.items())


def plain_token(
    value: Any, numbers: Mapping[int, int] | None = None, met: dict[int, tuple[int, Any]] | None = None
) -> Hashable | None:
    """Equal for equal plain values, and containers of them; None for anything else.

    ``numbers``: of tensors, by their ids, that count as the number that they have. ``met``: containers looked at
    before, by their ids: two that are one are not two that are equal.
    """
    met = {} if met is None else met
    if isinstance(value, float):
        return float, repr(value)
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, Tensor):
        return None if numbers is None or id(value) not in numbers else (Tensor, numbers[id(value)])
    if isinstance(value, weakref.ref):
        return plain_token(value(), numbers, met)
    if isinstance(value, (Mapping, list)):
        if id(value) in met:
            return "again", met[id(value)][0]
        met[id(value)] = len(met), value
    if isinstance(value, Mapping):
        parts: list[Hashable | None] = [
            (key, one) if isinstance(key, Hashable) and (one := plain_token(inner, numbers, met)) is not None else None
            for key, inner in value.items()
        ]
        return None if None in parts else (type(value), *parts)
    if isinstance(value, (list, tuple)):
        parts = [plain_token(one, numbers, met) for one in value]
        return None if None in parts else (type(value), *parts)
    if isinstance(value, (set, frozenset)):
        return (type(value), *sorted(map(repr, value))) if all(isinstance(one, _PLAIN) for one in value) else None
    if isinstance(value, types.BuiltinFunctionType) or (
        isinstance(value, types.FunctionType) and Copier()(value) is value
    ):
        return value  # it holds nothing
    return None
