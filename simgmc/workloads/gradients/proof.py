"""A fast route proves itself before it is used: it is held against plain PyTorch on the first minibatch.

The reference is a plain pass on a private copy, and an evaluation, at a point beside the initial one, where a stale
copy of a parameter would show. A candidate must give every gradient, the loss, the buffers afterwards and the
evaluation, on one thread and on several, up to rounding. What a comparison of numbers can miss is looked for by
:mod:`simgmc.workloads.gradients.inspection`; where it finds something, no candidate is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.imports import described, guarded
from simgmc.core.layout import Layout
from simgmc.core.randomness import generator
from simgmc.workloads.data.inputs import contiguous
from simgmc.workloads.gradients import inspection
from simgmc.workloads.gradients.engine import Batch
from simgmc.workloads.gradients.live_memory import LiveTensors
from simgmc.workloads.gradients.plain import PrivateCopy
from simgmc.workloads.gradients.private_copy import Copier, Template
from simgmc.workloads.losses.functions import Loss
from simgmc.workloads.seeding import drawing_from, drawn_so_far

ROUNDING = 1e-4
"""Largest relative difference of a tensor that counts as rounding where a route adds in another order;"""
ROUNDING_OF_FORMATS = 2e-2
"""the same in channels-last memory: other convolution kernels, and here and there a ReLU that opens or closes."""

COARSE = {"float32": 0.0, "tf32": 2e-2, "bfloat16": 1e-1}
"""At least that much, in products of that precision."""


class Route(Protocol):
    """A way to compute gradients and evaluations that may be used if it gives what plain PyTorch gives."""

    name: str
    channels_last: bool

    def several(self, workers: Sequence[int], at: Tensor, out: Tensor, losses: Tensor) -> None:
        """Gradients and losses of workers at points (n, d), on their first minibatches."""

    def evaluate(self, point: Tensor, task: Callable[[nn.Module, int], None], count: int, alone: bool) -> None:
        """Do the tasks on a module in evaluation mode at the point, on one thread or on several."""

    def buffers(self) -> dict[str, Tensor]:
        """Every buffer as (K, ...), copied."""

    def restore(self, buffers: dict[str, Tensor]) -> None:
        """Put them back."""


@dataclass
class Reference:
    """What plain PyTorch gives on worker 0's first minibatch and on a few test samples."""

    precision: str
    point: Tensor
    gradient: Tensor
    loss: Tensor
    buffers: dict[str, Tensor]
    logits: list[Tensor]
    layout: Layout
    findings: inspection.Findings
    absent: tuple[int, ...]
    """Parameters that got no gradient."""
    units: list[tuple[str, str]]
    """Attributes (module, name) that a pass changes."""
    frozen: list[str]
    """Parameters that a pass changes without being trained."""
    loss_keeps: bool
    """Whether the loss is changed by a pass."""
    flops: int
    held: int
    """Bytes of its tensors at the worst moment."""

    def difference(self, route: Route, parts: Callable[[nn.Module, int], Tensor]) -> str | None:
        """Where a candidate differs from plain PyTorch beyond rounding, in words; None where it does not."""
        tolerance = ROUNDING_OF_FORMATS if route.channels_last else ROUNDING
        coarse = max(tolerance, COARSE[self.precision])
        for alone in (True, False):
            logits: list[Any] = [None] * len(self.logits)

            def task(module: nn.Module, number: int, into: list[Any] = logits) -> None:
                with torch.no_grad():
                    into[number] = parts(module, number)

            route.evaluate(self.point, task, len(logits), alone)
            if not all(_near(a, b, tolerance) for a, b in zip(logits, self.logits, strict=True)):
                return f"its evaluation differs on {'one thread' if alone else 'several threads'}"
        before = route.buffers()
        out, losses = torch.empty_like(self.gradient)[None], torch.empty_like(self.loss)[None]
        route.several([0], self.point[None], out, losses)
        if not _near(losses[0], self.loss, coarse):
            return "its loss differs"
        whole = float(self.gradient.norm())
        bounds = self.layout.offsets
        for name, start, end in zip(self.layout.names, bounds[:-1], bounds[1:], strict=True):
            if not _near(out[0, start:end], self.gradient[start:end], coarse, 1e-2 * coarse * whole):
                return f"its gradient of {name} differs"
        after = route.buffers()
        route.restore(before)
        for name, rows in after.items():
            if not _near(rows[0], self.buffers[name], coarse):
                return f"its buffer {name} differs afterwards"
        return None


