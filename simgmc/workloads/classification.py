"""A training task: data, partition, model, and the gradients of all workers."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from simgmc.compression.rows import on_device
from simgmc.compression.threads import usable_cores
from simgmc.core.errors import SimgmcError
from simgmc.core.imports import guarded
from simgmc.core.layout import Layout
from simgmc.core.randomness import generator
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.minibatches import Minibatches, Samples, crop_draws
from simgmc.workloads.gradients.cuda import GraphEngine, streams
from simgmc.workloads.gradients.engine import (
    POOL_FLOPS,
    ReplicaEngine,
    cross_entropy,
    own_generator,
)
from simgmc.workloads.gradients.precision import autocast, check_precision, kernels
from simgmc.workloads.gradients.rehearsal import LiveTensors, PassMemory
from simgmc.workloads.gradients.replicas import Replicas
from simgmc.workloads.gradients.split import GROUP, SplitEngine, linear_stack
from simgmc.workloads.workload import Evaluation, PassBytes

T = TypeVar("T")

EVALUATION_BATCH = {"cpu": 250, "cuda": 2000}
"""Test samples that go through the model together: fixed, as sums round by it."""
EVALUATION_TOKENS = {"cpu": 8000, "cuda": 64000}
"""The same for text, where a sample is a block of tokens."""


class ClassificationWorkload:
    """All workers' stochastic gradients of the cross-entropy, for any ``nn.Module``.

    The loss is the mean cross-entropy over the model's last dimension: of samples, or of all the
    tokens in a batch of blocks. Workers weigh equally in whatever a method averages, also
    where a partition gives them different numbers of samples (as in the methods' papers).

    Attributes:
        workers: K.
        d: number of parameters; ``layout`` says where each tensor lies in the flat vector.
        device, dtype: of every tensor that goes in or comes out.
        batches_per_epoch: steps of all workers in which as many samples are drawn as the workers
            hold together; with unequal sizes some workers have then gone through theirs more often.
        at_once: workers whose activations are held at the same time; the others wait.
        route: how gradients are computed, a rule on the model and the device, never a timing:
            "split" (chains of linear layers), "pool", "loop" (small models, the same bits; models
            with dropout), "cuda graph", "cuda streams".
        fallback: why a CUDA graph could not be captured, else None.
    """

    components = 0
    """Training on data is no finite sum of fixed parts: minibatches are drawn, and augmented, anew."""

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        owned: Sequence[np.ndarray],
        *,
        batch: int,
        seed: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        augment: bool = False,
        threads: int | None = None,
        precision: str = "float32",
        route: str | None = None,
    ):
        """
        Args:
            model: maps (batch, *sample shape) to (batch, classes), or tokens (batch, block) to
                (batch, block, classes); copied, not changed. Buffers must be updated in place
                (as batch norm does).
            data: the training and test samples.
            owned: K arrays of indices into the training samples, from ``partition``.
            batch: samples per worker and gradient.
            seed: of the minibatches, the augmentation, and dropout.
            augment: random crop after padding by 4 and horizontal flip, for images.
            threads: of the pool on the CPU; all usable cores if None. Results do not depend on it.
            precision: of the products inside a gradient, see :data:`simgmc.workloads.gradients.precision.PRECISIONS`.
            route: another route than the rule's ("pool", "loop", "cuda streams"), to compare them.

        Raises:
            SimgmcError: no such device or precision on it, no images to augment, an empty worker, no parameters.
        """
        self.device, self.dtype, self.precision = _device(device), dtype, precision
        check_precision(precision, self.device)
        self.workers, self.batch, self.seed, self.augment = len(owned), batch, seed, augment
        self._minibatches = Minibatches(owned, batch, seed)
        if augment and len(data.sample_shape) != 3:
            raise SimgmcError(f"augmentation needs images (channels, height, width), samples have {data.sample_shape}")
        channels_last = any(isinstance(module, nn.Conv2d) for module in model.modules())
        self._train, self._test = (
            Samples(images, labels, data.mean, data.std, self.device, dtype, channels_last, data.tokens)
            for images, labels in (
                (data.train_images, data.train_labels),
                (data.test_images, data.test_labels),
            )
        )
        self._replicas = Replicas(model, self.workers, self.device, dtype, channels_last)
        self.layout: Layout = self._replicas.layout
        self.d = self.layout.d
        self.batches_per_epoch = sum(map(len, owned)) / (self.workers * batch)
        self._classes = data.classes
        self.flops, seeded, held = self._try_gradient()
        self._evaluated = self._replicas.parameter_set()
        self.threads = (threads or usable_cores()) if self.device.type == "cpu" else 1
        self._choose_engine(model, route, self.threads, seeded, held)

    @property
    def route(self) -> str:
        """How gradients are computed."""
        return self._engine.route

    @property
    def fallback(self) -> str | None:
        """Why the preferred route was not taken, else None."""
        return getattr(self._engine, "fallback", None)

    def initial_parameters(self) -> Tensor:
        """(d,): the parameters that the model came with."""
        return self._replicas.initial.clone()

    def gradients(self, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Every worker's gradient on its step-th minibatch, without weight decay.

        Args:
            at: (1, d), a point that all workers share, or (K, d).
            step: 0, 1, ...; (seed, step, worker) decides the minibatch.

        Returns:
            gradients (K, d) and the minibatches' mean losses (K,), in memory of their own.
        """
        if at.shape not in ((1, self.d), (self.workers, self.d)):
            raise ValueError(f"at has shape {tuple(at.shape)}, not (1, {self.d}) or ({self.workers}, {self.d})")
        out = torch.empty(self.workers, self.d, device=self.device, dtype=self.dtype)
        losses = torch.empty(self.workers, device=self.device, dtype=self.dtype)
        self._guarded(
            "its gradients failed", lambda: self._engine.gradients(at.detach(), _StepBatch(self, step), out, losses)
        )
        return out, losses

    def gradient(self, worker: int, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One worker's gradient (d,) and loss () on its step-th minibatch, at ``at`` (d,)."""
        if at.shape != (self.d,):
            raise ValueError(f"at has shape {tuple(at.shape)}, not ({self.d},)")
        out = torch.empty(self.d, device=self.device, dtype=self.dtype)
        loss = torch.empty((), device=self.device, dtype=self.dtype)
        self._guarded(
            "its gradient failed", lambda: self._engine.gradient(worker, at.detach(), _StepBatch(self, step), out, loss)
        )
        return out, loss

    def gradients_of(self, ranks: Sequence[int], at: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gradients (n, d) and losses (n,) of some workers, each at its own point and step.

        ``ranks``: n different workers; ``at`` (n, d). The same bits as :meth:`gradient` of each.
        """
        out = torch.empty(len(ranks), self.d, device=self.device, dtype=self.dtype)
        losses = torch.empty(len(ranks), device=self.device, dtype=self.dtype)
        batches = [_StepBatch(self, step) for step in steps]
        self._guarded(
            "its gradients failed", lambda: self._engine.several(list(ranks), at.detach(), batches, out, losses)
        )
        return out, losses

    def component_gradient(self, worker: int, at: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """There are none, see :attr:`components`."""
        raise NotImplementedError("training on data has no components")

    def evaluate(self, point: Tensor) -> Evaluation:
        """Loss and accuracy on the whole test set at ``point`` (d,).

        Running statistics are averaged over the workers; nothing of the training state changes.
        """
        self._evaluated.load(point.detach())
        module = self._replicas.bind_evaluation(self._evaluated)
        parts = torch.arange(len(self._test), device=self.device).split(self._evaluation_batch())
        sums = torch.zeros(len(parts), 2, dtype=torch.float64, device=self.device)

        def task(number: int) -> None:
            with torch.no_grad():
                x, y = self._test.take(parts[number])
                logits = self._fitting(module, x, y)
                sums[number, 0] = cross_entropy(logits, y, reduction="sum")
                sums[number, 1] = (logits.argmax(-1) == y).sum()

        with kernels("float32", self.device):
            self._guarded("its evaluation failed", lambda: self._evaluator.map(task, len(parts)))
        loss, right = (sums.sum(0) / self._test.labels.numel()).tolist()
        if self._test.labels.ndim == 1:
            return Evaluation(loss, right)
        return Evaluation(loss, right, {"bits_per_token": loss / math.log(2), "perplexity": math.exp(min(loss, 700))})

    @functools.cached_property
    def pass_bytes(self) -> PassBytes:
        """What the passes of one worker hold, counted on a gradient and on one batch of the test set.

        The training state is left as it was.
        """
        state, at = self.state_dict(), self.initial_parameters()
        out = torch.empty_like(at)
        batch = _StepBatch(self, 0)
        with PassMemory(self.device.type) as taken:
            x, _ = batch.worker(0)
        with PassMemory(self.device.type) as gradient:
            self._engine.gradient(0, at, batch, out, torch.empty((), device=self.device, dtype=self.dtype))
        self.load_state_dict(state)
        self._evaluated.load(self._replicas.initial)
        module = self._replicas.bind_evaluation(self._evaluated)
        with PassMemory(self.device.type) as evaluation, torch.no_grad():
            self._fitting(
                module,
                *self._test.take(torch.arange(min(self._evaluation_batch(), len(self._test)), device=self.device)),
            )
        return PassBytes(gradient.tensors, evaluation.tensors, taken.tensors, max(gradient.beside, evaluation.beside))

    def _evaluation_batch(self) -> int:
        if self._test.tokens:
            return max(1, EVALUATION_TOKENS[self.device.type] // self._test.shape[0])
        return EVALUATION_BATCH[self.device.type]

    def state_dict(self) -> dict[str, Tensor]:
        """What changes besides the parameters: every buffer as (K, ...), copied."""
        return {name: rows.clone() for name, rows in self._replicas.buffers.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a state from :meth:`state_dict`."""
        buffers = self._replicas.buffers
        if state.keys() != buffers.keys():
            raise SimgmcError(f"saved state holds {sorted(state)}, this model's buffers are {sorted(buffers)}")
        for name, rows in state.items():
            buffers[name].copy_(rows)

    def _choose_engine(self, model: nn.Module, route: str | None, threads: int, seeded: bool, held: int) -> None:
        layers = linear_stack(model) if self.precision == "float32" else None
        if self.device.type == "cuda":
            routes = ["loop"] if seeded else ["cuda graph", "cuda streams", "loop"]
        else:
            routes = ["loop"] if seeded or self.flops < POOL_FLOPS else ["pool", "loop"]
            routes = (["split"] if layers else []) + routes + (["pool"] if not seeded else [])
        chosen = route or routes[0]
        if chosen not in routes:
            raise SimgmcError(
                f"route {chosen!r} does not fit this model and device; possible: {', '.join(dict.fromkeys(routes))}"
            )
        if chosen == "split":
            self._engine = SplitEngine(layers, self.layout, threads)
            self.at_once = min(threads * GROUP, self.workers)
        elif chosen in ("pool", "loop"):
            self._engine = ReplicaEngine(self._replicas, chosen, threads, seeded, self.precision)
            self.at_once = min(self._engine.threads, self.workers)
        else:
            self.at_once = streams(self.workers, held, self.device)
            self._engine = GraphEngine(
                self._replicas, _StepBatch(self, 0), self.at_once, self.precision, capture=chosen == "cuda graph"
            )
        if isinstance(self._engine, ReplicaEngine):
            self._evaluator = self._engine
        else:
            evaluation = "pool" if self.device.type == "cpu" else "loop"
            self._evaluator = ReplicaEngine(self._replicas, evaluation, threads, seeded=False, precision="float32")

    def _try_gradient(self) -> tuple[int, bool, int]:
        """The operations of one gradient, whether the model draws random numbers in it (dropout), its bytes at once.

        Raises:
            SimgmcError: the model does not do what is asked of it; what and how is said.
        """
        module = self._replicas.evaluated.train()
        buffers = dict(module.named_buffers())
        x, y = self._train.take(torch.zeros(self.batch, dtype=torch.int64, device=self.device))
        counter = FlopCounterMode(display=False)
        with own_generator(self.device), torch.enable_grad():
            before = _generator_state(self.device)
            with counter, LiveTensors(self.device.type) as held:
                with autocast(self.precision, self.device):
                    logits = self._fitting(module, x, y)
                    if not logits.requires_grad:
                        raise SimgmcError(
                            f"{self._model}: its output does not depend on its parameters by differentiable operations"
                        )
                    loss = self._guarded("the cross-entropy of its output failed", lambda: cross_entropy(logits, y))
                # not autograd.grad, which the counter's hooks do not go with where a parametrisation takes parameters
                self._guarded("its backward pass failed", loss.backward)
            seeded = not torch.equal(before, _generator_state(self.device))
        module.zero_grad(set_to_none=True)
        for name, buffer in module.named_buffers():
            if buffer is not buffers.get(name):
                raise SimgmcError(
                    f"model {type(module).__name__} replaces its buffer {name!r} in forward; "
                    "it must update it in place, as batch norm does"
                )
        module.eval()
        return counter.get_total_flops(), seeded, held.peak

    @property
    def _model(self) -> str:
        return f"model {type(self._replicas.evaluated).__name__}"

    def _guarded(self, failed: str, task: Callable[[], T]) -> T:
        """What a pass through the model gives; its errors, if it is not ours, in one line."""
        return guarded(self._model, failed, task)

    def _fitting(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The model's output for one batch. Raises SimgmcError where it fails or does not fit the labels."""
        takes = f"a batch of shape {tuple(x.shape)} ({str(x.dtype).removeprefix('torch.')})"
        logits = self._guarded(f"does not take {takes}{'' if module.training else ' in evaluation'}", lambda: module(x))
        if not isinstance(logits, Tensor) or logits.shape[:-1] != y.shape or logits.shape[-1] < self._classes:
            gave = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise SimgmcError(
                f"{self._model} made of {takes} {gave}; needed are logits of shape {(*y.shape, self._classes)}"
            )
        return logits


class _StepBatch:
    """The minibatches of one step of a workload."""

    def __init__(self, workload: ClassificationWorkload, step: int):
        self._workload, self._step = workload, step
        self._crops = None
        if workload.augment:
            self._crops = self._on_device(crop_draws(workload.seed, step, workload.workers, workload.batch))

    def worker(self, worker: int) -> tuple[Tensor, Tensor]:
        index = self._workload._minibatches.indices(self._step, worker)
        crop = None if self._crops is None else self._crops[worker]
        return self._workload._train.take(self._on_device(index), crop)

    def all(self) -> tuple[Tensor, Tensor]:
        index = self._workload._minibatches.all_indices(self._step)
        return self._workload._train.take(self._on_device(index), self._crops)

    def seed(self, worker: int) -> int:
        key = generator(self._workload.seed, "dropout", self._step, worker)
        return int(key.integers(2**63))

    def _on_device(self, drawn: np.ndarray) -> Tensor:
        return on_device(drawn, self._workload.device)


def _generator_state(device: torch.device) -> Tensor:
    """Of every generator that a model on the device may draw from: the CPU's too."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state


def _device(name: str | torch.device) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SimgmcError("device cuda: there is no usable CUDA device; use --device cpu")
        # Without it cuBLAS, as cuDNN's recurrent layers use it, may add in another order each time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2")
    elif device.type != "cpu":
        raise SimgmcError(f"device {device.type!r} must be 'cpu' or 'cuda'")
    return device
