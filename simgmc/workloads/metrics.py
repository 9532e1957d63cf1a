"""Values of a test set beside loss and accuracy, made of sums over its batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from simgmc.core.errors import SimgmcError


def check_metric(name: str, classes: int) -> None:
    """Raises SimgmcError where the metric says nothing of so many classes."""
    if name == "top-5" and classes < 6:
        raise SimgmcError(f'report.metric = "top-5": of {classes} classes five always hold the right one')


def tally(name: str, logits: Tensor, labels: Tensor) -> Tensor | None:
    """What of a batch of logits (n, classes) with class numbers (n,) is summed; None for other metrics."""
    if name == "top-5":
        found = (logits.topk(5).indices == labels[:, None]).any(1)
        return torch.stack([found.sum(), found.new_tensor(len(labels), dtype=torch.int64)])
    if name == "macro-f1":
        classes, guesses = logits.shape[-1], logits.argmax(-1)
        right = labels[guesses == labels]
        return torch.stack([one.bincount(minlength=classes) for one in (right, guesses, labels)])
    return None


def value(name: str, loss: float, accuracy: float | None, tallies: Sequence[Tensor]) -> float | None:
    """The metric over the test set; None for loss, accuracy and what is not known of it.

    Macro-F1 is the mean over classes of 2 right / (guessed + there), of those that are guessed or there.
    """
    if name == "error" and accuracy is not None:
        return 1 - accuracy
    if name == "perplexity":
        return math.exp(min(loss, 700))
    if name == "bits-per-token":
        return loss / math.log(2)
    if not tallies:
        return None
    sums = sum(tallies[1:], tallies[0]).double()
    if name == "top-5":
        return float(sums[0] / sums[1])
    right, guessed, there = sums
    met = guessed + there > 0
    return float((2 * right / (guessed + there))[met].mean())
