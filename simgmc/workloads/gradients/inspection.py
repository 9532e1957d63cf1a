"""What a module has that comparing numbers on a few minibatches can miss.

Part of it is seen without running the module (hooks, replaced methods, parametrisations), part of it by looking at
everything that the module can reach before and after a pass (state outside buffers, also in closures, at module
level and in classes), and by looking at the generators and the graph of the pass.
"""

from __future__ import annotations

import dis
import functools
import random
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from simgmc.core.errors import SimgmcError
from simgmc.workloads.gradients.private_copy import Template, module_names
from simgmc.workloads.gradients.source_code import LIBRARIES, unwrapped

_PASS_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
OWN = ("_parameters", "_buffers", "_modules", "training")
"""Attributes of every module that are looked at as what they are, not as plain attributes."""


@dataclass
class Findings:
    """Why a module is taken the plain way: ``reasons``, and ``alone``, for which also only one thread may do it."""

    reasons: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.reasons or self.alone)

    def all(self) -> list[str]:
        """Every reason, once."""
        return list(dict.fromkeys((*self.reasons, *self.alone)))


def standing(template: Template) -> Findings:
    """What is seen without running the module."""
    found, module, script = Findings(), template.module, list[str]()
    names = module_names(module)
    for part in module.modules():
        where = names[id(part)]
        if isinstance(part, torch.jit.ScriptModule):
            script.append(f"{where} is compiled to TorchScript, which cannot be looked into")
            continue
        for kind in _PASS_HOOKS:
            if vars(part).get(kind):
                found.reasons.append(f"{kind.strip('_').removesuffix('s').replace('_', ' ')} on {where}")
        found.reasons += [
            f"{name} of {where} is replaced"
            for name, value in vars(part).items()
            if callable(value) and not isinstance(value, nn.Module) and callable(getattr(type(part), name, None))
        ]
        if parametrize.is_parametrized(part):
            found.reasons.append(f"parametrisation of {where}")
        if type(part).forward.__module__ != type(part).__module__ and type(part).__module__.startswith("torch.nn"):
            if not type(part).forward.__module__.startswith("torch."):
                found.reasons.append(f"forward of {type(part).__name__} is replaced")
    found.reasons += script[:1]
    if any(getattr(nn.modules.module, f"_global{kind}", None) for kind in _PASS_HOOKS):
        found.reasons.append("hook on all modules")
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            found.reasons.append(f"hook on parameter {name}")
    inside = {id(tensor): name for name, tensor in (*module.named_buffers(), *module.named_parameters())}
    for path, value in _reached(module):
        if id(value) in inside:
            found.reasons.append(f"{inside[id(value)]} is reached through {path} too")
            break
    found.alone += [f"holds {kind}, which cannot be copied" for kind in template.shared]
    return found


