"""What the user's code may do on a later minibatch than those that a route is proven on.

The instructions that the first minibatches execute are noted; those of ``forward``, and of all that it calls by name,
that they do not execute are read: attributes that they assign, containers that they change, random numbers that they
draw, and what depends on how numbers lie in memory. Code of libraries is not read.
"""

from __future__ import annotations

import contextlib
import dis
import sys
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from simgmc.workloads.gradients.snapshot import of_a_library, unwrapped

_DRAWS = {
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "bernoulli_",
    "multinomial", "normal_", "uniform_", "random_", "exponential_", "geometric_", "cauchy_", "log_normal_", "poisson",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout",
    "gumbel_softmax", "rrelu", "shuffle", "choice", "choices", "sample", "getrandbits", "randrange", "standard_normal",
    "permutation", "random", "manual_seed",
}  # fmt: skip
_CHANGES = {
    "append", "appendleft", "extend", "insert", "update", "add", "pop", "popleft", "popitem", "setdefault", "clear",
    "remove", "discard", "sort", "reverse", "add_", "mul_", "sub_", "div_", "copy_", "fill_", "zero_", "lerp_",
    "index_copy_", "index_add_", "scatter_", "setattr", "resize_",
}  # fmt: skip
_MEMORY = {
    "as_strided", "stride", "storage", "untyped_storage", "data_ptr", "storage_offset", "is_contiguous", "unsafe_view"
}  # fmt: skip
_LEARNS = {"backward", "requires_grad_", "step", "load_state_dict", "train", "eval", "register_forward_hook"}
"""Methods that change parameters, their gradients, or how a part works."""
_BY_NAME = {"setattr", "delattr", "vars", "__dict__", "__setattr__"}
_READS = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_NAME")
_CONTAINERS = (dict, list, set, deque, np.ndarray, Tensor)
_DROPOUT = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)

Executed = dict[types.CodeType, set[int]]
"""Where instructions that have been executed lie in their code."""


@dataclass
class Reading:
    """What instructions may do that have not been executed."""

    keeps: list[str] = field(default_factory=list)
    """Attributes that they may change."""
    shares: list[str] = field(default_factory=list)
    """What they may change or draw that all copies have in common, and parameters, of which a step tells the rest."""
    outside: list[str] = field(default_factory=list)
    """What of it is kept at module level or in a class."""
    frozen: list[str] = field(default_factory=list)
    """Parameters that they may change without their being trained."""
    views: bool = False
    """Whether they ask for a view, which some memory formats do not give."""


