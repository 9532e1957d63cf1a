"""A copy of a module that shares nothing with the original that a forward pass could change.

``copy.deepcopy`` leaves functions alone, so a hook's closure would be one for all copies; it drops the hooks of
parameters, forgets that two tensors share memory, and refuses tensors with a history. Here all of these are copied too.
"""

from __future__ import annotations

import copy
import copyreg
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError

_ATOMIC = frozenset((
    type, type(None), type(Ellipsis), type(NotImplemented), bool, int, float, complex, str, bytes, range, property,
    types.ModuleType, types.CodeType, torch.dtype, torch.device, torch.layout, torch.memory_format,
))  # fmt: skip


class Copier:
    """Copies objects; what it has met before, it copies once.

    ``kept``: objects that the copies go on sharing; ``instead``: pairs of an object and what stands for it in copies.
    What lies in the memory of such a tensor lies, in copies, in that of what stands for it. ``shared`` says which kinds
    of objects could not be copied and are shared as well; ``derived``: copies of tensors that were computed from
    others, whose history is not copied.
    """

    def __init__(self, kept: Iterable[Any] = (), instead: Iterable[tuple[Any, Any]] = ()):
        self._memo: dict[Any, Any] = {}
        self._alive: list[Any] = []
        self.shared: list[str] = []
        self.derived: list[Tensor] = []
        for one, other in (*((one, one) for one in kept), *instead):
            self._memo[id(one)] = other
            if isinstance(one, Tensor) and isinstance(other, Tensor) and _same_memory_layout(one, other):
                self._memo["memory", one.untyped_storage()._cdata] = other.untyped_storage()

    def __call__(self, x: Any, memo: Any = None) -> Any:
        """The copy. ``memo`` is there for ``copy.deepcopy``'s sake."""
        if type(x) in _ATOMIC:
            return x
        if id(x) in self._memo:
            return self._memo[id(x)]
        made = self._copied(x)
        self._memo[id(x)] = made
        self._alive.append(x)  # whose id must not be another's
        return made

    def _copied(self, x: Any) -> Any:
        kind = type(x)
        if kind is dict or (kind is OrderedDict and not vars(x)):
            made = self._memo[id(x)] = kind()
            for key, value in x.items():
                made[key if type(key) is str else self(key)] = value if type(value) in _ATOMIC else self(value)
            return made
        if kind is list:
            made = self._memo[id(x)] = []
            made.extend(map(self, x))
            return made
        if kind is tuple:
            parts = [self(one) for one in x]
            if id(x) in self._memo:  # by way of one of its own parts
                return self._memo[id(x)]
            return x if all(a is b for a, b in zip(x, parts, strict=True)) else tuple(parts)
        if isinstance(x, Tensor):
            return self._tensor(x)
        if kind is np.ndarray and x.base is not None:
            return self._view_of_an_array(x)
        if isinstance(x, tuple(_ATOMIC)):
            return x
        if kind is types.FunctionType:
            return self._function(x)
        if kind is types.CellType:
            made = self._memo[id(x)] = types.CellType()
            if _filled(x):
                made.cell_contents = self(x.cell_contents)
            return made
        if kind is types.MethodType:
            return types.MethodType(self(x.__func__), self(x.__self__))
        if kind is types.BuiltinMethodType:
            owner = self(x.__self__)
            return x if owner is x.__self__ else getattr(owner, x.__name__)
        if kind is weakref.ref:
            return x if x() is None else weakref.ref(self(x()))
        if kind is torch.Generator:
            made = torch.Generator(x.device)
            return made.set_state(x.get_state())
        return self._object(x)

    def _tensor(self, x: Tensor) -> Tensor:
        base = x._base if x.grad_fn is not None and x._is_view() else None
        if base is not None and base.is_leaf and base.layout is torch.strided:  # it goes on following its parameter
            with torch.enable_grad():
                made = self._memo[id(x)] = self(base).as_strided(x.size(), x.stride(), x.storage_offset())
            return made
        if type(x) not in (Tensor, nn.Parameter) or x.layout is not torch.strided or x.is_quantized:
            return copy.deepcopy(x.detach() if x.grad_fn is not None else x, self._memo)
        with torch.no_grad():
            made = torch.empty(0, dtype=x.dtype, device=x.device)
            made.set_(self._memory(x), x.storage_offset(), x.size(), x.stride())
            if x.is_conj() or x.is_neg():
                made = (made.conj() if x.is_conj() else made._neg_view()).resolve_conj().resolve_neg()
        if isinstance(x, nn.Parameter):
            made = nn.Parameter(made, x.requires_grad)
        else:
            made.requires_grad_(x.requires_grad and x.is_leaf)
            if x.requires_grad and not x.is_leaf:
                self.derived.append(made)
        self._memo[id(x)] = made
        for name, value in vars(x).items():
            made.__dict__[name] = self(value)
        if x.is_leaf:
            for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                if getattr(x, hooks, None):
                    setattr(made, hooks, self(getattr(x, hooks)))
        return made

    def _memory(self, x: Tensor) -> torch.UntypedStorage:
        key = "memory", x.untyped_storage()._cdata
        if key not in self._memo:
            self._memo[key] = x.untyped_storage().clone()
            self._alive.append(x)
        return self._memo[key]

    def _view_of_an_array(self, x: np.ndarray) -> np.ndarray:
        """A part of another array, or the numbers of a tensor: it goes on following them."""
        owner = array_owner(x)
        if isinstance(owner.base, Tensor):
            memory, begin = self._memory(owner.base), owner.base.untyped_storage().data_ptr()
            whole = torch.empty(0, dtype=torch.uint8).set_(memory).numpy()
        elif owns_bytes(owner):
            whole, begin = bytes_of(self(owner)), address(owner)
        else:
            return copy.deepcopy(x, self._memo)
        return np.ndarray(x.shape, x.dtype, whole, address(x) - begin, x.strides)

    def _function(self, x: types.FunctionType) -> types.FunctionType:
        """With cells of its own. A library's functions, and those that hold nothing, stay what they are."""
        held = (x.__closure__, x.__defaults__, x.__kwdefaults__, vars(x))
        if not any(held) or (x.__module__ or "").startswith("torch."):
            return x
        made = types.FunctionType(x.__code__, x.__globals__, x.__name__, None, x.__closure__ and tuple(
            types.CellType() if id(cell) not in self._memo else self._memo[id(cell)] for cell in x.__closure__
        ))  # fmt: skip
        self._memo[id(x)] = made
        for old, new in zip(x.__closure__ or (), made.__closure__ or (), strict=True):
            if id(old) not in self._memo:
                self._memo[id(old)] = new
                self._alive.append(old)
                if _filled(old):
                    new.cell_contents = self(old.cell_contents)
        made.__defaults__, made.__kwdefaults__ = self(x.__defaults__), self(x.__kwdefaults__)
        made.__qualname__, made.__doc__, made.__module__ = x.__qualname__, x.__doc__, x.__module__
        made.__dict__.update({key: self(value) for key, value in vars(x).items()})
        return made

    def _object(self, x: Any) -> Any:
        """As ``copy.deepcopy`` does it, with this copier for the parts."""
        kind = type(x)
        try:
            made = x.__deepcopy__(self._memo) if hasattr(kind, "__deepcopy__") else None
            if made is not None and (made is not x or not isinstance(x, nn.Module)):
                if isinstance(made, torch.jit.ScriptModule):  # whose parameters it clones, history included
                    for parameter in made.parameters():
                        trains = parameter.requires_grad
                        parameter.detach_().requires_grad_(trains)
                return made
            reduce = copyreg.dispatch_table.get(kind)
            way = reduce(x) if reduce else x.__reduce_ex__(4)
            if isinstance(way, str):
                return x
            return copy._reconstruct(x, self._memo, *way, deepcopy=self)
        except Exception as error:
            self._memo.pop(id(x), None)
            if isinstance(x, types.GeneratorType):
                raise SimgmcError(
                    f"holds the generator {x.__name__}, which cannot be copied: where it stands would be one for all "
                    "workers. A counter, or an iterator of itertools, can be"
                ) from error
            if isinstance(error, SimgmcError):
                raise
            if isinstance(x, nn.Module):
                raise SimgmcError(f"{kind.__name__} cannot be copied: {error}") from error
            self.shared.append(kind.__name__)
            return x


