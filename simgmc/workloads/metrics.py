"""Values of a test set beside loss and accuracy, made of what is kept of each of its batches."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.core.own_code.imports import find
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.losses.functions import Loss


class Metric:
    """A value of a test set: :meth:`part` of every batch, then :meth:`value` of all parts, in order."""

    def __init__(self, name: str):
        """``name``: of its column."""
        self.name = name

    def part(self, criterion: Loss, output: Any, target: Any) -> Any:
        """What is kept of a batch."""
        return None

    def value(self, loss: float, accuracy: float | None, parts: Sequence[Any]) -> float | None:
        """Over the test set, whose mean loss and accuracy are given; None where it is not known."""
        raise NotImplementedError


class Derived(Metric):
    """A function of the mean loss and the accuracy."""

    def __init__(self, name: str, function: Callable[[float, float | None], float | None]):
        super().__init__(name)
        self._function = function

    def value(self, loss: float, accuracy: float | None, parts: Sequence[Any]) -> float | None:
        return self._function(loss, accuracy)


class Top5(Metric):
    """Share of targets that are among the five largest logits."""

    def part(self, criterion: Loss, output: Any, target: Any) -> Tensor | None:
        counted = criterion.counted(output, target)
        if counted is None:
            return None
        logits, labels = counted
        found = (logits.topk(5).indices == labels[:, None]).any(1)
        return torch.stack([found.sum(), found.new_tensor(len(labels), dtype=torch.int64)])

    def value(self, loss: float, accuracy: float | None, parts: Sequence[Any]) -> float | None:
        if parts[0] is None:
            return None
        right, all_ = _added(parts)
        return float(right / all_)


class MacroF1(Metric):
    """The mean over classes, or labels, of 2 right / (guessed + there), of those that are guessed or there."""

    def part(self, criterion: Loss, output: Any, target: Any) -> Tensor | None:
        return criterion.by_class(output, target)

    def value(self, loss: float, accuracy: float | None, parts: Sequence[Any]) -> float | None:
        if parts[0] is None:
            return None
        right, guessed, there = _added(parts)
        met = guessed + there > 0
        return float((2 * right / (guessed + there))[met].mean())


def _added(parts: Sequence[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0]).double()


class OwnMetric(Metric):
    """One's own: a function (outputs, targets) -> number of the whole test set, on the CPU.

    Or, as of ``torchmetrics``, something with ``update(output, target)``, which gets batch by batch, and ``compute()``;
    a class of such is made anew for every evaluation, an object copied.
    """

    def __init__(self, path: str):
        super().__init__(path)
        self._what = f"report.metric: {path}"
        self._found = find("report.metric", path)
        self._steps = hasattr(self._found, "update") and hasattr(self._found, "compute")
        if inspect.isclass(self._found) and not self._steps or not (self._steps or callable(self._found)):
            raise SimgmcError(
                f"{self._what} is {type(self._found).__name__}, neither a function (outputs, targets) nor something "
                "with update(output, target) and compute()"
            )

    def part(self, criterion: Loss, output: Any, target: Any) -> tuple[Any, Any]:
        return tree_map(lambda one: one.detach().cpu() if isinstance(one, Tensor) else one, (output, target))

    def value(self, loss: float, accuracy: float | None, parts: Sequence[Any]) -> float | None:
        if self._steps:
            found = guarded(self._what, "failed", lambda: self._in_steps(parts))
        else:
            outputs, targets = (_joined(self._what, [part[place] for part in parts]) for place in (0, 1))
            found = guarded(self._what, "failed", lambda: self._found(outputs, targets))
        try:
            return float(found)
        except (TypeError, ValueError, RuntimeError):
            raise SimgmcError(f"{self._what}: gave {type(found).__name__}; needed is one number") from None

    def _in_steps(self, parts: Sequence[Any]) -> Any:
        metric = self._found() if inspect.isclass(self._found) else copy.deepcopy(self._found)
        for output, target in parts:
            metric.update(output, target)
        return metric.compute()


def _joined(what: str, parts: Sequence[Any]) -> Any:
    """Batches as one; of tuples and dicts each tensor."""
    flat = [tree_flatten(part) for part in parts]
    try:
        return tree_unflatten([torch.cat(one) for one in zip(*(leaves for leaves, _ in flat), strict=True)], flat[0][1])
    except (RuntimeError, TypeError, ValueError):
        raise SimgmcError(
            f"{what}: the batches of the test set do not have one shape and cannot be given as one; give something "
            "with update(output, target) and compute(), which gets them one by one"
        ) from None


KNOWN: dict[str, Callable[[str], Metric]] = {
    "error": lambda name: Derived(name, lambda loss, accuracy: None if accuracy is None else 1 - accuracy),
    "perplexity": lambda name: Derived(name, lambda loss, accuracy: math.exp(min(loss, 700))),
    "bits-per-token": lambda name: Derived(name, lambda loss, accuracy: loss / math.log(2)),
    "top-5": Top5,
    "macro-f1": MacroF1,
}


def build_metric(name: str, outputs: int) -> Metric | None:
    """A metric by its name in a scenario, or one's own by its import path; None for what every evaluation has.

    Raises SimgmcError where it says nothing of so many outputs, or cannot be imported.
    """
    if name == "top-5" and outputs < 6:
        raise SimgmcError(f'report.metric = "top-5": of {outputs} classes five always hold the right one')
    if ":" in name:
        return OwnMetric(name)
    return KNOWN[name](name.replace("-", "_")) if name in KNOWN else None


def metrics_of(data: Dataset, criterion: Loss, chosen: Metric | None) -> list[Metric]:
    """What every evaluation gives beside loss and accuracy: the chosen metric, and what texts are told by."""
    found = {} if chosen is None else {chosen.name: chosen}
    if data.tokens and data.train_labels.ndim > 1 and criterion.log_likelihood:
        for name in ("bits-per-token", "perplexity"):
            found.setdefault(name.replace("-", "_"), KNOWN[name](name.replace("-", "_")))
    return [found[name] for name in sorted(found)]
