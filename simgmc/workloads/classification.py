"""A training task: data, partition, model, and the gradients of all workers."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.processes.cores import usable_cores
from simgmc.workloads import notes
from simgmc.workloads.as_begun import AsBegun
from simgmc.workloads.data.collated import CollatedSamples
from simgmc.workloads.data.dataset import Dataset, RawSamples
from simgmc.workloads.data.minibatches import Samples
from simgmc.workloads.data.steps import TrainingSamples
from simgmc.workloads.gradients.live_memory import PassMemory
from simgmc.workloads.gradients.model_calls import ModelCalls
from simgmc.workloads.gradients.precision import check_precision, kernels
from simgmc.workloads.gradients.private_copy import Copier
from simgmc.workloads.gradients.proof.inspection import refuse_holding_the_model
from simgmc.workloads.gradients.routes import Job, choose
from simgmc.workloads.gradients.template import Template
from simgmc.workloads.losses.functions import CrossEntropy, Loss, OwnLoss
from simgmc.workloads.metrics import Metric, metrics_of
from simgmc.workloads.workload import Evaluation, PassBytes

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
        steps_per_pass: gradients in which each worker goes through its own samples once.
        shares: what every worker's message weighs in an average, 1 in all; None where all weigh the same.
        at_once: workers whose activations are held at the same time; the others wait.
        route: how gradients are computed, a rule on the model and the device, never a timing: "split" (chains of
            linear layers), "pool", "loop" (small models, the same bits), "cuda graph", "cuda streams"; "plain" (a
            private copy of the model for every worker) where none of them gives what plain PyTorch gives.
        reasons: why faster routes were not taken; empty where the first was.
        notes: what a user should know of how the model is taken.
        as_begun: how the user's own loss, metric and samples are, beside what a state has of the model.
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
        train, self._test = (self._samples(data, split) for split in ("train", "test"))
        self._training = TrainingSamples(train, owned, batch, seed, augment)
        self.workers, held = len(owned), [len(piece) for piece in owned]
        self.shares = tuple(one / sum(held) for one in held) if by_samples and len(set(held)) > 1 else None
        self.batches_per_epoch = sum(held) / self._training.minibatches.taken
        self.steps_per_pass = [one / min(one, batch) for one in held]
        self._loss = (loss or CrossEntropy()).on(self.device, dtype)
        outputs = self._loss.outputs(data)
        self._metrics = metrics_of(data, self._loss, metric)
        refuse_holding_the_model(model, self._loss, "workload.loss")
        _refuse_uncopied(self._loss, "workload.loss")
        if metric is not None:
            refuse_holding_the_model(model, metric, "report.metric")
        self._template = Template(model, self.device, dtype)
        self._calls = ModelCalls(self._template.module, self._loss, outputs)
        self._refuse_synchronised()
        self.layout: Layout = self._template.layout
        self.d = self.layout.d
        self.threads = (threads or usable_cores()) if self.device.type == "cpu" else 1
        job = Job(self._template, self._training, self._test, self._calls, self._loss, precision, self.threads)
        chosen = choose(job, route)
        self._engine, self._evaluator, self._replicas = chosen.engine, chosen.evaluator, chosen.replicas
        self._replicas.shares = self.shares
        self.flops, self.at_once, self.reasons = chosen.flops, chosen.at_once, chosen.reasons
        self.notes = [
            *self._template.notes,
            *data.notes,
            *notes.of_unreached([self.layout.names[number] for number in self.absent(0)]),
            *notes.of_outside(chosen.outside),
            *notes.of_statistics(chosen.moving, self.workers),
            *notes.of_weights(held, batch, self.shares is not None),
        ]
        frozen = [one for one in self._template.module.parameters() if not one.requires_grad]
        self.as_begun = AsBegun(
            lambda: (data.numbers, frozen), loss=self._loss, metric=metric,
            samples=data.anew or getattr(data.train_images, "anew", None),
            collate=getattr(data.train_images, "collate", None),
        )  # fmt: skip
        shared = self._loss.own if isinstance(self._loss, OwnLoss) and self.workers > 1 else None
        self._shared = AsBegun(loss=None if chosen.loss_keeps else shared)

    def _samples(self, data: Dataset, split: str) -> Samples | CollatedSamples:
        images, labels = getattr(data, f"{split}_images"), getattr(data, f"{split}_labels")
        if isinstance(images, RawSamples):
            return CollatedSamples(images, self.device, self.dtype)
        anew = data.anew if split == "train" else None
        return Samples(images, labels, data.mean, data.std, self.device, self.dtype, False, data.tokens, anew)

    @property
    def route(self) -> str:
        """How gradients are computed."""
        return self._engine.route

    def absent(self, worker: int) -> tuple[int, ...]:
        """Numbers of the layout's tensors that got no gradient in the worker's latest pass (torch's ``None``)."""
        return self._replicas.absent.get(worker, ())

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
        self._calls.guarded(
            "its gradients failed",
            lambda: self._engine.gradients(at.detach(), self._training.at_step(step), out, losses),
        )
        return out, losses

    def gradient(self, worker: int, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """One worker's gradient (d,) and loss () on its step-th minibatch, at ``at`` (d,)."""
        if at.shape != (self.d,):
            raise ValueError(f"at has shape {tuple(at.shape)}, not ({self.d},)")
        out = torch.empty(self.d, device=self.device, dtype=self.dtype)
        loss = torch.empty((), device=self.device, dtype=self.dtype)
        self._calls.guarded(
            "its gradient failed",
            lambda: self._engine.gradient(worker, at.detach(), self._training.at_step(step), out, loss),
        )
        return out, loss

    def gradients_of(self, ranks: Sequence[int], at: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gradients (n, d) and losses (n,) of some workers, each at its own point and step.

        ``ranks``: n different workers; ``at`` (n, d). The same bits as :meth:`gradient` of each.
        """
        out = torch.empty(len(ranks), self.d, device=self.device, dtype=self.dtype)
        losses = torch.empty(len(ranks), device=self.device, dtype=self.dtype)
        batches = [self._training.at_step(step) for step in steps]
        self._calls.guarded(
            "its gradients failed", lambda: self._engine.several(list(ranks), at.detach(), batches, out, losses)
        )
        return out, losses

    def component_gradient(self, worker: int, at: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """There are none, see :attr:`components`."""
        raise NotImplementedError("training on data has no components")

    def _refuse_shared_state(self) -> None:
        """Raises SimgmcError where the loss keeps something although it kept nothing when all workers were given it."""
        if changed := [path for path in self._shared.changed() if path.startswith("loss")]:
            raise SimgmcError(
                f"workload.loss: {changed[0].replace('loss', 'its object', 1)} changed while all workers shared it: "
                "a loss is copied for each worker only where its first passes change it. Let it keep what it keeps "
                "from the first pass on, or at module level, where it is one for all workers"
            )

    def evaluate(self, point: Tensor, worker: int | None = None) -> Evaluation:
        """Loss and accuracy on the whole test set at ``point`` (d,).

        Running statistics are those of a worker, or averaged over all (see
        :mod:`simgmc.workloads.gradients.statistics`); nothing of the training state changes.
        """
        self._refuse_shared_state()
        parts = torch.arange(len(self._test), device=self.device).split(self._evaluation_batch())
        sums = torch.zeros(len(parts), 4, dtype=torch.float64, device=self.device)

        kept: list[list[Any]] = [[] for _ in parts]
        criterion = self._replicas.evaluated_loss(worker) or self._loss

        def task(module: nn.Module, number: int) -> None:
            with torch.no_grad():
                x, y = self._test.take(parts[number])
                output = self._calls(module, x, y)
                sums[number, 0], sums[number, 1] = criterion.total(output, y)
                right = criterion.right(output, y)
                if right is not None:
                    sums[number, 2], sums[number, 3] = right
                kept[number] = [metric.part(criterion, output, y) for metric in self._metrics]

        with kernels("float32", self.device):
            self._calls.guarded(
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
        criterion = self._replicas.evaluated_loss() or self._loss

        def task(module: nn.Module, worker: int) -> None:
            with torch.no_grad():
                x, y = self._training.at_step(steps[worker]).worker(worker)
                losses[worker] = criterion(self._calls(module, x, y), y)

        with kernels("float32", self.device):
            self._calls.guarded(
                "its evaluation failed", lambda: self._evaluator.evaluate(point.detach(), task, self.workers)
            )
        return float(losses.mean() if self.shares is None else losses @ losses.new_tensor(self.shares))

    def model_state(self, point: Tensor) -> dict[str, Tensor]:
        """The module's ``state_dict`` at ``point`` (d,), running statistics averaged over all workers; copied."""
        found: dict[str, Any] = {}

        def task(module: nn.Module, _: int) -> None:
            if self.route == "plain":  # a copy that nobody else uses: what is merged for evaluation is taken apart
                module.train()
            found.update(module.state_dict())

        self._calls.guarded("its state_dict failed", lambda: self._evaluator.evaluate(point.detach(), task, 1))
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
        batch = self._training.at_step(0)
        with PassMemory(self.device.type) as taken:
            x, _ = batch.worker(0)
        with PassMemory(self.device.type) as gradient:
            self._engine.gradient(0, at, batch, out, torch.empty((), device=self.device, dtype=self.dtype))
        self.load_state_dict(state)
        first = torch.arange(min(self._evaluation_batch(), len(self._test)), device=self.device)
        evaluation = PassMemory(self.device.type)

        def task(module: nn.Module, number: int) -> None:
            with evaluation, torch.no_grad():
                self._calls(module, *self._test.take(first))

        self._evaluator.evaluate(at, task, 1)
        model = sum(one.nbytes for one in self.model_state(at).values())
        beside = max(gradient.beside, evaluation.beside)
        return PassBytes(gradient.tensors, evaluation.tensors, taken.tensors, model, beside)

    def _evaluation_batch(self) -> int:
        if isinstance(self._test, CollatedSamples):
            return self._training.batch
        if self._test.tokens:
            return max(1, EVALUATION_TOKENS[self.device.type] // self._test.shape[0])
        return EVALUATION_BATCH[self.device.type]

    def state_dict(self) -> dict[str, Any]:
        """What changes besides the parameters: every buffer as (K, ...), copied; of some models lists of K values."""
        return self._replicas.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`."""
        own = self._replicas.state_dict()
        if state.keys() != own.keys():
            raise SimgmcError(f"saved state holds {sorted(state)}, this model's buffers are {sorted(own)}")
        self._replicas.load_state_dict(state)

    def _refuse_synchronised(self) -> None:
        for name, part in self._template.module.named_modules():
            if isinstance(part, nn.SyncBatchNorm) and part.training and self.workers > 1:
                raise SimgmcError(
                    f"{self._calls.name}: {name or 'it'} is SyncBatchNorm, which takes its statistics over the "
                    "samples of all workers at every layer: that is not simulated. BatchNorm takes each worker's own, "
                    "GroupNorm needs none"
                )


def _refuse_uncopied(given: Any, what: str) -> None:
    """Refuse what workers cannot have one each of."""
    try:
        Copier()(given)
    except SimgmcError as error:
        raise SimgmcError(f"{what}: {error}") from None


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
