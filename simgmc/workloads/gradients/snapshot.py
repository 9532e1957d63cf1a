"""All that a module can reach and change, and how it stands.

Also what it has in common with its copies: closures, objects at module level and attributes of classes.
"""

from __future__ import annotations

import dis
import functools
import random
import types
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LIBRARIES = ("torch.", "numpy.", "builtins.", "simgmc.", "transformers.", "torchvision.", "timm.")
"""Packages whose code and module-level objects are not looked at."""
OWN = ("_parameters", "_buffers", "_modules", "training")
"""Attributes of every module that are looked at as what they are, not as plain attributes."""


class Snapshot:
    """All that a module can reach and change in a pass, apart from its buffers' and parameters' values.

    ``units``: which attribute (module, name) a path belongs to; None for what all copies share. ``objects``: all that
    were met, once each, with their path.
    """

    def __init__(self, module: nn.Module | None = None):
        self.tokens: dict[str, Any] = {}
        self.units: dict[str, tuple[str, str] | None] = {}
        self.objects: list[tuple[str, Any]] = []
        self._met: set[int] = set()
        self._kinds: set[type] = set()
        if module is None:
            return
        parts = dict(module.named_modules())
        self._met |= {id(part) for part in parts.values()}
        self._kinds.update(map(type, parts.values()))
        for name, part in parts.items():
            self.tokens[joined(name, "training")] = part.training
            self.units[joined(name, "training")] = (name, "training")
            for tensor in (*part._parameters.values(), *part._buffers.values()):
                if tensor is not None:
                    self._met.add(id(tensor))
                    self.objects.append((name, tensor))
            for key, value in vars(part).items():
                if key not in OWN:
                    self.look(joined(name, key), value, (name, key))
        self.look_around()

    def changed(self, after: Snapshot) -> list[str]:
        """Paths that differ, the attribute's alone where it has several."""
        missing = object()
        return [
            path
            for path in dict.fromkeys((*self.tokens, *after.tokens))
            if self.tokens.get(path, missing) != after.tokens.get(path, missing)
        ]

    def look(self, path: str, value: Any, unit: tuple[str, str] | None) -> None:
        """Note a value and all that it holds; what functions read at module level is nobody's own."""
        waiting = deque([(path, value, unit)])
        while waiting:
            path, value, unit = waiting.popleft()
            parts = self._note(path, value, unit)
            waiting.extend((inner, one, unit) for inner, one in parts)
            if parts and isinstance(value, types.FunctionType) and not of_a_library(value.__module__ or ""):
                waiting.extend((f"{name} of {value.__module__}", one, None) for name, one in _globals_of(value))

    def look_around(self) -> None:
        """Note what all objects of the user's classes met so far have in common: the classes' attributes, and what
        their methods read."""
        looked: set[type] = set()
        while more := self._kinds - looked:
            looked |= more
            for path, value in read_by(sorted(more, key=lambda kind: (kind.__module__, kind.__qualname__))):
                self.look(path, value, None)

    def _note(self, path: str, value: Any, unit: tuple[str, str] | None) -> Iterable[tuple[str, Any]]:
        """Note a value; what it holds, by path."""
        kind = type(value)
        self.units[path] = unit
        if kind in _SIMPLE:  # most of what a module holds is simple, or empty
            self.tokens[path] = kind, value
            return ()
        empty = kind in _CONTAINERS and not value
        self.tokens[path] = (kind, 0) if empty else token(value)
        if id(value) in self._met or isinstance(value, PLAIN):
            return ()
        self._met.add(id(value))
        self._kinds.add(kind)
        self.objects.append((path, value))
        if empty or isinstance(value, Tensor):
            return ()
        return parts_of(path, value)


def held_by_attributes(module: nn.Module) -> list[tuple[str, Any]]:
    """All objects that plain attributes of a module and of its parts hold, each once, with their path.

    But not recurrent layers' list of their parameters, nor what is no copy's own.
    """
    seen = Snapshot()
    seen._met |= {id(part) for part in module.modules()}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key not in OWN and not own_list(part, key):
                seen.look(joined(name, key), value, (name, key))
    return seen.objects


