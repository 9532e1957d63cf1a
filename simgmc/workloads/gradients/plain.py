"""The definition of right: call the module, call ``backward``, on a copy of the module that is the worker's alone.

Whatever a module does (hooks, closures, counters, parameters that it changes itself, several backward passes in one), a
worker's copy does it as the module would in plain PyTorch. All other routes are held against this one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._utils import _unflatten_dense_tensors

from simgmc.compression.threads import one_intraop_thread
from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.core.randomness import generator
from simgmc.workloads.data.inputs import call, contiguous
from simgmc.workloads.gradients.differences import counterparts, differing
from simgmc.workloads.gradients.engine import Batch, Pool, dense
from simgmc.workloads.gradients.held import OUTSIDE, Holder, InMemory, Outside, objects_of
from simgmc.workloads.gradients.precision import autocast, kernels
from simgmc.workloads.gradients.private_copy import Copier
from simgmc.workloads.gradients.snapshot import held_by_attributes
from simgmc.workloads.gradients.statistics import averaged
from simgmc.workloads.gradients.template import Template
from simgmc.workloads.losses.functions import Loss
from simgmc.workloads.seeding import drawing_from


class PrivateCopy:
    """One worker's module, with parameters and everything else of its own."""

    def __init__(self, module: nn.Module, names: Sequence[str]):
        """``names``: of the parameters that are trained; a pass may take others, or some of them, out of training."""
        self.module, self._names = module, tuple(names)
        found = dict(module.named_parameters())
        self.parameters = [found[name] for name in names]

    def load(self, point: Tensor) -> None:
        """Take the values of a flat vector (d,), in place: whoever holds a parameter sees them."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.views(point))

    def views(self, vector: Tensor) -> tuple[Tensor, ...]:
        """The parts of a flat vector (d,), shaped as the parameters."""
        return _unflatten_dense_tensors(vector, tuple(self.parameters))

    def at(self, point: Tensor) -> bool:
        """Whether the parameters still have the values of a flat vector (d,)."""
        return all(map(torch.equal, self.parameters, self.views(point)))

    def pass_(
        self, x: Any, y: Any, precision: str, criterion: Loss, forward: Callable[..., Any] | None = None
    ) -> Tensor:
        """One minibatch forward and backward; gradients lie in the parameters. Returns the loss ().

        ``forward(module, x, y)`` gives the output (the module's call, unless stated).
        """
        for parameter in self.parameters:
            parameter.grad = None
        what = f"model {type(self.module).__name__}"
        device = self.parameters[0].device
        with kernels(precision, device), torch.enable_grad():
            with autocast(precision, device):
                output = call(self.module, x) if forward is None else forward(self.module, x, y)
                loss = guarded(what, "the loss of its output failed", lambda: criterion(output, y))
            guarded(what, "its backward pass failed", loss.backward)
        now = dict(self.module.named_parameters())
        replaced = [name for name, one in zip(self._names, self.parameters, strict=True) if now.get(name) is not one]
        if replaced:
            raise SimgmcError(
                f"{what}: parameter {replaced[0]} is replaced in forward, and an optimizer would go on with the one "
                "that was there: change it in place, under torch.no_grad()"
            )
        return loss

    def take_gradients(self, out: Tensor) -> tuple[int, ...]:
        """Fill ``out`` (d,), zero where there is no gradient; the numbers of those parameters."""
        grads = [parameter.grad for parameter in self.parameters]
        with torch.no_grad():
            there = [torch.zeros_like(p) if one is None else dense(one) for one, p in zip(grads, self.parameters)]
            torch._foreach_copy_(self.views(out), there)
        for parameter in self.parameters:
            parameter.grad = None
        return tuple(number for number, one in enumerate(grads) if one is None)

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Take values of buffers, in place where the shape is the same."""
        for path, tensor in tensors.items():
            parent, _, name = path.rpartition(".")
            owner = self.module.get_submodule(parent)
            held = owner._buffers[name]
            if held is not None and held.shape == tensor.shape and held.dtype == tensor.dtype:
                with torch.no_grad():
                    held.copy_(tensor)
            else:
                owner._buffers[name] = tensor.detach().clone()


class PrivateCopies:
    """Every worker's copy, and what of it changes beside the parameters that are trained.

    ``keeps``: whether a pass may change attributes, ``outside``: what it may change that is no worker's own,
    ``frozen``: parameters that it may change without their being trained.
    """

    def __init__(
        self,
        template: Template,
        workers: int,
        keeps: bool = False,
        outside: Sequence[str] = (),
        frozen: Sequence[str] = (),
        loss: Loss | None = None,
    ):
        """``loss``: one that passes change, of which every worker has its own."""
        self.layout, self._frozen = template.layout, tuple(frozen)
        self._outside = Outside(tuple(outside)) if outside else None
        self._unused = template.copy() if keeps else None
        self._attributes = Holder(one for _, one in held_by_attributes(template.module) if keeps)
        self.copies = [PrivateCopy(template.copy(), self.layout.names) for _ in range(workers)]
        self.losses = None if loss is None else [Copier()(loss) for _ in range(workers)]
        self._of_loss = Holder(objects_of("loss", loss))
        self.initial = template.initial
        self.shares: Sequence[float] | None = None
        """What every worker weighs in averaged buffers."""
        self.absent: dict[int, tuple[int, ...]] = {}
        """Worker to the numbers of the parameters that got no gradient in its latest pass."""

    def state_dict(self) -> dict[str, Any]:
        """By name (K, ...), copied; lists of K where the workers' differ in shape, and of attributes."""
        of_each = [self._state(copy) for copy in self.copies]
        for one, loss in zip(of_each, self.losses or (), strict=False):
            one[LOSS] = self._of_loss.keep(loss)
        state: dict[str, Any] = {}
        for name in dict.fromkeys(name for one in of_each for name in one):
            rows = [one.get(name) for one in of_each]
            alike = all(isinstance(row, Tensor) and row.shape == rows[0].shape for row in rows)
            state[name] = torch.stack(rows) if alike else rows
        if self._outside is not None:
            state[OUTSIDE] = [self._outside] * len(self.copies)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`."""
        for worker, copy in enumerate(self.copies):
            mine = {name: rows[worker] for name, rows in state.items()}
            mine.pop(OUTSIDE, None)
            attributes, flags = mine.pop(ATTRIBUTES, None), mine.pop(FLAGS, None)
            if self.losses is not None:
                self.losses[worker] = self._of_loss.take(mine.pop(LOSS))
            frozen = {name: mine.pop(name) for name in self._frozen if name in mine}
            copy.put({name: tensor for name, tensor in mine.items() if tensor is not None})
            with torch.no_grad():
                for name, tensor in frozen.items():
                    copy.module.get_parameter(name).copy_(tensor)
            if attributes is not None:
                self._put_attributes(copy, attributes)
            if flags is not None:
                _put_flags(copy.module, *flags)

    def evaluated_loss(self, worker: int | None = None) -> Loss | None:
        """A copy of a worker's loss, without one of worker 0's, where each has its own."""
        return None if self.losses is None else Copier()(self.losses[worker or 0])

    def evaluation_copy(self, point: Tensor, worker: int | None = None) -> PrivateCopy:
        """A copy of a worker's module in evaluation mode; without one of worker 0's, buffers averaged over all.

        It is at ``point`` (d,) before it goes into that mode, as some modules merge or cache their weights then.
        """
        copy = PrivateCopy(Copier()(self.copies[worker or 0].module), self.layout.names)
        if worker is None:
            rows = self.state_dict().items()
            rows = {name: one for name, one in rows if isinstance(one, Tensor) and name not in self._frozen}
            copy.put(averaged(rows, self.shares))
        copy.load(point)
        copy.module.eval()
        return copy

    def _state(self, copy: PrivateCopy) -> dict[str, Any]:
        tensors = {name: buffer.detach().clone() for name, buffer in copy.module.named_buffers()}
        tensors |= {name: copy.module.get_parameter(name).detach().clone() for name in self._frozen}
        tensors[FLAGS] = _flags(copy.module)
        if self._unused is not None:
            changed = _attributes(copy.module, self._changed(copy))
            tensors[ATTRIBUTES] = self._attributes.keep(changed, copy.module)
        return tensors

    def _changed(self, copy: PrivateCopy) -> list[tuple[str, str]]:
        """Attributes (module, name) that passes have changed."""
        return [] if self._unused is None else differing(self._unused, copy.module)

    def _put_attributes(self, copy: PrivateCopy, kept: dict[str, Any] | InMemory) -> None:
        module, unused = copy.module, self._unused
        assert unused is not None
        as_it_began = Copier(instead=counterparts(unused, module))(_attributes(unused, self._changed(copy)))
        attributes: list[Attribute] = self._attributes.take(kept, module)
        for place, name, there, value in (*as_it_began, *attributes):
            held = vars(module.get_submodule(place))
            held.pop(name, None)
            if there:
                held[name] = value


Attribute = tuple[str, str, bool, Any]
"""Whose, its name, whether it is there, and its value."""


def _attributes(module: nn.Module, names: Sequence[tuple[str, str]]) -> list[Attribute]:
    held = [(place, name, vars(module.get_submodule(place))) for place, name in names]
    return [(place, name, name in of_all, of_all.get(name)) for place, name, of_all in held]


LOSS = "loss"
"""Under this name a worker's loss is part of its state, where it keeps something."""
ATTRIBUTES = "attributes outside buffers"
"""Under this name they are part of a state."""
FLAGS = "what is in training"
"""Under this name a state says which parts and parameters are: a pass may take some out for good."""


def _flags(module: nn.Module) -> tuple[list[bool], list[bool]]:
    return [one.training for one in module.modules()], [one.requires_grad for one in module.parameters()]


def _put_flags(module: nn.Module, parts: Sequence[bool], parameters: Sequence[bool]) -> None:
    for part, training in zip(module.modules(), parts, strict=True):
        part.training = training
    for parameter, trains in zip(module.parameters(), parameters, strict=True):
        parameter.requires_grad_(trains)


class PlainEngine:
    """The route ``plain``: every worker's pass on its own copy.

    ``alone``: one worker after the other, in the calling thread and in order, as there is something that they share.
    """

    route = "plain"
    channels_last = False

    def __init__(self, copies: PrivateCopies, threads: int, alone: bool, precision: str, seed: int, loss: Loss):
        """``seed``: of what a model draws in evaluation."""
        self.copies, self._alone, self._precision, self._seed, self._loss = copies, alone, precision, seed, loss
        self.threads = 1 if alone else threads
        self._pool = Pool(self.threads)

    def gradients(self, at: Tensor, batch: Batch, out: Tensor, losses: Tensor) -> None:
        """Fill ``out`` (K, d) and ``losses`` (K,); ``at`` is (1, d) or (K, d)."""
        taken, rows = batch.each(), at.expand(len(out), -1)

        def task(worker: int) -> None:
            self._gradient(worker, rows[worker], *taken[worker], batch, out[worker], losses[worker])

        self._map(task, len(out))

    def several(
        self, workers: Sequence[int], at: Tensor, batches: Sequence[Batch], out: Tensor, losses: Tensor
    ) -> None:
        """See :meth:`simgmc.workloads.gradients.engine.ReplicaEngine.several`."""
        self._map(lambda row: self.gradient(workers[row], at[row], batches[row], out[row], losses[row]), len(workers))

    def gradient(self, worker: int, at: Tensor, batch: Batch, out: Tensor, loss: Tensor) -> None:
        """Fill ``out`` (d,) and ``loss`` () with one worker's gradient and loss at ``at`` (d,)."""
        one_intraop_thread()
        self._gradient(worker, at, *batch.worker(worker), batch, out, loss)

    def evaluate(
        self, point: Tensor, task: Callable[[nn.Module, int], None], count: int, worker: int | None = None
    ) -> None:
        """See :meth:`simgmc.workloads.gradients.engine.ReplicaEngine.evaluate`; each thread has a copy of its own."""
        here = threading.local()
        first = self.copies.evaluation_copy(point, worker)
        copying = threading.Lock()

        def one(number: int) -> None:
            if self._alone:
                draws = generator(self._seed, "evaluation", number)
                with drawing_from(int(draws.integers(2**63)), point.device):
                    task(first.module, number)
                return
            if not hasattr(here, "module"):
                with copying:
                    here.module = Copier()(first.module)
            task(here.module, number)

        self._map(one, count)

    def _loss_of(self, worker: int) -> Loss:
        return self._loss if self.copies.losses is None else self.copies.losses[worker]

    def _map(self, task: Callable[[int], None], count: int) -> None:
        one_intraop_thread()
        self._pool.map(task, count)

    def _gradient(self, worker: int, at: Tensor, x: Any, y: Any, batch: Batch, out: Tensor, loss: Tensor) -> None:
        copy = self.copies.copies[worker]
        copy.load(at)
        with drawing_from(batch.seed(worker), out.device) if self._alone else contextlib.nullcontext():
            loss.copy_(copy.pass_(contiguous(x), y, self._precision, self._loss_of(worker)).detach())
        self.copies.absent[worker] = copy.take_gradients(out)
        if self._alone and not copy.at(at):  # rows that an embedding scales are scaled for good
            with torch.no_grad():
                torch._foreach_copy_(copy.views(at), copy.parameters)