def _near(found: Tensor, right: Tensor, tolerance: float, least: float = 0.0) -> bool:
    """Whether two tensors are the same up to rounding; NaN is near NaN."""
    if found.shape != right.shape or found.dtype != right.dtype:
        return False
    if not right.is_floating_point() and not right.is_complex():
        return torch.equal(found, right)
    missing = right.isnan()
    if not torch.equal(found.isnan(), missing):
        return False
    found, right = (one.masked_fill(missing, 0).to(torch.complex128).flatten() for one in (found, right))
    if torch.equal(found, right):
        return True
    return bool((found - right).norm() <= tolerance * right.norm() + least + 1e-12)


def beside(initial: Tensor) -> Tensor:
    """A point near the initial one, at which every parameter has another value; the same whenever it is asked for."""
    draws = torch.from_numpy(generator(0, "proof").uniform(-1, 1, len(initial))).to(initial)
    return initial + 0.01 * draws * (initial.abs() + 0.1)


def reference(
    template: Template,
    batch: Batch,
    test: Callable[[nn.Module, int], Tensor],
    count: int,
    forward: Callable[[nn.Module, Any, Any], Any],
    precision: str,
    criterion: Loss,
) -> Reference:
    """Plain passes on private copies, and what they tell of the module.

    Args:
        test: the output of a module in evaluation mode on part 0 .. ``count`` - 1 of some test samples.
        forward: the module's output for a minibatch (module, x, y), or SimgmcError where it does not fit.

    Raises:
        SimgmcError: the model does not do what is asked of it; what and how is said.
    """
    what, device = f"model {type(template.module).__name__}", template.initial.device
    findings, point = inspection.standing(template), beside(template.initial)
    copy, given = PrivateCopy(template.copy(), template.layout.names), criterion
    criterion = Copier()(given)
    losses = inspection.Snapshot()
    losses.look("loss", criterion, None)
    try:
        counted: Any = Operations(device.type)
        loss, state = _counted_pass(copy, point, batch, forward, precision, criterion, counted)
    except Exception as error:
        if out_of_memory(error):
            raise SimgmcError(f"{what}: its gradients failed: there is not enough memory for it") from error
        # Counting looks into every operation, which not every one bears: what fails without it is the model's own.
        copy, counted = PrivateCopy(template.copy(), template.layout.names), None
        criterion = Copier()(given)
        losses = inspection.Snapshot()
        losses.look("loss", criterion, None)
        loss, state = _counted_pass(copy, point, batch, forward, precision, criterion, counted)
    drawn, before, after, versions, held_buffers = state
    if inspection.reentrant(loss):
        findings.alone.append("re-entrant checkpointing")
    buffers = {name: buffer.detach().clone() for name, buffer in copy.module.named_buffers()}
    units = _note_state(findings, before, after)
    for name, buffer in copy.module.named_buffers():
        if held_buffers.get(name) is not buffer:
            findings.alone.append(f"buffer {name} is replaced in forward")
    frozen = []
    for name, parameter in copy.module.named_parameters():
        if name not in versions:
            raise SimgmcError(
                f"{what}: parameter {name} is made in forward: call the model on a batch before handing it over"
            )
        if parameter._version != versions[name]:
            findings.alone.append(f"parameter {name} is changed in forward")
            if not parameter.requires_grad:
                frozen.append(name)
    findings.alone += _drawn(drawn, "forward")
    now = inspection.Snapshot()
    now.look("loss", criterion, None)
    kept = losses.changed(now)
    findings.alone += [f"{path.replace('_function.', '')} changes in a pass" for path in kept[:3]]
    gradient = torch.empty_like(point)
    absent = copy.take_gradients(gradient)

    evaluated = PrivateCopy(template.copy(), template.layout.names)
    evaluated.module.eval()
    evaluated.load(point)
    before, logits = inspection.Snapshot(evaluated.module), []
    with drawing_from(0, device), torch.no_grad():
        drawn = drawn_so_far(device)
        for number in range(count):
            logits.append(test(evaluated.module, number))
        drawn = drawn, drawn_so_far(device)
    units += _note_state(findings, before, inspection.Snapshot(evaluated.module))
    findings.alone += _drawn(drawn, "evaluation")
    return Reference(
        precision, point, gradient, loss.detach(), buffers, logits, template.layout, findings, absent,
        list(dict.fromkeys(units)), frozen, bool(kept), counted.flops if counted else 0, counted.peak if counted else 0,
    )  # fmt: skip


