"""All workers' gradients in one call, on a CUDA device.

The forward and backward passes of all workers are captured once in a CUDA graph, every worker
on a branch of its own, and replayed at each step: small kernels of different workers fill the
device together and nothing is launched one by one from Python. Any ``nn.Module`` whose pass
does not wait for the device can be captured; others run on the same streams without a graph.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from simgmc.workloads.gradients.engine import Batch, one_pass
from simgmc.workloads.gradients.replicas import Replicas
from simgmc.workloads.losses.functions import Loss

STREAMS = 16
"""At most so many workers side by side."""
SHARE = 0.8
"""Of the free memory that their activations may take."""
WARM_UP = 3
"""Passes before a capture: libraries choose their kernels and workspaces in the first ones."""


def streams(workers: int, pass_bytes: int, device: torch.device) -> int:
    """How many workers' passes fit on the device side by side; the others wait for their stream."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(workers, STREAMS, int(SHARE * free // max(1, pass_bytes))))


class GraphEngine:
    """Routes ``cuda graph``, or ``cuda streams`` where the model cannot be captured.

    ``fallback`` then holds the reason, else None.
    """

    def __init__(
        self,
        replicas: Replicas,
        example: Batch,
        at_once: int,
        precision: str,
        loss: Loss,
        capture: bool = True,
    ):
        """``at_once``: workers whose activations are held side by side, each on a stream of its own."""
        self.replicas = replicas
        self.precision, self.loss = precision, loss
        self.route = "cuda graph" if capture else "cuda streams"
        self.fallback: str | None = None
        x, y = example.all()
        self.x, self.y = torch.empty_like(x), torch.empty_like(y)
        self.workers, self.device, dtype = len(x), x.device, replicas.initial.dtype  # x may be tokens
        self.out = torch.zeros(self.workers, replicas.layout.d, device=self.device, dtype=dtype)
        self.losses = torch.zeros(self.workers, device=self.device, dtype=dtype)
        self.streams = [torch.cuda.Stream(self.device) for _ in range(at_once)]
        # One memory for the graphs of both kinds of round: nothing in it outlasts a replay, and they never overlap.
        self.pool = torch.cuda.graph_pool_handle() if capture else None
        self._rounds: dict[bool, _Round] = {}
        self.x.copy_(x)
        self.y.copy_(y)
        if capture:
            self._round(shared=True)

    def gradients(self, at: Tensor, batch: Batch, out: Tensor, losses: Tensor) -> None:
        """Fill ``out`` (K, d) and ``losses`` (K,); ``at`` is (1, d) or (K, d)."""
        x, y = batch.all()
        self.x.copy_(x)
        self.y.copy_(y)
        self._round(shared=len(at) == 1).run(self, at)
        out.copy_(self.out)
        losses.copy_(self.losses)

    def gradient(self, worker: int, at: Tensor, batch: Batch, out: Tensor, loss: Tensor) -> None:
        """Fill ``out`` (d,) and ``loss`` () with one worker's gradient and loss at ``at`` (d,)."""
        parameters = self.replicas.parameter_set()
        parameters.load(at)
        module = self.replicas.bind(worker, parameters)
        absent = one_pass(module, parameters, *batch.worker(worker), out, loss, self.precision, self.loss)
        self.replicas.absent[worker] = absent

    def several(
        self, workers: Sequence[int], at: Tensor, batches: Sequence[Batch], out: Tensor, losses: Tensor
    ) -> None:
        """See :meth:`simgmc.workloads.gradients.engine.ReplicaEngine.several`."""
        with self.branches():
            for row, worker in enumerate(workers):
                with torch.cuda.stream(self.streams[row % len(self.streams)]):
                    self.gradient(worker, at[row], batches[row], out[row], losses[row])

    @contextlib.contextmanager
    def branches(self) -> Iterator[None]:
        """Lets the streams begin after what came before; what comes afterwards waits for them, also where something
        failed.
        """
        here = torch.cuda.current_stream()
        for stream in self.streams:
            stream.wait_stream(here)
        try:
            yield
        finally:
            for stream in self.streams:
                here.wait_stream(stream)

    def _round(self, shared: bool) -> _Round:
        if shared not in self._rounds:
            made = self._rounds[shared] = _Round(self, shared)
            if self.route == "cuda graph":
                try:
                    made.capture(self)
                except RuntimeError as error:
                    self.route, self.fallback = "cuda streams", _reason(error)
                    for one in self._rounds.values():
                        one.graph = None
        return self._rounds[shared]


class _Round:
    """One round of all workers, at a shared point or at one point each.

    It does not refer to its engine: the memory of both is free as soon as the engine is let go.
    """

    def __init__(self, engine: GraphEngine, shared: bool):
        self.points = engine.replicas.initial.repeat(1 if shared else engine.workers, 1)
        self.loaded = [engine.replicas.parameter_set() for _ in range(len(self.points))]
        # leaves of each worker's own, so that autograd keeps every branch on its own stream
        self.leaves = [self.loaded[0].alias() if shared else self.loaded[k] for k in range(engine.workers)]
        self.graph: torch.cuda.CUDAGraph | None = None

    def run(self, engine: GraphEngine, at: Tensor) -> None:
        """Compute all gradients at these points; the results lie in the engine's buffers."""
        self.points.copy_(at)
        if self.graph is None:
            self._compute(engine)
        else:
            self.graph.replay()

    def capture(self, engine: GraphEngine) -> None:
        """Raises RuntimeError where the model cannot be captured. It leaves no trace in the buffers."""
        buffers = engine.replicas.buffers
        kept = {name: rows.clone() for name, rows in buffers.items()}
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream(engine.device)
        aside.wait_stream(here)
        try:
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self._compute(engine)
                # A capture that fails leaves the allocator waiting for its end, so it is not begun where it would.
                with _waiting_refused():
                    self._compute(engine)
            here.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with (
                torch.cuda.stream(here),
                torch.cuda.graph(graph, pool=engine.pool),
            ):  # which would not leave its stream on failure
                self._compute(engine)
            self.graph = graph
        finally:
            torch.cuda.synchronize(engine.device)
            for name, rows in kept.items():
                buffers[name].copy_(rows)

    def _compute(self, engine: GraphEngine) -> None:
        for parameters, point in zip(self.loaded, self.points, strict=True):
            parameters.load(point)
        with engine.branches():
            for worker, leaves in enumerate(self.leaves):
                with torch.cuda.stream(engine.streams[worker % len(engine.streams)]):
                    engine.replicas.absent[worker] = one_pass(
                        engine.replicas.bind(worker, leaves),
                        leaves,
                        engine.x[worker],
                        engine.y[worker],
                        engine.out[worker],
                        engine.losses[worker],
                        engine.precision,
                        engine.loss,
                    )


@contextlib.contextmanager
def _waiting_refused() -> Iterator[None]:
    """As long as it lasts, an operation for which the host waits for the device raises RuntimeError."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: the end of a capture only says that something did."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
