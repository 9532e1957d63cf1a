"""Streams, graphs and their rules without a GPU: what the engine asks of ``torch.cuda``, on the CPU.

Everything is computed at once, in the order in which it is launched. But every operation is
noted with its stream, and one that reads or overwrites what another stream writes, without having
waited for it, is refused, as on a device it would race. A capture writes operations down, a
replay computes them again; one for which the host waits is refused in a capture, and in
the debugging mode that is there to find it.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
_WRITTEN = ("running_mean", "running_var")
"""Arguments that an operation writes although its schema does not say so."""


class Stream:
    """Knows how far it has seen every stream to get."""

    def __init__(self, device: Any = None):
        self.seen: dict[Stream, int] = {self: 0}

    def wait_stream(self, other: Stream) -> None:
        for stream, time in other.seen.items():
            self.seen[stream] = max(self.seen.get(stream, 0), time)


class CUDAGraph:
    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def replay(self) -> None:
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, before in self.steps:
                made = func(*args, **kwargs)
                for old, new in zip(before, tree_leaves(made)):
                    if isinstance(old, Tensor):
                        old.copy_(new)


class PretendCUDA(TorchDispatchMode):
    """While it lasts, the parts of ``torch.cuda`` that engines use are these."""

    def __init__(self, monkeypatch: Any):
        super().__init__()
        self.current = Stream()
        self.captured: CUDAGraph | None = None
        self.captures = 0
        self.left_open = 0
        """Captures that ended in an error."""
        self._debugging = 0
        self._touched: dict[int, tuple[weakref.ref, list[tuple[int, int, Stream, int, bool]]]] = {}
        named = {
            "Stream": Stream, "CUDAGraph": CUDAGraph, "stream": self.on, "graph": self.capture,
            "current_stream": lambda device=None: self.current, "graph_pool_handle": lambda: (0, 1),
            "synchronize": self.synchronize, "get_sync_debug_mode": lambda: self._debugging,
            "set_sync_debug_mode": self.debug,
        }  # fmt: skip
        for name, part in named.items():
            monkeypatch.setattr(torch.cuda, name, part)
        monkeypatch.setattr(nn.RNNBase, "flatten_parameters", _moved)

    def debug(self, mode: int | str) -> None:
        self._debugging = {"default": 0, "error": 2}.get(mode, mode)

    def synchronize(self, device: Any = None) -> None:
        assert self.captured is None, "nothing waits in a capture"
        self._touched.clear()

    @contextlib.contextmanager
    def on(self, stream: Stream) -> Any:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def capture(self, graph: CUDAGraph, pool: Any = None) -> Any:
        self.synchronize()
        assert not self.left_open, "emptying the cache fails once a capture was left open"
        self.captures += 1
        before, self.current, self.captured = self.current, Stream(), graph
        try:
            yield
        except BaseException as error:  # its stream stays the current one
            self.left_open += 1
            raise RuntimeError("operation failed due to a previous error during capture") from error
        finally:
            self.captured = None
        self.current = before
        self.synchronize()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func._schema.name, kwargs or {}
        if name in _WAITING and (self.captured is not None or self._debugging == 2):
            raise RuntimeError("called a synchronizing CUDA operation")
        written = []
        for argument, value in zip(func._schema.arguments, args):
            if argument.name in _WRITTEN or (argument.alias_info is not None and argument.alias_info.is_write):
                written += [one for one in tree_leaves(value) if isinstance(one, Tensor)]
        result = func(*args, **kwargs)
        view = any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)
        if not view:
            self.current.seen[self.current] += 1
            for tensor in tree_leaves((args, kwargs)):
                self._touch(tensor, any(tensor is one for one in written), name)
            for tensor in tree_leaves(result):
                self._touch(tensor, True, name)
            if self.captured is not None:
                fresh = (
                    []
                    if written and func._schema.returns and func._schema.returns[0].alias_info
                    else tree_leaves(result)
                )
                self.captured.steps.append((func, args, kwargs, fresh))
        return result

    def _touch(self, tensor: Any, writes: bool, name: str) -> None:
        if not isinstance(tensor, Tensor) or not tensor.numel():
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._touched or self._touched[key][0]() is None:
            self._touched[key] = weakref.ref(storage), []
        extent = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride())) + 1
        first = tensor.storage_offset() * tensor.itemsize
        last = first + extent * tensor.itemsize
        touched = self._touched[key][1]
        for start, end, stream, time, wrote in touched:
            if start < last and first < end and (writes or wrote) and self.current.seen.get(stream, 0) < time:
                raise AssertionError(
                    f"{name} {'writes' if writes else 'reads'} what another stream {'writes' if wrote else 'reads'}"
                )
        touched[:] = [one for one in touched if one[:3] != (first, last, self.current) or one[4] != writes]
        touched.append((first, last, self.current, self.current.seen[self.current], writes))


def _moved(module: nn.RNNBase) -> None:
    """As cuDNN does: weights that a recurrent layer has not seen before go to other memory."""
    for weight in module._flat_weights:
        weight.data = weight.data.clone()
