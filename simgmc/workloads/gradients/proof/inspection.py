"""What a module has that comparing numbers on a few minibatches can miss.

Part of it is seen without running the module (hooks, replaced methods, parametrisations), part of it by looking at
everything that the module can reach before and after a pass (state outside buffers, also in closures, at module
level and in classes), and by looking at the generators and the graph of the pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from simgmc.core.errors import SimgmcError
from simgmc.workloads.gradients.private_copy import memory_of
from simgmc.workloads.gradients.snapshot import Snapshot, held_by_attributes, read_by
from simgmc.workloads.gradients.template import Template, module_names, trained

_PASS_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


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
    inside = {memory_of(one): name for name, one in (*module.named_buffers(), *trained(module).items())}
    for path, value in held_by_attributes(module):
        name = inside.get(memory_of(value))
        if name is not None:
            found.reasons.append(f"{name} is reached through {path} too")
            break
    found.alone += [f"holds {kind}, which cannot be copied" for kind in template.shared]
    return found


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
    for path, value in read_by([type(function)]):
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
