"""The registered losses: names, options and sources, known without loading torch.

The functions themselves are in :mod:`simgmc.workloads.losses.functions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simgmc.core.declared import OWN
from simgmc.core.registry import Entry, ImportPath, Numbers, Option, Registry, nested


@dataclass(frozen=True)
class LossEntry(Entry):
    """A registered loss."""

    measured: tuple[str, ...] = ("loss",)
    """The metrics that have a meaning beside it, the usual one first."""

    def metrics(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The same with these options."""
        return self.measured


@dataclass(frozen=True)
class CrossEntropyEntry(LossEntry):
    """The cross-entropy, which gives a perplexity where it is minus the mean logarithm of a probability."""

    def metrics(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        plain = not options["label_smoothing"] and options["class_weights"] is None
        return (*self.measured, "perplexity", "bits-per-token") if plain else self.measured


@dataclass(frozen=True)
class ImportLoss(LossEntry):
    """A function of one's own, by import path; options beyond its own are its arguments."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        arguments = {key: value for key, value in given.items() if key not in self.options}
        return super().resolve({key: value for key, value in given.items() if key in self.options}) | arguments


@dataclass(frozen=True)
class Weights(Numbers):
    """An option that holds numbers of at least 0."""

    shape: str = "a list of numbers of at least 0, one of them above"

    def accepts(self, value: Any) -> bool:
        return nested(value, 1) and min(value) >= 0 and max(value) > 0


def _own(name: str, found: None) -> LossEntry:
    """A function of one's own under its import path: what else a scenario states are its arguments."""
    return ImportLoss(name, "a function (output, target) -> mean of one's own", OWN, measured=LOSSES["import"].measured)


LOSSES: Registry[LossEntry] = Registry(
    "loss",
    (
        CrossEntropyEntry(
            "cross-entropy",
            "of class numbers (one for each sample or position), or of class probabilities; mean",
            "standard; label smoothing: Szegedy et al. 2016; torch.nn.CrossEntropyLoss",
            {
                "label_smoothing": Option(
                    "share of a target that is spread over all classes", float, 0.0, at_least=0, below=1
                ),
                "class_weights": Weights("what a class counts in the mean, one number for each", default=None),
                "ignore_index": Option(
                    "class number of targets that do not count", int, None, at_least=-(2**31), at_most=2**31
                ),
            },
            measured=("accuracy", "loss", "error", "top-5", "macro-f1"),
        ),
        LossEntry(
            "binary-cross-entropy",
            "of targets from 0 to 1, one or many for each sample (multi-label); the model gives logits; mean",
            "standard; torch.nn.BCEWithLogitsLoss",
            {"positive_weights": Weights("what a target of 1 counts, one number for each label", default=None)},
            measured=("accuracy", "loss", "error", "macro-f1"),
        ),
        LossEntry("mse", "squared difference from the target, mean", "standard; torch.nn.MSELoss"),
        LossEntry("l1", "absolute difference from the target, mean", "standard; torch.nn.L1Loss"),
        LossEntry(
            "huber",
            "half the squared difference up to delta, delta times (the absolute one less delta / 2) beyond; mean",
            "Huber 1964; torch.nn.HuberLoss",
            {"delta": Option("where the square ends", float, 1.0, above=0)},
        ),
        ImportLoss(
            "import",
            'a function (output, target) -> mean of one\'s own, or a class of such: loss = "my_loss:function" says as '
            "much; further keys are its arguments",
            "one's own",
            {
                "function": ImportPath("gives the mean loss of a batch"),
                "folder": Option("where modules are looked for first; else the scenario's", Path, None),
            },
            measured=("accuracy", "loss", "error"),
        ),
        LossEntry(
            "given",
            "a function (output, target) -> mean handed to simgmc.run in Python",
            "one's own",
            {"what": Option("its name", str)},
            measured=("accuracy", "loss", "error"),
        ),
    ),
    _own,
    later=True,
    listed="losses",
)