def _reached(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Tensors that plain attributes hold; but recurrent layers' list of their parameters, which replicas know of."""
    seen = Snapshot()
    seen._met |= {id(part) for part in module.modules()}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key not in OWN and not _own_list(part, key):
                seen.look(_joined(name, key) or key, value, (name, key))
    yield from ((path, value) for path, value in seen.tensors.items())


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


class Snapshot:
    """All that a module can reach and change in a pass, apart from its buffers' and parameters' values.

    ``units``: which attribute (module, name) a path belongs to; None for what all copies share.
    """

    def __init__(self, module: nn.Module | None = None):
        self.tokens: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self.units: dict[str, tuple[str, str] | None] = {}
        self._alive: list[Any] = []
        self._met: set[int] = set()
        if module is None:
            return
        parts = dict(module.named_modules())
        self._met |= {id(part) for part in parts.values()}
        for name, part in parts.items():
            self.tokens[_joined(name, "training")] = part.training
            self.units[_joined(name, "training")] = (name, "training")
            for tensor in (*part._parameters.values(), *part._buffers.values()):
                if tensor is not None:
                    self._met.add(id(tensor))
                    self._alive.append(tensor)
            for key, value in vars(part).items():
                if key not in OWN:
                    self.look(_joined(name, key), value, (name, key))
        for path, value in around(module):
            self.look(path, value, None)

    def changed(self, after: Snapshot) -> list[str]:
        """Paths that differ, the attribute's alone where it has several."""
        missing = object()
        return [
            path
            for path in dict.fromkeys((*self.tokens, *after.tokens))
            if self.tokens.get(path, missing) != after.tokens.get(path, missing)
        ]

    def look(self, path: str, value: Any, unit: tuple[str, str] | None) -> None:
        """Note a value and all that it holds."""
        waiting = deque([(path, value)])
        while waiting:
            path, value = waiting.popleft()
            self.units[path] = unit
            self.tokens[path] = token(value)
            if isinstance(value, _PLAIN):
                continue
            if id(value) in self._met:
                continue
            self._met.add(id(value))
            self._alive.append(value)
            if isinstance(value, Tensor):
                self.tensors[path] = value
                continue
            waiting.extend(_parts(path, value))


def differing(fresh: nn.Module, used: nn.Module) -> list[tuple[str, str]]:
    """Attributes (module, name) in which a module is another than a copy that no pass has used.

    Parameters, buffers and modes do not count. Where it cannot be told, as of iterators, an attribute differs.
    """
    parts = dict(used.named_modules())
    same = {(id(one), id(other)) for one, other in counterparts(fresh, used)}
    found: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    missing = object()
    for path, one in fresh.named_modules():
        before, now = vars(one), vars(parts.get(path, one))
        for key in dict.fromkeys((*before, *now)):
            if key not in OWN and not _own_list(one, key):
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
        return {id(one) for one in seen._alive}

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


def _own_list(part: nn.Module, name: str) -> bool:
    """Whether a recurrent layer keeps its parameters under that name, a second time."""
    return isinstance(part, nn.RNNBase) and name.startswith("_flat_weight")


def _alike(one: Any, other: Any, same: set[tuple[int, int]]) -> bool:
    """Whether two values hold the same; ``same``: ids of those that are what they are to each other."""
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
        inside, others = list(_parts("", one)), list(_parts("", other))
        if [path for path, _ in inside] != [path for path, _ in others]:
            return False
        waiting += zip((value for _, value in inside), (value for _, value in others), strict=True)
    return True


_PLAIN = (
    type, type(None), bool, int, float, complex, str, bytes, types.ModuleType, types.CodeType,
    torch.dtype, torch.device,
)  # fmt: skip

_VALUES = (*_PLAIN, np.ndarray, torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def token(value: Any) -> Any:
    """What tells a value from what it was: itself where it is plain, else which object it is, and its version."""
    if isinstance(value, _PLAIN):
        return type(value), repr(value) if isinstance(value, float) else value if _hashable(value) else id(value)
    if isinstance(value, Tensor):
        return Tensor, id(value), value._version if not value.is_inference() else 0
    if isinstance(value, np.ndarray):
        return np.ndarray, value.shape, value.tobytes() if value.dtype != object else repr(value)
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


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r:.30}]", one) for key, one in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from ((f"{path}[{number}]", one) for number, one in enumerate(value))
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield f"{path}'s {name}", _content(cell)
        if value.__defaults__ or value.__kwdefaults__:
            yield f"{path}'s defaults", (value.__defaults__, value.__kwdefaults__)
        if not (value.__module__ or "").startswith(LIBRARIES):
            yield from ((f"{name} of {value.__module__}", one) for name, one in _globals_of(value))
    elif isinstance(value, types.MethodType):
        yield path, value.__func__
        yield path, value.__self__
    elif isinstance(value, types.BuiltinMethodType):
        yield path, value.__self__
    elif isinstance(value, functools.partial):
        yield path, (value.func, value.args, value.keywords)
    elif isinstance(value, nn.Module):
        yield from ((_joined(path, key), one) for key, one in vars(value).items())
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
    yield from _read_by(type(part) for part in module.modules())


def _read_by(kinds: Iterable[type]) -> Iterator[tuple[str, Any]]:
    for kind in dict.fromkeys(base for one in kinds for base in one.__mro__):
        if kind.__module__ in ("builtins", "typing", "abc") or kind.__module__.startswith(LIBRARIES):
            continue
        for name, value in list(vars(kind).items()):
            inner = unwrapped(value)
            if isinstance(inner, types.FunctionType):
                for key, one in _globals_of(inner):
                    yield f"{key} of {inner.__module__}", one
                yield from _parts(f"{kind.__name__}.{name}", inner)
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


def changed_by_evaluation_mode(module: nn.Module) -> list[str]:
    """Puts a module into evaluation mode; what changes beside the mode, as where adapters are merged or caches filled.

    Looked for where a part has ``train`` or ``eval`` of its own.
    """
    if all(type(one).train is nn.Module.train and type(one).eval is nn.Module.eval for one in module.modules()):
        module.eval()
        return []
    before, tensors = Snapshot(module), {name: (one, one.detach().clone()) for name, one in _tensors(module)}
    module.eval()
    now = dict(_tensors(module))
    changed = before.changed(Snapshot(module)) + [
        name for name, (one, values) in tensors.items() if now.get(name) is not one or not torch.equal(one, values)
    ]
    return [f"{name} changes in evaluation mode" for name in changed if name.rpartition(".")[2] != "training"]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def refuse_holding_the_model(model: nn.Module, given: Any, what: str) -> None:
    """Refuse a loss or metric that reaches what is trained: workers train copies of it, of which it knows nothing.

    Raises SimgmcError that says by which way it does.
    """
    mine = {id(one) for one in model.parameters() if one.requires_grad}
    mine |= {id(part) for part in model.modules() if any(one.requires_grad for one in part.parameters())}
    seen = Snapshot()
    function = getattr(given, "_function", given)
    seen.look("it", function, None)
    for path, value in _read_by([type(function)]):
        seen.look(path, value, None)
    for path, found in seen.tokens.items():
        if len(found) > 1 and found[1] in mine:
            raise SimgmcError(
                f"{what}: reaches the model itself ({path}). Every worker trains a copy of its own, which it would not "
                "see: let the model return all that is needed, as a tuple or dict, which comes as the output"
            )


def reentrant(loss: Tensor) -> bool:
    """Whether the graph of a loss holds a checkpoint that calls ``backward`` within the backward pass."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CheckpointFunctionBackward":
            return True
        seen.add(node)
        waiting.extend(before for before, _ in node.next_functions)
    return False
