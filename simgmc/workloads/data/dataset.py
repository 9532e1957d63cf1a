"""What a data set is once it has been read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set in memory.

    ``train_images`` and ``test_images`` are (n, channels, height, width) or (n, features), bytes or
    floats; a model sees ``(image - mean) / std`` with ``mean`` and ``std`` (channels,) or scalar,
    in the units of the images. Labels are (n,) int64 in 0 .. classes - 1. ``tokens`` are whole numbers
    (n, block) int64 that a model sees as they are; labels may then be (n, block), one each.
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

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, e.g. (3, 32, 32)."""
        return self.train_images.shape[1:]