def _counted_pass(
    copy: PrivateCopy,
    point: Tensor,
    batch: Batch,
    forward: Callable[[nn.Module, Any, Any], Any],
    precision: str,
    criterion: Loss,
    counter: Operations | None,
) -> tuple[Tensor, tuple[Any, ...]]:
    """Worker 0's first pass, and what there was before and after it."""
    what, device = f"model {type(copy.module).__name__}", point.device
    x, y = batch.worker(0)
    copy.load(point)
    versions = {name: parameter._version for name, parameter in copy.module.named_parameters()}
    held_buffers = dict(copy.module.named_buffers())
    before = inspection.Snapshot(copy.module)

    def output_of(module: nn.Module, x: Any, y: Any) -> Any:
        output = forward(module, x, y)
        if isinstance(output, Tensor) and not output.requires_grad:
            raise SimgmcError(f"{what}: its output does not depend on its parameters by differentiable operations")
        return output

    with drawing_from(batch.seed(0), device):
        drawn = drawn_so_far(device)
        if counter is None:
            loss = guarded(
                what, "its gradients failed", lambda: copy.pass_(contiguous(x), y, precision, criterion, output_of)
            )
        else:
            with counter:
                loss = copy.pass_(contiguous(x), y, precision, criterion, output_of)
        drawn = drawn, drawn_so_far(device)
    return loss, (drawn, before, inspection.Snapshot(copy.module), versions, held_buffers)


def _note_state(
    findings: inspection.Findings, before: inspection.Snapshot, after: inspection.Snapshot
) -> list[tuple[str, str]]:
    """Adds what has changed between two looks to the findings; the attributes that it belongs to."""
    changed = before.changed(after)
    units = [after.units.get(path, before.units.get(path)) for path in changed]
    shown = dict.fromkeys(".".join(filter(None, unit)) if unit else path for path, unit in zip(changed, units))
    findings.alone += [f"{name} changes in forward" for name in shown]
    return [unit for unit in units if unit is not None]


def _drawn(states: tuple[tuple[Any, ...], tuple[Any, ...]], where: str) -> Iterable[str]:
    return [f"random numbers in {where}"] if states[0] != states[1] else []


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


def proven(
    found: Reference, candidates: Iterable[Callable[[], Route]], parts: Callable[[nn.Module, int], Tensor]
) -> tuple[Route | None, list[str]]:
    """The first candidate that gives what plain PyTorch gives, and why those before it did not."""
    reasons: list[str] = []
    if found.findings:
        return None, found.findings.all()
    for make in candidates:
        name = "a fast route"
        try:
            route = make()
            name = route.name
            different = found.difference(route, parts)
        except Exception as error:
            if out_of_memory(error):
                raise
            different = described(error.__cause__ or error)
        if different is None:
            return route, reasons
        reasons.append(f"{name}: {different}")
    return None, reasons