PLAIN = (
    type, type(None), bool, int, float, complex, str, bytes, types.ModuleType, types.CodeType,
    torch.dtype, torch.device,
)  # fmt: skip
_SIMPLE = frozenset((type(None), bool, int, str))
_CONTAINERS = frozenset((dict, OrderedDict, list, tuple, set))


def token(value: Any) -> Any:
    """What tells a value from what it was: itself where it is plain, else which object it is, and its version."""
    if isinstance(value, PLAIN):
        return type(value), repr(value) if isinstance(value, float) else value if _hashable(value) else id(value)
    if isinstance(value, Tensor):
        return Tensor, id(value), value._version if not value.is_inference() else 0
    if isinstance(value, np.ndarray):
        return np.ndarray, value.shape, repr(value) if value.dtype == object else zlib.crc32(value.tobytes())
    if isinstance(value, (dict, list, tuple, set, frozenset, deque)):
        return type(value), len(value)
    if isinstance(value, torch.Generator):
        return torch.Generator, bytes(value.get_state().numpy())
    if isinstance(value, np.random.Generator):
        return np.random.Generator, repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return np.random.RandomState, repr(value.get_state()[1:3]), value.get_state()[1].tobytes()
    if isinstance(value, random.Random):
        return random.Random, value.getstate()
    if isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools"):
        return type(value), object()  # whether it has moved on cannot be seen
    if isinstance(value, (types.MethodType, types.BuiltinMethodType)):
        return type(value), value.__name__  # made anew whenever it is asked for
    return type(value), id(value)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def parts_of(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r:.30}]", one) for key, one in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from ((f"{path}[{number}]", one) for number, one in enumerate(value))
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield f"{path}'s {name}", _content(cell)
        if value.__defaults__ or value.__kwdefaults__:
            yield f"{path}'s defaults", (value.__defaults__, value.__kwdefaults__)
    elif isinstance(value, types.MethodType):
        yield path, value.__func__
        yield path, value.__self__
    elif isinstance(value, types.BuiltinMethodType):
        yield path, value.__self__
    elif isinstance(value, functools.partial):
        yield path, (value.func, value.args, value.keywords)
    elif isinstance(value, nn.Module):
        yield from ((joined(path, key), one) for key, one in vars(value).items())
    elif not isinstance(value, np.ndarray) and not (type(value).__module__ or "").startswith("torch."):
        yield from ((f"{path}.{key}", one) for key, one in getattr(value, "__dict__", {}).items())
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for key in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, key) and not key.startswith("__"):
                    yield f"{path}.{key}", getattr(value, key)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def around(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What is no copy's own: attributes of the user's classes, and the module-level objects that their methods read."""
    yield from read_by(type(part) for part in module.modules())


def read_by(kinds: Iterable[type]) -> Iterator[tuple[str, Any]]:
    for kind in dict.fromkeys(base for one in kinds for base in one.__mro__):
        if kind.__module__ in ("typing", "abc") or of_a_library(kind.__module__):
            continue
        for name, value in list(vars(kind).items()):
            inner = unwrapped(value)
            if isinstance(inner, types.FunctionType):
                for key, one in _globals_of(inner):
                    yield f"{key} of {inner.__module__}", one
                yield from parts_of(f"{kind.__name__}.{name}", inner)
            elif not (name.startswith("__") and name.endswith("__")) and name != "_abc_impl":
                yield f"{kind.__name__}.{name}", value


def _globals_of(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Module-level objects that a function names, its inner functions too."""
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            value = function.__globals__[name]
            if not isinstance(value, (type, types.ModuleType)):
                yield name, value


@functools.lru_cache(maxsize=4096)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    names = [one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "STORE_GLOBAL")]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _global_names(constant)
    return tuple(dict.fromkeys(names))


def joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def own_list(part: nn.Module, name: str) -> bool:
    """Whether a recurrent layer keeps its parameters under that name, a second time."""
    return isinstance(part, nn.RNNBase) and name.startswith("_flat_weight")


def of_a_library(module: str) -> bool:
    """Whether a module of this name is not looked into."""
    return f"{module}.".startswith(LIBRARIES)


def unwrapped(value: Any) -> Any:
    """The function in a class's attribute."""
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    return value.fget if isinstance(value, property) else value
