"""What plain PyTorch gives on the first minibatches and on test samples, and what is noticed of a module on the way.

Passes on private copies and an evaluation, at a point beside the initial one, where a stale copy of a parameter would
show.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.own_code.errors import guarded
from simgmc.core.randomness import generator
from simgmc.workloads.data.inputs import contiguous
from simgmc.workloads.gradients.engine import Batch
from simgmc.workloads.gradients.live_memory import LiveTensors
from simgmc.workloads.gradients.plain import PrivateCopy
from simgmc.workloads.gradients.private_copy import Copier
from simgmc.workloads.gradients.proof import inspection, source_code
from simgmc.workloads.gradients.proof.comparison import Pass, Reference
from simgmc.workloads.gradients.snapshot import Snapshot, held_by_attributes
from simgmc.workloads.gradients.template import Template
from simgmc.workloads.losses.functions import Loss
from simgmc.workloads.seeding import draw_from, drawing_from, drew

MINIBATCHES = 3
"""Whose gradients are compared: of worker 0 in the first two steps, of the last worker in the third."""
MOST_NUMBERS = 2**28
"""In the gradients that are kept to be compared; of larger models fewer are."""


PERIOD = 16_411
"""Draws that :func:`beside` uses again and again: a prime, so that no two rows of a matrix are moved alike."""


def beside(initial: Tensor) -> Tensor:
    """A point near the initial one, at which every parameter has another value; the same whenever it is asked for."""
    draws = torch.from_numpy(generator(0, "proof").uniform(-0.01, 0.01, min(len(initial), PERIOD))).to(initial)
    moved = initial.abs().add_(0.1)
    for part in moved.split(len(draws)):
        part.mul_(draws[: len(part)])
    return moved.add_(initial)


def reference(
    template: Template,
    batches: Callable[[int], Batch],
    workers: int,
    test: Callable[[nn.Module, int], Tensor],
    count: int,
    forward: Callable[[nn.Module, Any, Any], Any],
    precision: str,
    criterion: Loss,
) -> Reference:
    """Plain passes on private copies, and what they tell of the module.

    Args:
        batches: the minibatches of a step, of so many ``workers``.
        test: the output of a module in evaluation mode on part 0 .. ``count`` - 1 of some test samples.
        forward: the module's output for a minibatch (module, x, y), or SimgmcError where it does not fit.

    Raises:
        SimgmcError: the model does not do what is asked of it; what and how is said.
    """
    point = beside(template.initial)
    findings = inspection.standing(template)
    run = _PlainPasses(template, point, forward, precision, criterion, findings)
    enough = 2 if findings else min(MINIBATCHES, MOST_NUMBERS // len(point))
    further = [(0, 1, batches(1)), (workers - 1, 2, batches(2))][: max(1, enough - 1)]
    with drawing_from(0, run.device):
        counted = run.first(batches(0))
        # not watched before: libraries that a first pass imports would take many times longer
        with source_code.watched(template.module) as executed:
            run.more(further)
            run.look_back()
            logits = run.evaluation(test, count)
    unproven = source_code.unproven(template.module, executed)
    findings.reasons += unproven.keeps
    findings.alone += [*unproven.shares, *(f"forward may change {name}" for name in unproven.outside)]
    run.outside += unproven.outside
    run.frozen = list(dict.fromkeys([*run.frozen, *unproven.frozen]))
    return Reference(
        precision, point, run.passes, logits, template.layout, findings, run.absent,
        run.keeps or bool(unproven.keeps or unproven.shares), tuple(dict.fromkeys(run.outside)), run.frozen,
        run.loss_keeps, counted.flops if counted else 0, counted.peak if counted else 0,
        unproven.views or source_code.looks_at_memory(template.module),
    )  # fmt: skip


class _PlainPasses:
    """Plain passes on private copies, and what is noticed on the way."""

    def __init__(
        self,
        template: Template,
        point: Tensor,
        forward: Callable[[nn.Module, Any, Any], Any],
        precision: str,
        criterion: Loss,
        findings: inspection.Findings,
    ):
        self._template, self._point, self._forward, self._precision = template, point, forward, precision
        self._given, self._findings, self.device = criterion, findings, template.initial.device
        self._what = f"model {type(template.module).__name__}"
        self.passes: list[Pass] = []
        self.absent: tuple[int, ...] = ()
        self.keeps = False
        self.outside: list[str] = []
        self.frozen: list[str] = []
        self.loss_keeps = False
        self._copies: dict[int, _Copy] = {}

    def first(self, batch: Batch) -> Operations | None:
        """Worker 0's first pass, whose operations are counted where they bear it."""
        derived: dict[str, Tensor] = {}
        try:
            derived = self._differentiated()
            counter = Operations(self.device.type)
            loss = self._pass(0, batch, counter)
        except Exception as error:
            if out_of_memory(error):
                raise SimgmcError(f"{self._what}: its gradients failed: there is not enough memory for it") from error
            # Counting looks into every operation, which not every one bears: what fails without it is the model's own.
            self._copies.clear()
            counter, derived = None, {}
            loss = self._pass(0, batch, None)
        for path, tensor in derived.items():
            if tensor.grad is not None:
                raise SimgmcError(
                    f"{self._what}: {path} was computed from parameters when the model was made. It would stay as it "
                    "is while they train, and plain PyTorch fails in its second pass: compute it in forward (a view "
                    "of a parameter, such as weight.t(), may be kept)"
                )
            tensor.requires_grad_(False)
        if inspection.reentrant(loss):
            self._findings.alone.append("re-entrant checkpointing")
        self.absent = self._keep(0, 0, loss)
        return counter

    def _differentiated(self) -> dict[str, Tensor]:
        """What worker 0's module holds that was computed from parameters, made to tell whether a pass uses it so."""
        if not self._template.derived:
            return {}
        held = held_by_attributes(self._copy(0).model.module)
        found = {path: one for path, one in held if path in self._template.derived and one.is_floating_point()}
        return {path: one.requires_grad_() for path, one in found.items()}

    def more(self, further: Sequence[tuple[int, int, Batch]]) -> None:
        """Passes of (worker, step, minibatches)."""
        for worker, step, batch in further:
            self._keep(worker, step, self._pass(worker, batch, None))

    def look_back(self) -> None:
        """Note what all these passes have changed."""
        found = self._findings
        for copy in self._copies.values():
            self._note_parameters(copy.model, "forward")
            self._note_state(copy.before, Snapshot(copy.model.module))
            for name, buffer in copy.model.module.named_buffers():
                if copy.buffers.get(name) is not buffer:
                    found.alone.append(f"buffer {name} is replaced in forward")
            for name, _ in copy.model.module.named_parameters():
                if name not in copy.names:
                    raise SimgmcError(
                        f"{self._what}: parameter {name} is made in forward: call the model on a batch before handing "
                        "it over"
                    )
            now = _of_loss(copy.loss)
            kept = copy.of_loss.changed(now)
            self.loss_keeps |= any(now.units.get(path) for path in kept)
            self._note_outside(path for path in kept if now.units.get(path) is None)
            found.alone += [f"{path.replace('_function.', '')} changes in a pass" for path in kept[:3]]

    def evaluation(self, test: Callable[[nn.Module, int], Tensor], count: int) -> list[Tensor]:
        """The outputs for some test samples."""
        evaluated = PrivateCopy(self._template.copy(), self._template.layout.names)
        evaluated.load(self._point)
        self._findings.reasons += inspection.changed_by_evaluation_mode(evaluated.module)
        before = Snapshot(evaluated.module)
        values = None  # as loaded, unless this mode merges what it pleases
        if self._findings:
            values = {name: one.detach().clone() for name, one in evaluated.module.named_parameters()}
        with self._noting_draws("evaluation", 0), torch.no_grad():
            logits = [test(evaluated.module, number) for number in range(count)]
        self._note_state(before, Snapshot(evaluated.module))
        self._note_parameters(evaluated, "evaluation", values)
        return logits

    def _note_state(self, before: Snapshot, after: Snapshot) -> None:
        """Note what has changed between two looks."""
        for path in before.changed(after):
            unit = after.units.get(path, before.units.get(path))
            self._findings.alone.append(f"{'.'.join(filter(None, unit)) if unit else path} changes in forward")
            if unit is None:
                self._note_outside([path])
            else:
                self.keeps = True

    def _note_outside(self, paths: Iterable[str]) -> None:
        self.outside += [name for path in paths for name in re.findall(r"^[\w.]+", path)]

    def _note_parameters(self, copy: PrivateCopy, where: str, values: Mapping[str, Tensor] | None = None) -> None:
        """Note the parameters whose values are others than they were; ``parameter.data`` has no version."""
        if values is None:
            values = dict(self._template.module.named_parameters())
            values |= zip(self._template.layout.names, copy.views(self._point), strict=True)
        for name, parameter in copy.module.named_parameters():
            if name in values and not torch.equal(parameter, values[name]):
                self._findings.alone.append(f"parameter {name} is changed in {where}")
                if name not in self._template.layout.names:
                    self.frozen.append(name)

    def _pass(self, worker: int, batch: Batch, counter: Operations | None) -> Tensor:
        copy = self._copy(worker)
        x, y = batch.worker(worker)

        def output_of(module: nn.Module, x: Any, y: Any) -> Any:
            output = self._forward(module, x, y)
            if isinstance(output, Tensor) and not output.requires_grad:
                raise SimgmcError(
                    f"{self._what}: its output does not depend on its parameters by differentiable operations"
                )
            return output

        def run() -> Tensor:
            return copy.model.pass_(contiguous(x), y, self._precision, copy.loss, output_of)

        with self._noting_draws("forward", batch.seed(worker)):
            if counter is None:
                return guarded(self._what, "its gradients failed", run)
            with counter:
                return run()

    def _copy(self, worker: int) -> _Copy:
        if worker not in self._copies:
            self._copies[worker] = _Copy(self._template, self._point, self._given)
        return self._copies[worker]

    @contextlib.contextmanager
    def _noting_draws(self, where: str, seed: int) -> Iterator[None]:
        """Sets the generators by a seed; notes whether something has drawn from them."""
        draw_from(seed, self.device)
        yield
        if drew(seed, self.device):
            self._findings.alone.append(f"random numbers in {where}")

    def _keep(self, worker: int, step: int, loss: Tensor) -> tuple[int, ...]:
        """Keep what the latest pass gave; the parameters without a gradient."""
        copy, gradient = self._copies[worker].model, torch.empty_like(self._point)
        absent = copy.take_gradients(gradient)
        buffers = {name: buffer.detach().clone() for name, buffer in copy.module.named_buffers()}
        self.passes.append(Pass(worker, step, gradient, loss.detach(), buffers))
        return absent


class _Copy:
    """A worker's private copy, and how all was before its first pass."""

    def __init__(self, template: Template, point: Tensor, loss: Loss):
        self.model, self.loss = PrivateCopy(template.copy(), template.layout.names), Copier()(loss)
        self.of_loss = _of_loss(self.loss)
        self.model.load(point)
        module = self.model.module
        self.names = {name for name, _ in module.named_parameters()}
        self.buffers = dict(module.named_buffers())
        self.before = Snapshot(module)


def _of_loss(loss: Loss) -> Snapshot:
    seen = Snapshot()
    seen.look("loss", loss, ("", "loss"))
    seen.look_around()
    return seen


class Operations(LiveTensors):
    """Floating-point operations of products and convolutions while it lasts, and memory, without hooks on modules."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=result))
        return result
