"""The losses: each a mean over what the targets number, with the sums of which a whole test set's is made."""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.code import is_import_path
from simgmc.core.own_code.errors import guarded
from simgmc.core.own_code.imports import call, find
from simgmc.workloads.data.dataset import MAX_CLASSES, Dataset
from simgmc.workloads.data.inputs import size
from simgmc.workloads.losses.catalogue import LOSSES

LossFunction = Callable[[Any, Any], Tensor]
"""(output, target) -> the mean loss of a batch, ()."""


class Loss:
    """The mean loss () of a model's output for a batch of targets, when called."""

    def outputs(self, data: Dataset) -> int:
        """Values that a model gives for each sample (or position).

        Raises SimgmcError where the targets are none for this loss.
        """
        raise NotImplementedError

    def needed(self, output: Any, target: Tensor, outputs: int) -> str | None:
        """The shape that the output ought to have, in words, where it does not fit the targets."""
        raise NotImplementedError

    def __call__(self, output: Any, target: Tensor) -> Tensor:
        raise NotImplementedError

    def total(self, output: Any, target: Tensor) -> tuple[Tensor, Tensor | int]:
        """The sum over a batch, and what a sum over many batches is to be divided by for their mean."""
        raise NotImplementedError

    def right(self, output: Any, target: Tensor) -> tuple[Tensor, Tensor | int] | None:
        """How many answers are right, of how many; None where there is no right or wrong."""
        return None

    def counted(self, output: Any, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """Logits (n, classes) and class numbers (n,) of the targets that count; None where there are no classes."""
        return None

    def by_class(self, output: Any, target: Tensor) -> Tensor | None:
        """(3, classes): of each class, or label, the answers that are right, that are given, and that ought to be."""
        counted = self.counted(output, target)
        if counted is None:
            return None
        logits, labels = counted
        guesses = logits.argmax(-1)
        right = labels[guesses == labels]
        return torch.stack([one.bincount(minlength=logits.shape[-1]) for one in (right, guesses, labels)])

    def on(self, device: torch.device, dtype: torch.dtype) -> Loss:
        """The loss itself, its tensors moved there."""
        return self

    @property
    def log_likelihood(self) -> bool:
        """Whether it is minus the mean logarithm of the right class's probability, which gives a perplexity."""
        return False


class CrossEntropy(Loss):
    """See ``torch.nn.CrossEntropyLoss``. Classes are the output's last dimension; the second where only that fits, and
    for pictures of targets, which have more than one dimension each, wherever it fits.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
    ):
        self._smoothing, self._ignored = label_smoothing, ignore_index
        self._weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)

    @property
    def plain(self) -> bool:
        """Whether it has no options."""
        return not self._smoothing and self._weights is None and self._ignored is None

    @property
    def log_likelihood(self) -> bool:
        return not self._smoothing and self._weights is None

    def on(self, device: torch.device, dtype: torch.dtype) -> Loss:
        if self._weights is not None:
            self._weights = self._weights.to(device, dtype)
        return self

    def outputs(self, data: Dataset) -> int:
        if _tensor_targets(data)[0].dtype.kind == "f":
            classes = self._of_probabilities(data)
        else:
            classes = class_count(data, self._ignored)
        if self._ignored is not None and self._weights is not None and len(self._weights) > self._ignored:
            classes = max(classes, self._ignored + 1)  # a class that is left out has its weight all the same
        if self._weights is not None and len(self._weights) != classes:
            raise SimgmcError(
                f"workload.loss: class_weights has {len(self._weights)} numbers; the data have {classes} classes"
            )
        return classes

    def _of_probabilities(self, data: Dataset) -> int:
        if self._ignored is not None:
            raise SimgmcError("workload.loss: ignore_index needs class numbers; the targets are probabilities")
        if data.raw:
            return data.classes
        for split, targets in data.targets:
            good = targets.ndim > 1 and (targets >= 0).all() and np.allclose(targets.sum(-1), 1, atol=1e-4)
            if not good:
                raise SimgmcError(
                    f"workload.loss: cross-entropy needs class numbers (whole numbers from 0), or probabilities that "
                    f"sum to 1; the {split} targets are {targets.dtype} of shape {targets.shape[1:]}. For other "
                    'numbers: loss = "mse", "l1", "huber" or "binary-cross-entropy"'
                )
        return data.train_labels.shape[-1]

    def needed(self, output: Any, target: Tensor, outputs: int) -> str | None:
        if target.is_floating_point():
            right = isinstance(output, Tensor) and output.shape == target.shape
            return None if right else f"logits of shape {tuple(target.shape)}"
        if isinstance(output, Tensor) and output.ndim == target.ndim + 1:
            at = _class_dimension(output, target)
            if at is not None and output.shape[at] >= outputs:
                return None
        return f"logits of shape {(*target.shape, outputs)}"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return self._reduced(*_flat(output, target), "mean")

    def total(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | int]:
        logits, labels = _flat(output, target)
        total = self._reduced(logits, labels, "sum")
        if labels.is_floating_point() or (self._ignored is None and self._weights is None):
            return total, len(labels)
        counted = labels if self._ignored is None else labels[labels != self._ignored]
        return total, len(counted) if self._weights is None else self._weights[counted].sum()

    def right(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | int]:
        logits, labels = self.counted(output, target)
        return (logits.argmax(-1) == labels).sum(), len(labels)

    def counted(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits, labels = _flat(output, target)
        if labels.is_floating_point():
            labels = labels.argmax(-1)
        kept = slice(None) if self._ignored is None else labels != self._ignored
        return logits[kept], labels[kept]

    def _reduced(self, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
        ignored = -100 if self._ignored is None else self._ignored
        return F.cross_entropy(
            logits, labels, self._weights, ignore_index=ignored, reduction=reduction, label_smoothing=self._smoothing
        )


def _class_dimension(output: Tensor, target: Tensor) -> int | None:
    """Where an output (..., classes) or (batch, classes, ...) has its classes; None where neither fits."""
    fits = [
        at
        for at in ((1, output.ndim - 1) if target.ndim > 2 else (output.ndim - 1, 1))
        if output.shape[:at] + output.shape[at + 1 :] == target.shape
    ]
    return fits[0] if fits else None


def _flat(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n, classes) with class numbers (n,) or probabilities (n, classes)."""
    output = _wide(output)
    if target.is_floating_point():
        return output.flatten(0, -2), target.flatten(0, -2).to(output.dtype)
    at = _class_dimension(output, target)
    if at is not None and at != output.ndim - 1:
        output = output.movedim(at, -1)
    return output.flatten(0, -2), target.flatten()


def _wide(output: Tensor) -> Tensor:
    return output.float() if output.dtype == torch.bfloat16 else output  # autocast does this on CUDA alone


class ElementLoss(Loss):
    """A loss of numbers, one target each; a model may leave away, or add, a last dimension of 1.

    ``function(output, target, reduction=...)`` is torch's.
    """

    def __init__(self, function: Callable[..., Tensor]):
        self._function = function

    def outputs(self, data: Dataset) -> int:
        targets = _tensor_targets(data)
        for split, one in zip(("train", "test"), targets, strict=True):
            self._check(split, one)
        return math.prod(targets[0].shape[1:])

    def _check(self, split: str, targets: np.ndarray) -> None:
        bad = ~np.isfinite(targets.reshape(len(targets), -1)).all(axis=1)
        if bad.any():
            raise SimgmcError(f"dataset, {split} sample {int(np.argmax(bad))}: its target is not finite")

    def needed(self, output: Any, target: Tensor, outputs: int) -> str | None:
        # Anything else would be broadcast: every output against every target.
        if isinstance(output, Tensor) and _without_one(output.shape) == _without_one(target.shape):
            return None
        return f"values of shape {tuple(target.shape)}"

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return self._reduced(output, target, "mean")

    def total(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | int]:
        return self._reduced(output, target, "sum"), target.numel()

    def _reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        output = _wide(output).reshape(target.shape)
        return self._function(output, target.to(output.dtype), reduction=reduction)


def _without_one(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape)


class BinaryCrossEntropy(ElementLoss):
    """See ``torch.nn.BCEWithLogitsLoss``."""

    def __init__(self, positive_weights: Sequence[float] | None = None):
        super().__init__(self._of)
        self._weights = None if positive_weights is None else torch.tensor(positive_weights, dtype=torch.float64)

    def on(self, device: torch.device, dtype: torch.dtype) -> Loss:
        if self._weights is not None:
            self._weights = self._weights.to(device, dtype)
        return self

    def outputs(self, data: Dataset) -> int:
        outputs, shape = super().outputs(data), data.train_labels.shape[1:]
        labels = shape[-1] if shape else 1
        if not data.raw and self._weights is not None and len(self._weights) not in (1, labels):
            raise SimgmcError(
                f"workload.loss: positive_weights has {len(self._weights)} numbers; the targets have {labels} labels"
            )
        return outputs

    def _check(self, split: str, targets: np.ndarray) -> None:
        inside = ((targets >= 0) & (targets <= 1)).reshape(len(targets), -1).all(axis=1)
        if not inside.all():
            raise SimgmcError(
                f"dataset, {split} sample {int(np.argmin(inside))}: binary-cross-entropy needs targets from 0 to 1"
            )

    def _of(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, target, pos_weight=self._weights, reduction=reduction)

    def right(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor | int]:
        return ((output.reshape(target.shape) > 0) == (target > 0.5)).sum(), target.numel()

    def by_class(self, output: Tensor, target: Tensor) -> Tensor:
        """Labels are the last dimension of (samples, labels); pixels of a mask are all of one label."""
        guessed, there = (
            one.reshape(len(target), -1) if target.ndim == 2 else one.reshape(-1, 1)
            for one in (output.reshape(target.shape) > 0, target > 0.5)
        )
        return torch.stack([one.sum(0) for one in (guessed & there, guessed, there)])


class OwnLoss(Loss):
    """The user's own function; over a test set it is averaged as a mean over samples.

    Answers are right or wrong where targets are class numbers and the output has a value for each class.
    """

    def __init__(self, function: LossFunction, name: str):
        self._function, self._what = function, f"loss {name}"
        if isinstance(function, nn.Module) and any(one.requires_grad for one in function.parameters()):
            raise SimgmcError(f"{self._what}: has parameters of its own, which nobody trains: make them a model's")

    @property
    def own(self) -> object | None:
        """The user's object where it may keep something; None: a function, which keeps what it does for everybody."""
        return None if isinstance(self._function, types.FunctionType) else self._function

    def on(self, device: torch.device, dtype: torch.dtype) -> Loss:
        if isinstance(self._function, nn.Module):
            self._function.to(device)
        return self

    def outputs(self, data: Dataset) -> int:
        targets = data.targets[0][1]
        return math.prod(targets.shape[1:]) if targets.dtype.kind == "f" else data.classes

    def needed(self, output: Any, target: Tensor, outputs: int) -> str | None:
        return None

    def __call__(self, output: Any, target: Any) -> Tensor:
        found = guarded(self._what, "failed", lambda: self._function(output, target))
        if not isinstance(found, Tensor) or found.numel() != 1 or not found.is_floating_point():
            gave = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise SimgmcError(
                f"{self._what}: gave {gave}; needed is the mean over the batch, one floating-point number"
            )
        return found.reshape(())

    def total(self, output: Any, target: Any) -> tuple[Tensor, Tensor | int]:
        samples = size(target)
        return self(output, target) * samples, samples

    def right(self, output: Any, target: Any) -> tuple[Tensor, Tensor | int] | None:
        if not isinstance(target, Tensor):
            return None
        classes = isinstance(output, Tensor) and output.shape[:-1] == target.shape and output.shape[-1] > 1
        if not classes or target.is_floating_point():
            return None
        return (output.argmax(-1) == target).sum(), target.numel()


def _tensor_targets(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Those of training and test. Raises SimgmcError where a sample's target is several things."""
    (_, train), (_, test) = data.targets
    if data.raw and not len(train):
        raise SimgmcError(
            "workload.loss: targets are not one tensor each, which a loss of your own takes: loss = "
            '"my_loss:function", called with (output, targets)'
        )
    return train, test


def class_count(data: Dataset, ignored: int | None = None) -> int:
    """How many classes the targets number, those that are ignored left out.

    Raises SimgmcError for a class number below 0 or that is not below the stated number of classes.
    """
    tokens = data.arrays if data.tokens and data.train_labels.ndim == 2 else ()
    largest = max((int(one.max()) for one in tokens), default=-1)
    for split, labels in data.targets:
        kept = np.ones(labels.shape, bool) if ignored is None else labels != ignored
        limit = data.classes if data.classes_stated else MAX_CLASSES
        bad = (kept & ((labels < 0) | (labels >= limit))).reshape(len(labels), -1)
        if bad.any():
            sample = int(np.argmax(bad.any(axis=1)))
            label = labels.reshape(len(labels), -1)[sample][bad[sample]][0]
            wrong = 'is below 0 (loss = { name = "cross-entropy", ignore_index = ... } leaves targets out)'
            if label >= limit:
                wrong = f"is not below {limit:,}"
            raise SimgmcError(f"dataset, {split} {'target' if data.raw else 'sample'} {sample}: label {label} {wrong}")
        if kept.any():
            largest = max(largest, int(labels[kept].max()))
    return data.classes if data.classes_stated else largest + 1


def build_loss(name: str, options: Mapping[str, Any], given: LossFunction | None = None) -> Loss:
    """A registered loss with all of its options; ``given``: what was handed over in Python as the one named so.

    Raises:
        SimgmcError: unknown name or option, a function that cannot be imported.
    """
    options = LOSSES[name].resolve(options)
    if name == "cross-entropy":
        return CrossEntropy(**options)
    if name == "binary-cross-entropy":
        return BinaryCrossEntropy(**options)
    if name == "huber":
        return ElementLoss(functools.partial(F.huber_loss, **options))
    if name == "given":
        if given is None:
            raise SimgmcError("workload.loss: it was given from Python; give it again: simgmc.run(scenario, loss=...)")
        return OwnLoss(given, options["what"])
    if name == "import":
        return _imported(**options)
    if is_import_path(name):
        return _imported(name, None, **options)
    return ElementLoss({"mse": F.mse_loss, "l1": F.l1_loss}[name])


def _imported(function: str, folder: str | None, **arguments: Any) -> Loss:
    found = find("workload.loss", function, folder)
    if inspect.isclass(found):
        found = call("workload.loss", function, folder, arguments)
    elif arguments:
        found = functools.partial(found, **arguments)
    if not callable(found):
        raise SimgmcError(f"workload.loss: {function} is {type(found).__name__}, not a function (output, target)")
    return OwnLoss(found, function)
