"""A training task: data, partition, model, and the gradients of all workers."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from simgmc.compression.rows import on_device
from simgmc.compression.threads import usable_cores
from simgmc.core.errors import SimgmcError
from simgmc.core.imports import guarded
from simgmc.core.layout import Layout
from simgmc.core.randomness import generator
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.minibatches import Minibatches, Samples, crop_draws
from simgmc.workloads.gradients.cuda import GraphEngine, streams
from simgmc.workloads.gradients.engine import POOL_FLOPS, ReplicaEngine
from simgmc.workloads.gradients.live_memory import PassMemory
from simgmc.workloads.gradients.plain import PlainEngine, PrivateCopies
from simgmc.workloads.gradients.precision import check_precision, kernels
from simgmc.workloads.gradients.private_copy import Template
from simgmc.workloads.gradients.proof import Reference, proven, reference
from simgmc.workloads.gradients.replicas import Replicas
from simgmc.workloads.gradients.split import GROUP, SplitEngine, linear_stack
from simgmc.workloads.losses.functions import CrossEntropy, Loss
from simgmc.workloads.metrics import Metric, metrics_of
from simgmc.workloads.workload import Evaluation, PassBytes

T = TypeVar("T")

EVALUATION_BATCH = {"cpu": 250, "cuda": 2000}
"""Test samples that go through the model together: fixed, as sums round by it."""
EVALUATION_TOKENS = {"cpu": 8000, "cuda": 64000}
"""The same for text, where a sample is a block of tokens."""


class ClassificationWorkload:
    """All workers' stochastic gradients of a loss, for any ``nn.Module``.

    The loss is a mean over a minibatch: unless stated the cross-entropy of samples, or of all the
    tokens in a batch of blocks. In whatever a method averages workers weigh equally (as in the methods' papers), or
    by their numbers of samples.

    Attributes:
        workers: K.
        d: number of parameters; ``layout`` says where each tensor lies in the flat vector.
        device, dtype: of every tensor that goes in or comes out.
        batches_per_epoch: steps of all workers in which as many samples are drawn as the workers
            hold together; with unequal sizes some workers have then gone through theirs more often.
        shares: what every worker's message weighs in an average, 1 in all; None where all weigh the same.
        at_once: workers whose activations are held at the same time; the others wait.
        route: how gradients are computed, a rule on the model and the device, never a timing: "split" (chains of
            linear layers), "pool", "loop" (small models, the same bits), "cuda graph", "cuda streams"; "plain" (a
            private copy of the model for every worker) where none of them gives what plain PyTorch gives.
        reasons: why faster routes were not taken; empty where the first was.
        notes: what a user should know of how the model is taken.
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
        loss: Loss | None = None,
        metric: Metric | None = None,
        by_samples: bool = False,
    ):
        """
        Args:
            model: maps (batch, *sample shape) to what the loss takes: (batch, classes) for class numbers, or
                tokens (batch, block) to (batch, block, classes); copied, not changed.
            data: the training and test samples.
            owned: K arrays of indices into the training samples, from ``partition``.
            batch: samples per worker and gradient.
            seed: of the minibatches, the augmentation, and dropout.
            augment: random crop after padding by 4 and horizontal flip, for images.
            threads: of the pool on the CPU; all usable cores if None. Results do not depend on it.
            precision: of the products inside a gradient, see :data:`simgmc.workloads.gradients.precision.PRECISIONS`.
            loss: the cross-entropy, if None.
            metric: what an evaluation gives beside loss and accuracy.
            by_samples: workers weigh n_k / n in averages, where they hold n_k of n samples.
            route: another route than the rule's ("plain", "pool", "loop", "cuda streams"), to compare them.

        Raises:
            SimgmcError: no such device or precision on it, no images to augment, an empty worker, no parameters.
        """
        self.device, self.dtype, self.precision = _device(device), dtype, precision
        check_precision(precision, self.device)
        self.workers, self.batch, self.seed, self.augment = len(owned), batch, seed, augment
        self._minibatches = Minibatches(owned, batch, seed)
        held = [len(piece) for piece in owned]
        self.shares = tuple(one / sum(held) for one in held) if by_samples and len(set(held)) > 1 else None
        if augment and len(data.sample_shape) != 3:
            raise SimgmcError(f"augmentation needs images (channels, height, width), samples have {data.sample_shape}")
        self._train, self._test = (
            Samples(images, labels, data.mean, data.std, self.device, dtype, False, data.tokens)
            for images, labels in (
                (data.train_images, data.train_labels),
                (data.test_images, data.test_labels),
            )
        )
        self._loss = (loss or CrossEntropy()).on(self.device, dtype)
        self._outputs = self._loss.outputs(data)
        self._metrics = metrics_of(data, self._loss, metric)
        self._template = Template(model, self.device, dtype)
        self._refuse_synchronised()
        self.layout: Layout = self._template.layout
        self.d = self.layout.d
        self.batches_per_epoch = sum(map(len, owned)) / (self.workers * batch)
        self.threads = (threads or usable_cores()) if self.device.type == "cpu" else 1
        self.reasons: list[str] = []
        self._choose_route(route)
        self.notes = self._template.notes + self._remarks() + self._of_statistics() + self._of_weights(held)

    @property
    def route(self) -> str:
        """How gradients are computed."""
        return self._engine.route

    @property
    def fallback(self) -> str | None:
        """Why the preferred route was not taken, else None."""
        return "; ".join(self.reasons) or None

    def absent(self, worker: int) -> tuple[int, ...]:
        """Numbers of the layout's tensors that got no gradient in the worker's latest pass (torch's ``None``)."""
        return self._holder.absent.get(worker, ())

    def initial_parameters(self) -> Tensor:
        """(d,): the parameters that the model came with."""
        return self._template.initial.clone()

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

    def evaluate(self, point: Tensor, worker: int | None = None) -> Evaluation:
        """Loss and accuracy on the whole test set at ``point`` (d,).

        Running statistics are those of a worker, or averaged over all (see
        :mod:`simgmc.workloads.gradients.statistics`); nothing of the training state changes.
        """
        parts = torch.arange(len(self._test), device=self.device).split(self._evaluation_batch())
        sums = torch.zeros(len(parts), 4, dtype=torch.float64, device=self.device)

        kept: list[list[Any]] = [[] for _ in parts]

        def task(module: nn.Module, number: int) -> None:
            with torch.no_grad():
                x, y = self._test.take(parts[number])
                output = self._fitting(module, x, y)
                sums[number, 0], sums[number, 1] = self._loss.total(output, y)
                right = self._loss.right(output, y)
                if right is not None:
                    sums[number, 2], sums[number, 3] = right
                kept[number] = [metric.part(self._loss, output, y) for metric in self._metrics]

        with kernels("float32", self.device):
            self._guarded(
                "its evaluation failed",
                lambda: self._evaluator.evaluate(point.detach(), task, len(parts), worker),
            )
        total, weight, right, answers = sums.sum(0).tolist()
        loss, accuracy = total / weight if weight else math.nan, right / answers if answers else None
        others = {
            metric.name: metric.value(loss, accuracy, of_each)
            for metric, of_each in zip(self._metrics, zip(*kept, strict=True), strict=True)
        }
        return Evaluation(loss, accuracy, {name: one for name, one in others.items() if one is not None})

    def minibatch_loss(self, point: Tensor, steps: Sequence[int]) -> float:
        """Loss at ``point`` (d,), in evaluation mode, of every worker's minibatch of a step of its own."""
        losses = torch.zeros(self.workers, dtype=torch.float64, device=self.device)

        def task(module: nn.Module, worker: int) -> None:
            with torch.no_grad():
                x, y = _StepBatch(self, steps[worker]).worker(worker)
                losses[worker] = self._loss(self._fitting(module, x, y), y)

        with kernels("float32", self.device):
            self._guarded("its evaluation failed", lambda: self._evaluator.evaluate(point.detach(), task, self.workers))
        return float(losses.mean() if self.shares is None else losses @ losses.new_tensor(self.shares))

    def model_state(self, point: Tensor) -> dict[str, Tensor]:
        """The module's ``state_dict`` at ``point`` (d,), running statistics averaged over all workers; copied."""
        found: dict[str, Any] = {}
        self._guarded(
            "its state_dict failed",
            lambda: self._evaluator.evaluate(point.detach(), lambda module, _: found.update(module.state_dict()), 1),
        )
        return {
            name: one.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, one in found.items()
            if isinstance(one, Tensor)
        }

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
        first = torch.arange(min(self._evaluation_batch(), len(self._test)), device=self.device)
        evaluation = PassMemory(self.device.type)

        def task(module: nn.Module, number: int) -> None:
            with evaluation, torch.no_grad():
                self._fitting(module, *self._test.take(first))

        self._evaluator.evaluate(at, task, 1)
        model = sum(one.nbytes for one in self.model_state(at).values())
        beside = max(gradient.beside, evaluation.beside)
        return PassBytes(gradient.tensors, evaluation.tensors, taken.tensors, model, beside)

    def _evaluation_batch(self) -> int:
        if self._test.tokens:
            return max(1, EVALUATION_TOKENS[self.device.type] // self._test.shape[0])
        return EVALUATION_BATCH[self.device.type]

    def state_dict(self) -> dict[str, Any]:
        """What changes besides the parameters: every buffer as (K, ...), copied; of some models lists of K values."""
        return self._holder.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`."""
        own = self._holder.state_dict()
        if state.keys() != own.keys():
            raise SimgmcError(f"saved state holds {sorted(state)}, this model's buffers are {sorted(own)}")
        self._holder.load_state_dict(state)

    def _refuse_synchronised(self) -> None:
        for name, part in self._template.module.named_modules():
            if isinstance(part, nn.SyncBatchNorm) and part.training and self.workers > 1:
                raise SimgmcError(
                    f"{self._model}: {name or 'it'} is SyncBatchNorm, which takes its statistics over all workers' "
                    "samples at every layer: that is not simulated. BatchNorm takes each worker's own, GroupNorm "
                    "needs none"
                )

    def _choose_route(self, wanted: str | None) -> None:
        """Takes the first route that proves itself, see :mod:`simgmc.workloads.gradients.proof`; else the plain one."""
        parts = torch.arange(min(max(4, self.batch), len(self._test)), device=self.device)
        parts = parts.split(max(2, -(-len(parts) // 2)))

        def test(module: nn.Module, number: int) -> Tensor:
            return _one_tensor(self._fitting(module, *self._test.take(parts[number])))

        found = reference(
            self._template, _StepBatch(self, 0), test, len(parts), self._fitting, self.precision, self._loss
        )
        self.flops = found.flops
        names = self._routes(found)
        chosen = [wanted] if wanted else names[:1]
        if chosen[0] not in names:
            raise SimgmcError(
                f"route {wanted!r} does not fit this model and device; possible: {', '.join(dict.fromkeys(names))}"
            )
        route, self.reasons = None, found.findings.all()
        if chosen[0] != "plain":
            route, self.reasons = proven(found, self._candidates(chosen[0], found), test)
        if route is not None:
            self._engine, self._evaluator, self._holder = route.engine, route.evaluator, route.replicas
            if getattr(route.engine, "fallback", None):
                self.reasons.append(f"no graph: {route.engine.fallback}")
            self.at_once = route.at_once
        else:
            if wanted not in (None, "plain"):
                raise SimgmcError(f"route {wanted!r} does not fit this model: {'; '.join(self.reasons)}")
            self._train.channels_last = self._test.channels_last = False
            self._holder = PrivateCopies(self._template, self.workers, found.units, found.frozen)
            threads = self.threads if found.flops >= POOL_FLOPS else 1
            self._engine = PlainEngine(
                self._holder, threads, bool(found.findings.alone), self.precision, self.seed, self._loss
            )
            self._evaluator = self._engine
            self.at_once = min(self._engine.threads, self.workers)
        self._holder.shares = self.shares
        self._holder.absent = dict.fromkeys(range(self.workers), found.absent)
        before = dict(self._template.module.named_buffers())
        self._moving = sum(
            after.numel()
            for name, after in found.buffers.items()
            if after.is_floating_point() and not (name in before and torch.equal(after, before[name]))
        )
        """Numbers in buffers that a pass changes."""

    def _routes(self, found: Reference) -> list[str]:
        """Routes that may be tried, the one to begin with first."""
        if found.findings:
            return ["plain"]
        if self.device.type == "cuda":
            return ["cuda graph", "cuda streams", "loop", "plain"]
        routes = ["loop", "pool"] if self.flops < POOL_FLOPS else ["pool", "loop"]
        return (["split"] if self._linear_layers() else []) + routes + ["plain"]

    def _linear_layers(self) -> list[nn.Module] | None:
        if self.precision != "float32" or not (isinstance(self._loss, CrossEntropy) and self._loss.plain):
            return None
        if self._test.labels.ndim > 1:
            return None
        return linear_stack(self._template.module, self._test.shape)

    def _candidates(self, first: str, found: Reference) -> Iterator[Callable[[], _FastRoute]]:
        """Ways to compute gradients by that route, in the order in which they are tried."""
        names = [first]
        if first == "split":
            names += [name for name in self._routes(found) if name in ("loop", "pool")][:1]
        convolutions = any(isinstance(module, nn.Conv2d) for module in self._template.module.modules())
        for name in names:
            for channels_last in (True, False) if convolutions else (False,):
                yield functools.partial(_FastRoute, self, name, channels_last, found.held)

    @property
    def _model(self) -> str:
        return f"model {type(self._template.module).__name__}"

    def _guarded(self, failed: str, task: Callable[[], T]) -> T:
        """What a pass through the model gives; its errors, if it is not ours, in one line."""
        return guarded(self._model, failed, task)

    def _fitting(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The model's output for one batch. Raises SimgmcError where it fails or does not fit the targets."""
        takes = f"a batch of shape {tuple(x.shape)} ({str(x.dtype).removeprefix('torch.')})"
        output = self._guarded(f"does not take {takes}{'' if module.training else ' in evaluation'}", lambda: module(x))
        needed = self._loss.needed(output, y, self._outputs)
        if needed:
            gave = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise SimgmcError(f"{self._model} made of {takes} {gave}; needed are {needed}")
        return output

    def _remarks(self) -> list[str]:
        """Parameters that training leaves as they are."""
        names = [self.layout.names[number] for number in self.absent(0)]
        if not names:
            return []
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        them = "it" if len(names) == 1 else "them"
        return [f"no gradient reaches {shown}: not trained, and weight decay leaves {them} alone"]

    def _of_statistics(self) -> list[str]:
        """How the workers' running statistics come together."""
        if not self._moving or self.workers == 1:
            return []
        return [
            f"running statistics ({self._moving} numbers) are each worker's own; for the evaluated model they are "
            "averaged, with the variance between workers; that costs no bytes"
        ]

    def _of_weights(self, held: list[int]) -> list[str]:
        """What unequal workers weigh."""
        if len(set(held)) == 1:
            return []
        sizes = f"workers hold {min(held)} to {max(held)} samples and "
        weights = "weigh by them in averages (a mixing or a server that takes one after the other weighs all equally)"
        lines = [sizes + ("all weigh the same" if self.shares is None else weights)]
        few = sum(one < self.batch for one in held)
        if few:
            lines.append(f"{few} of them hold less than a batch and take samples more than once in it")
        return lines


def _one_tensor(output: Any) -> Tensor:
    """An output, all of its tensors in one where there are several: to compare it with another."""
    if isinstance(output, Tensor):
        return output
    tensors = [one for one in tree_leaves(output) if isinstance(one, Tensor)]
    return torch.cat([one.flatten().to(torch.float64) for one in tensors]) if tensors else torch.empty(0)


class _FastRoute:
    """An engine with what it works on, and how it takes part in the proof."""

    def __init__(self, workload: ClassificationWorkload, name: str, channels_last: bool, held: int):
        self._workload, self.channels_last = workload, channels_last
        self.name = name + (", channels-last" if channels_last else "")
        template, workers, threads, device = workload._template, workload.workers, workload.threads, workload.device
        workload._train.channels_last = workload._test.channels_last = channels_last
        self.replicas = Replicas(template, workers, channels_last)
        if name == "split":
            self.engine = SplitEngine(workload._linear_layers(), workload.layout, threads)
            self.at_once = min(threads * GROUP, workers)
        elif name in ("pool", "loop"):
            self.engine = ReplicaEngine(self.replicas, name, threads, workload.precision, workload._loss)
            self.at_once = min(self.engine.threads, workers)
        else:
            self.at_once = streams(workers, held, device)
            self.engine = GraphEngine(
                self.replicas,
                _StepBatch(workload, 0),
                self.at_once,
                workload.precision,
                workload._loss,
                capture=name == "cuda graph",
            )
        self.evaluator = self.engine
        if not isinstance(self.engine, ReplicaEngine):
            evaluation = "pool" if device.type == "cpu" else "loop"
            self.evaluator = ReplicaEngine(self.replicas, evaluation, threads, "float32", workload._loss)

    def several(self, workers: Sequence[int], at: Tensor, out: Tensor, losses: Tensor) -> None:
        """See :class:`simgmc.workloads.gradients.proof.Route`."""
        batch = _StepBatch(self._workload, 0)
        if isinstance(self.engine, GraphEngine):  # which computes whole rounds
            every, each = (torch.empty(self._workload.workers, *one.shape[1:]).to(one) for one in (out, losses))
            self.engine.gradients(at[:1], batch, every, each)
            out.copy_(every[workers])
            losses.copy_(each[workers])
        else:
            self.engine.several(workers, at, [batch] * len(workers), out, losses)

    def evaluate(self, point: Tensor, task: Callable[[nn.Module, int], None], count: int, alone: bool) -> None:
        """See :class:`simgmc.workloads.gradients.proof.Route`."""
        with kernels("float32", self._workload.device):
            if not alone:
                self.evaluator.evaluate(point, task, count)
                return
            one_by_one = lambda module, _: [task(module, number) for number in range(count)]  # noqa: E731
            self.evaluator.evaluate(point, one_by_one, 1)

    def buffers(self) -> dict[str, Tensor]:
        """See :class:`simgmc.workloads.gradients.proof.Route`."""
        return self.replicas.state_dict()

    def restore(self, buffers: dict[str, Tensor]) -> None:
        """See :class:`simgmc.workloads.gradients.proof.Route`."""
        self.replicas.load_state_dict(buffers)


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
