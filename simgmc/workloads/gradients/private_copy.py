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

import torch
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.own_code.errors import guarded

_ATOMIC = frozenset((
    type, type(None), type(Ellipsis), type(NotImplemented), bool, int, float, complex, str, bytes, range, property,
    types.ModuleType, types.CodeType, torch.dtype, torch.device, torch.layout, torch.memory_format,
))  # fmt: skip


class Copier:
    """Copies objects; what it has met before, it copies once.

    ``kept``: objects that the copies go on sharing; ``instead``: pairs of an object and what stands for it in copies.
    ``shared`` says which kinds of objects could not be copied and are shared as well.
    """

    def __init__(self, kept: Iterable[Any] = (), instead: Iterable[tuple[Any, Any]] = ()):
        self._memo: dict[int, Any] = {id(one): one for one in kept}
        self._memo |= {id(one): other for one, other in instead}
        self._alive: list[Any] = []
        self.shared: list[str] = []

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
        key = x.untyped_storage()._cdata
        if ("storage", key) not in self._memo:
            self._memo["storage", key] = x.untyped_storage().clone()
            self._alive.append(x)
        with torch.no_grad():
            made = torch.empty(0, dtype=x.dtype, device=x.device)
            made.set_(self._memo["storage", key], x.storage_offset(), x.size(), x.stride())
            if x.is_conj() or x.is_neg():
                made = (made.conj() if x.is_conj() else made._neg_view()).resolve_conj().resolve_neg()
        if isinstance(x, nn.Parameter):
            made = nn.Parameter(made, x.requires_grad)
        else:
            made.requires_grad_(x.requires_grad and x.is_leaf)  # a history is not copied
        self._memo[id(x)] = made
        for name, value in vars(x).items():
            made.__dict__[name] = self(value)
        if x.is_leaf:
            for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                if getattr(x, hooks, None):
                    setattr(made, hooks, self(getattr(x, hooks)))
        return made

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


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises where it is empty
    except ValueError:
        return False
    return True


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters to train, by name, each once."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _refuse_unmade(model: nn.Module, what: str) -> None:
    """Refuse modules that make their parameters when they see the first batch."""
    for name, one in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(one):
            raise SimgmcError(
                f"{what}: {name} is not made yet, its layer is lazy: call the model on a batch before handing it over, "
                "or state the layer's sizes"
            )


def _refuse_odd(parameters: dict[str, nn.Parameter], what: str) -> None:
    """Refuse parameters that are no real numbers in memory of their own."""
    sharing: dict[int, dict[str, Tensor]] = {}
    for name, one in parameters.items():
        if not one.is_floating_point():
            raise SimgmcError(
                f"{what}: parameter {name} is {str(one.dtype).removeprefix('torch.')}: only real numbers are trained "
                "(torch.view_as_real keeps complex ones as such)"
            )
        if one.layout is not torch.strided:
            raise SimgmcError(f"{what}: parameter {name} is sparse: only dense parameters are trained")
        sharing.setdefault(one.untyped_storage()._cdata, {})[name] = one
    for group in sharing.values():
        places: dict[str, Tensor] = {}
        for name, one in group.items() if len(group) > 1 else ():
            every = torch.arange(one.untyped_storage().nbytes() // one.itemsize)
            places[name] = every.as_strided(one.shape, one.stride(), one.storage_offset()).flatten()
            for other in places.keys() - {name}:
                if torch.isin(places[name], places[other]).any():
                    raise SimgmcError(
                        f"{what}: parameters {other} and {name} lie in the same memory; where they are to be one, give "
                        "both layers the same parameter"
                    )


def _refuse_shared(model: nn.Module, copied: nn.Module, what: str) -> None:
    """Refuse a copy that goes on using what is trained or changes, as a ``__deepcopy__`` of the user's may make it."""
    own = {id(one) for one in (*model.parameters(), *model.buffers())}
    for name, one in (*trained(copied).items(), *copied.named_buffers()):
        if id(one) in own:
            raise SimgmcError(f"{what}: {name} is not copied by copy.deepcopy: every worker needs one of its own")


class Template:
    """The user's module as every worker begins with it: on the device, in training mode; nothing ever runs it.

    Trained parameters are ``dtype``, and so is all that had their dtype; everything else (whole numbers, complex
    numbers, a frozen base of another precision) stays as it is. Parts that were put into evaluation mode stay in it.

    Attributes:
        layout: where each trained parameter lies in the flat vector.
        initial: (d,), their values.
        shared: kinds of objects that copies share, as they cannot be copied.
        notes: what a user should know of how the module is taken.
    """

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype):
        copier, name = Copier(), type(model).__name__
        _refuse_unmade(model, f"model {name}")
        self.module = guarded(f"model {name}", "copying it failed", lambda: copier(model))
        _refuse_shared(model, self.module, f"model {name}")
        self.shared = list(dict.fromkeys(copier.shared))
        self.notes: list[str] = []
        self._convert(device, dtype)
        asleep = [module for module in self.module.modules() if not module.training]
        whole = not self.module.training
        self.module.train()  # which a module may have in a version of its own
        self._leave_out(name)
        if whole:
            self.notes.append("the model was handed over in evaluation mode; it is trained in training mode")
        else:
            for module in asleep:
                module.training = False
        parameters = trained(self.module)
        if not sum(parameter.numel() for parameter in parameters.values()):
            raise SimgmcError(f"model {name} has no parameters to train")
        _refuse_odd(parameters, f"model {name}")
        self.layout = Layout(tuple(parameters), tuple(tuple(one.shape) for one in parameters.values()))
        self.initial = torch.cat([one.detach().reshape(-1) for one in parameters.values()])

    def _leave_out(self, name: str) -> None:
        """Do not train what a ``parameters`` of the model's own does not give to an optimizer."""
        given = {id(one) for one in self.module.parameters()}
        left_out = [key for key, one in trained(self.module).items() if id(one) not in given]
        for key in left_out:
            self.module.get_parameter(key).requires_grad_(False)
        if left_out:
            self.notes.append(f"parameters() of {name} leaves out {', '.join(left_out)}: not trained")

    def copy(self, kept: Iterable[Any] = ()) -> nn.Module:
        """A private copy that shares only what is ``kept``."""
        return Copier(kept)(self.module)

    def _convert(self, device: torch.device, dtype: torch.dtype) -> None:
        mine = {one.dtype for one in trained(self.module).values() if not one.is_complex()}
        others = sorted(str(one).removeprefix("torch.") for one in mine - {dtype, torch.float32})
        if others:
            self.notes.append(
                f"parameters given as {', '.join(others)} are trained as {str(dtype).removeprefix('torch.')}"
            )
        made: dict[int, tuple[Tensor, Tensor]] = {}  # a buffer of two modules stays one; the first is kept alive

        def convert(tensor: Tensor) -> Tensor:
            if id(tensor) not in made:
                made[id(tensor)] = tensor, tensor.to(device, dtype if tensor.dtype in mine else tensor.dtype)
            return made[id(tensor)][1]

        tensors = [*self.module.parameters(), *self.module.buffers()]
        if mine != {dtype} or any(tensor.device != device for tensor in tensors):
            self.module._apply(convert)


def module_names(module: nn.Module) -> dict[int, str]:
    """How modules are called in messages, by their ids: ``layer 1.0``, and the outermost by its class."""
    return {id(part): f"layer {path}" if path else type(part).__name__ for path, part in module.named_modules()}
