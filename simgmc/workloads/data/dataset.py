"""What a data set is once it has been read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MAX_CLASSES = 1_000_000
"""Class numbers are below it."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    ``train_images`` and ``test_images`` are (n, channels, height, width) or (n, features), bytes or
    floats; a model sees ``(image - mean) / std`` with ``mean`` and ``std`` (channels,) or scalar,
    in the units of the images. ``tokens`` are whole numbers (n, block) int64 that a model sees as they are. Labels
    are targets of one shape (n, ...), int64 or float32: class numbers (n,), one for each position (n, block), values.
    ``classes`` is then one more than the largest class number, unless it is ``classes_stated``; 0 for values.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    std: np.ndarray = field(default_factory=lambda: np.ones(1))
    tokens: bool = False
    classes_stated: bool = True

    @property
    def labelled(self) -> bool:
        """Whether every training sample has one class number."""
        labels = self.train_labels
        return labels.ndim == 1 and labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() < MAX_CLASSES

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, e.g. (3, 32, 32)."""
        return self.train_images.shape[1:]
