"""One model, K workers: parameters in a flat vector, running buffers of each worker's own."""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch._utils import _unflatten_dense_tensors

from simgmc.workloads.gradients.statistics import averaged
from simgmc.workloads.gradients.template import Template, trained

# On CUDA, at every pass: its parameters lie where each set of them has them.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk of memory")


class ParameterSet:
    """The parameters of a model at one point, as leaf tensors that a module can hold.

    Filled by copying, so that memory alignment and memory format (convolution weights
    channels-last, if asked for) do not depend on where the flat vector lies: same values, same bits.
    """

    def __init__(self, like: Sequence[Tensor], channels_last: bool):
        self.tensors = []
        for parameter in like:
            tensor = torch.empty_like(parameter, memory_format=torch.contiguous_format)
            if channels_last and tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self.tensors.append(nn.Parameter(tensor))
        self._like = tuple(like)

    def alias(self) -> ParameterSet:
        """Other leaf tensors with the same memory."""
        other = copy.copy(self)
        other.tensors = [nn.Parameter(tensor.detach()) for tensor in self.tensors]
        return other

    def load(self, point: Tensor) -> None:
        """Take the values of a flat vector (d,)."""
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, self.views(point))

    def views(self, vector: Tensor) -> tuple[Tensor, ...]:
        """The parts of a flat vector (d,), shaped as the parameters."""
        return _unflatten_dense_tensors(vector, self._like)


class _Watched:
    """The references by which a recurrent module notices other weights; on CUDA it would move those it
    notices to other memory, away from what is loaded into the set that they belong to."""

    def __init__(self, owner: nn.RNNBase):
        self._owner = owner

    def __setitem__(self, name: str, parameter: Tensor) -> None:
        self._owner._flat_weight_refs[self._owner._flat_weights_names.index(name)] = weakref.ref(parameter)


Holder = tuple[dict | list | _Watched, str | int, int]
"""Where a module keeps a parameter, under which key, and the parameter's number."""


class Replicas:
    """K copies of a module that share their parameters' values but not their buffers.

    ``buffers`` maps each buffer's name to a tensor (K, ...), of which every copy holds its own row:
    the running statistics of batch norm, updated in place by each worker's own batches.
    """

    def __init__(self, template: Template, workers: int, channels_last: bool):
        model, parameters = template.module, trained(template.module)
        self.layout, self.initial, self.channels_last = template.layout, template.initial, channels_last
        self._like = [p.detach() for p in parameters.values()]
        self.shares: Sequence[float] | None = None
        """What every worker weighs in averaged buffers."""
        self.absent: dict[int, tuple[int, ...]] = {}
        """Worker to the numbers of the parameters that got no gradient in its latest pass."""
        self.buffers = {
            name: buffer.detach().clone().unsqueeze(0).repeat(workers, *[1] * buffer.ndim)
            for name, buffer in model.named_buffers()
        }
        # a buffer that two modules hold has two places
        first = {id(buffer): name for name, buffer in model.named_buffers()}
        self._places = {
            path: first[id(buffer)]
            for path, buffer in model.named_buffers(remove_duplicate=False)
            if buffer is not None
        }
        number = {id(p): i for i, p in enumerate(parameters.values())}
        # a parameter used in two places (tied weights) has two owners
        self._owners = [
            (path, number[id(p)]) for path, p in model.named_parameters(remove_duplicate=False) if id(p) in number
        ]
        self._bound: list[ParameterSet | None] = [None] * workers
        self._template = template
        # Not all engines use them, and thousands of copies take seconds.
        self._modules: list[nn.Module | None] = [None] * workers
        self._holders: list[list[Holder]] = [[] for _ in range(workers)]
        self.evaluated = self._copy().eval()
        self._evaluated_holders = self._find_holders(self.evaluated)

    def _copy(self) -> nn.Module:
        # parameters are replaced when a copy is bound: no need for K copies of them
        return self._template.copy(kept=list(self._template.module.parameters()))

    def state_dict(self) -> dict[str, Tensor]:
        """Every buffer as (K, ...), copied."""
        return {name: rows.clone() for name, rows in self.buffers.items()}

    def evaluated_loss(self, worker: int | None = None) -> None:
        """None: no worker has a loss of its own."""
        return None

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state from :meth:`state_dict`."""
        for name, rows in state.items():
            self.buffers[name].copy_(rows)

    def parameter_set(self) -> ParameterSet:
        """A new set of parameters that the copies can hold."""
        return ParameterSet(self._like, self.channels_last)

    def module(self, worker: int) -> nn.Module:
        """The worker's module, which is made when it is first asked for."""
        module = self._modules[worker]
        if module is None:
            module = self._modules[worker] = self._copy()
            self._holders[worker] = self._find_holders(module)
            self._hold_buffers(module, {name: rows[worker] for name, rows in self.buffers.items()})
        return module

    def bind(self, worker: int, parameters: ParameterSet) -> nn.Module:
        """The worker's module, holding these parameters."""
        module = self.module(worker)
        if self._bound[worker] is not parameters:
            self._hold(self._holders[worker], parameters)
            self._bound[worker] = parameters
        return module

    def bind_evaluation(self, parameters: ParameterSet, worker: int | None = None) -> nn.Module:
        """A module in evaluation mode: these parameters, buffers of a worker or averaged over all.

        Buffers that cannot be averaged (counters, masks) are then those of worker 0.
        """
        self._hold(self._evaluated_holders, parameters)
        buffers = {name: rows[worker or 0].clone() for name, rows in self.buffers.items()}
        self._hold_buffers(self.evaluated, buffers | (averaged(self.buffers, self.shares) if worker is None else {}))
        return self.evaluated

    def _find_holders(self, module: nn.Module) -> list[Holder]:
        holders: list[Holder] = []
        for path, index in self._owners:
            parent, _, name = path.rpartition(".")
            owner = module.get_submodule(parent)
            holders.append((owner._parameters, name, index))
            if isinstance(owner, nn.RNNBase):  # which computes with a list of its own
                holders.append((owner._flat_weights, owner._flat_weights_names.index(name), index))
                holders.append((_Watched(owner), name, index))
        return holders

    @staticmethod
    def _hold(holders: Sequence[Holder], parameters: ParameterSet) -> None:
        for held, name, index in holders:
            held[name] = parameters.tensors[index]

    def _hold_buffers(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        for path, first in self._places.items():
            parent, _, name = path.rpartition(".")
            module.get_submodule(parent)._buffers[name] = tensors[first]
