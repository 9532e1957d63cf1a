"""The minibatches that workers train on, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.rows import on_device
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.workloads.data.collated import CollatedSamples
from simgmc.workloads.data.minibatches import Minibatches, Samples, crop_draws


class TrainingSamples:
    """The training samples, and which of them every worker takes at every step."""

    def __init__(
        self, samples: Samples | CollatedSamples, owned: Sequence[np.ndarray], batch: int, seed: int, augment: bool
    ):
        """
        Args:
            owned: K arrays of indices into the samples.
            augment: random crop and flip, for images.
        """
        self.samples, self.workers, self.batch, self.seed, self.augment = samples, len(owned), batch, seed, augment
        self.minibatches = Minibatches(owned, batch, seed)
        if augment and isinstance(samples, CollatedSamples):
            raise SimgmcError("workload.augment: crops and flips need images, one array each: do it in your data set")
        if augment and len(samples.shape) != 3:
            raise SimgmcError(f"augmentation needs images (channels, height, width), samples have {samples.shape}")

    @property
    def stacks(self) -> bool:
        """Whether all workers' minibatches can be taken as one array."""
        sizes = {min(self.batch, len(piece)) for piece in self.minibatches.owned}
        return isinstance(self.samples, Samples) and len(sizes) == 1 and self.samples.anew is None

    def at_step(self, step: int) -> StepBatch:
        """The minibatches of all workers at one step, taken when they are asked for."""
        return StepBatch(self, step)


class StepBatch:
    """The minibatches of one step, as :class:`simgmc.workloads.gradients.engine.Batch`."""

    def __init__(self, training: TrainingSamples, step: int):
        self._training, self._step = training, step
        self._crops = None
        if training.augment:
            self._crops = self._on_device(crop_draws(training.seed, step, training.workers, training.batch))

    def worker(self, worker: int) -> tuple[Any, Any]:
        """Inputs (b, ...) and targets (b, ...) of one worker."""
        index = self._training.minibatches.indices(self._step, worker)
        if isinstance(self._training.samples, CollatedSamples):
            drawn = generator(self._training.seed, "collate", self._step, worker)
            return self._training.samples.take(torch.from_numpy(index), int(drawn.integers(2**63)))
        crop = None if self._crops is None else self._crops[worker, : len(index)]
        seed = None
        if self._training.samples.anew is not None:
            seed = int(generator(self._training.seed, "transforms", self._step, worker).integers(2**63))
        return self._training.samples.take(self._on_device(index), crop, seed)

    def each(self) -> Sequence[tuple[Any, Any]]:
        """The same of every worker, of arrays all at once."""
        if self._training.stacks:
            return list(zip(*(part.unbind(0) for part in self.all()), strict=True))
        return [self.worker(worker) for worker in range(self._training.workers)]

    def all(self) -> tuple[Tensor, Tensor]:
        """Inputs (K, b, ...) and targets (K, b, ...), of samples that are one array each."""
        assert isinstance(self._training.samples, Samples)
        index = self._training.minibatches.all_indices(self._step)
        crops = None if self._crops is None else self._crops[:, : index.shape[1]]
        return self._training.samples.take(self._on_device(index), crops)

    def seed(self, worker: int) -> int:
        """For what a model draws while it computes (dropout), below 2^63."""
        return int(generator(self._training.seed, "dropout", self._step, worker).integers(2**63))

    def _on_device(self, drawn: np.ndarray) -> Tensor:
        return on_device(drawn, self._training.samples.device)
