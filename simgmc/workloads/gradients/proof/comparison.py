"""A fast route proves itself before it is used: it is held against plain PyTorch on the first minibatches.

A candidate must give every gradient, the loss, the buffers afterwards and the evaluation, on one thread and on several,
as plain passes do (:mod:`simgmc.workloads.gradients.proof.plain_passes`), up to rounding. What a comparison of numbers
can miss is looked for by :mod:`simgmc.workloads.gradients.proof.inspection`, and in code that these minibatches do not
run by :mod:`simgmc.workloads.gradients.proof.source_code`; where they find something, no candidate is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from simgmc.core.errors import out_of_memory
from simgmc.core.layout import Layout
from simgmc.core.own_code.errors import described
from simgmc.workloads.gradients.proof.inspection import Findings

ROUNDING = 1e-4
"""Largest relative difference of a tensor that counts as rounding where a route adds in another order;"""
ROUNDING_OF_FORMATS = 2e-2
"""the same in channels-last memory: other convolution kernels, and here and there a ReLU that opens or closes."""
COARSE = {"float32": 0.0, "tf32": 2e-2, "bfloat16": 1e-1}
"""At least that much, in products of that precision."""
TINY = 1e-12
"""What differs by no more than that, in all, is the same."""


class Route(Protocol):
    """A way to compute gradients and evaluations that may be used if it gives what plain PyTorch gives."""

    name: str
    channels_last: bool
    evaluation_threads: int

    def several(self, workers: Sequence[int], at: Tensor, step: int, out: Tensor, losses: Tensor) -> None:
        """Gradients and losses of workers at points (n, d), on their minibatches of that step."""

    def evaluate(self, point: Tensor, task: Callable[[nn.Module, int], None], count: int, alone: bool) -> None:
        """Do the tasks on a module in evaluation mode at the point, on one thread or on several."""

    def buffers(self) -> dict[str, Tensor]:
        """Every buffer as (K, ...), copied."""

    def restore(self, buffers: dict[str, Tensor]) -> None:
        """Put them back."""


@dataclass(frozen=True)
class Pass:
    """What plain PyTorch gives on a minibatch."""

    worker: int
    step: int
    gradient: Tensor
    loss: Tensor
    buffers: dict[str, Tensor]
    """Afterwards."""


@dataclass
class Reference:
    """What plain PyTorch gives on the first minibatches and on a few test samples."""

    precision: str
    point: Tensor
    passes: list[Pass]
    logits: list[Tensor]
    layout: Layout
    findings: Findings
    absent: tuple[int, ...]
    """Parameters that got no gradient."""
    keeps: bool
    """Whether a pass may change attributes."""
    outside: tuple[str, ...]
    """What a pass may change at module level or in classes, which all workers have in common."""
    frozen: list[str]
    """Parameters that a pass changes without being trained."""
    loss_keeps: bool
    """Whether the loss is changed by a pass."""
    flops: int
    held: int
    """Bytes of its tensors at the worst moment."""
    by_memory: bool
    """Whether the module's code looks at how numbers lie in memory: other formats are then not tried."""

    def difference(self, route: Route, parts: Callable[[nn.Module, int], Tensor]) -> str | None:
        """Where a candidate differs from plain PyTorch beyond rounding, in words; None where it does not."""
        tolerance = ROUNDING_OF_FORMATS if route.channels_last else ROUNDING
        coarse = max(tolerance, COARSE[self.precision])
        for alone in (True, False) if route.evaluation_threads > 1 else (True,):
            logits: list[Any] = [None] * len(self.logits)

            def task(module: nn.Module, number: int, into: list[Any] = logits) -> None:
                with torch.no_grad():
                    into[number] = parts(module, number)

            route.evaluate(self.point, task, len(logits), alone)
            if not all(_near(a, b, tolerance) for a, b in zip(logits, self.logits, strict=True)):
                return f"its evaluation differs on {'one thread' if alone else 'several threads'}"
        before = route.buffers()
        try:
            return next(filter(None, (self._pass_differs(one, route, coarse) for one in self.passes)), None)
        finally:
            route.restore(before)

    def _pass_differs(self, right: Pass, route: Route, tolerance: float) -> str | None:
        out, losses = torch.empty_like(right.gradient)[None], torch.empty_like(right.loss)[None]
        route.several([right.worker], self.point[None], right.step, out, losses)
        if not _near(losses[0], right.loss, tolerance):
            return "its loss differs"
        whole = float(right.gradient.norm())
        bounds = self.layout.offsets
        for name, start, end in zip(self.layout.names, bounds[:-1], bounds[1:], strict=True):
            if not _near(out[0, start:end], right.gradient[start:end], tolerance, 1e-2 * tolerance * whole):
                return f"its gradient of {name} differs"
        for name, rows in route.buffers().items():
            if not _near(rows[right.worker], right.buffers[name], tolerance):
                return f"its buffer {name} differs afterwards"
        return None


def _near(found: Tensor, right: Tensor, tolerance: float, least: float = 0.0) -> bool:
    """Whether two tensors are the same up to rounding; NaN is near NaN."""
    if found.shape != right.shape or found.dtype != right.dtype:
        return False
    if not right.is_floating_point() and not right.is_complex():
        return torch.equal(found, right)
    if right.dtype in (torch.float32, torch.float64):  # quick, and as good unless something is no number or too large
        apart, size = float(vector_norm(found - right)), float(vector_norm(right))
        if math.isfinite(apart) and math.isfinite(size):
            return apart <= tolerance * size + least + TINY
    missing = right.isnan()
    if not torch.equal(found.isnan(), missing):
        return False
    exact = torch.complex128 if right.is_complex() else torch.float64
    found, right = (one.masked_fill(missing, 0).to(exact).flatten() for one in (found, right))
    if torch.equal(found, right):
        return True
    apart, size = float(vector_norm(found - right)), float(vector_norm(right))
    return math.isfinite(apart) and apart <= tolerance * size + least + TINY


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
