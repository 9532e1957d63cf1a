"""What a data set is once it has been read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError

MAX_CLASSES = 1_000_000
"""Class numbers are below it."""


@dataclass(frozen=True, eq=False)
class RawSamples:
    """Samples as their data set gives them, where one is not a single array: several inputs, or unequal shapes."""

    split: str
    """"train" or "test", for messages."""
    samples: Sequence[Any]
    collate: Callable[[list[Any]], Any] | None
    """Makes samples a batch; torch's ``default_collate`` if None."""
    targets: np.ndarray
    """The numbers of all targets, however many each sample has; (0,) where they are no tensors."""
    anew: Sequence[Any] | None = None
    """What gives the same samples drawn anew, where reading them draws random numbers."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    ``train_images`` and ``test_images`` are (n, channels, height, width) or (n, features), bytes or
    floats; a model sees ``(image - mean) / std`` with ``mean`` and ``std`` (channels,) or scalar,
    in the units of the images. ``tokens`` are whole numbers (n, block) int64 that a model sees as they are. Labels
    are targets of one shape (n, ...), int64 or float32: class numbers (n,), one for each position (n, block), values.
    ``classes`` is then one more than the largest class number, unless it is ``classes_stated``; 0 for values.
    Samples that are :class:`RawSamples` hold their targets themselves; ``train_labels`` and ``test_labels`` are then
    what partitions go by, (n, 0) where targets are not one number each.
    """

    name: str
    train_images: np.ndarray | RawSamples
    train_labels: np.ndarray
    test_images: np.ndarray | RawSamples
    test_labels: np.ndarray
    classes: int
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    std: np.ndarray = field(default_factory=lambda: np.ones(1))
    tokens: bool = False
    classes_stated: bool = True
    anew: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None
    """Reads a training sample and its label again, where that draws random numbers: transforms of every minibatch."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the data are taken."""

    @property
    def labelled(self) -> bool:
        """Whether every training sample has one class number."""
        labels = self.train_labels
        return labels.ndim == 1 and labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < MAX_CLASSES

    @property
    def raw(self) -> bool:
        """Whether samples are kept as they are."""
        return isinstance(self.train_images, RawSamples)

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample, e.g. (3, 32, 32); None where it is not one array."""
        return self.train_images.shape[1:] if isinstance(self.train_images, np.ndarray) else None

    @property
    def numbers(self) -> tuple[Any, ...]:
        """All of its samples and labels."""
        samples = (one.samples if isinstance(one, RawSamples) else one for one in (self.train_images, self.test_images))
        return *samples, self.train_labels, self.test_labels

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and test samples. Raises SimgmcError where they are not one array each."""
        if not isinstance(self.train_images, np.ndarray) or not isinstance(self.test_images, np.ndarray):
            raise SimgmcError(f"dataset {self.name}: its samples are not one array each, which is needed here")
        return self.train_images, self.test_images

    @property
    def targets(self) -> tuple[tuple[str, np.ndarray], ...]:
        """The targets of both splits by name: (n, ...), or (m,) numbers where they are not of one shape."""
        return tuple(
            (split, images.targets if isinstance(images, RawSamples) else labels)
            for split, images, labels in (
                ("train", self.train_images, self.train_labels),
                ("test", self.test_images, self.test_labels),
            )
        )
