"""All workers' gradients of a stack of linear layers, in one batched pass.

For such models a worker's own pass is mostly overhead. Here every worker's samples go through
the layers together; only the weight gradients are formed worker by worker, as one batched
matrix product per layer, written where they belong in the (K, d) result.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simgmc.compression.threads import one_intraop_thread
from simgmc.core.layout import Layout
from simgmc.workloads.gradients.engine import Batch, Pool

ELEMENTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
)
GROUP = 4
"""Workers that go through the layers together: fixed, so that the shapes of the matrix products
(and so the bits) do not depend on the number of threads, which take one group each."""


def linear_stack(model: nn.Module, sample_shape: tuple[int, ...]) -> list[nn.Module] | None:
    """The layers of a model that is a chain of linear and elementwise layers on flat samples, else None."""
    layers, flat = _chain(model), len(sample_shape) == 1
    if layers is None:
        return None
    for layer in layers:
        if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
            flat = True
            continue
        if type(layer) is nn.Linear and not flat:  # works on the last dimension alone
            return None
        if type(layer) is not nn.Linear and type(layer) not in ELEMENTWISE:
            return None
        if not all(p.requires_grad for p in layer.parameters()):
            return None
    parameters = [p for layer in layers for p in layer.parameters()]
    tied = len({id(p) for p in parameters}) < len(parameters)
    return None if tied or not parameters else layers


def _chain(model: nn.Module) -> list[nn.Module] | None:
    """The layers of a sequence, those of sequences in it one by one; None for another module."""
    if type(model) is not nn.Sequential:
        return None
    inner = [_chain(module) if type(module) is nn.Sequential else [module] for module in model]
    return [layer for layers in inner for layer in layers]


class _Linear(torch.autograd.Function):
    """x (G, b, in) through weights (1 or G, out, in); the weight gradients go straight to ``out``."""

    @staticmethod
    def forward(ctx, x, weight, bias, weight_out, bias_out):
        ctx.save_for_backward(x, weight)
        ctx.out = weight_out, bias_out
        if len(weight) == 1:
            return F.linear(x, weight[0], None if bias is None else bias[0])
        y = x @ weight.transpose(1, 2)
        return y if bias is None else y.add_(bias.unsqueeze(1))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        weight_out, bias_out = ctx.out
        torch.bmm(grad.transpose(1, 2), x, out=weight_out)
        if bias_out is not None:
            torch.sum(grad, 1, out=bias_out)
        if not ctx.needs_input_grad[0]:
            return (None,) * 5
        back = grad @ (weight[0] if len(weight) == 1 else weight)
        return back, None, None, None, None


class SplitEngine:
    """The route ``split``: groups of workers through the layers, weight gradients split by worker."""

    route = "split"
    channels_last = False

    def __init__(self, layers: list[nn.Module], layout: Layout, threads: int):
        self.threads = threads
        self._layout = layout
        self._layers: list[tuple[Callable | None, int, bool]] = []
        number = 0
        for layer in layers:
            if isinstance(layer, nn.Linear):
                has_bias = layer.bias is not None
                self._layers.append((None, number, has_bias))
                number += 1 + has_bias
            elif not isinstance(layer, nn.Flatten):
                layer = copy.copy(layer)
                layer.inplace = False  # what it would write over belongs to the layer before, or is the batch
                self._layers.append((layer, 0, False))
        self._pool = Pool(threads)

    def gradients(self, at: Tensor, batch: Batch, out: Tensor, losses: Tensor) -> None:
        """Fill ``out`` (K, d) and ``losses`` (K,); ``at`` is (1, d) or (K, d)."""
        one_intraop_thread()
        at = aligned(at)
        x, y = batch.all()

        def task(number: int) -> None:
            group = slice(number * GROUP, (number + 1) * GROUP)
            here = at if len(at) == 1 else at[group]
            self._pass(here, x[group], y[group], out[group], losses[group])

        self._pool.map(task, -(-len(out) // GROUP))

    def several(
        self, workers: Sequence[int], at: Tensor, batches: Sequence[Batch], out: Tensor, losses: Tensor
    ) -> None:
        """See :meth:`simgmc.workloads.gradients.engine.ReplicaEngine.several`."""
        self._pool.map(
            lambda row: self.gradient(workers[row], at[row], batches[row], out[row], losses[row]), len(workers)
        )

    def gradient(self, worker: int, at: Tensor, batch: Batch, out: Tensor, loss: Tensor) -> None:
        """Fill ``out`` (d,) and ``loss`` () with one worker's gradient and loss at ``at`` (d,)."""
        one_intraop_thread()
        x, y = batch.worker(worker)
        self._pass(aligned(at[None]), x[None], y[None], out[None], loss[None])

    def _pass(self, at: Tensor, x: Tensor, y: Tensor, out: Tensor, losses: Tensor) -> None:
        with torch.enable_grad():
            h = x.flatten(2)
            for function, number, has_bias in self._layers:
                if function is not None:
                    h = function(h)
                    continue
                weight, weight_out = self._part(at, number), self._part(out, number)
                bias = bias_out = None
                if has_bias:
                    bias, bias_out = self._part(at, number + 1), self._part(out, number + 1)
                if not h.requires_grad:
                    h = h.detach()
                h = _Linear.apply(h, weight.requires_grad_(), bias, weight_out, bias_out)
            each = F.cross_entropy(h.flatten(0, 1), y.flatten(), reduction="none")
            value = each.view(y.shape).mean(1)
            value.sum().backward()
        losses.copy_(value.detach())

    def _part(self, rows: Tensor, number: int) -> Tensor:
        start, end = self._layout.offsets[number : number + 2]
        return rows.detach()[:, start:end].unflatten(1, self._layout.shapes[number])


def aligned(at: Tensor) -> Tensor:
    """The same rows, contiguous and starting on a cache line.

    Matrix kernels may take another path, and so round otherwise, on memory that is not aligned.
    """
    at = at.detach()
    return at if at.is_contiguous() and at.data_ptr() % 64 == 0 else at.contiguous().clone()
