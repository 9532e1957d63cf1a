"""All workers' gradients in one call, on the CPU.

A pool of threads computes one worker's gradient per task with one intra-op thread each, so no
operation is ever split between threads: the result has the same bits on any number of cores,
and no time goes into forking and joining around every small operation.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from simgmc.compression import threads
from simgmc.compression.threads import one_intraop_thread
from simgmc.workloads.data.inputs import call
from simgmc.workloads.gradients.precision import autocast, kernels
from simgmc.workloads.gradients.replicas import ParameterSet, Replicas
from simgmc.workloads.losses.functions import Loss

POOL_FLOPS = 20e6
"""Below this, handing a worker to another thread costs more than it gives (about a
millisecond per worker)."""


class Batch(Protocol):
    """One step's minibatches."""

    def worker(self, worker: int) -> tuple[Any, Any]:
        """Inputs (b, ...) and targets (b, ...) of one worker; tuples or dicts of several."""

    def each(self) -> Sequence[tuple[Any, Any]]:
        """The same of every worker, taken together where that is quicker."""

    def all(self) -> tuple[Tensor, Tensor]:
        """Inputs (K, b, ...) and targets (K, b, ...), of samples that are one array each."""

    def seed(self, worker: int) -> int:
        """For what a model draws while it computes (dropout), below 2^63."""


class Pool(threads.Pool):
    """Threads that compute gradients."""

    def __init__(self, threads: int):
        super().__init__(threads)
        # glibc returns freed memory to the system, and faults it in again page by page, above twice
        # the largest block freed so far: with this one it keeps what the next pass needs
        torch.empty(31 * 2**20, dtype=torch.uint8)


class ReplicaEngine:
    """One worker's forward and backward pass at a time per thread, any ``nn.Module``.

    Routes: ``pool`` (one worker per task), ``loop`` (in the calling thread, the same bits).
    """

    def __init__(self, replicas: Replicas, route: str, threads: int, precision: str, loss: Loss):
        self.replicas = replicas
        self.route = route
        self.threads = threads if route == "pool" else 1
        self._precision, self._loss = precision, loss
        self._shared = replicas.parameter_set()
        self._evaluated: ParameterSet | None = None
        self._free: queue.SimpleQueue = queue.SimpleQueue()
        self._pool = Pool(self.threads)

    def map(self, task: Callable[[int], None], count: int) -> None:
        """Do ``task(0)`` .. ``task(count - 1)``, in the pool if there is one."""
        one_intraop_thread()
        self._pool.map(task, count)

    def gradients(self, at: Tensor, batch: Batch, out: Tensor, losses: Tensor) -> None:
        """Fill ``out`` (K, d) and ``losses`` (K,) with every worker's gradient and loss.

        Args:
            at: (1, d), a point that all workers share, or (K, d).
        """
        # taken for all workers at once: cheaper than worker by worker in the threads
        taken = batch.each()
        rows, values = out.unbind(0), losses.unbind(0)

        def compute(worker: int, parameters: ParameterSet) -> None:
            self._gradient(worker, parameters, *taken[worker], rows[worker], values[worker])

        if len(at) == 1:
            self._shared.load(at[0])

            def task(worker: int) -> None:
                compute(worker, self._shared)

        else:

            def task(worker: int) -> None:
                with self._own_set(at[worker]) as parameters:
                    compute(worker, parameters)

        self.map(task, len(out))

    @contextlib.contextmanager
    def _own_set(self, at: Tensor):
        """A set of parameters at a point, for one thread."""
        try:
            parameters = self._free.get_nowait()
        except queue.Empty:
            parameters = self.replicas.parameter_set()
        try:
            parameters.load(at)
            yield parameters
        finally:
            self._free.put(parameters)

    def several(
        self, workers: Sequence[int], at: Tensor, batches: Sequence[Batch], out: Tensor, losses: Tensor
    ) -> None:
        """Fill ``out`` (n, d) and ``losses`` (n,) with the gradients of n workers, each at its own
        point of ``at`` (n, d) and on its own step's minibatch."""

        def task(row: int) -> None:
            worker, batch = workers[row], batches[row]
            with self._own_set(at[row]) as parameters:
                self._gradient(worker, parameters, *batch.worker(worker), out[row], losses[row])

        self.map(task, len(workers))

    def gradient(self, worker: int, at: Tensor, batch: Batch, out: Tensor, loss: Tensor) -> None:
        """Fill ``out`` (d,) and ``loss`` () with one worker's gradient and loss at ``at`` (d,)."""
        one_intraop_thread()
        self._shared.load(at)
        self._gradient(worker, self._shared, *batch.worker(worker), out, loss)

    def evaluate(
        self, point: Tensor, task: Callable[[nn.Module, int], None], count: int, worker: int | None = None
    ) -> None:
        """Do ``task(module, 0)`` .. ``task(module, count - 1)`` on one module at ``point``, which threads share.

        Its buffers are those of a worker, or averaged over all.
        """
        if self._evaluated is None:
            self._evaluated = self.replicas.parameter_set()
        self._evaluated.load(point)
        module = self.replicas.bind_evaluation(self._evaluated, worker)
        self.map(lambda number: task(module, number), count)

    def _gradient(
        self,
        worker: int,
        parameters: ParameterSet,
        x: Any,
        y: Any,
        out: Tensor,
        loss: Tensor,
    ) -> None:
        module = self.replicas.bind(worker, parameters)
        self.replicas.absent[worker] = one_pass(module, parameters, x, y, out, loss, self._precision, self._loss)


def dense(gradient: Tensor) -> Tensor:
    """A gradient as numbers for all of a parameter; those of some embeddings name only the rows that they have."""
    return gradient if gradient.layout is torch.strided else gradient.to_dense()


def one_pass(
    module: nn.Module,
    parameters: ParameterSet,
    x: Any,
    y: Any,
    out: Tensor,
    loss: Tensor,
    precision: str,
    criterion: Loss,
) -> tuple[int, ...]:
    """One minibatch forward and backward: fills ``out`` (d,) and ``loss`` (); the parameters without a gradient."""
    with kernels(precision, out.device), torch.enable_grad():
        with autocast(precision, out.device):
            value = criterion(call(module, x), y)
        grads = torch.autograd.grad(value, parameters.tensors, allow_unused=True)
    absent = tuple(number for number, one in enumerate(grads) if one is None)
    if absent:
        grads = [torch.zeros_like(p) if one is None else one for one, p in zip(grads, parameters.tensors, strict=True)]
    grads = [dense(one) for one in grads]
    with torch.no_grad():
        torch._foreach_copy_(parameters.views(out), grads)
        loss.copy_(value)
    return absent
