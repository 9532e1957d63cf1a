"""The user's module as every worker begins with it; what cannot be trained is refused here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.own_code.errors import guarded
from simgmc.workloads.gradients.conversion import converted
from simgmc.workloads.gradients.private_copy import Copier
from simgmc.workloads.gradients.snapshot import held_by_attributes


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
        derived: where attributes hold what was computed from parameters and is no view of them.
        notes: what a user should know of how the module is taken.
    """

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype):
        copier, name = Copier(), type(model).__name__
        _refuse_unmade(model, f"model {name}")
        self.module = guarded(f"model {name}", "copying it failed", lambda: copier(model))
        _refuse_shared(model, self.module, f"model {name}")
        self.shared = list(dict.fromkeys(copier.shared))
        computed = {id(one) for one in copier.derived}
        held = held_by_attributes(self.module) if computed else ()
        self.derived = [path for path, one in held if id(one) in computed]
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
        tensors = [*self.module.parameters(), *self.module.buffers()]
        if mine != {dtype} or any(tensor.device != device for tensor in tensors):
            self.module = converted(self.module, device, dtype, mine)


def module_names(module: nn.Module) -> dict[int, str]:
    """How modules are called in messages, by their ids: ``layer 1.0``, and the outermost by its class."""
    return {id(part): f"layer {path}" if path else type(part).__name__ for path, part in module.named_modules()}