@contextlib.contextmanager
def watched(module: nn.Module) -> Iterator[Executed]:
    """Notes which instructions of the user's code run while it lasts; none where somebody else is watching."""
    executed: Executed = {}
    if sys.gettrace() is not None or all(of_a_library(type(part).__module__) for part in module.modules()):
        yield executed
        return

    def step(frame: types.FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            executed[frame.f_code].add(frame.f_lasti)
        return step

    def call(frame: types.FrameType, event: str, argument: Any) -> Any:
        if of_a_library(frame.f_globals.get("__name__", "")):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        executed.setdefault(frame.f_code, set())
        return step

    sys.settrace(call)
    try:
        yield executed
    finally:
        sys.settrace(None)


def unproven(module: nn.Module, executed: Executed) -> Reading:
    """What the module's code does in instructions that have not been executed; nothing where none has been."""
    found = Reading()
    for path, part in module.named_modules() if executed else ():
        if not of_a_library(type(part).__module__):
            for function in reached(type(part)):
                _look(function, path, part, executed, found)
    return found


def looks_at_memory(module: nn.Module) -> bool:
    """Whether the user's code asks how numbers lie in memory."""
    kinds = dict.fromkeys(type(part) for part in module.modules() if not of_a_library(type(part).__module__))
    return any(
        one.opname in _READS and one.argval in _MEMORY
        for kind in kinds for function in reached(kind) for one, _ in instructions(function.__code__)
    )  # fmt: skip


def reached(kind: type) -> Iterator[types.FunctionType]:
    """``forward`` of a class of the user's, the methods and properties that it names, and the functions."""
    waiting: list[Any] = [getattr(kind, "forward", None)]
    seen: set[types.CodeType] = set()
    while waiting:
        function = unwrapped(waiting.pop())
        if not isinstance(function, types.FunctionType) or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        waiting.append(getattr(function, "__wrapped__", None))
        if of_a_library(function.__module__ or ""):
            continue
        yield function
        for one, _ in instructions(function.__code__):
            if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                waiting.append(function.__globals__.get(one.argval))
            elif one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                waiting.extend(vars(base).get(one.argval) for base in kind.__mro__)  # super() may ask for any


def instructions(code: types.CodeType) -> Iterator[tuple[dis.Instruction, types.CodeType]]:
    """Those of a function and of the functions in it, with the code that they are of."""
    for one in dis.get_instructions(code):
        yield one, code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from instructions(constant)


def _in_place(one: dis.Instruction) -> bool:
    """Whether it names a method that changes a tensor in place."""
    return one.opname in _READS and isinstance(one.argval, str) and one.argval.strip("_") + "_" == one.argval


def _of_the_users(value: Any) -> bool:
    """Whether it is an object with a state, of a class that is no library's."""
    return hasattr(value, "__dict__") and not callable(value) and not of_a_library(type(value).__module__)


def _note_parameters(words: str, path: str, part: nn.Module, found: Reading) -> None:
    found.shares.append(words)
    found.frozen += [
        f"{path}.{name}" if path else name for name, one in part.named_parameters() if not one.requires_grad
    ]


def _look(function: types.FunctionType, path: str, part: nn.Module, executed: Executed, found: Reading) -> None:
    name, kind = function.__qualname__.replace(".<locals>", ""), type(part)
    inside = {**part._parameters, **part._modules, **part._buffers}
    before: str | None = None
    steps = list(instructions(function.__code__))
    changing = any(
        (one.opname in ("STORE_SUBSCR", "DELETE_SUBSCR") or one.argval in _CHANGES or _in_place(one))
        and one.offset not in executed.get(code, ())
        for one, code in steps
    )
    parameters = {path_of.rpartition(".")[2] for path_of, _ in part.named_parameters()}
    for one, code in steps:
        own, before = before == "self", one.argval if isinstance(one.argval, str) else one.opname
        if one.offset in executed.get(code, ()):
            # what changes a container is another instruction than the one that reads it
            if not (changing and one.opname in _READS):
                continue
        elif one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found.outside.append(one.argval)
        elif one.opname in ("STORE_ATTR", "DELETE_ATTR") and one.argval in part._buffers:
            found.shares.append(f"{name} may change {one.argval}")
        elif one.opname in ("STORE_ATTR", "DELETE_ATTR"):
            found.keeps.append(f"{name} may change {one.argval}")
        elif one.opname in _READS and one.argval in _BY_NAME:
            found.keeps.append(f"{name} may change attributes ({one.argval})")
        elif one.opname in _READS and one.argval in _DRAWS and not own:
            found.shares.append(f"{name} may draw random numbers ({one.argval})")
        elif one.opname in _READS and one.argval in _LEARNS and function.__name__ not in ("train", "eval"):
            _note_parameters(f"{name} may call {one.argval}", path, part, found)
        elif one.opname in _READS and one.argval == "view":
            found.views = True
        elif isinstance(inside.get(one.argval), _DROPOUT) and one.opname in _READS and own:
            found.shares.append(f"{name} may draw random numbers ({one.argval})")
        if own and one.opname in _READS and one.offset not in executed.get(code, ()):
            if _of_the_users(vars(part).get(one.argval)):  # whose methods may do anything
                found.keeps.append(f"{name} may change {one.argval}")
        if not changing or one.opname not in _READS:
            continue
        if one.argval in parameters or one.argval in ("parameters", "named_parameters"):
            _note_parameters(f"{name} may change {one.argval}", path, part, found)
            continue
        if one.opname == "LOAD_GLOBAL":
            if isinstance(function.__globals__.get(one.argval), _CONTAINERS):
                found.outside.append(one.argval)
        elif not own:
            if any(isinstance(vars(inner).get(one.argval), _CONTAINERS) for inner in part.children()):
                found.keeps.append(f"{name} may change {one.argval}")
        elif one.argval not in inside:
            if isinstance(vars(part).get(one.argval), _CONTAINERS):
                found.keeps.append(f"{name} may change {one.argval}")
            elif isinstance(getattr(kind, one.argval, None), _CONTAINERS):
                found.outside.append(f"{kind.__name__}.{one.argval}")
