"""In what a module that passes have used is another than a copy that none has used."""

from __future__ import annotations

import random
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simgmc.workloads.gradients.private_copy import address, array_owner, memory_of
from simgmc.workloads.gradients.snapshot import OWN, PLAIN, Snapshot, own_list, parts_of, token

_VALUES = (*PLAIN, np.ndarray, torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def differing(fresh: nn.Module, used: nn.Module) -> list[tuple[str, str]]:
    """Attributes (module, name) in which a module is another than a copy that no pass has used.

    Parameters, buffers and modes do not count. Where it cannot be told, as of iterators, an attribute differs.
    """
    parts = dict(used.named_modules())
    same: set[Any] = set()
    for one, other in counterparts(fresh, used):
        same |= {(id(one), id(other)), (memory_of(one), memory_of(other))}
    found: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    missing = object()
    for path, one in fresh.named_modules():
        before, now = vars(one), vars(parts.get(path, one))
        for key in dict.fromkeys((*before, *now)):
            if key not in OWN and not own_list(one, key):
                alike = _alike(before.get(key, missing), now.get(key, missing), same)
                (others if alike else found).append((path, key))
    return [*found, *_holding_the_same(found, others, fresh, used)] if found else []


def _holding_the_same(
    found: list[tuple[str, str]], others: list[tuple[str, str]], fresh: nn.Module, used: nn.Module
) -> list[tuple[str, str]]:
    """Those of the other attributes that hold an object of the copy's own which the found ones hold too."""

    def held(module: nn.Module, place: str, name: str) -> set[int]:
        seen = Snapshot()
        seen._met |= known
        seen.look("", vars(module.get_submodule(place)).get(name), None)
        kept.append(seen)  # whose objects' ids must not be others'
        return {id(one) for _, one in seen.objects}

    kept: list[Snapshot] = []
    known = {id(one) for pair in counterparts(fresh, used) for one in pair}
    shared = {one for place, name in (*found, *others) for one in held(fresh, place, name)}
    reached = {one for place, name in found for one in held(used, place, name)} - shared
    waiting = {place_and_name: held(used, *place_and_name) - shared for place_and_name in others}
    added: list[tuple[str, str]] = []
    while more := [one for one, objects in waiting.items() if objects & reached]:
        added += more
        reached |= set[int]().union(*(waiting.pop(one) for one in more))
    return added


def counterparts(module: nn.Module, other: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Parts, parameters and buffers of a module, each with what has its name in another copy."""
    for named in (nn.Module.named_modules, nn.Module.named_parameters, nn.Module.named_buffers):
        there = dict(named(other, remove_duplicate=False))
        yield from ((one, there[name]) for name, one in named(module, remove_duplicate=False) if name in there)


def _alike(one: Any, other: Any, same: set[Any]) -> bool:
    """Whether two values hold the same; ``same``: ids, and memory, of those that are what they are to each other."""
    waiting, alive, met = [(one, other)], [], set[tuple[int, int]]()
    while waiting:
        one, other = waiting.pop()
        alive.append((one, other))  # whose ids must not be others'
        moves = isinstance(one, Iterator) and type(one).__module__ in ("builtins", "itertools")
        if type(one) is not type(other) or moves:
            return False
        if one is other or (id(one), id(other)) in same or (id(one), id(other)) in met:
            continue
        met.add((id(one), id(other)))
        if (memory_of(one), memory_of(other)) in same:
            if _place(one) != _place(other):
                return False
            continue
        if isinstance(one, Tensor):
            if one.shape != other.shape or one.dtype != other.dtype or not torch.allclose(one, other, 0, 0, True):
                return False
            continue
        if isinstance(one, _VALUES):
            if token(one) != token(other):
                return False
            continue
        if isinstance(one, types.FunctionType) and one.__code__ is not other.__code__:
            return False
        if isinstance(one, types.BuiltinFunctionType) and one.__name__ != other.__name__:
            return False
        inside, others = list(parts_of("", one)), list(parts_of("", other))
        if [path for path, _ in inside] != [path for path, _ in others]:
            return False
        waiting += zip((value for _, value in inside), (value for _, value in others), strict=True)
    return True


def _place(value: Any) -> Any:
    """Which part of its memory something is."""
    if isinstance(value, np.ndarray):
        owner = array_owner(value).base
        return value.dtype, value.shape, value.strides, address(value) - owner.untyped_storage().data_ptr()
    return value.dtype, value.shape, value.stride(), value.storage_offset(), value.grad_fn is not None