def array_owner(array: np.ndarray) -> np.ndarray:
    """The array that has the memory of another, or got it from something else."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def owns_bytes(array: np.ndarray) -> bool:
    """Whether an array has memory of its own, in one piece, with numbers in it."""
    return array.base is None and array.flags.forc and array.dtype != object


def bytes_of(array: np.ndarray) -> np.ndarray:
    """That memory."""
    return array.reshape(-1, order="A").view(np.uint8)


def address(array: np.ndarray) -> int:
    """Where its first number lies."""
    return array.__array_interface__["data"][0]


def _same_memory_layout(one: Tensor, other: Tensor) -> bool:
    if any(tensor.layout is not torch.strided or tensor.is_quantized for tensor in (one, other)):
        return False
    return (one.dtype, one.device, one.stride(), one.storage_offset(), one.untyped_storage().nbytes()) == (
        other.dtype, other.device, other.stride(), other.storage_offset(), other.untyped_storage().nbytes()
    )  # fmt: skip


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where it is empty
    except ValueError:
        return False
    return True


def memory_of(value: Any) -> tuple[str, int]:
    """Equal for tensors that lie in the same memory, and for arrays of a tensor's numbers; else the object's own."""
    if isinstance(value, np.ndarray) and isinstance(array_owner(value).base, Tensor):
        value = array_owner(value).base
    if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
        return "memory", value.untyped_storage()._cdata
    return "object", id(value)
